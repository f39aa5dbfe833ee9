#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who waits for another attempt holds nothing: when its worker dies, or its client leaves, nothing is missing."""
import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

random.seed(2055)
CLIENTS = 60
TOLD = f'[[sim:429,retry_after_ms=4000,times={CLIENTS}]]'	# the first attempt of each; further ones go well
BUSY = '[[sim:429,retry_after_ms=30,p=0.5]]'

async def earn(port):
	"""Good requests pay for retries (a fifth of them)."""
	async def client():
		for _ in range(25):
			await stream_chat(port)
	await asyncio.gather(*[client() for _ in range(10)])

async def ask(port, ends, n, seen):
	s = await Stream().open(port, chat_body(TOLD))
	seen[n] = s
	try:
		await s.run()
		ends[n] = ending(s)
	except (asyncio.IncompleteReadError, ConnectionError, OSError):
		ends[n] = 'cut'

def holds_nothing(gate):
	h = gate.health()
	p = h and h['providers']['sim']
	return p and p['in_flight'] == 0 and p['queued'] == 0 and p['pool']['open'] == p['pool']['idle']

async def death_and_departures(tap, gate, sim):
	ends, seen = {}, {}
	tasks = [asyncio.create_task(ask(gate.port, ends, n, seen)) for n in range(CLIENTS)]
	refused = lambda: sim.stats()['responses'].get('429', 0) == CLIENTS and holds_nothing(gate)
	tap.ok(await asyncio.to_thread(wait_until, refused), f'{CLIENTS} first attempts failed: nobody holds a permit or a socket')
	waiting = CLIENTS - len(ends)
	tap.ok(waiting > CLIENTS / 2, f'... and {waiting} wait for another one')
	os.kill(sorted(gate.workers().values())[0], signal.SIGKILL)
	leaving = [n for n in range(0, CLIENTS, 3) if n not in ends]
	for n in leaving:
		seen[n].close()
		tasks[n].cancel()
	await asyncio.wait(tasks, timeout=20)
	tap.ok(all(task.done() for task in tasks), 'a worker is killed, every third client leaves: nobody is stuck')
	kinds = [ends.get(n) for n in range(CLIENTS) if n not in leaving]
	good, cut, denied = (sum(kind == want for kind in kinds) for want in ((200, None), 'cut', (429, 'rate_limit_exceeded')))
	tap.is_(good + cut + denied, len(kinds), f'of the others {good} are served, {cut} were cut, {denied} had no budget')
	tap.ok(good > 0 and cut > 0, '... some of either kind')
	tap.is_(sim.stats()['requests'] - 250, CLIENTS + good, 'only who stayed made another attempt')

async def leave(port):
	s = await Stream().open(port, chat_body(BUSY))
	try:
		await asyncio.wait_for(s.run(), random.choice([0.005, 0.02, 0.05, 0.1, 0.2]))
	except (asyncio.TimeoutError, asyncio.IncompleteReadError, ConnectionError):
		pass
	s.close()

async def storm(port):
	for _ in range(4):
		await asyncio.gather(*[leave(port) for _ in range(100)], return_exceptions=True)

def all_is_back(tap, gate, sim, name):
	tap.ok(wait_until(lambda: sim.stats()['in_flight'] == 0 and holds_nothing(gate)), f'{name}: every permit came back')
	pool = lambda: (gate.health() or {'providers': {'sim': {'pool': {}}}})['providers']['sim']['pool'].get('open')
	tap.ok(wait_until(lambda: pool() == sim.stats()['connections_open']), f'{name}: every socket')
	# Who leaves at the very moment may have gone out and not be seen by the simulator.
	seen = gate.stat()
	used, out = seen['windows'][0]['used'], seen['providers']['sim']['statistics']['headgate_provider_attempts_total']
	tap.is_(used, out, f'{name}: every appointment that was not kept')
	tap.ok(sim.stats()['requests'] <= out, f'{name}: ... {sim.stats()["requests"]} of {out} were seen')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 0) as sim, \
		Gate(sim, tap, workers=4, allowed='killed by signal 9', http_client={'concurrent_requests': 10, 'max_connections': 12,
			'max_retries': 3, 'requests_per_minute': 10000}) as gate:
	asyncio.run(earn(gate.port))
	tap.is_(sim.stats()['requests'], 250, 'good requests earn a budget')
	asyncio.run(death_and_departures(tap, gate, sim))
	tap.ok(wait_until(lambda: len(gate.workers()) == 4), 'the dead worker has a successor')
	all_is_back(tap, gate, sim, 'after the death')
	asyncio.run(storm(gate.port))
	tap.ok(gate.stat()['providers']['sim']['statistics']['headgate_provider_retries_total'] > 60, 'a storm of departures, with retries')
	all_is_back(tap, gate, sim, 'after the storm')
