#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""500 clients that leave at random moments: nothing is left over."""
import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

random.seed(1110)

async def leave(port, n):
	"""Queued, connecting, before the first token, in mid-stream, or not at all."""
	patience = random.choice([0, 0.001, 0.02, 0.1, 0.3, 0.6, 5])
	if n % 2:
		s = await Stream().open(port, chat_body())
		try:
			await asyncio.wait_for(s.run(), patience or 0.0001)
		except (asyncio.TimeoutError, asyncio.IncompleteReadError, ConnectionError):
			pass
		s.close()
		return
	ws = await ws_connect(port, max_queue=None)	# nobody reads: a full queue would keep the answer to our close waiting
	ids = [f'r{i}' for i in range(random.randint(1, 4))]
	for name in ids:
		await ws_ask(ws, request_id=name)
	await asyncio.sleep(patience)
	if n % 4:
		for name in ids:
			await ws.send(json.dumps({'action': 'cancel', 'request_id': name}))
	if n % 3:
		ws.transport.abort()
	else:
		await ws.close()

async def storm(port):
	await asyncio.gather(*[leave(port, n) for n in range(500)], return_exceptions=True)

def descriptors(gate, sim):
	"""Descriptors of all workers, but for idle connections to the simulator (kept on purpose)."""
	inodes = {}
	for row in open('/proc/net/tcp').readlines()[1:]:
		field = row.split()
		inodes[field[9]] = int(field[2].split(':')[1], 16)
	count = 0
	for pid in gate.workers().values():
		for fd in os.listdir(f'/proc/{pid}/fd'):
			try:
				target = os.readlink(f'/proc/{pid}/fd/{fd}')
			except OSError:
				continue
			count += inodes.get(target[8:-1]) != sim.port if target.startswith('socket:[') else 1
	return count

def rss_kb(gate):
	return sum(int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{pid}/status').read()).group(1)) for pid in gate.workers().values())

def quiet(gate):
	health = gate.health()
	return health['active_connections'] == 0 and health['pending']['active'] <= 1 and \
		health['providers']['sim']['in_flight'] == health['providers']['sim']['queued'] == 0

with Tap() as tap, Sim('--tokens', 20, '--rate', 100, '--first-token-ms', 50) as sim, \
		Gate(sim, tap, workers=4, http_client={'concurrent_requests': 20}) as gate:
	fds = descriptors(gate, sim)
	asyncio.run(storm(gate.port))	# the first one warms the heap
	tap.ok(wait_until(lambda: quiet(gate)), 'after the first storm all is quiet')
	warm = rss_kb(gate)
	for _ in range(2):
		asyncio.run(storm(gate.port))
		wait_until(lambda: quiet(gate))
	tap.ok(wait_until(lambda: quiet(gate)), 'after two more storms: no place, no permit, nobody in line')
	tap.ok(wait_until(lambda: descriptors(gate, sim) <= fds + 1), f'no descriptor is left over ({descriptors(gate, sim)} now, {fds} before)')
	tap.at_most(rss_kb(gate), warm * 1.25 + 4096, 'memory (kB) does not grow from storm to storm')
	tap.ok(wait_until(lambda: sim.stats()['in_flight'] == 0), 'nothing runs on at the simulator')
	tap.at_most(sim.most_in_flight(), 20, 'which never saw more than 20 in flight')
	tap.ok(sim.stats()['client_gone'] > 50, f'and saw {sim.stats()["client_gone"]} requests cancelled')
