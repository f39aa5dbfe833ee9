#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""/v1/responses of a provider that has it itself: byte for byte, with the same limits; failures; fallbacks; WebSocket."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
import shutil

PATH = '/v1/responses'

def post(port, **body):
	status, headers, data = request(port, 'POST', PATH, body)
	return status, headers, data

def events(data):
	"""Checked: pairs of an event and a data line."""
	rows = []
	for block in data.decode().split('\n\n')[:-1]:
		name, text = block.split('\n')
		rows.append(json.loads(text.removeprefix('data: ')))
		assert name == 'event: ' + rows[-1]['type'], block
	return rows

def text(row):
	return row['response']['output'][0]['content'][0]['text']

def passage(tap, sim, gate):
	status, headers, data = post(gate.port, model='sim/sim-1', input='hello', tools=[{'type': 'web_search'}])
	tap.is_((status, json.loads(data)['output'][0]['content'][0]['text']), (200, sim_text(20)), 'a whole response')
	tap.is_((sim.events('request')[-1]['path'], sim.events('request')[-1]['model']), ('/v1/responses', 'sim-1'), 'made by the provider, with its own name of the model')
	status, headers, data = post(gate.port, model='sim-1', input='hello', stream=True, future_field={'a': 1})
	rows = events(data)
	tap.is_((headers['content-type'], rows[-1]['type'], text(rows[-1])), ('text/event-stream', 'response.completed', sim_text(20)), 'a stream')
	direct = post(sim.port, model='sim-1', input='hello', stream=True)[2]
	even = lambda data: re.sub(rb'_[0-9a-f]{16}|"created_at":\d+', b'', data)
	tap.ok(even(data) == even(direct), 'byte for byte as the provider gives it')
	tokens = lambda: gate.stat()['providers']['sim']['statistics']['headgate_provider_completion_tokens_total']
	tap.is_(wait_until(lambda: tokens() == 40) or tokens(), True, 'its tokens are counted')
	rows = events(post(gate.port, model='sim-1', input='x', stream=True, max_output_tokens=2)[2])
	tap.is_(rows[-1]['type'], 'response.incomplete', 'response.incomplete is an end too')
	logged = lambda: len(gate.grep(r'access: .* 200 complete .*provider=sim model=sim-1 tokens=2'))
	tap.is_(wait_until(lambda: logged() == 3) or logged(), True, 'the access log: complete, with tokens')

def failures(tap, gate):
	for fault, code in (('cut_mid,n=2', 'provider_reset'), ('cut_mid,n=2,ended=yes', 'provider_reset'), ('no_done', 'provider_reset')):
		rows = events(post(gate.port, model='sim-1', input=f'[[sim:{fault}]]', stream=True)[2])
		tap.is_(([row['sequence_number'] for row in rows], rows[-1]['type'], rows[-1]['code']), (list(range(len(rows))), 'error', code), f'{fault}: ends with an error event')
	data = post(gate.port, model='sim-1', input='[[sim:error_mid,n=2]]', stream=True)[2]
	tap.ok(data.rstrip().endswith(b'"code":null}}') and b'event: error' not in data, "an error of the provider's is passed on, and nothing behind it")
	status, headers, data = post(gate.port, model='sim-1', input='[[sim:400]]', stream=True)
	tap.is_((status, headers['content-type']), (400, 'application/json'), 'a refusal has its status')

async def limits(tap, sim, gate):
	sim.reset()
	got = await asyncio.gather(*[asyncio.to_thread(post, gate.port, model='sim-1', input='x', stream=True) for _ in range(6)])
	tap.is_([events(row[2])[-1]['type'] for row in got], ['response.completed'] * 6, 'six streams are complete')
	tap.at_most(sim.stats()['max_in_flight'], 2, 'by two permits')
	s = await Stream().open(gate.port, {'model': 'sim-1', 'input': '[[sim:tokens=2000,rate=20]]', 'stream': True}, PATH)
	await s.head()
	s.close()
	tap.ok(await asyncio.to_thread(wait_until, lambda: sim.stats()['in_flight'] == 0), 'who leaves ends it at the provider')

