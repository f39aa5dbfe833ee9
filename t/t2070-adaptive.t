#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A limit that nobody configured is learnt: against a provider that bears 12 requests at once, and says so with 429 only."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

HIDDEN = 12
CLIENTS = 40
LEARN_S, MEASURE_S = 3, 4
TRIES = 4	# a machine that does something else meanwhile learns more slowly

class Crowd:
	"""Clients that ask again and again; how many answers were whole."""
	def __init__(self, port):
		self.port, self.going, self.whole, self.other = port, True, 0, 0

	async def client(self):
		while self.going:
			s = await stream_chat(self.port)
			self.whole += ending(s) == (200, None)
			if ending(s) != (200, None):
				self.other += 1
				await asyncio.sleep(0.2)

	async def run(self, play):
		tasks = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
		try:
			return await play()
		finally:
			self.going = False
			await asyncio.wait(tasks, timeout=20)

def limit(gate):
	p = gate.health()['providers']['sim']
	return p.get('learnt', {}).get('limit') or p['concurrent_requests']

def share(before, after):
	"""Of the answers between two readings of the simulator's: how many were 429."""
	n = {status: after['responses'].get(status, 0) - before['responses'].get(status, 0) for status in ('200', '429')}
	return n['429'] / max(1, n['200'] + n['429']), n['200']

async def measure(sim, gate, seconds):
	"""(share of 429, whole answers a second, the highest limit that held meanwhile, the lowest one)."""
	before, began, seen = await asyncio.to_thread(sim.stats), time.monotonic(), []
	while time.monotonic() < began + seconds:
		seen.append(await asyncio.to_thread(limit, gate))
		await asyncio.sleep(0.1)
	bad, good = share(before, await asyncio.to_thread(sim.stats))
	return bad, good / (time.monotonic() - began), max(seen), min(seen)

def provider(**more):
	return {'max_retries': 3, 'backoff_factor': 0.1, 'max_connections': 100, **more}

def fixed(tap, sim):
	"""The best there is: somebody has told the limit."""
	with Gate(sim, tap, workers=2, http_client=provider(concurrent_requests=HIDDEN)) as gate:
		crowd = Crowd(gate.port)
		async def play():
			await asyncio.sleep(1)
			return await measure(sim, gate, 2)
		return asyncio.run(crowd.run(play))[1]

def learnt(tap, sim, best):
	with Gate(sim, tap, workers=2, http_client=provider(concurrent_requests=25, adaptive=True)) as gate:
		crowd = Crowd(gate.port)
		async def play():
			for _ in range(TRIES):
				await asyncio.sleep(LEARN_S)
				crowd.other = 0
				bad, rate, most, least = seen = await measure(sim, gate, MEASURE_S)
				if 10 <= least and most <= HIDDEN and bad < 0.02 and rate > 0.9 * best and not crowd.other:
					break
			return seen
		bad, rate, most, least = asyncio.run(crowd.run(play))
		tap.ok(10 <= least and most <= HIDDEN, f'it settles between 10 and {HIDDEN}: {least} to {most}')
		tap.ok(bad < 0.02, f'then less than 2 % are refused: {bad * 100:.2f} %')
		tap.ok(rate > 0.9 * best, f'and it serves more than 90 % of what the best fixed limit does: {rate:.0f} of {best:.0f} answers/s')
		tap.is_(crowd.other, 0, 'and clients notice nothing')

def not_asked_for(tap, sim):
	with Gate(sim, tap, workers=2, http_client=provider(concurrent_requests=25)) as gate:
		crowd = Crowd(gate.port)
		bad, _, most, least = asyncio.run(crowd.run(lambda: measure(sim, gate, 1)))
		tap.ok((most, least) == (25, 25) and bad > 0.1, f'without adaptive nothing is learnt: {bad * 100:.0f} % are refused')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 10, '--rate', 100, '--max-concurrent', HIDDEN) as sim:
	not_asked_for(tap, sim)
	best = fixed(tap, sim)
	learnt(tap, sim, best)
