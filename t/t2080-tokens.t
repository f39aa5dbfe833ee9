#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""tokens_per_minute: in no 60 s do more tokens go out and come back; what was guessed too high is given back.
HEADGATE_TOKENS_S: how long to watch (130 and more shows windows that slide)."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

WATCH_S = float(os.environ.get('HEADGATE_TOKENS_S', 4))
LIMIT, MUCH = 2000, 20000
WINDOW_US = 60_000_000
NAME = 'llm.providers.sim.http_client.tokens_per_minute'

def spent(sim):
	"""(when it went out, its tokens) of all requests that the simulator answered."""
	answered = {row['req']: row['tokens'] for row in sim.events('done') if row['how'] in ('complete', 'client_gone')}
	return [(row['t_us'], row['prompt_tokens'] + answered[row['req']]) for row in sim.events('request') if row['req'] in answered]

def most_in_a_window(rows, window_us=WINDOW_US):
	"""The most tokens within any window. What a process sends at the very end of one may be seen 50 ms late."""
	most = 0
	for start, _ in rows:
		most = max(most, sum(n for t, n in rows if start <= t < start + window_us - 50000))
	return most

def watch(tap, sim):
	"""Many more than the limit lets out, for a while. The requests say how long their answers may be, so no guess is too low; and
	they are long, so none is much too high."""
	with Gate(sim, tap, workers=4, http_client={'tokens_per_minute': MUCH, 'concurrent_requests': 100, 'queue_timeout': '300s'}) as gate:
		async def play():
			tasks = [asyncio.create_task(stream_chat(gate.port, 'x' * (1500 + n % 7 * 100), max_tokens=20)) for n in range(300)]
			await asyncio.sleep(WATCH_S)
			for task in tasks:
				task.cancel()
			await asyncio.gather(*tasks, return_exceptions=True)
		asyncio.run(play())
		rows = spent(sim)
		most = most_in_a_window(rows)
		tap.at_most(most, MUCH, f'{len(rows)} requests went out: the most tokens in 60 s')
		tap.ok(most > MUCH * 0.8, f'... which is used, too: {most}')

def settles(tap, sim):
	"""Each might bring 500 tokens and brings 20: with the guesses alone four would go out."""
	with Gate(sim, tap, workers=2, http_client={'tokens_per_minute': LIMIT, 'queue_timeout': '2s'}) as gate:
		async def play():
			return [ending(await stream_chat(gate.port, max_tokens=500)) for _ in range(40)]
		ends = asyncio.run(play())
		tap.is_(ends, [(200, None)] * 40, 'what an answer did not need is there for others')
		used = 40 * 25
		def one_more():
			return asyncio.run(stream_chat(gate.port, max_tokens=LIMIT - used + 100))
		s = one_more()
		tap.is_(ending(s), (429, 'tokens_per_minute'), 'one that could bring too many is refused')
		tap.is_(s.headers.get('x-headgate-limit'), NAME, '... the limit is named')
		tap.ok(1 <= int(s.headers.get('retry-after', 0)) <= 60, f'... Retry-After: {s.headers.get("retry-after")}')
		tap.is_(sim.stats()['requests'], 40, '... and does not go out')
		tap.is_(gate.stat()['endings'].get('tokens_per_minute'), 1, '... it is counted')
		tap.is_(ending(asyncio.run(stream_chat(gate.port, max_tokens=100))), (200, None), '... and costs nothing: a smaller one goes out')

def guesses(tap, sim):
	"""Those that do not say: what they bring is counted when it is known."""
	with Gate(sim, tap, workers=1, http_client={'tokens_per_minute': LIMIT, 'queue_timeout': '1s'}) as gate:
		async def play():
			ends = []
			while len(ends) < 60 and (not ends or ends[-1] == (200, None)):
				ends.append(ending(await stream_chat(gate.port, '[[sim:tokens=195]]')))
			return ends
		ends = asyncio.run(play())
		tap.is_(ends[-1], (429, 'tokens_per_minute'), 'requests that do not say how much they want: they end, too')
		tap.ok(LIMIT - 300 <= 204 * (len(ends) - 1) <= LIMIT + 204, f'... when they have got what there is: {204 * (len(ends) - 1)} of {LIMIT}')

def cancelled(tap, sim):
	"""Who leaves before he was sent gives back what was promised him for later."""
	with Gate(sim, tap, workers=2, http_client={'tokens_per_minute': LIMIT, 'queue_timeout': '300s'}) as gate:
		used = lambda: gate.health()['providers']['sim'].get('tokens_per_minute', {}).get('used')
		in_flight = lambda: gate.health()['providers']['sim']['in_flight']
		async def play():
			held = await Stream().open(gate.port, chat_body('[[sim:stall_first]]', max_tokens=1600))
			await held.head()
			alone = used()
			tap.ok(1600 <= alone <= LIMIT, f'one may bring 1600: {alone} are taken')
			waiting = [await Stream().open(gate.port, chat_body(max_tokens=500)) for _ in range(3)]
			await asyncio.to_thread(wait_until, lambda: in_flight() == 4)
			tap.ok(used() >= alone + 3 * 500, f'three more are promised theirs for later: {used()} in all')
			for s in waiting:
				s.close()
			tap.ok(await asyncio.to_thread(wait_until, lambda: used() == alone), 'they leave: their promises are undone')
			held.close()
			tap.ok(await asyncio.to_thread(wait_until, lambda: used() < 100), 'the other one leaves without a token: hardly any are counted')
		asyncio.run(play())
		tap.is_(sim.stats()['requests'], 1, 'only one was ever sent')

def in_line(tap, sim):
	"""Nor does he cost any who still stands in line."""
	with Gate(sim, tap, workers=2, http_client={'tokens_per_minute': LIMIT, 'concurrent_requests': 1, 'queue_timeout': '20s'}) as gate:
		async def play():
			held = await Stream().open(gate.port, chat_body('[[sim:stall_first]]', max_tokens=100))
			await held.head()
			waiting = [await Stream().open(gate.port, chat_body(max_tokens=400)) for _ in range(8)]
			queued = lambda: gate.health()['providers']['sim']['queued'] == 8
			tap.ok(await asyncio.to_thread(wait_until, queued), 'eight wait')
			for s in waiting:
				s.close()
			held.close()
			return [ending(await asyncio.wait_for(stream_chat(gate.port, max_tokens=400), 20)) for _ in range(4)]
		tap.is_(asyncio.run(play()), [(200, None)] * 4, 'who left took no tokens with him')

with Tap() as tap:
	for part in (watch, settles, guesses, cancelled, in_line):
		with Sim('--text', 'tokens', '--tokens', 20, '--rate', 1000) as sim:
			part(tap, sim)
