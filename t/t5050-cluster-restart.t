#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A master is killed and started again while its workers live on, also in the middle of an upgrade: its share is used once,
and leases are stored by one agent."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from cluster import *

need_redis()
LIMIT, N = 12, 2

def in_flight(node):
	return ((node.health() or {}).get('providers') or {'sim': {'in_flight': -1}})['sim']['in_flight']

async def until(what, seconds=30):
	return await asyncio.to_thread(wait_until, what, seconds)

async def streams(node, n):
	"""So many that run on."""
	tasks = [asyncio.create_task(stream_chat(node.port, f'{k} [[sim:tokens=2000]]')) for k in range(n)]
	await until(lambda: in_flight(node) == n)
	return tasks

async def begins_anew(tap, sim, nodes):
	a, b = nodes
	load = Load(a.port, LIMIT + 2)
	tap.ok(await until(lambda: in_flight(a) == LIMIT), f'one node has all {LIMIT}, the share of the other one is lent')
	os.kill(b.agent(), signal.SIGSTOP)
	tap.ok(await until(lambda: b.lease() == LIMIT // N), 'that one cannot ask Redis any more: at last it has risen to its share')
	running = await streams(b, LIMIT // N)
	tap.is_(in_flight(b), LIMIT // N, 'and uses it')
	workers = list(b.workers().values())
	for pid in workers:
		os.kill(pid, signal.SIGSTOP)
	os.kill(b.pid, signal.SIGKILL)
	b.stopped = True
	nodes.nodes[1] = again = await asyncio.to_thread(nodes.start, b.name)
	more = Load(again.port, LIMIT)
	tap.ok(await until(lambda: again.cluster()['state'] == 'sharing'), 'its master is killed, and it begins anew under its name')
	tap.is_(again.lease(), 0, 'but has nothing: workers of the dead master, which are slow to see that, still use the share')
	for pid in workers:
		kill(pid, signal.SIGCONT)
	tap.ok(await until(lambda: not any(alive(pid) for pid in workers)), 'they see it, and end all that they have')
	ended = await asyncio.gather(*running, return_exceptions=True)
	tap.ok(all(isinstance(s, asyncio.IncompleteReadError) or ending(s) != (200, None) for s in ended), f'which is cut off ({ended})')
	await asyncio.to_thread(b.end, signal.SIGKILL)
	tap.ok(await until(lambda: in_flight(again) == LIMIT // N and in_flight(a) == LIMIT // N), 'soon it has its share')
	for load in (load, more):
		await load.stop()
	tap.at_most(sim.most_in_flight(), LIMIT, 'the simulator never saw more than the limit')
	return again

def agent_is(node, agent, pid):
	"""As if the kernel had given the pid of the dead agent to somebody else."""
	path, = (os.path.join(node.run_dir, name) for name in os.listdir(node.run_dir) if name.startswith('segment'))
	old, new = agent.to_bytes(4, 'little'), pid.to_bytes(4, 'little')
	with open(path, 'r+b', buffering=0) as file:
		data = file.read()
		for at in (n for n in range(0, len(data), 4) if data[n:n + 4] == old):
			os.pwrite(file.fileno(), new, at)
			if node.agent() == pid:
				return True
			os.pwrite(file.fileno(), old, at)	# it was another number
	return False

def killed_in_an_upgrade(tap, node):
	tap.ok(wait_until(lambda: node.agent() in children(node.pid)), 'it has an agent')
	old, agent = node.pid, node.agent()
	before = children(old)
	tap.ok(agent_is(node, agent, os.getpid()), 'the pid of a dead agent would be another process now')
	os.kill(old, signal.SIGUSR2)
	wait_until(lambda: set(children(old)) - set(before))
	successor, = set(children(old)) - set(before)
	os.kill(old, signal.SIGSTOP)	# it shall not hand over
	tap.ok(wait_until(lambda: children(successor), every=0.001), 'an upgrade: the new master has a worker')
	os.kill(successor, signal.SIGSTOP)	# it shall hear of both at once: that its workers are ready, and that the old one is gone
	os.kill(old, signal.SIGKILL)
	node.stopped = True
	wait_until(lambda: not alive(old))
	os.kill(successor, signal.SIGCONT)
	tap.ok(wait_until(lambda: (c := node.cluster()) and c['state'] == 'sharing' and c['agent_pid'] in children(successor)),
		'the old one is killed in the middle of it: the new one has an agent')
	tap.ok(wait_until(lambda: not alive(agent)), 'and the old one is gone')
	os.kill(successor, signal.SIGTERM)
	tap.ok(wait_until(lambda: not alive(successor)), 'the new master leaves')
	node.end(signal.SIGKILL)

with Tap() as tap, Sim('--tokens', 10, '--rate', 15) as sim, Redis() as redis:
	with Cluster(tap, redis, sim, N, ttl='4s', http_client={'concurrent_requests': LIMIT, 'max_retries': 0}) as nodes:
		tap.ok(nodes.sharing(), 'two nodes know each other')
		again = asyncio.run(begins_anew(tap, sim, nodes))
		killed_in_an_upgrade(tap, again)
