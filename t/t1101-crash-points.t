#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A worker dies under load at each named crash point: the half-done step is undone."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

# Points that need a race which a short load may not bring about; test_gate_deaths and test_window
# force each of them.
# What other points belong to is not called by workers yet; test_standing_deaths kills there.
IN_USE = ('gate.', 'window.')
RARE = ('gate.cancel.late', 'gate.cancel.uncounted', 'gate.cancel.freed', 'gate.dispatch.lost',
	'gate.dispatch.given_back', 'window.take.set_aside', 'window.keep.kept', 'window.take.reused', 'window.hint.popped')

def crash_points():
	names = set()
	for folder, _, files in os.walk(os.path.join(TOP, 'src')):
		for name in files:
			if name.endswith('.c'):
				names.update(re.findall(r'CRASH_POINT\("([^"]+)"\)', open(os.path.join(folder, name)).read()))
	return sorted(name for name in names if name.startswith(IN_USE))

async def until_dead(gate, seconds):
	end = time.monotonic() + seconds
	while not gate.grep(r'SIGKILL|signal 9') and time.monotonic() < end:
		await asyncio.sleep(0.02)
	await asyncio.sleep(0.2)

def die_at(tap, name):
	# Few permits make a line at the gate; many of them, and few sends, one at the window.
	permits, sends = (12, 20) if name.startswith('window.') else (5, 40)
	with Sim('--text', 'tokens', '--tokens', 20, '--rate', 400) as sim, \
			Gate(sim, workers=3, http_client={'concurrent_requests': permits, 'requests_per_minute': sends},
				env={'HEADGATE_CRASH': f'{name},slot=1,count=3', 'HEADGATE_TEST_WINDOW_MS': '400'}) as gate:
		load = Load(gate.port)
		stuck = asyncio.run(load.run(18, lambda: until_dead(gate, 5 if name in RARE else 30)))
		died = len(gate.grep(r'SIGKILL|signal 9'))
		if not died and name in RARE:
			return tap.skip(f'death at {name}', 'the race did not come up; the unit tests force it')
		balanced = wait_until(lambda: gate.check()[0] == 0, 10)
		idle = wait_until(lambda: gate.health()['providers']['sim']['in_flight'] == 0, 10)
		most = sim.most_in_flight()
		good = died == 1 and balanced and idle and not stuck and not load.wrong and not load.refused and most <= permits
		if not tap.ok(good, f'death at {name}: never over the limit, books balance, all permits back'):
			tap.diag(f'died {died} stuck {stuck} wrong {load.wrong} refused {load.refused} idle {idle} most in flight {most} {gate.check()}')

with Tap() as tap:
	for name in crash_points():
		die_at(tap, name)
