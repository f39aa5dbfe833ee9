-- SPDX-License-Identifier: BSD-2-Clause
-- lease.lua - what Redis does with a node's request: leases for all of its limits in one step.
--
-- doc/cluster.md has the protocol and why it holds. No clock is read here. Each execution takes the next number of
-- a counter (seq); nodes tell by these numbers what has lapsed, and whose promises still stand.
--
-- KEYS[1]  the one key, a hash: epoch, run, was (the run before), seq, mature0, mature1; m: the members; l:NAME: the
--          leases of a limit
-- ARGV     incarnation, node, call, epoch it believes in, epoch to begin if there is none, run of this server, nodes,
--          share, lease_ttl, draining, registered in that epoch, q, sigma of limits without memory, sigma of those with
--          memory, rho (-1: none); then for each limit: name, has memory, configured, hold, want, the guaranteed share that
--          it would rise to now
-- Returns  { "ok", epoch, seq, again, members, nodes, then for each limit: lease, target, limit, guaranteed,
--          contended, mismatch } or { "stale" } or { "superseded" } or { "refused", why }

local key = KEYS[1]
local inc, node, call, epoch, new_epoch, run = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local nodes, share, ttl, draining = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10] == '1'
local registered, q = ARGV[11] == '1', tonumber(ARGV[12])
local sigma, rho = { [0] = tonumber(ARGV[13]), tonumber(ARGV[14]) }, tonumber(ARGV[15])
local FIRST, EACH = 16, 6
local EPS = 1e-6

-- A member, and a row of a limit: lists, for they are stored.
local M_INC, M_NODE, M_CALL, M_Q, M_NODES, M_SHARE, M_TTL, M_LEFT = 1, 2, 3, 4, 5, 6, 7, 8
local R_INC, R_LIMIT, R_GUARANTEED, R_LEASE, R_HELD, R_SEQ, R_WANT, R_UNDER = 1, 2, 3, 4, 5, 6, 7, 8
-- LEASE is what it was told last. HELD is what others must leave to it: it may not have heard that yet, and what runs
-- above it ends at its own time only. GUARANTEED, too, is the larger of what it was told and what it says that it would rise to.
-- UNDER is the limit when LEASE last fitted into what others left.

local function unpacked(blob)
	return blob and cmsgpack.unpack(blob) or {}
end

local head = redis.call('HMGET', key, 'epoch', 'run', 'seq', 'mature0', 'mature1', 'm', 'was')
local seq, mature, members = tonumber(head[3] or 0), { [0] = head[4] == '1', head[5] == '1' }, unpacked(head[6])

-- It does not know that this server has become another one since it asked who it is: it shall ask again.
if run == head[7] then
	return redis.error_reply('RUN this server was a replica since')
end
-- Another server, or one that has lost what it knew: what was granted before is unknown.
if not head[1] or head[2] ~= run or (epoch == head[1] and q > seq) then
	redis.call('DEL', key)
	seq, mature, members = 0, { [0] = false, false }, {}
	redis.call('HSET', key, 'epoch', new_epoch, 'run', run, 'was', head[2] ~= run and head[2] or head[7] or '')
	head[1] = new_epoch
end
if epoch ~= head[1] then
	epoch, registered, q, sigma, rho = head[1], false, 0, { [0] = 0, 0 }, -1
end
if rho < 0 then
	rho = math.huge
end

---- who asks

local me, same, by_inc, left = nil, nil, {}, {} -- by_inc: those that are active
for i, m in ipairs(members) do
	if m[M_LEFT] == 1 then
		left[m[M_INC]] = true
	else
		by_inc[m[M_INC]] = m
	end
	if m[M_INC] == inc then
		me = m
	elseif m[M_NODE] == node then
		same = i
	end
end
if me and call <= me[M_CALL] then
	return { 'stale' }
end
if not me and registered then
	return { 'superseded' }