async def by_websocket(tap, sim, gate):
	ws = await ws_connect(gate.port, PATH)
	async def ask(**more):
		await ws.send(json.dumps({'type': 'response.create', 'model': 'sim-1', **more}))
		rows = [json.loads(await asyncio.wait_for(ws.recv(), 60))]
		while rows[-1]['type'] not in ('response.completed', 'response.failed', 'error'):
			rows.append(json.loads(await asyncio.wait_for(ws.recv(), 60)))
		return rows
	rows = await ask(input='one', stream_id='a', tools=[{'type': 'web_search'}])
	tap.is_((text(rows[-1]), {row['stream_id'] for row in rows}, [row['sequence_number'] for row in rows]),
		(sim_text(20), {'a'}, list(range(len(rows)))), "WebSocket: the provider's events, on their lane")
	before = sim.events('request')[-1]['body_bytes']
	rows = await ask(input='two', previous_response_id=rows[-1]['response']['id'])
	seen = sim.events('request')[-1]
	tap.ok(seen['path'] == PATH and seen['body_bytes'] > before + len(sim_text(20)) and text(rows[-1]) == sim_text(20), 'WebSocket: what it continues is sent along')
	rows = await ask(input='[[sim:cut_mid,n=2]]', stream_id='a')
	tap.is_((rows[-1]['type'], rows[-1]['stream_id'], rows[-1]['error']['code']), ('error', 'a', 'provider_reset'), 'WebSocket: a broken stream is an error')
	await ws.close()

def fallbacks(tap):
	"""first (native) -> bridge -> native: the one that does not have the API is passed over, but serves chats."""
	with Sim('--fault', '500') as first, Sim('--text', 'tokens', '--tokens', 2) as bridge, Sim('--text', 'tokens', '--tokens', 3) as native:
		extra = f'    bridge: {{base_url: "{bridge.url}", model: b}}\n    native: {{base_url: "{native.url}", model: n, responses: native}}\n'
		with Gate(first, tap, workers=1, provider={'responses': 'native', 'fallback': ['bridge', 'native']},
				http_client={'max_retries': 0}, extra=extra) as gate:
			rows = events(post(gate.port, model='sim-1', input='x', stream=True)[2])
			tap.is_(text(rows[-1]), sim_text(3), 'fallback: to the next that has the API')
			tap.is_((bridge.stats()['requests'], native.events('request')[-1]['model']), (0, 'n'), 'fallback: not to the other one')
			s = asyncio.run(stream_chat(gate.port))
			tap.is_(s.text(), sim_text(2), 'fallback: a chat goes there')

def by_openai(tap, gate):
	modules = os.path.join(TOP, 'build/node/node_modules')
	if not shutil.which('node') or not os.path.isdir(modules + '/openai'):
		return tap.skip("npm's openai", 'not installed: make node-clients')
	script = os.path.join(TOP, 'build/node/native.mjs')
	with open(script, 'w') as file:
		file.write("""import OpenAI from 'openai';
const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'x', maxRetries: 0 });
const ask = (input) => client.responses.stream({ model: 'sim-1', input }).finalResponse();
console.log((await ask('hello')).output_text);
try { await ask('[[sim:cut_mid,n=2]]'); console.log('no error'); } catch (error) { console.log(error.constructor.name, error.code); }
""")
	got = subprocess.run(['node', script, f'http://127.0.0.1:{gate.port}/v1'], capture_output=True, text=True, timeout=60)
	tap.is_(got.stdout, sim_text(20) + '\nAPIError provider_reset\n', "npm's openai: a stream, and one that breaks off")
	tap.diag(got.stderr)

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 500) as sim:
	with Gate(sim, tap, workers=1, access_log=True, provider={'responses': 'native'},
			http_client={'max_retries': 0, 'concurrent_requests': 2, 'circuit_breaker': False}) as gate:
		passage(tap, sim, gate)
		failures(tap, gate)
		asyncio.run(limits(tap, sim, gate))
		asyncio.run(by_websocket(tap, sim, gate))
		by_openai(tap, gate)
	fallbacks(tap)
