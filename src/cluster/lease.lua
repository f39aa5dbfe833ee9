-- SPDX-License-Identifier: BSD-2-Clause
-- lease.lua - what Redis does with a node's request: leases for all of its limits in one step.
--
-- doc/cluster.md has the protocol and why it holds. No clock is read here. Each execution takes the next number of
-- a counter (seq); nodes tell by these numbers what has lapsed, and whose promises still stand.
--
-- KEYS[1]  the one key, a hash: epoch, run, was (the run before), seq, mature0, mature1; m: the members; o: those whose
--          name has begun anew; l:NAME: the leases of a limit
-- ARGV     incarnation, node, call, epoch it believes in, epoch to begin if there is none, run of this server, nodes,
--          share, lease_ttl, draining, its number from the greeting in that epoch, q, sigma of limits without memory, sigma of
--          those with memory, rho (-1: none); then for each limit: name, has memory, configured, hold, want, the guaranteed
--          share that it would rise to now
-- Returns  { "ok", seq, again, members, nodes, then for each limit: lease, target, limit, guaranteed, contended,
--          mismatch } or { "hello", epoch, number } or { "stale" } or { "superseded" } or { "refused", why }

local key = KEYS[1]
local inc, node, call, epoch, new_epoch, run = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local nodes, share, ttl, draining = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10] == '1'
local number, q = tonumber(ARGV[11]), tonumber(ARGV[12])
local sigma, rho = { [0] = tonumber(ARGV[13]), tonumber(ARGV[14]) }, tonumber(ARGV[15])
local FIRST, EACH = 16, 6
local EPS = 1e-6

-- A member: a list, for it is stored. NO: the number from its greeting.
local M_INC, M_NODE, M_CALL, M_Q, M_NODES, M_SHARE, M_TTL, M_LEFT, M_NO = 1, 2, 3, 4, 5, 6, 7, 8, 9
-- One whose name has begun anew: its workers may live on for a moment. SEQ: of the first request of its successor.
local O_NO, O_Q, O_SEQ = 1, 2, 3
-- The rows of a limit: one list of numbers, WIDTH for each member, which are much faster to read than a list of lists.
-- NO is the member's. HELD is what others must leave to it: what it was told last, or what it holds above that: it may not have heard
-- yet, and what runs ends at its own time only. GUARANTEED, too, is the larger of what it was told and what it says that it
-- would rise to. UNDER is the limit when its lease last fitted into what others left.
local R_NO, R_LIMIT, R_GUARANTEED, R_HELD, R_SEQ, R_WANT, R_UNDER, WIDTH = 0, 1, 2, 3, 4, 5, 6, 7

local function unpacked(blob)
	return blob and cmsgpack.unpack(blob) or {}
end

local head = redis.call('HMGET', key, 'epoch', 'run', 'seq', 'mature0', 'mature1', 'm', 'was', 'o')
local seq, mature = tonumber(head[3] or 0), { [0] = head[4] == '1', head[5] == '1' }
local members, olds = unpacked(head[6]), unpacked(head[8])

-- It does not know that this server has become another one since it asked who it is: it shall ask again.
if run == head[7] then
	return redis.error_reply('RUN this server was a replica since')
end
-- Another server, or one that has lost what it knew: what was granted before is unknown.
if not head[1] or head[2] ~= run or (epoch == head[1] and q > seq) then
	redis.call('DEL', key)
	seq, mature, members, olds = 0, { [0] = false, false }, {}, {}
	redis.call('HSET', key, 'epoch', new_epoch, 'run', run, 'was', head[2] ~= run and head[2] or head[7] or '')
	head[1] = new_epoch
end
-- Who is new in this epoch gets a number, and changes nothing before it comes again with that: by the numbers those that began earlier
-- under a name are told from those that began later, whatever lay in a socket meanwhile.
if epoch ~= head[1] then
	redis.call('HSET', key, 'seq', seq + 1)
	return { 'hello', head[1], seq + 1 }
end
if rho < 0 then
	rho = math.huge
end

---- who asks