end
if not me then
	me = { inc, node, call, q, nodes, share, ttl, 0 }
	if same then -- the node begins anew: what it leased before stands until it has lapsed
		by_inc[members[same][M_INC]] = nil
		members[same] = me
	else
		table.insert(members, me)
	end
end
me[M_CALL], me[M_Q], me[M_NODES], me[M_SHARE], me[M_TTL], me[M_LEFT] = call, q, nodes, share, ttl, 0
left[inc], by_inc[inc] = nil, me

local active, most, names = 0, 1, {}
for _, m in ipairs(members) do
	if m[M_LEFT] == 0 then
		active = active + 1
		most = math.max(most, m[M_NODES])
		if m ~= me then
			table.insert(names, m[M_NODE])
		end
		if m[M_TTL] ~= ttl then
			return { 'refused', 'cluster.lease_ttl is ' .. m[M_TTL] .. ' ms at ' .. m[M_NODE] .. ', and ' .. ttl ..
				' ms here; give all nodes the same' }
		end
	end
end
if active > most then
	return { 'refused', 'cluster.nodes is ' .. most .. ', and as many are known: ' .. table.concat(names, ', ') }
end
for i = #members, 1, -1 do -- who has left makes room for a new name
	if #members > most and members[i][M_LEFT] == 1 then
		table.remove(members, i)
	end
end
nodes = most

-- The part of each limit that a member keeps whatever happens, and that of names that were never seen.
local shares = 0
for _, m in ipairs(members) do
	shares = shares + (m[M_SHARE] > 0 and m[M_SHARE] or 1 / nodes)
end
if shares > 1 + EPS then
	return { 'refused', 'cluster.share of all nodes together is above 1 with that of ' .. node }
end
local unseen = #members < nodes and math.max(0, 1 - shares) or 0

seq = seq + 1
if sigma[0] >= 1 then
	mature[0] = true
	if active == nodes then -- nobody is unknown, and all say what they have used
		mature[1] = true
	end
end
if sigma[1] >= 1 then
	mature[1] = true
end

---- a limit

local function guaranteed(limit)
	if share > 0 then
		return math.floor(limit * share + EPS)
	end
	return math.floor(limit / nodes)
end

-- How much of `rest` number `mine` of the wishes gets: the same for all, as far as they wish it.
local function level(rest, wishes, mine)
	table.sort(wishes, function(a, b)
		if a.want ~= b.want then
			return a.want < b.want
		end
		return a.inc < b.inc
	end)
	local left = #wishes
	for i, w in ipairs(wishes) do
		if w.want > math.floor(rest / left) then
			local each, more, before = math.floor(rest / left), rest % left, 0
			for k = i, #wishes do
				if wishes[k].inc < mine.inc then
					before = before + 1
				end
			end
			return math.min(mine.want, each + (before < more and 1 or 0))
		end
		if w == mine then
			return w.want
		end
		rest = rest - w.want
		left = left - 1
	end
end

-- All of them wish `want`; what is theirs whatever happens comes first.
local function fair(pool, all, mine)
	local base, rest = {}, pool
	for i, w in ipairs(all) do
		base[i] = math.min(w.want, w.guaranteed)
		rest = rest - base[i]
	end
	if rest < 0 then -- reserved for others who are not heard of
		return level(pool, all, mine)
	end
	local wishes, of_mine, own = {}, nil, 0
	for i, w in ipairs(all) do
		wishes[i] = { inc = w.inc, want = w.want - base[i] }
		if w == mine then
			of_mine, own = wishes[i], base[i]
		end
	end
	return own + level(rest, wishes, of_mine)
end

-- The rows that count, without ours; ours, or a new one.
local function read_rows(name, memory)
	local rows, mine = {}, nil
	for _, r in ipairs(unpacked(redis.call('HGET', key, 'l:' .. name))) do
		local lapsed = r[R_SEQ] <= sigma[memory]
		if r[R_INC] == inc then
			mine = r
		elseif by_inc[r[R_INC]] then
			if lapsed then -- it has fallen to this by itself
				r[R_LEASE] = math.min(r[R_LEASE], r[R_GUARANTEED])
				r[R_HELD] = math.min(r[R_HELD], r[R_GUARANTEED])
			end
			table.insert(rows, r)
		elseif not lapsed and not (left[r[R_INC]] and memory == 0) then -- it has begun anew, or has left
			table.insert(rows, r)
		end
	end
	return rows, mine or { inc, 0, 0, 0, 0, 0, 0, 0 }
