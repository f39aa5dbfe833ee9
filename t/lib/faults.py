# SPDX-License-Identifier: BSD-2-Clause
"""Faults that befall a cluster, one at a time: each returns what it was, when it is over."""
from cluster import *


class Faults:
	"""random: a random.Random; stop_s: the shortest and the longest stop of Redis; restarted(n): node number n is another one now."""
	def __init__(self, redis, nodes, random, stop_s, ttl_s, restarted):
		self.redis, self.nodes, self.random, self.stop_s, self.ttl_s, self.restarted = redis, nodes, random, stop_s, ttl_s, restarted
		self.kinds = (self.kill_node, self.kill_agent, self.kill_worker, self.stop_agent, self.stop_redis, self.restart_redis,
			self.flush_redis, self.cut)

	async def kill_node(self):
		"""The host is gone: all its processes at once. It comes back."""
		n = self.random.randrange(self.nodes.n)
		node = self.nodes[n]
		for pid in [node.pid] + children(node.pid):	# the master first, so that it replaces nobody
			kill(pid)
		await asyncio.to_thread(node.end, signal.SIGKILL)
		node.stopped = True
		self.nodes.nodes[n] = await asyncio.to_thread(self.nodes.start, node.name)
		self.restarted(n)
		return f'kill -9 of node {node.name}'

	async def kill_agent(self):
		node = self.random.choice(self.nodes.nodes)
		agent = await asyncio.to_thread(node.agent)
		if agent:
			kill(agent)
		return f'kill -9 of the agent of {node.name}'

	async def kill_worker(self):
		node = self.random.choice(self.nodes.nodes)
		workers = list((await asyncio.to_thread(node.workers)).values())
		if workers:
			kill(self.random.choice(workers))
		return f'kill -9 of a worker of {node.name}'

	async def stop_agent(self):
		node = self.random.choice(self.nodes.nodes)
		agent = await asyncio.to_thread(node.agent)
		seconds = self.random.uniform(0.2, 2 * self.ttl_s)
		if agent:
			kill(agent, signal.SIGSTOP)
			await asyncio.sleep(seconds)
			kill(agent, signal.SIGCONT)
		return f'the agent of {node.name} stopped for {seconds:.1f} s'

	async def stop_redis(self):
		seconds = self.random.uniform(*self.stop_s)
		kill(self.redis.pid, signal.SIGSTOP)
		await asyncio.sleep(seconds)
		kill(self.redis.pid, signal.SIGCONT)
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
