#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The long form of t4000 and t4010, by hand: thousands of streams of 30 s over 4 workers, while the daemon is
reloaded 20 times, upgraded twice, and has a worker killed 10 times.

	HEADGATE_BUILD=build t/load/operations.py [STREAMS]	takes about two minutes

Only streams of killed workers may break; all others must be whole to the byte; the simulator never sees more
than the limit; a client that connects again and again sees no error."""
import os, resource, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from headgate import *

STREAMS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
LIMIT = STREAMS + 10
SECONDS = 30
SHAPE = dict(workers=4, concurrency={'max_connections': 2 * STREAMS, 'connection_queue_size': 4 * STREAMS}, http_client={'concurrent_requests': LIMIT, 'max_connections': LIMIT + 500,
	'max_keepalive': 400, 'queue_size': 2 * STREAMS})

class Run:
	def __init__(self, gate):
		self.gate, self.going, self.whole, self.cut, self.wrong, self.asked, self.connected, self.errors = gate, True, 0, 0, 0, 0, 0, []
		self.slowest = 0

	async def stream(self, n):
		await asyncio.sleep(5 * n / STREAMS)
		while self.going:
			self.asked += 1
			try:
				s = await stream_chat(self.gate.port, f'[[sim:tokens={2 * SECONDS},rate=2]]')
				good = s.status == 200 and s.events and s.events[-1] == '[DONE]' and s.text() == sim_text(2 * SECONDS)
				self.whole += bool(good)
				self.wrong += not good
			except (asyncio.IncompleteReadError, ConnectionError):
				self.cut += 1

	async def comer(self):
		while self.going:
			started = time.monotonic()
			try:
				reader, writer = await asyncio.wait_for(asyncio.open_connection('127.0.0.1', self.gate.port), 20)
				writer.write(b'GET /health/live HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n')
				if b' 200 ' not in await asyncio.wait_for(reader.readline(), 20):
					self.errors.append('answer')
				writer.close()
				self.connected += 1
			except Exception as error:
				self.errors.append(repr(error))
			self.slowest = max(self.slowest, time.monotonic() - started)
			await asyncio.sleep(0.001)

async def main(tap, sim, gate):
	run, held = Run(gate), []
	clients = [asyncio.create_task(run.stream(n)) for n in range(STREAMS)] + [asyncio.create_task(run.comer()) for _ in range(2)]
	health = lambda: asyncio.to_thread(gate.health)
	async def reload(n):
		with open(gate.conf_path, 'w') as file:
			file.write(config_text(sim, run_dir=gate.run_dir, server={'drain_timeout': 60, 'max_generations': 16, 'header_timeout': 10 + n}, **SHAPE))
		number = (await health())['generation']
		result = await asyncio.to_thread(say, gate, 'reload')
		if result[0]:
			tap.diag(f'reload {n}: {result[1]}')
		for _ in range(400):
			if (await health())['generation'] > number:
				return True
			await asyncio.sleep(0.05)
		return False
	async def kill():
		workers = [w for w in (await asyncio.to_thread(gate.stat))['workers'] if w['state'] in ('ready', 'draining') and w['streams'] > 20]
		victim = workers[len(held) % len(workers)]
		os.kill(victim['pid'], signal.SIGKILL)
		held.append(victim['streams'])
	await asyncio.sleep(8)
	most = (await health())['providers']['sim']['in_flight']
	reloads = upgrades = 0
	started = time.monotonic()
	for round in range(10):
		for _ in range(2):
			reloads += await reload(len(held) * 2 + reloads)
			await asyncio.sleep(2)
		if round in (2, 6):
			status, text = await asyncio.to_thread(say, gate, 'upgrade')
			for _ in range(600):
				if status == 0 or 'not ready' in text:
					break
				await asyncio.sleep(0.2)
				status, text = await asyncio.to_thread(say, gate, 'upgrade')
			upgrades += status == 0
			tap.diag(text)
		await kill()
		tap.diag(f'{time.monotonic() - started:.0f} s: {reloads} reloads, {upgrades} upgrades, {len(held)} kills; {run.whole} whole, {run.cut} cut')
		most = max(most, (await health())['providers']['sim']['in_flight'])
		await asyncio.sleep(4)
	run.going = False
	await asyncio.wait(clients, timeout=120)
	tap.diag(f'{run.asked} streams, {most} at once; {run.whole} whole, {run.cut} cut with a killed worker ({held}), {run.wrong} wrong; {run.connected} other clients, the slowest took {run.slowest:.2f} s')
	tap.is_((reloads, upgrades, len(held)), (20, 2, 10), '20 reloads, 2 upgrades, 10 kills')
	tap.is_(run.wrong, 0, 'every stream that ended is whole, to the byte')
	tap.at_most(run.cut, sum(held), 'no more were cut than the killed workers had')
	tap.is_(run.errors, [], 'nobody who came saw an error')
	tap.at_most(sim.most_in_flight(), LIMIT, 'the limit held at the simulator')

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
with Tap() as tap, Sim('--text', 'tokens') as sim, Gate(sim, tap, allowed='signal 9', server={'drain_timeout': 60, 'max_generations': 16}, **SHAPE) as gate:
	asyncio.run(main(tap, sim, gate))
	gate.stopped = True
	gate.settle()
	say(gate, 'stop')
