#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""concurrent_requests is exact over all workers, and the line is fair."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

async def by_websocket(port, n):
	ws = await ws_connect(port)
	await ws_ask(ws, f'request {n}')
	messages, text = await ws_answer(ws)
	await ws.close()
	return messages[-1]['status'] == 'complete' and text == sim_text(20)

async def by_sse(port, n):
	s = await stream_chat(port, f'request {n}')
	return s.status == 200 and s.events[-1] == '[DONE]' and s.text() == sim_text(20)

async def flood(tap, sim, gate):
	done = await asyncio.gather(*[(by_websocket if n % 2 else by_sse)(gate.port, n) for n in range(200)])
	tap.is_(sum(done), 200, 'all of 200 requests, SSE and WebSocket mixed, complete with every token')
	stats = sim.stats()
	tap.at_most(stats['max_in_flight'], 25, 'the simulator never saw more than 25 in flight')
	tap.is_(stats['max_in_flight'], 25, 'and saw all 25 used')
	provider = gate.health()['providers']['sim']
	tap.ok(provider['wait_p99_s'] > 0, f'the wait is in the statistics: p50 {provider["wait_p50_s"]} s, p99 {provider["wait_p99_s"]} s')

async def fairness(tap, sim, gate):
	"""100 requests that come one after the other, 4 workers: who overtakes whom?"""
	seen = len(sim.events('request'))
	tasks = []
	for n in range(100):
		tasks.append(asyncio.create_task(by_sse(gate.port, f'#{n}')))
		def here():
			provider = gate.health()['providers']['sim']
			return provider['queued'] + provider['in_flight'] > n or tasks[0].done()
		while not await asyncio.to_thread(here):
			pass
	await asyncio.gather(*tasks)
	order = [int(row['prompt'].split('#')[1]) for row in sim.events('request')[seen:]]
	tap.is_(sorted(order), list(range(100)), 'each request was sent once')
	overtaken = [sum(later > n for later in order[:at]) for at, n in enumerate(order)]
	# A waiter is passed over only while its worker has not yet collected its last grant: a few
	# rounds of the 8 permits on a busy machine. Served at random, the mean would be about 25.
	tap.at_most(max(overtaken), 24, 'nobody was overtaken by more than three rounds of permits')
	tap.at_most(sum(overtaken) / len(order), 4, 'and on average by hardly anybody')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 100) as sim:
	with Gate(sim, tap, workers=4, http_client={'concurrent_requests': 25}) as gate:
		asyncio.run(flood(tap, sim, gate))
	sim.reset()
	with Gate(sim, tap, workers=4, http_client={'concurrent_requests': 8}) as gate:
		asyncio.run(fairness(tap, sim, gate))
		tap.at_most(sim.stats()['max_in_flight'], 8, 'the simulator never saw more than 8 in flight')
