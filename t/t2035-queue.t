#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The line to a provider has a bound: who finds it full is told so at once, why, and when to come back."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

LIMIT = 'llm.providers.sim.http_client.queue_size'
STALLED = '[[sim:stall_first]]'

def queued(gate):
	return (gate.health() or {'providers': {'sim': {'queued': None}}})['providers']['sim']['queued']

def rate_used(gate):
	return gate.health()['providers']['sim']['requests_per_minute']['used']

async def held(gate, n, text=STALLED):
	"""n streams that have begun."""
	streams = [await Stream().open(gate.port, chat_body(text)) for _ in range(n)]
	for s in streams:
		await s.head()
	return streams

async def in_line(gate, n, text='hello'):
	"""n more that wait, one behind the other."""
	streams, before = [], queued(gate)
	for i in range(n):
		streams.append(await Stream().open(gate.port, chat_body(text)))
		await asyncio.to_thread(wait_until, lambda: queued(gate) == before + i + 1)
	return streams

def refused(tap, s, name):
	if not tap.is_(ending(s), (503, 'queue_full'), f'{name}: refused'):
		return
	tap.is_(s.headers.get('x-headgate-limit'), LIMIT, f'{name}: the limit is named')
	tap.ok(1 <= int(s.headers.get('retry-after', 0)) <= 60, f'{name}: Retry-After: {s.headers.get("retry-after")}')

async def over_websocket(tap, gate):
	ws = await ws_connect(gate.port)
	await ws_ask(ws)
	messages, _ = await ws_answer(ws, timeout=10)
	await ws.close()
	error = messages[-1]['chunk'].get('metadata', {})
	tap.is_((messages[-1]['status'], error.get('code'), error.get('limit')), ('error', 'queue_full', LIMIT), 'WebSocket: refused in the same words')
	tap.ok(error.get('retry_after', 0) > 0, f'WebSocket: retry_after {error.get("retry_after")}')

async def the_bound(tap, gate, sim):
	running = await held(gate, 2)
	waiting = await in_line(gate, 3)
	tap.is_((queued(gate), rate_used(gate)), (3, 2), 'two run, three wait, only those that run are in the window')
	for n in range(6):
		refused(tap, await ask(gate.port, stream=n % 2 == 0), ('JSON', 'SSE')[n % 2 == 0] + f' {n}')
	await over_websocket(tap, gate)
	tap.is_((queued(gate), rate_used(gate), sim.stats()['requests']), (3, 2, 2), 'refusals cost no place and nothing of the window')
	waiting.pop(1).close()
	tap.ok(await asyncio.to_thread(wait_until, lambda: queued(gate) == 2), 'one leaves the line')
	waiting += await in_line(gate, 1)
	tap.is_(queued(gate), 3, '... and another one may wait')
	refused(tap, await ask(gate.port), 'but no more')
	for s in running:
		s.close()
	for s in waiting:
		await s.run()
	tap.is_([ending(s) for s in waiting], [(200, None)] * 3, 'who waited is served')
	tap.is_((rate_used(gate), sim.stats()['requests']), (5, 5), 'who was refused or left cost nothing of the window')
	seen = gate.stat()
	tap.is_(seen['endings'].get('queue_full'), 8, 'refusals are counted')
	tap.is_(seen['providers']['sim']['statistics'].get('headgate_provider_queue_full_total'), 8, '... at their provider')

async def storm(tap, gate):
	"""Eighty come at once, over all workers; the line is never longer than it may be."""
	running = await held(gate, 2)
	tasks = [asyncio.create_task(stream_chat(gate.port)) for _ in range(80)]
	most, refusals, end = 0, lambda: sum(t.done() for t in tasks), time.monotonic() + 10
	while refusals() < 77 and time.monotonic() < end:
		most = max(most, await asyncio.to_thread(queued, gate))
	tap.at_most(most, 3, 'a storm: never more in line than queue_size')
	tap.ok(refusals() >= 77, f'a storm: {refusals()} of 80 are told at once')
	for s in running:
		s.close()
	ends = [ending(await t) for t in tasks]
	tap.is_(set(ends) - {(200, None)}, {(503, 'queue_full')}, 'a storm: the others are served')

async def nobody_waits(tap, gate):
	running = await held(gate, 1)
	refused(tap, await ask(gate.port), 'queue_size 0')
	running[0].close()
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 0)
	tap.is_(ending(await ask(gate.port)), (200, None), 'queue_size 0: who finds a place is served')

async def retry_after(gate, rate):
	"""Two permits, 24 in line, each answer 20 tokens: what the first is told who finds the line full, and what the gate's
	books say then."""
	text = f'[[sim:tokens=20,rate={rate}]]'
	tasks = [asyncio.create_task(stream_chat(gate.port, text)) for _ in range(26)]
	done = lambda: sum(t.done() for t in tasks)
	for more in range(12):	# so that the gate knows its pace, and the line is full again
		while done() <= more:
			await asyncio.sleep(0.002)
		tasks.append(asyncio.create_task(stream_chat(gate.port, text)))
	before, turned_away = len(tasks), []
	while not turned_away:	# the line moves on meanwhile
		tasks.append(asyncio.create_task(stream_chat(gate.port, text)))
		await asyncio.sleep(0.01)
		turned_away = [t.result() for t in tasks[before:] if t.done() and t.result().status != 200]
	line = await asyncio.to_thread(lambda: gate.stat()['gates'][1])
	for task in tasks:
		task.cancel()
	await asyncio.gather(*tasks, return_exceptions=True)
	return turned_away[0], line

def pace(tap, sim):
	told = []
	for rate in (25, 100):
		with Gate(sim, tap, workers=2, http_client={'concurrent_requests': 2, 'queue_size': 24}) as gate:
			s, line = asyncio.run(retry_after(gate, rate))
			refused(tap, s, f'{rate} tokens/s')
			want = line['interval_us'] * line['waiting'] / 1e6
			told.append(int(s.headers['retry-after']))
			tap.ok(want / 1.5 - 1 <= told[-1] <= want * 1.5 + 1, f'{rate} tokens/s: Retry-After {told[-1]} is what the line takes: {want:.1f} s')
	tap.ok(2 <= told[0] / told[1] <= 6, f'a provider four times as fast: a quarter of the wait ({told[0]} s, {told[1]} s)')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 500) as sim:
	with Gate(sim, tap, workers=1, http_client={'concurrent_requests': 2, 'queue_size': 3, 'requests_per_minute': 1000}) as gate:
		asyncio.run(the_bound(tap, gate, sim))
	with Gate(sim, tap, workers=4, http_client={'concurrent_requests': 2, 'queue_size': 3}) as gate:
		asyncio.run(storm(tap, gate))
	with Gate(sim, tap, workers=2, http_client={'concurrent_requests': 1, 'queue_size': 0}) as gate:
		asyncio.run(nobody_waits(tap, gate))
	pace(tap, sim)
