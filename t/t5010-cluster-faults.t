#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Three headgates share a limit while processes are killed and stopped, Redis is stopped, loses its data or its connections:
never more than the limit at the simulator, and what was lost is back soon. HEADGATE_CLUSTER_FAULTS=200: so many faults, and
Redis stopped for 1 to 20 s."""
import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from faults import *

need_redis()
FAULTS = int(os.environ.get('HEADGATE_CLUSTER_FAULTS', 0))
LONG = FAULTS > 0
SEED = int(os.environ.get('HEADGATE_CLUSTER_SEED', 4711))
LIMIT, TTL = 12, 2.0
CLIENTS, FEW = 13, 2	# at a node: enough for all of it, and not

class Show:
	def __init__(self, tap, sim, redis, nodes):
		self.tap, self.sim, self.nodes = tap, sim, nodes
		self.random = random.Random(SEED)
		self.faults = Faults(redis, nodes, self.random, (1, 20) if LONG else (0.2, 2 * TTL), TTL, self.load_anew)
		self.loads, self.worst, self.history = [None] * 3, 0, []

	def load_anew(self, n):
		self.loads[n].wanted = 0
		self.loads[n] = Load(self.nodes[n].port, CLIENTS)

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
		kinds = self.faults.kinds
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
