#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Real clients: curl, npm's openai, python's websockets; tokens come one by one."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

def by_curl(tap, gate):
	url = f'http://127.0.0.1:{gate.port}'
	curl = lambda *args: subprocess.run(['curl', '-sS', '--noproxy', '*', '--max-time', '60', *args], capture_output=True, text=True)
	got = curl('-N', '-i', url + '/v1/chat/completions', '--json', json.dumps(chat_body()))
	tap.like(got.stdout, r'(?i)content-type: text/event-stream', 'curl: an SSE stream')
	tap.ok(got.stdout.rstrip().endswith('data: [DONE]'), 'curl: which ends with [DONE]')
	tap.is_(got.stdout.count('"content":"t'), 20, 'curl: and has 20 tokens')
	got = curl(url + '/v1/chat/completions', '--json', json.dumps(chat_body(stream=False)))
	tap.is_(json.loads(got.stdout)['choices'][0]['message']['content'], sim_text(20), 'curl: the JSON answer')
	got = curl('-I', url + '/health')
	tap.like(got.stdout, r'^HTTP/1.1 200', 'curl: HEAD /health')
	got = curl('-0', '-N', '-i', url + '/v1/chat/completions', '--json', json.dumps(chat_body()))
	tap.ok('chunked' not in got.stdout and got.stdout.rstrip().endswith('data: [DONE]'), 'curl: a stream over HTTP/1.0, not chunked')
	big = os.path.join(gate.dir, 'big.json')
	with open(big, 'w') as file:
		json.dump(chat_body('x' * 2000000, stream=False), file)
	got = curl(url + '/v1/chat/completions', '-H', 'Content-Type: application/json', '--data-binary', '@' + big)
	tap.ok('choices' in got.stdout, 'curl: a 2 MB body, for which it sends Expect: 100-continue')
	got = curl('-H', 'Transfer-Encoding: chunked', url + '/v1/chat/completions', '--json', json.dumps(chat_body(stream=False)))
	tap.ok('choices' in got.stdout, 'curl: a chunked body')
	got = curl(url + '/health', url + '/v1/models', '-w', '%{num_connects} ', '-o', '/dev/null', '-o', '/dev/null')
	tap.is_(got.stdout, '1 0 ', 'curl: the connection is kept')

async def by_websockets(tap, sim, gate):
	ws = await ws_connect(gate.port)
	await ws_ask(ws, 'hello')
	messages, text = await ws_answer(ws)
	tap.is_(messages[0], {'request_id': 'r1', 'status': 'processing', 'chunk': {'metadata': {'processing': True}}}, 'websockets: first "processing"')
	tap.is_(text, sim_text(20), 'websockets: then every token')
	tap.is_(messages[-1]['status'], 'complete', 'websockets: then "complete"')
	tap.ok(messages[-1]['chunk']['metadata']['tokens'] > 0, 'websockets: with the number of tokens')
	await ws_ask(ws, 'hello', 'r2', streaming=False)
	messages, text = await ws_answer(ws, 'r2')
	tap.is_(([m['status'] for m in messages], text), (['processing', 'chunk', 'complete'], sim_text(20)), 'websockets: one chunk without streaming')
	await asyncio.gather(*[ws_ask(ws, f'[[sim:tokens={n}]]', f'many{n}') for n in range(1, 6)])
	ends, texts = {}, {}
	while len(ends) < 5:
		m = json.loads(await asyncio.wait_for(ws.recv(), 60))
		if m['status'] == 'chunk':
			texts[m['request_id']] = texts.get(m['request_id'], '') + m['chunk']['data']
		elif m['status'] in ('complete', 'error'):
			ends[m['request_id']] = m['status']
	tap.is_(texts, {f'many{n}': sim_text(n) for n in range(1, 6)}, 'websockets: five requests at once on one socket, not mixed up')
	await ws_ask(ws, '[[sim:tokens=1000,rate=50]]', 'long')
	while json.loads(await ws.recv())['status'] != 'chunk':
		pass
	await ws.send(json.dumps({'action': 'cancel', 'request_id': 'long'}))
	messages, _ = await ws_answer(ws, 'long')
	tap.ok(await asyncio.to_thread(wait_until, lambda: sim.stats()['in_flight'] == 0), 'websockets: cancel ends it at the provider')
	pong = await ws.ping()
	await asyncio.wait_for(pong, 20)
	tap.ok(True, 'websockets: a ping is answered')
	await ws.close()
	tap.is_(ws.close_code, 1000, 'websockets: a close is answered')

async def conversation(tap, sim, gate):
	"""The socket remembers: the provider sees system prompt, earlier turns and the new one."""
	ws = await ws_connect(gate.port)
	answers = []
	for n, text in enumerate(['first "quoted" \u00e9\U0001f600 turn', 'second turn']):
		await ws_ask(ws, text, f'c{n}')
		answers.append((await ws_answer(ws, f'c{n}'))[1])
	await ws.close()
	bodies = [row for row in sim.events('request')][-2:]
	tap.is_(bodies[0]['prompt'], 'first "quoted" \u00e9\U0001f600 turn', 'conversation: the text arrives unharmed')
	tap.ok(bodies[1]['body_bytes'] > bodies[0]['body_bytes'] + len(answers[0]), 'conversation: the second request carries the first turn')

async def one_by_one(tap, sim, gate):
	before = len(sim.events('token'))
	s = await stream_chat(gate.port, '[[sim:tokens=40,rate=20]]')
	wait_until(lambda: len(sim.events('token')) >= before + 40, 5)	# it writes them down at the end of its turn
	sent = [row['t_us'] / 1e6 for row in sim.events('token')[before:]]
	got = [t for t, e in zip(s.times, s.events) if '"content":"t' in e]
	tap.is_((len(sent), len(got)), (40, 40), '40 tokens sent, 40 received')
	in_time = sum(got[n] < sent[n + 1] for n in range(39))
	tap.ok(in_time >= 35, f'each arrives before the next one is sent ({in_time} of 39)')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 200) as sim, \
		Gate(sim, tap, workers=2, system_prompt='You are kind.') as gate:
	by_curl(tap, gate)
	by_node(tap, gate, 'openai.mjs', 'openai', 12)
	tap.ok(wait_until(lambda: sim.stats()['in_flight'] == 0), 'what it aborted is over at the simulator too')
	asyncio.run(by_websockets(tap, sim, gate))
	asyncio.run(conversation(tap, sim, gate))
	asyncio.run(one_by_one(tap, sim, gate))
