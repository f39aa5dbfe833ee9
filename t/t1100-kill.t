#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 of workers under load: nothing is lost but what the dead one held in its hands."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

async def twenty_kills(tap, sim, gate):
	load, late = Load(gate.port), []
	async def killer():
		for n in range(20):
			pids = await asyncio.to_thread(lambda: wait_until(lambda: len(w := gate.workers()) == 4 and w))
			before = load.complete
			os.kill(pids[n % 4], signal.SIGKILL)
			started = time.monotonic()
			while (await asyncio.to_thread(gate.check))[0] != 0 and time.monotonic() - started < 20:
				pass
			late.append(time.monotonic() - started)
			while load.complete < before + 40:
				await asyncio.sleep(0.02)
	stuck = await load.run(60, killer)
	tap.diag(f'{load.complete} complete, {load.cut} cut with their worker, books balanced after at most {max(late):.2f} s')
	tap.ok(load.complete > 500, 'requests went on being served')
	tap.is_(load.wrong, 0, 'every answer that ended was whole')
	tap.is_(load.refused, 0, 'the listening socket refused nobody')
	tap.is_(stuck, 0, 'no client is stuck')
	tap.at_most(sim.most_in_flight(), 25, 'the simulator never saw more than 25 in flight')
	tap.at_most(max(late), 5, 'the books balance soon after each kill')
	tap.is_(len(gate.grep(r'SIGKILL|signal 9')), 20, 'each death has its obituary')

async def neighbours(tap, sim, gate):
	"""Streams of one worker end when it is killed; those of the others lose no byte."""
	streams = [await Stream().open(gate.port, chat_body('[[sim:tokens=100,rate=50]]')) for _ in range(24)]
	await asyncio.gather(*[s.head() for s in streams])
	slot, pid = sorted(gate.workers().items())[0]
	held = gate.stat()['workers'][slot]['streams']
	async def read(s):
		held = b''
		try:
			async for part in s.body():
				held += part
		except (asyncio.IncompleteReadError, ConnectionError):
			return 'cut'
		return 'whole' if b''.join(b't%d ' % i for i in range(100)) == b''.join(
			json.loads(e[6:])['choices'][0]['delta'].get('content', '').encode()
			for e in held.split(b'\n\n') if e.startswith(b'data: {') and b'"choices":[{' in e) else 'wrong'
	reads = [asyncio.create_task(read(s)) for s in streams]
	os.kill(pid, signal.SIGKILL)
	ends = await asyncio.gather(*reads)
	tap.ok(held > 0, f'the killed worker had {held} of 24 streams')
	tap.is_((ends.count('cut'), ends.count('whole')), (held, 24 - held), 'exactly those were cut, all others are whole')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 400) as sim:
	with Gate(sim, tap, workers=4, http_client={'concurrent_requests': 25}) as gate:
		asyncio.run(twenty_kills(tap, sim, gate))
	with Gate(sim, tap, workers=4, http_client={'concurrent_requests': 24}) as gate:
		asyncio.run(neighbours(tap, sim, gate))
