#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Three headgates share a limit while processes are killed and stopped, Redis is stopped, loses its data or its connections:
never more than the limit at the simulator, and what was lost is back soon. HEADGATE_CLUSTER_FAULTS=200: so many faults, and
Redis stopped for 1 to 20 s."""
import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from cluster import *

need_redis()
FAULTS = int(os.environ.get('HEADGATE_CLUSTER_FAULTS', 0))
LONG = FAULTS > 0
SEED = int(os.environ.get('HEADGATE_CLUSTER_SEED', 4711))
LIMIT, TTL = 12, 2.0
CLIENTS, FEW = 13, 2	# at a node: enough for all of it, and not

class Show:
	def __init__(self, tap, sim, redis, nodes):
		self.tap, self.sim, self.redis, self.nodes = tap, sim, redis, nodes
		self.random = random.Random(SEED)
		self.loads, self.worst, self.history = [None] * 3, 0, []

	# ---- faults: each returns after it is over

	async def kill_node(self):
		"""The host is gone: all its processes at once. It comes back."""
		n = self.random.randrange(3)
		node = self.nodes[n]
		for pid in [node.pid] + children(node.pid):	# the master first, so that it replaces nobody
			kill(pid)
		await asyncio.to_thread(node.end, signal.SIGKILL)
		node.stopped = True
		self.loads[n].wanted = 0
		self.nodes.nodes[n] = await asyncio.to_thread(self.nodes.start, node.name)
		self.loads[n] = Load(self.nodes[n].port, CLIENTS)
		return f'kill -9 of node {node.name}'

	async def kill_agent(self):
		node = self.random.choice(self.nodes.nodes)
		agent = await asyncio.to_thread(node.agent)
		if agent:
			os.kill(agent, signal.SIGKILL)
		return f'kill -9 of the agent of {node.name}'

	async def kill_worker(self):
		node = self.random.choice(self.nodes.nodes)
		workers = list((await asyncio.to_thread(node.workers)).values())
		if workers:
			os.kill(self.random.choice(workers), signal.SIGKILL)
		return f'kill -9 of a worker of {node.name}'

	async def stop_agent(self):
		node = self.random.choice(self.nodes.nodes)
		agent = await asyncio.to_thread(node.agent)
		seconds = self.random.uniform(0.2, 2 * TTL)
		if agent:
			os.kill(agent, signal.SIGSTOP)
			await asyncio.sleep(seconds)
			os.kill(agent, signal.SIGCONT)
		return f'the agent of {node.name} stopped for {seconds:.1f} s'

	async def stop_redis(self):
		seconds = self.random.uniform(1, 20) if LONG else self.random.uniform(0.2, 2 * TTL)
		os.kill(self.redis.pid, signal.SIGSTOP)
		await asyncio.sleep(seconds)
		os.kill(self.redis.pid, signal.SIGCONT)
		return f'Redis stopped for {seconds:.1f} s'

	async def restart_redis(self):
		await asyncio.to_thread(self.redis.restart)
		return 'Redis restarted, empty'

	async def flush_redis(self):
		await asyncio.to_thread(self.redis.command, 'FLUSHALL')
		return 'Redis lost its data'

	async def cut(self):
		await asyncio.to_thread(self.redis.cut)
		return 'connections cut'

	# ----

	async def is_full(self, seconds):
		"""How long until all of the limit is in use again; None: longer than that."""
		began = time.monotonic()
		while time.monotonic() < began + seconds:
			if (await asyncio.to_thread(self.sim.stats))['in_flight'] >= LIMIT:
				return time.monotonic() - began
			await asyncio.sleep(0.02)
		return None

	async def lean_on(self, heavy):
		"""One node has much more than its guaranteed share."""
		for k, load in enumerate(self.loads):
			load.resize(CLIENTS if k == heavy else FEW)
		await asyncio.to_thread(wait_until, lambda: (self.nodes[heavy].lease() or 0) >= LIMIT - 2 * FEW, 6)

	async def run(self, count):
		kinds = [self.kill_node, self.kill_agent, self.kill_worker, self.stop_agent, self.stop_redis, self.restart_redis,
			self.flush_redis, self.cut]
		self.loads = [Load(node.port, CLIENTS) for node in self.nodes]
		self.tap.ok(await self.is_full(20) is not None, 'all of the limit is in use')
		stuck = []
		for n in range(count):
			kind = kinds[n % len(kinds)] if not LONG else self.random.choice(kinds)
			heavy = n % 3
			await self.lean_on(heavy)
			fault = asyncio.create_task(kind())
			for k, load in enumerate(self.loads):	# now the others want what that one has
				if k != heavy:
					load.resize(CLIENTS)
			what = await fault
			took = await self.is_full(20)
			self.history.append(f'{what}: in use again after {"-" if took is None else f"{took:.2f}"} s')
			if took is None:
				stuck.append(what)
			else:
				self.worst = max(self.worst, took)
			await asyncio.sleep(self.random.uniform(0, 0.5))
		self.tap.is_(stuck, [], f'after each of {count} faults all of the limit is in use again, at the latest after {self.worst:.1f} s')
		for load in self.loads:
			await load.stop()

with Tap() as tap, Sim('--tokens', 24, '--rate', 15, '--jitter', 30) as sim, Redis() as redis:
	with Cluster(tap, redis, sim, 3, ttl=f'{TTL}s', http_client={'concurrent_requests': LIMIT}) as nodes:
		tap.ok(nodes.sharing(), 'three nodes know each other')
		show = Show(tap, sim, redis, nodes)
		try:
			asyncio.run(show.run(FAULTS or 12))
		finally:
			if LONG:
				tap.diag('\n'.join(show.history))
		most = sim.most_in_flight()
		if not tap.ok(most <= LIMIT, f'the simulator never saw more than {LIMIT} ({most})'):
			tap.diag('\n'.join(show.history))
		tap.ok(nodes.sharing(), 'all share again')
