#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""requests_per_minute: no window ever holds more than N (the window is shortened to 3 s by the developers' hook)."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

N, WINDOW_US = 20, 3000000
# What the path to the simulator may add to one request and not to another; on a machine this busy.
SLACK_US = 150000

async def main(tap, sim, gate):
	async def cancelled():
		s = await Stream().open(gate.port, chat_body('cancelled'))
		await asyncio.sleep(0.3)
		s.close()
	first = [asyncio.create_task(stream_chat(gate.port, f'first {n}')) for n in range(30)]
	await asyncio.gather(*[cancelled() for _ in range(20)])
	rest = [asyncio.create_task(stream_chat(gate.port, f'rest {n}')) for n in range(40)]
	done = await asyncio.gather(*first, *rest)
	tap.is_(sum(s.status == 200 and s.events[-1] == '[DONE]' for s in done), 70, '70 requests complete')

with Tap() as tap, Sim('--tokens', 3, '--rate', 0) as sim, \
		Gate(sim, tap, workers=4, env={'HEADGATE_TEST_WINDOW_MS': str(WINDOW_US // 1000)},
			http_client={'requests_per_minute': N, 'concurrent_requests': 200}) as gate:
	asyncio.run(main(tap, sim, gate))
	times = [row['t_us'] for row in sim.events('request')]
	fullest = max(sum(start <= t < start + WINDOW_US - SLACK_US for t in times) for start in times)
	tap.at_most(fullest, N, f'no window of {WINDOW_US / 1e6} s holds more than {N} of {len(times)} requests')
	tap.ok(fullest > N * 0.8, f'and the fullest one is nearly full ({fullest})')
	windows = (times[-1] - times[0]) / WINDOW_US
	tap.at_most(windows, len(times) / N + 1, 'the limit is used: what was cancelled cost nothing')
	usage = gate.health()['providers']['sim']['requests_per_minute']
	tap.is_(usage['limit'], N, '/health names the limit')
	tap.ok(0 < usage['used'] <= N, f'and how much of it is used ({usage["used"]})')