end

local function answer(name, memory, configured, hold, want, g_held)
	local rows, mine = read_rows(name, memory)
	local limit, mismatch = configured, 0
	for _, r in ipairs(rows) do
		if by_inc[r[R_INC]] and r[R_SEQ] > sigma[memory] and r[R_LIMIT] ~= configured then
			limit, mismatch = math.min(limit, r[R_LIMIT]), 1
		end
	end
	local unknown = math.floor(limit * unseen + EPS)
	local me_too = { inc = inc, want = math.min(want, limit), guaranteed = guaranteed(limit) }
	local reserved, rest, pool, all, wants = unknown, limit - unknown, limit - unknown, { me_too }, me_too.want
	for _, r in ipairs(rows) do
		local m = by_inc[r[R_INC]]
		rest = rest - (m and r[R_GUARANTEED] or 0)
		if m and m[M_Q] >= rho then -- it has promised not to use more, for longer than we shall use ours
			reserved = reserved + r[R_HELD]
			table.insert(all, { inc = r[R_INC], want = math.min(r[R_WANT], limit), guaranteed = r[R_GUARANTEED] })
			wants = wants + all[#all].want
		else
			local most_of_it = m and math.max(r[R_HELD], r[R_GUARANTEED]) or r[R_HELD]
			reserved = reserved + most_of_it
			pool = pool - most_of_it
		end
	end
	pool = math.max(0, pool)
	local target = 0
	if wants > pool then
		target = fair(pool, all, me_too)
	elseif draining then
		target = me_too.want
	else
		target = me_too.want + math.floor((pool - wants) / (2 * #all))
	end
	-- What runs may end by itself where a limit was lowered; but not on what was lent by one who may want it back.
	-- And not below the guaranteed share, which nobody else ever has: we may have been cut off, and have risen to it.
	local cap = math.max(math.min(hold, g_held), math.max(limit, mine[R_UNDER]) - reserved)
	local lease = math.max(math.min(hold, cap), mature[memory] and math.min(target, limit - reserved) or 0)
	-- A share that shrinks is others' only when its owner has said so; until then theirs may not grow.
	local g = math.max(0, math.min(me_too.guaranteed, rest))
	local contended = (wants > pool or lease < target) and 1 or 0

	mine[R_LIMIT], mine[R_GUARANTEED], mine[R_LEASE], mine[R_HELD], mine[R_SEQ], mine[R_WANT] =
		configured, math.max(g, g_held), lease, math.max(lease, hold), seq, me_too.want
	if lease <= limit - reserved then
		mine[R_UNDER] = limit
	end
	table.insert(rows, mine)
	redis.call('HSET', key, 'l:' .. name, cmsgpack.pack(rows))
	return lease, target, limit, g, contended, mismatch
end

---- all of them

local reply = { 'ok', epoch, seq, q == 0 and 1 or 0, active, nodes }
local uses = 0
for i = FIRST, #ARGV, EACH do
	local memory, hold = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
	local granted = { answer(ARGV[i], memory, tonumber(ARGV[i + 2]), hold, tonumber(ARGV[i + 4]),
		tonumber(ARGV[i + 5])) }
	if memory == 0 then
		uses = uses + hold + granted[1]
	end
	for _, number in ipairs(granted) do
		table.insert(reply, number)
	end
end
if draining and uses == 0 then -- it may use nothing until it begins anew; what it has sent counts as long as it must
	me[M_LEFT] = 1
end
redis.call('HSET', key, 'seq', seq, 'm', cmsgpack.pack(members), 'mature0', mature[0] and 1 or 0,
	'mature1', mature[1] and 1 or 0)
return reply