-- by_no: those that are active. promised: the q of all who may have a guaranteed share. anew: since when it is another's.
local me, same, by_no, left, promised, anew = nil, nil, {}, {}, {}, {}
for _, old in ipairs(olds) do
	promised[old[O_NO]], anew[old[O_NO]] = old[O_Q], old[O_SEQ]
end
for i, m in ipairs(members) do
	if m[M_LEFT] == 1 then
		left[m[M_NO]] = true
	else
		by_no[m[M_NO]], promised[m[M_NO]] = m, m[M_Q]
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
if not me and (q > 0 or same and number < members[same][M_NO]) then
	return { 'superseded' }
end
if not me then
	me = { inc, node, call, q, nodes, share, ttl, 0, number }
	if same then -- the node begins anew: what it leased before, and its share, stand until they have surely lapsed
		local old = members[same]
		if old[M_LEFT] == 0 then
			by_no[old[M_NO]], anew[old[M_NO]] = nil, seq + 1
			table.insert(olds, { old[M_NO], old[M_Q], seq + 1 })
		end
		members[same] = me
	else
		table.insert(members, me)
	end
end
me[M_CALL], me[M_Q], me[M_NODES], me[M_SHARE], me[M_TTL], me[M_LEFT] = call, q, nodes, share, ttl, 0
local my_no = me[M_NO]
left[my_no], by_no[my_no], promised[my_no] = nil, me, q

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

-- The part of each limit that a member keeps whatever happens, and that of names that were never seen: none of them has
-- more than the largest here.
local shares, largest = 0, 0
for _, m in ipairs(members) do
	local part = m[M_SHARE] > 0 and m[M_SHARE] or 1 / nodes
	shares, largest = shares + part, math.max(largest, part)
end
if shares > 1 + EPS then
	return { 'refused', 'cluster.share of all nodes together is above 1 with that of ' .. node }
