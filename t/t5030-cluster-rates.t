#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Hosts share requests_per_minute, tokens_per_minute and the caps of a key, exactly, while demand moves between them; an
upgrade takes the leases along. HEADGATE_CLUSTER_FAULTS=100: also through so many faults."""
import hashlib, os, random, sys, threading
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from faults import *

need_redis()
FAULTS = int(os.environ.get('HEADGATE_CLUSTER_FAULTS', 0))
SEED = int(os.environ.get('HEADGATE_CLUSTER_SEED', 4711))
WINDOW, TTL = 5, 2	# s: what a minute is in this test
RPM, TPM, KEY_LIMIT = 60, 900, 6
MOVES = 7
KEY = 'a key of sixteen letters'

class Stalls(threading.Thread):
	"""How late the machine was at worst: so late a request may be seen, and another one in time."""
	def __init__(self):
		super().__init__(daemon=True)
		self.worst_s = 0
		self.start()

	def run(self):
		while True:
			began = time.monotonic()
			time.sleep(0.01)
			self.worst_s = max(self.worst_s, time.monotonic() - began - 0.01)

	def window_us(self):
		"""What nobody may exceed, however late he was."""
		return (WINDOW - 0.3 - 2 * self.worst_s) * 1e6

def most_in_a_window(rows, window_us):
	"""Of (when, how much)."""
	rows = sorted(rows)
	first = within = most = 0
	for at, amount in rows:
		within += amount
		while at - rows[first][0] >= window_us:
			within -= rows[first][1]
			first += 1
		most = max(most, within)
	return most

class Moves:
	"""Clients come and go at each node, whatever they wait for; in the long form with a fault now and then."""
	def __init__(self, redis, nodes, **more):
		self.nodes, self.more, self.random, self.history = nodes, more, random.Random(SEED), []
		self.faults = Faults(redis, nodes, self.random, (0.2, 6), TTL, self.load_anew)
		self.loads = [Load(node.port, 2, **more) for node in nodes]

	def load_anew(self, n):
		self.loads[n].wanted = 0
		self.loads[n] = Load(self.nodes[n].port, 20, **self.more)

	def kinds(self, n):
		"""Who was started after Redis has lost its data does not know what was sent in the minute before: never both."""
		never = (self.faults.kill_node,) if n < FAULTS / 2 else (self.faults.restart_redis, self.faults.flush_redis)
		return [kind for kind in self.faults.kinds if kind not in never]

	async def run(self):
		for n in range(MOVES + FAULTS):
			most = self.random.randrange(len(self.loads))
			for k, load in enumerate(self.loads):
				load.resize(20 if k == most else self.random.choice((0, 2, 20)))
			await asyncio.sleep(self.random.uniform(0.1, 3))
			if n < FAULTS:
				self.history.append(f'{time.monotonic():.3f} {await self.random.choice(self.kinds(n))()}')
			elif n == FAULTS:	# what the last one has cost is over
				await asyncio.sleep(2 * WINDOW)
		for load in self.loads:
			load.resize(0)

async def rates(tap, sim, redis, nodes):
	tap.ok(await asyncio.to_thread(nodes.sharing), 'three nodes know each other')
	stalls, moves = Stalls(), Moves(redis, nodes)
	await moves.run()
	times = [row['t_us'] for row in sim.events('request')]
	most = most_in_a_window([(t, 1) for t in times], stalls.window_us())
	if not tap.at_most(most, RPM, 'in no window do more requests reach the simulator than requests_per_minute'):
		tap.diag('\n'.join(moves.history) + '\n' + ' '.join(f'{t / 1e6:.3f}' for t in times))
	span = (max(times) - min(times)) / 1e6 / WINDOW
	tap.ok(FAULTS or len(times) >= 0.5 * RPM * span, f'and most of them are used ({len(times)} in {span:.1f} windows of {RPM})')
	tap.ok(FAULTS or all(len(load.done) for load in moves.loads), f'every node has had some ({[len(load.done) for load in moves.loads]})')

async def wait_for_share(tap, sim, nodes):
	"""One node has just used all of a window; who comes to another one waits for it in line, as he would with one host."""
	a, b, _ = nodes
	await asyncio.sleep(1.2 * WINDOW)	# what was sent before counts no more
	before = len(sim.events('request'))
	load = Load(a.port, RPM)
	tap.ok(await asyncio.to_thread(wait_until, lambda: len(sim.events('request')) - before >= 0.8 * RPM), f'one node uses most of {RPM} at once')
	load.resize(0)
	got = await asyncio.gather(*(ask(b.port, f'{n}', seconds=3 * WINDOW) for n in range(30)))
	tap.is_([s and ending(s) for s in got], [(200, None)] * 30, 'who comes to a node without a share waits until it has one')

async def tokens(tap, sim, redis, nodes):
	"""A request is booked with what it may take, and then with what it took."""
	tap.ok(await asyncio.to_thread(nodes.sharing), 'tokens_per_minute is shared')
	stalls, moves = Stalls(), Moves(redis, nodes, max_tokens=10)
	await moves.run()
	events = sim.events()
	took = {row['req']: row['tokens'] for row in events if row['event'] == 'done'}
	rows = [(row['t_us'], row['prompt_tokens'] + took.get(row['req'], 0)) for row in events if row['event'] == 'request']
	if not tap.at_most(most_in_a_window(rows, stalls.window_us()), TPM, 'in no window are there more than tokens_per_minute'):
		tap.diag('\n'.join(moves.history))
	span = (max(rows)[0] - min(rows)[0]) / 1e6 / WINDOW
	total = sum(amount for _, amount in rows)
	tap.ok(FAULTS or total >= 0.5 * TPM * span, f'and most of them are used ({total} in {span:.1f} windows of {TPM})')

async def of_a_key(tap, sim, nodes):
	headers = {'Authorization': f'Bearer {KEY}'}
	body = lambda n: chat_body(f'{n} [[sim:tokens=10,rate=20]]', stream=False)
	asks = [asyncio.to_thread(request, nodes[n % 2].port, 'POST', '/v1/chat/completions', body(n), headers) for n in range(40)]
	got = [answer[0] for answer in await asyncio.gather(*asks)]
	tap.is_(got.count(200), 40, 'all requests of a key at two nodes are answered')
	most = sim.stats()['max_in_flight']
	tap.ok(most <= KEY_LIMIT, f'with no more than its concurrent_requests at once over both ({most})')

async def an_upgrade(tap, sim, node):
	before = node.cluster()
	load = Load(node.port, 4)
	os.kill(node.pid, signal.SIGUSR2)
	def taken_over():
		now = node.cluster()
		return now and now['state'] == 'sharing' and now['agent_pid'] not in (0, before['agent_pid'])
	tap.ok(await asyncio.to_thread(wait_until, taken_over), 'after an upgrade the agent of the new master goes on')
	await asyncio.sleep(1.5)
	await load.stop()
	tap.is_([f[2] and ending(f[2]) for f in load.failed], [], 'and no request has failed')
	tap.is_(node.grep('superseded|refused'), [], 'it is the same node to Redis')

def leave(tap, node):
	"""The last master is a grandchild."""
	node.stopped = True
	with open(os.path.join(node.run_dir, 'headgate.pid')) as file:
		last = int(file.read())
	os.kill(last, signal.SIGTERM)
	tap.ok(wait_until(lambda: not alive(last)), 'the new master leaves')
	node.end(signal.SIGKILL)

SHORT = {'env': {'HEADGATE_TEST_WINDOW_MS': str(WINDOW * 1000)}, 'ttl': f'{TTL}s'}
with Tap() as tap, Redis() as redis:
	with Sim('--tokens', 2, '--rate', 0) as sim, Cluster(tap, redis, sim, 3, **SHORT, http_client={'requests_per_minute': RPM, 'concurrent_requests': 100, 'queue_timeout': 2 * WINDOW}) as nodes:
		asyncio.run(rates(tap, sim, redis, nodes))
		asyncio.run(wait_for_share(tap, sim, nodes))
	redis.restart()
	with Sim('--tokens', 10, '--rate', 0) as sim, Cluster(tap, redis, sim, 3, **SHORT, http_client={'tokens_per_minute': TPM, 'concurrent_requests': 100, 'queue_timeout': 2 * WINDOW}) as nodes:
		asyncio.run(tokens(tap, sim, redis, nodes))
	redis.restart()
	key = f'clients:\n  keys:\n    - {{name: k, key_sha256: {hashlib.sha256(KEY.encode()).hexdigest()}, concurrent_requests: {KEY_LIMIT}}}\n  allow_anonymous: true\n'
	with Sim('--rate', 20, '--tokens', 10) as sim, Cluster(tap, redis, sim, 2, ttl='5s', extra=key, http_client={'concurrent_requests': 100}) as nodes:
		tap.ok(nodes.sharing(), 'the caps of keys are shared')
		asyncio.run(of_a_key(tap, sim, nodes))
		asyncio.run(an_upgrade(tap, sim, nodes[1]))
		leave(tap, nodes[1])
