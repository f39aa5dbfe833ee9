#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""tokens_per_minute of a client's key: no more than that over all workers and providers, by estimate, then as reported; a reload
changes it at once. (All of this takes less than a minute, so that nothing leaves the window.)"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

KEY = {name: f'{name}-key-0123456789abcdef' for name in ('alice', 'bob')}
ENV = {name.upper(): key for name, key in KEY.items()}
LIMIT, MORE = 3000, 4500
NAME = 'clients.keys.alice.tokens_per_minute'
SHAPE = dict(workers=4, http_client={'concurrent_requests': 50})

def shape(limit):
	return dict(SHAPE, extra='clients:\n  keys:\n    - name: alice\n      key_env: ALICE\n'
		f'      tokens_per_minute: {limit}\n    - name: bob\n      key_env: BOB\n')

def ask(gate, name, text='hello', **more):
	return request(gate.port, 'POST', '/v1/chat/completions', chat_body(text, stream=False, **more), {'Authorization': f'Bearer {KEY[name]}'})

def spent(sim, who):
	"""All tokens that the simulator took and gave, of requests whose prompt begins so."""
	answered = {row['req']: row['tokens'] for row in sim.events('done')}
	return sum(row['prompt_tokens'] + answered[row['req']] for row in sim.events('request') if row['prompt'].startswith(who) and row['req'] in answered)

def used(gate):
	return gate.health()['keys']['alice']['tokens_per_minute']['used']

async def until_refused(gate, clients=24):
	"""Many at once, at all workers, each until it is refused: the last answers."""
	def one():
		while (last := ask(gate, 'alice', 'alice ' + 'x' * 100, max_tokens=20))[0] == 200:
			pass
		return last
	return await asyncio.gather(*[asyncio.to_thread(one) for _ in range(clients)])

def refusal(tap, answer):
	status, headers, body = answer
	error = json.loads(body)['error']
	tap.is_((status, error['type'], error['code']), (429, 'tokens', 'key_tokens_per_minute'), '... it hears why')
	tap.is_(headers.get('x-headgate-limit'), NAME, '... the limit is named')
	tap.ok(1 <= int(headers.get('retry-after', 0)) <= 62, f'... Retry-After: {headers.get("retry-after")}')

async def over_websocket(tap, gate):
	ws = await ws_connect(gate.port, extra_headers={'Authorization': f'Bearer {KEY["alice"]}'})
	await ws_ask(ws, 'alice')
	error = (await ws_answer(ws))[0][-1]
	about = error['chunk']['metadata']
	tap.is_((error['status'], about['code'], about['limit']), ('error', 'key_tokens_per_minute', NAME), 'the same over WebSocket')
	tap.ok(0 < about['retry_after'] <= 62, f'... and when to come again: {about["retry_after"]} s')
	await ws.close()

def reloaded(gate, sim, limit):
	with open(gate.conf_path, 'w') as file:
		file.write(config_text(sim, run_dir=gate.run_dir, **shape(limit)))
	os.kill(gate.pid, signal.SIGHUP)
	wait_until(lambda: gate.health()['keys']['alice']['tokens_per_minute']['limit'] == limit)

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 1000) as sim:
	with Gate(sim, tap, env=ENV, **shape(LIMIT)) as gate:
		ends = asyncio.run(until_refused(gate))
		tap.is_([status for status, _, _ in ends], [429] * 24, 'a key that wants more than its tokens_per_minute is refused, at all workers')
		refusal(tap, ends[0])
		total = spent(sim, 'alice')
		tap.at_most(total, LIMIT, 'tokens that it got')
		tap.ok(total > LIMIT * 0.9, f'... which is nearly all there were, though what was guessed is more than what was used: {total} of {LIMIT}')
		tap.is_(used(gate), total, '/health tells the same number as the simulator')
		key = gate.stat()['keys']['alice']['tokens_per_minute']
		tap.is_((key['used'], key['limit']), (total, LIMIT), 'headgatestat does, too')
		tap.is_(ask(gate, 'bob')[0], 200, 'another key is served')
		tap.is_(gate.health()['keys']['bob']['tokens_per_minute'], {'used': 0, 'limit': 0}, '... which has no such limit')
		asyncio.run(over_websocket(tap, gate))
		tap.is_((used(gate), spent(sim, 'alice')), (total, total), 'who was refused costs nothing')
		refused = gate.stat()['endings']['key_tokens_per_minute']
		tap.is_(refused, 25, 'each was counted')
		text = request(gate.port, 'GET', '/metrics')[2].decode()
		tap.like(text, rf'headgate_rejections_total{{reason="key_tokens_per_minute"}} {refused}\b', '... in /metrics as well')
		for name, key, value in (('window_tokens', 'alice', total), ('tokens_per_minute', 'alice', LIMIT), ('window_tokens', 'bob', 0), ('tokens_per_minute', 'bob', 0)):
			tap.like(text, rf'\nheadgate_client_{name}{{client="{key}"}} {value}\n', f'/metrics: {name} of {key}')
		tap.ok(gate.wait_line(r"key_tokens_per_minute: 'sim': the key's tokens_per_minute are used up"), '... and the log tells of it')
		reloaded(gate, sim, MORE)
		ends = asyncio.run(until_refused(gate))
		more = spent(sim, 'alice')
		tap.ok(MORE * 0.9 < more <= MORE, f'a reload raises it to {MORE}: {more} now, those of before included')
		reloaded(gate, sim, 100)
		tap.is_(ask(gate, 'alice')[0], 429, 'a reload lowers it: none are left')
		reloaded(gate, sim, 0)
		tap.is_(ask(gate, 'alice')[0], 200, 'without a limit it is served')
