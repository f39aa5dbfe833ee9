#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The life of a cluster: Redis is lost and found, limits differ, nodes leave, join, are one too many, have one name."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from cluster import *

need_redis()
LIMIT, N = 12, 3
SOON = 15	# requests to Redis, which are 100 to 150 ms apart, but for the first: 7 of them where the machine has nothing else to do
PERMITS = 'llm.providers.sim.http_client.concurrent_requests'

def in_flight(node):
	return ((node.health() or {}).get('providers') or {'sim': {'in_flight': -1}})['sim']['in_flight']

async def until(what, seconds=20):
	return await asyncio.to_thread(wait_until, what, seconds)

async def redis_is_lost(tap, sim, redis, nodes):
	"""One node has all of the limit when Redis stops: what is above the guaranteed share ends before others may use it."""
	a, b, c = nodes
	streams = [asyncio.create_task(stream_chat(a.port, f'{n} [[sim:tokens=160]]')) for n in range(8)]
	await until(lambda: in_flight(a) == 8)
	whole = [asyncio.create_task(asyncio.to_thread(request, a.port, 'POST', '/v1/chat/completions', chat_body(f'{n} [[sim:tokens=60]]', stream=False)))
		for n in range(4)]
	tap.ok(await until(lambda: in_flight(a) == LIMIT), f'one node uses all {LIMIT}')
	os.kill(redis.pid, signal.SIGSTOP)
	others = Load(b.port, 6)
	tap.ok(await until(lambda: a.cluster()['state'] == 'alone'), 'Redis stops: the node says that it is alone')
	tap.ok(await until(lambda: in_flight(a) <= LIMIT // N), f'it falls to its guaranteed share, {LIMIT // N}, although requests run on')
	tap.ok(await until(lambda: in_flight(b) == LIMIT // N), 'and then the others have theirs')
	os.kill(redis.pid, signal.SIGCONT)
	tap.ok(await until(lambda: a.cluster()['state'] == 'sharing'), 'Redis goes on: limits are shared again')
	await others.stop()
	ended = [ending(s) for s in await asyncio.gather(*streams)]
	tap.ok(sum(e == (200, 'lease_lost') for e in ended) >= 4, f'streams that were cut off are told so in the stream ({ended})')
	tap.is_(sum(e not in ((200, None), (200, 'lease_lost')) for e in ended), 0, 'nothing else happened to them')
	tap.is_([w[0] for w in await asyncio.gather(*whole)], [200] * 4, 'requests of which nothing was seen stood in line again, and are answered')
	tap.ok(a.grep(r"cluster: Redis at '.*' is out of reach: no answer in time") and a.grep('cluster: Redis is back'), 'the log tells both')

def worker_of(node, clients):
	"""Which of its workers has the connection from each of these local ports."""
	with open('/proc/net/tcp') as file:
		rows = [line.split() for line in file.readlines()[1:]]
	port = lambda address: int(address.split(':')[1], 16)
	inode = {port(row[2]): row[9] for row in rows if port(row[1]) == node.port}
	owner = {}
	for pid in node.workers().values():
		for fd in os.listdir(f'/proc/{pid}/fd'):
			try:
				owner[os.readlink(f'/proc/{pid}/fd/{fd}')] = pid
			except FileNotFoundError:
				pass
	return [owner.get(f'socket:[{inode.get(client)}]') for client in clients]

async def places_are_lost(tap, redis, nodes):
	a = nodes[0]
	held = a.health()['max_connections']
	sockets = [await ws_connect(a.port) for _ in range(held)]
	tap.ok(await until(lambda: a.health()['active_connections'] == held), f'one node has all {held} places')
	workers = worker_of(a, [ws.local_address[1] for ws in sockets])
	os.kill(redis.pid, signal.SIGSTOP)
	tap.ok(await until(lambda: (h := a.health()) and h['active_connections'] == held // N), 'Redis stops: WebSockets above the guaranteed share are closed')
	os.kill(redis.pid, signal.SIGCONT)
	codes = lambda: [ws.close_code for ws in sockets if ws.close_code is not None]
	await until(lambda: len(codes()) == held - held // N)
	tap.is_(codes(), [1013] * (held - held // N), 'with 1013')
	stays = [[ws.close_code is None for ws, pid in zip(sockets, workers) if pid == worker] for worker in set(workers)]
	tap.is_([sorted(there, reverse=True) for there in stays], stays, 'at each worker those who came first stay')
	for ws in sockets:
		await ws.close()

async def limits_differ(tap, nodes):
	a, b, c = nodes
	with open(b.conf_path) as file:
		text = file.read()
	with open(b.conf_path, 'w') as file:
		file.write(text.replace(f'concurrent_requests: {LIMIT}', 'concurrent_requests: 9'))
	os.kill(b.pid, signal.SIGHUP)
	at = lambda node: node.cluster()['limits'][PERMITS]
	tap.ok(await until(lambda: all(at(node)['limit'] == 9 for node in nodes)), 'a lower limit at one node holds for all')
	tap.ok(await until(lambda: [at(node)['guaranteed'] for node in nodes] == [3] * N), 'also of what is guaranteed')
	tap.ok(a.wait_line(f'cluster: {PERMITS} is not the same on all nodes: {LIMIT} here, and 9 holds, the lowest'), 'and it is said')
	tap.ok(a.cluster()['mismatches'] == 1, '/health counts it')
	with open(b.conf_path, 'w') as file:
		file.write(text)
	os.kill(b.pid, signal.SIGHUP)
	tap.ok(await until(lambda: all(at(node)['limit'] == LIMIT for node in nodes)), 'and back')
	tap.ok(a.wait_line(f'{PERMITS} is the same on all nodes again'), 'which is said, too')

async def one_leaves(tap, sim, nodes):
	a, b, c = nodes
	load = Load(a.port, 14, max_tokens=4)
	c.stop(signal.SIGQUIT)
	tap.ok(c.grep('cluster: everything was given back'), 'a node that drains gives everything back')
	tap.ok(await until(lambda: a.cluster()['members'] == 2), 'the others know')
	tap.ok(await until(lambda: sim.stats()['in_flight'] == LIMIT), 'and have its share')
	for who in ('all others have lines', 'what the others have lies idle'):
		nodes.nodes[2] = c = await asyncio.to_thread(nodes.start, 'c')
		other = Load(c.port, LIMIT, max_tokens=4)
		tap.ok(await until(lambda: (c.lease() or 0) >= LIMIT // N), f'it comes back, while {who}, and has its share')
		tap.at_most(counted(c, 'headgate_cluster_requests_total'), SOON, 'soon: after so many requests to Redis')
		await other.stop()
		await load.stop()
		if who == 'all others have lines':
			load = Load(a.port, LIMIT, max_tokens=4)
			c.stop(signal.SIGQUIT)
			tap.ok(await until(lambda: a.lease() == LIMIT), 'it leaves again, another one takes all')
			await load.stop()

def one_too_many(tap, redis, sim, nodes):
	tap.ok(nodes.sharing(), 'all are known')
	with Node(None, redis, sim, 'd', N, ttl='4s', http_client={'concurrent_requests': LIMIT}) as d:
		tap.ok(d.wait_line('cluster: refused: cluster.nodes is 3, and as many are known: '), 'a name more than nodes is refused, by name')
		status, _, body = request(d.port, 'GET', '/health')
		tap.is_((status, json.loads(body)['status']), (503, 'refused'), 'and /health says so')
	with Node(None, redis, sim, 'c', N, ttl='5s', http_client={'concurrent_requests': LIMIT}) as other:
		tap.ok(other.wait_line('cluster: refused: cluster.lease_ttl is 4000 ms at [ab], and 5000 ms here'), 'another lease_ttl is refused')

def place_is_taken(tap, redis, sim, nodes):
	"""Redis loses its data, and another name comes before one that was there."""
	c = nodes[2]
	c.allowed = 'cluster: refused: '
	agent = c.agent()
	os.kill(agent, signal.SIGSTOP)
	redis.command('FLUSHALL')
	with Node(None, redis, sim, 'd', N, ttl='4s', http_client={'concurrent_requests': LIMIT}) as d:
		tap.ok(wait_until(lambda: d.cluster()['members'] == N), 'another name takes the place of a node of which Redis knows nothing')
		os.kill(agent, signal.SIGCONT)
		tap.ok(wait_until(lambda: c.cluster()['state'] == 'refused'), 'that node is refused')
		tap.ok(wait_until(lambda: c.lease() == 0), 'and uses nothing, not even its guaranteed share')
		d.stop(signal.SIGQUIT)
	tap.ok(nodes.sharing(), 'when the other has left, it shares again')

def two_of_one_name(tap, redis, sim, nodes):
	c = nodes[2]
	c.allowed = 'cluster: refused: '
	with Node(None, redis, sim, 'c', N, ttl='4s', http_client={'concurrent_requests': LIMIT}) as twin:
		tap.ok(c.wait_line('cluster: refused: another headgate has begun under the name of this node'), 'a second headgate of one name: the first one is told')
		tap.ok(wait_until(lambda: c.lease() == 0), 'and uses nothing any more')
		tap.ok(wait_until(lambda: twin.cluster()['state'] == 'sharing'), 'the second shares')

def counted(node, name):
	return node.stat()['statistics'][name]

async def clock_steps(tap, sim, redis, nodes):
	"""No clock but each host's own is trusted."""
	sim.reset()
	lost = lambda: [counted(node, 'headgate_cluster_redis_lost_total') for node in nodes]
	for _ in range(3):	# if need be: a machine that is busy with something else may lose Redis, and a lease, once
		before = lost()
		loads = [Load(node.port, 8) for node in nodes]
		for by in (86400, -86400, 0):
			await asyncio.to_thread(redis.step, by)
			ahead = await asyncio.to_thread(redis.time) - time.time()
			tap.ok(abs(ahead - by) < 60, f'the clock of the host of Redis is set to {by:+} s')
			calls = await asyncio.to_thread(redis.calls)
			tap.ok(await until(lambda: redis.calls() > calls + 9), 'leases are renewed')
			tap.ok(await until(lambda: all(node.cluster()['state'] == 'sharing' for node in nodes)), 'all share')
		for load in loads:
			await load.stop()
		failed = [[s and ending(s) for _, _, s in load.failed] for load in loads]
		after = lost()
		if failed == [[]] * N and after == before:
			break
	tap.is_(failed, [[]] * N, 'no request failed')
	tap.is_(after, before, 'Redis was never lost')
	tap.at_most(sim.most_in_flight(), LIMIT, 'and no more than the limit was in use')

async def redis_is_full(tap, redis, nodes):
	a = nodes[0]
	await asyncio.to_thread(redis.command, 'CONFIG', 'SET', 'maxmemory', '1')
	tap.ok(await until(lambda: a.cluster()['state'] == 'alone'), 'Redis answers with an error: as if it were away')
	tap.ok(a.grep('cluster: Redis answers: OOM'), 'and the log has its words')
	await asyncio.to_thread(redis.command, 'CONFIG', 'SET', 'maxmemory', '0')
	tap.ok(await until(lambda: a.cluster()['state'] == 'sharing'), 'until it answers')

async def redis_was_a_replica(tap, redis, nodes):
	"""It has the same data under the same run_id, and they may be older than what was said to us."""
	a = nodes[0]
	before = counted(a, 'headgate_cluster_data_lost_total')
	await asyncio.to_thread(redis.command, 'REPLICAOF', '127.0.0.1', '1')
	tap.ok(await until(lambda: a.grep('cluster: Redis answers: .*READONLY')), 'Redis becomes a replica: it can grant nothing')
	await asyncio.to_thread(redis.command, 'REPLICAOF', 'NO', 'ONE')
	tap.ok(await until(lambda: all(node.cluster()['state'] == 'sharing' for node in nodes) and counted(a, 'headgate_cluster_data_lost_total') == before + 1),
		'when it is a master again, leases are counted anew')

async def life(tap, sim, redis, nodes):
	await redis_is_lost(tap, sim, redis, nodes)
	await places_are_lost(tap, redis, nodes)
	await limits_differ(tap, nodes)
	await one_leaves(tap, sim, nodes)
	await clock_steps(tap, sim, redis, nodes)
	await redis_is_full(tap, redis, nodes)
	await redis_was_a_replica(tap, redis, nodes)

with Tap() as tap, Sim('--tokens', 20, '--rate', 20) as sim, Redis(stepclock=True) as redis:
	with Cluster(tap, redis, sim, N, ttl='4s', concurrency={'max_connections': 60, 'connection_queue_timeout': 10}, http_client={'concurrent_requests': LIMIT, 'max_retries': 0}) as nodes:
		tap.ok(nodes.sharing(), 'three nodes know each other')
		asyncio.run(life(tap, sim, redis, nodes))
		one_too_many(tap, redis, sim, nodes)
		tap.at_most(sim.most_in_flight(), LIMIT, 'never more than the limit at the simulator')
		place_is_taken(tap, redis, sim, nodes)
		two_of_one_name(tap, redis, sim, nodes)
