#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Hosts share requests_per_minute, tokens_per_minute and the caps of a key, exactly; an upgrade takes the leases along."""
import hashlib, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from cluster import *

need_redis()
WINDOW = 5	# s: what a minute is in this test
SLACK = 1.7	# what the path to the simulator may add to one request and not to another, on a busy machine
RPM, KEY_LIMIT = 60, 6
KEY = 'a key of sixteen letters'

def most_in_a_window(times, seconds):
	times = sorted(times)
	first = most = 0
	for last in range(len(times)):
		while times[last] - times[first] >= seconds * 1e6:
			first += 1
		most = max(most, last - first + 1)
	return most

async def rates(tap, sim, nodes):
	tap.ok(await asyncio.to_thread(nodes.sharing), 'three nodes know each other')
	loads = [Load(node.port, clients) for node, clients in zip(nodes, (20, 2, 2))]
	await asyncio.sleep(1.2 * WINDOW)
	for load, clients in zip(loads, (2, 20, 2)):
		load.resize(clients)
	await asyncio.sleep(2 * WINDOW)
	for load in loads:
		load.resize(0)
	times = [row['t_us'] for row in sim.events('request')]
	tap.at_most(most_in_a_window(times, WINDOW - SLACK), RPM, 'in no window do more requests reach the simulator than requests_per_minute')
	span = (max(times) - min(times)) / 1e6 / WINDOW
	tap.ok(len(times) >= 0.6 * RPM * span, f'and most of them are used ({len(times)} in {span:.1f} windows of {RPM})')
	tap.ok(all(len(load.done) for load in loads), f'every node has had some ({[len(load.done) for load in loads]})')

async def tokens(tap, sim, nodes):
	"""Each request takes about 14 tokens; 10 times as many fit into a window."""
	tap.ok(await asyncio.to_thread(nodes.sharing), 'tokens_per_minute is shared')
	loads = [Load(node.port, 6, max_tokens=10) for node in nodes]
	await asyncio.sleep(2 * WINDOW)
	await asyncio.to_thread(wait_until, lambda: len(sim.events('request')) >= 15, 4 * WINDOW)
	for load in loads:
		load.resize(0)
	times = [row['t_us'] for row in sim.events('request')]
	tap.at_most(most_in_a_window(times, WINDOW - SLACK), 15, 'in no window more requests go out than have room in tokens_per_minute')
	tap.ok(len(times) >= 15, f'and they do go out ({len(times)})')

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

SHORT = {'env': {'HEADGATE_TEST_WINDOW_MS': str(WINDOW * 1000)}, 'ttl': '2s'}
with Tap() as tap, Redis() as redis:
	with Sim('--tokens', 2, '--rate', 0) as sim, Cluster(tap, redis, sim, 3, **SHORT, http_client={'requests_per_minute': RPM, 'concurrent_requests': 100, 'queue_timeout': 2 * WINDOW}) as nodes:
		asyncio.run(rates(tap, sim, nodes))
	redis.restart()
	with Sim('--tokens', 10, '--rate', 0) as sim, Cluster(tap, redis, sim, 3, **SHORT, http_client={'tokens_per_minute': 210, 'concurrent_requests': 100, 'queue_timeout': 2 * WINDOW}) as nodes:
		asyncio.run(tokens(tap, sim, nodes))
	redis.restart()
	key = f'clients:\n  keys:\n    - {{name: k, key_sha256: {hashlib.sha256(KEY.encode()).hexdigest()}, concurrent_requests: {KEY_LIMIT}}}\n  allow_anonymous: true\n'
	with Sim('--rate', 20, '--tokens', 10) as sim, Cluster(tap, redis, sim, 2, ttl='5s', extra=key, http_client={'concurrent_requests': 100}) as nodes:
		tap.ok(nodes.sharing(), 'the caps of keys are shared')
		asyncio.run(of_a_key(tap, sim, nodes))
		asyncio.run(an_upgrade(tap, sim, nodes[1]))
		leave(tap, nodes[1])
