#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""clients.keys: who brings a key comes in, by all ways that a key may come; nobody else, and no key in a log."""
import hashlib, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

ALICE, BOB = 'alice-key-0123456789abcdef', 'bob-key-0123456789abcdef'
KEYS = (f'clients:\n  keys:\n    - name: alice\n      key_sha256: {hashlib.sha256(ALICE.encode()).hexdigest()}\n'
	'    - name: bob\n      key_env: BOBS_KEY\n')
ENV = {'BOBS_KEY': BOB}

def bearer(key):
	return {'Authorization': f'Bearer {key}'}

def plain(tap, gate):
	tap.is_(request(gate.port, 'GET', '/v1/models', headers=bearer(ALICE))[0], 200, 'a key as its SHA-256 lets in')
	tap.is_(request(gate.port, 'GET', '/v1/models', headers=bearer(BOB))[0], 200, 'so does one from the environment')
	tap.is_(request(gate.port, 'GET', '/v1/models', headers={'authorization': f'bearer  {BOB}'})[0], 200, 'the scheme in any case')
	status, headers, body = request(gate.port, 'GET', '/v1/models')
	tap.is_((status, headers.get('www-authenticate')), (401, 'Bearer realm="headgate"'), 'without a key: 401')
	error = json.loads(body)['error']
	tap.is_((sorted(error), error['code'], error['type']), (['code', 'message', 'param', 'type'], 'missing_api_key', 'invalid_request_error'),
		"... in OpenAI's shape")
	for wrong in (BOB + 'x', BOB[:-1], 'x' * 4000, hashlib.sha256(ALICE.encode()).hexdigest()):
		status, headers, body = request(gate.port, 'POST', '/v1/chat/completions', chat_body(), headers=bearer(wrong))
		tap.is_((status, json.loads(body)['error']['code']), (401, 'invalid_api_key'), f'a wrong key of {len(wrong)} bytes: 401')
	tap.is_(headers.get('www-authenticate'), 'Bearer realm="headgate", error="invalid_token"', '... and says that it is the key')
	tap.is_(request(gate.port, 'GET', f'/v1/models?api_key={ALICE}')[0], 401, 'a key in the URL is not looked at')
	tap.is_(request(gate.port, 'GET', '/v1/models', headers={'Authorization': f'Basic {ALICE}'})[0], 401, 'nor is one of another scheme')
	tap.is_([request(gate.port, 'GET', path)[0] for path in ('/health', '/health/live', '/health/ready', '/metrics')], [200] * 4,
		'/health, what is below it, and /metrics need none')
	tap.is_([request(gate.port, 'GET', path)[0] for path in ('/nothing', '/v1/models/sim-1', '/ws/chat')], [404, 401, 426],
		'what is not there is 404 for everybody, the rest needs a key')
	status, headers, body = request(gate.port, 'OPTIONS', '/v1/chat/completions')
	tap.is_(status, 204, 'a preflight needs none: browsers send none with it')
	status, headers, body = request(gate.port, 'POST', '/v1/chat/completions', chat_body('[[sim:tokens=3]]', stream=False), headers=bearer(ALICE))
	tap.is_(status, 200, 'a chat with a key')
	counted = lambda: re.findall(r'^headgate_client_(\w+)_total{client="alice"} (\d+)$', request(gate.port, 'GET', '/metrics')[2].decode(), re.M)
	tap.is_(wait_until(lambda: ('completion_tokens', '3') in counted()) and dict(counted())['requests'], '1', '... is counted for its owner')

async def sockets(tap, gate):
	import websockets
	async def refused(**more):
		try:
			ws = await ws_connect(gate.port, **more)
			await ws.close()
			return 101
		except websockets.exceptions.InvalidStatusCode as error:
			return error.status_code
	tap.is_(await refused(), 401, 'a WebSocket without a key: 401')
	tap.is_(await refused(subprotocols=['chat', 'openai-insecure-api-key.wrong']), 401, '... or with a wrong one')
	ws = await ws_connect(gate.port, extra_headers=bearer(ALICE))
	await ws_ask(ws, '[[sim:tokens=3]]')
	messages, text = await ws_answer(ws)
	tap.is_(messages[-1]['status'], 'complete', 'one with a key in its header is served')
	await ws.close()
	ws = await ws_connect(gate.port, subprotocols=['chat', f'openai-insecure-api-key.{BOB}', 'chat.v2'])
	tap.is_(ws.subprotocol, 'chat', "one with a key as a subprotocol is accepted with the client's own protocol")
	await ws_ask(ws, '[[sim:tokens=3]]')
	messages, text = await ws_answer(ws)
	tap.is_(messages[-1]['status'], 'complete', '... and served')
	await ws.close()

with Tap() as tap, Sim('--text', 'tokens') as sim:
	with Gate(sim, tap, workers=2, env=ENV, extra=KEYS, access_log=True) as gate:
		plain(tap, gate)
		asyncio.run(sockets(tap, gate))
		endings = gate.stat()['endings']
		tap.is_((endings['missing_api_key'], endings['invalid_api_key']), (5, 5), 'each refusal is counted')
		tap.ok(wait_until(lambda: len(gate.grep(r'/ws/chat 101 .* key=')) == 2), 'the access log names the owners of keys')
		tap.is_((len(gate.grep('POST /v1/chat/completions 200 .* key=alice')), len(gate.grep('GET /v1/models 200 .* key=bob'))), (1, 2), '... each its own')
		tap.ok(1 <= len(gate.grep('rejected: it sent no API key')) <= 6, 'a refusal is logged, not each of a flood')
		for name, key in ('alice', ALICE), ('bob', BOB), ('nobody', 'xxxxxxxx'):
			tap.is_(gate.grep(key), [], f'no key of {name} is in the log')
		for pid in gate.workers().values():
			tap.ok(ALICE.encode() not in open(f'/proc/{pid}/cmdline', 'rb').read(), 'nor in a process title')
	with Gate(sim, tap, workers=1, env=ENV, extra=KEYS + '  allow_anonymous: true\n') as gate:
		codes = [request(gate.port, 'GET', '/v1/models', headers=h)[0] for h in (None, bearer(BOB), bearer('wrong'))]
		tap.is_(codes, [200, 200, 401], 'allow_anonymous lets in who has no key, not who has a wrong one')
	with Gate(sim, tap, workers=1) as gate:
		tap.is_(request(gate.port, 'GET', '/v1/models', headers=bearer('whatever'))[0], 200, 'without clients.keys nobody looks at keys')
