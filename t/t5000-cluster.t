#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Three headgates share one limit through Redis: never more than that together, and demand moves the shares."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from cluster import *

need_redis()
LIMIT = 25
PERMITS = 'llm.providers.sim.http_client.concurrent_requests'
SECONDS = float(os.environ.get('HEADGATE_CLUSTER_S', 4))

async def use(sim):
	"""How much of the limit is in use at the simulator from now on, on average: throughput, but for the size of requests."""
	first = await asyncio.to_thread(marks, sim)
	await asyncio.sleep(SECONDS)
	last = await asyncio.to_thread(marks, sim)
	return await asyncio.to_thread(mean_in_flight, sim, first, last)

async def leases_of(nodes):
	return [await asyncio.to_thread(node.lease) for node in nodes]

async def alone(sim):
	"""What one headgate with the whole limit brings about."""
	with Gate(sim, http_client={'concurrent_requests': LIMIT}) as gate:
		load = Load(gate.port, 100)
		await asyncio.sleep(1)
		got = await use(sim)
		await load.stop()
	return got

async def moved(sim, loads, to, single):
	"""What part of the throughput of a single headgate there is two seconds after the clients have gone to this node. The machine may do
	something else meanwhile, so: the best of three times, if need be."""
	best = 0
	for again in range(3):
		if again:
			for load in loads:
				load.resize(30)
			await asyncio.sleep(1)
		for n, load in enumerate(loads):
			load.resize(90 if n == to else 5)
		await asyncio.sleep(2)
		best = max(best, await use(sim) / single)
		if best >= 0.95:
			break
	return best

async def shared(tap, sim, nodes, single):
	loads = [Load(node.port, 0) for node in nodes]
	for to, ratio in ((0, '90 : 5 : 5'), (1, '5 : 90 : 5')):
		part = await moved(sim, loads, to, single)
		tap.ok(part >= 0.95, f'clients move to {ratio}, after two seconds: {part:.1%} of what one headgate with the whole limit does')
		leases = await leases_of(nodes)
		tap.ok(leases[to] >= LIMIT - 12, f'the share has moved along ({leases})')
	for load in loads[:2]:
		load.resize(40)
	loads[2].resize(40)
	await asyncio.sleep(2)
	leases = sorted(await leases_of(nodes))
	tap.ok(leases[0] >= LIMIT // 3 - 1, f'where all have lines, all have about the same ({leases})')
	for load in loads:
		await load.stop()
	tap.is_([len(load.failed) for load in loads], [0, 0, 0], 'no request failed')

async def latencies(ports, rounds):
	"""Of small requests, one after the other and in turn at each port: the median of each, in ms."""
	took = [[] for _ in ports]
	for _ in range(rounds):
		for port, times in zip(ports, took):
			began = time.monotonic()
			s = await stream_chat(port, '[[sim:tokens=1,rate=0]]')
			times.append(time.monotonic() - began)
			assert s.events[-1] == '[DONE]'
	return [sorted(times)[rounds // 2] * 1000 for times in took]

def nobody_waits(tap, sim, redis, nodes):
	with Gate(sim, http_client={'concurrent_requests': LIMIT}) as gate:
		ports = [gate.port] + [node.port for node in nodes]
		asyncio.run(latencies(ports, 5))
		alone, *shared = asyncio.run(latencies(ports, 60))
		tap.ok(max(shared) < 1.5 * alone + 0.3, f'a request takes as long as without a cluster: median {alone:.2f} ms without, '
			+ ', '.join(f'{ms:.2f}' for ms in shared) + ' ms with')
		os.kill(redis.pid, signal.SIGSTOP)
		alone, stopped = asyncio.run(latencies([gate.port, nodes[0].port], 30))
		state = nodes[0].cluster()['state']
		os.kill(redis.pid, signal.SIGCONT)
		tap.ok(stopped < 1.5 * alone + 0.3, f'also while Redis is stopped: {alone:.2f} ms without, {stopped:.2f} ms with ({state})')

with Tap() as tap, Sim('--tokens', 25, '--rate', 25, '--jitter', 40) as sim:
	single = asyncio.run(alone(sim))
	sim.reset()
	with Redis() as redis, Cluster(tap, redis, sim, 3, ttl='5s', http_client={'concurrent_requests': LIMIT}) as nodes:
		tap.ok(nodes.sharing(), 'three nodes know each other')
		tap.ok(wait_until(lambda: sum(n.lease() or 0 for n in nodes) >= LIMIT // 2), 'and have shares before anybody asks')
		tap.at_most(sum(n.lease() for n in nodes), LIMIT, 'not more than there is')
		nobody_waits(tap, sim, redis, nodes)
		asyncio.run(shared(tap, sim, nodes, single))
		tap.at_most(sim.stats()['max_in_flight'], LIMIT, 'the simulator never saw more than the limit')
		tap.is_(sim.stats()['max_in_flight'], LIMIT, 'and saw all of it used')
		limits = nodes[0].cluster()['limits']
		tap.is_((limits[PERMITS]['guaranteed'], limits[PERMITS]['limit']), (LIMIT // 3, LIMIT), '/health tells the guaranteed share and the limit')