end
local unseen = math.max(0, math.min(1 - shares, (nodes - #members) * largest))

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

for i = #olds, 1, -1 do
	if olds[i][O_SEQ] <= sigma[1] then
		table.remove(olds, i)
	end
end

---- a limit

local function guaranteed(limit)
	if share > 0 then
		return math.floor(limit * share + EPS)
	end
	return math.floor(limit / nodes)
end

-- How much of `rest` the first of those who want something gets: the same for all, as far as they want it. What is left over goes
-- one each to those who came first.
local function level(rest, wants, nos)
	local open, met, each = #wants, {}, 0
	repeat
		each = math.floor(rest / open)
		local before = open
		for k = 1, #wants do
			if not met[k] and wants[k] <= each then
				if k == 1 then
					return wants[1]
				end
				met[k] = true
				rest = rest - wants[k]
				open = open - 1
			end
		end
	until open == before
	local more, before = rest % open, 0
	for k = 2, #wants do
		if not met[k] and nos[k] < nos[1] then
			before = before + 1
		end
	end
	return math.min(wants[1], each + (before < more and 1 or 0))
end

-- What is theirs whatever happens comes first.
local function fair(pool, wants, shares, nos)
	local base, above, rest = 0, {}, pool
	for k = 1, #wants do
		base = math.min(wants[k], shares[k])
		above[k] = wants[k] - base
		rest = rest - base
	end
	if rest < 0 then -- reserved for others who are not heard of
		return level(pool, wants, nos)
	end
	return math.min(wants[1], shares[1]) + level(rest, above, nos)
end

-- The rows that count; where they end; where ours is, or goes; the limit that it was under.
local function read_rows(name, memory)
	local rows, to, under, mine = unpacked(redis.call('HGET', key, 'l:' .. name)), 1, 0, nil
	local last = #rows
	for i = 1, last, WIDTH do
		local no, lapsed = rows[i], rows[i + R_SEQ] <= sigma[memory]
		local over = (anew[no] or rows[i + R_SEQ]) <= sigma[memory] or left[no] and memory == 0
		if no == my_no then
			under, mine = rows[i + R_UNDER], to
		end
		if no == my_no or by_no[no] or not over then -- else it has begun anew, or has left, and it is over
			if lapsed and no ~= my_no then -- it has fallen to this by itself
				rows[i + R_HELD] = math.min(rows[i + R_HELD], rows[i + R_GUARANTEED])
			end
			if to < i then
				for k = 0, WIDTH - 1 do
					rows[to + k] = rows[i + k]
				end
			end
			to = to + WIDTH
		end
	end
	for k = to, last do
		rows[k] = nil
	end
	return rows, to - 1, mine or to, under
end

local function answer(name, memory, configured, hold, want, g_held)
	local rows, last, mine, my_under = read_rows(name, memory)
	local limit, mismatch = configured, 0
	for i = 1, last, WIDTH do
		if i ~= mine and rows[i + R_LIMIT] ~= configured and by_no[rows[i]] and rows[i + R_SEQ] > sigma[memory] then
			limit, mismatch = math.min(limit, rows[i + R_LIMIT]), 1
		end
	end
	local unknown = math.floor(limit * unseen + EPS)
	local reserved, rest, pool, all = unknown, limit - unknown, limit - unknown, math.min(want, limit)
	local my_want, my_share = all, guaranteed(limit)
	local wants, shares, nos = { my_want }, { my_share }, { my_no }
	for i = 1, last, WIDTH do
		local no, most_of_it, share_of_it = rows[i], rows[i + R_HELD], rows[i + R_GUARANTEED]
		if i == mine then
			most_of_it = 0 -- what it says now counts
		elseif promised[no] then
			rest = rest - share_of_it
			if promised[no] < rho then -- else it has promised not to use more, for longer than we shall use ours
				most_of_it = math.max(most_of_it, share_of_it)
			end
		end
		reserved = reserved + most_of_it
		if i ~= mine and by_no[no] and promised[no] >= rho then
			local k = #wants + 1
			wants[k], shares[k], nos[k] = math.min(rows[i + R_WANT], limit), share_of_it, no
			all = all + wants[k]
		else
			pool = pool - most_of_it
		end
	end
	pool = math.max(0, pool)
	local target = 0
	if all > pool then
		target = fair(pool, wants, shares, nos)
	elseif draining then
		target = my_want
	else
		target = my_want + math.floor((pool - all) / (2 * #wants))
	end
	-- What runs may end by itself where a limit was lowered; but not on what was lent by one who may want it back.
	-- And not below the guaranteed share, which nobody else ever has: we may have been cut off, and have risen to it.
	local cap = math.max(math.min(hold, g_held), math.max(limit, my_under) - reserved)
	local lease = math.max(math.min(hold, cap), mature[memory] and math.min(target, limit - reserved) or 0)
	-- A share that shrinks is others' only when its owner has said so; until then theirs may not grow.
	local g = math.max(0, math.min(my_share, rest))
	local contended = (all > pool or lease < target) and 1 or 0

	local under = lease <= limit - reserved and limit or my_under
	for k, value in ipairs({ my_no, configured, math.max(g, g_held), math.max(lease, hold), seq, my_want, under }) do
		rows[mine + k - 1] = value
	end
	redis.call('HSET', key, 'l:' .. name, cmsgpack.pack(rows))
	return lease, target, limit, g, contended, mismatch
end

---- all of them

local reply = { 'ok', seq, q == 0 and 1 or 0, active, nodes }
local uses = 0
for i = FIRST, #ARGV, EACH do
	local memory, hold = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
	local granted = { answer(ARGV[i], memory, tonumber(ARGV[i + 2]), hold, tonumber(ARGV[i + 4]),
		tonumber(ARGV[i + 5])) }
	if memory == 0 then
		uses = uses + hold + granted[1]
	end
	for _, value in ipairs(granted) do
		table.insert(reply, value)
	end
end
if draining and uses == 0 then -- it may use nothing until it begins anew; what it has sent counts as long as it must
	me[M_LEFT] = 1
end
redis.call('HSET', key, 'seq', seq, 'm', cmsgpack.pack(members), 'o', cmsgpack.pack(olds), 'mature0', mature[0] and 1 or 0,
	'mature1', mature[1] and 1 or 0)
return reply
