#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""POST /v1/responses: JSON, the order of events, tools, failures, limits; real clients."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

PATH = '/v1/responses'
TOOLS = [{'type': 'function', 'name': 'get_weather', 'parameters': {'type': 'object', 'properties': {'city': {'type': 'string'}}}}]
REQUIRED = {'id', 'object', 'created_at', 'error', 'incomplete_details', 'instructions', 'model', 'tools', 'output',
	'parallel_tool_calls', 'metadata', 'tool_choice', 'temperature', 'top_p'}

def body(text='hello', **more):
	return {'model': 'sim-1', 'input': text, **more}

def post(gate, *args, **more):
	status, headers, data = request(gate.port, 'POST', PATH, body(*args, **more))
	return status, headers, json.loads(data)

async def stream(gate, *args, **more):
	"""All events of a stream: (status, list of objects)."""
	s = await Stream().open(gate.port, body(*args, stream=True, **more), PATH)
	try:
		await s.run()
	finally:
		s.close()
	return s, [json.loads(event) for event in s.events]

def events(gate, *args, **more):
	return asyncio.run(stream(gate, *args, **more))

def short(rows):
	return [row['type'].removeprefix('response.') for row in rows]

def whole(tap, gate):
	status, headers, r = post(gate, metadata={'a': 'b'}, instructions='be kind', temperature=0.5)
	tap.is_((status, r['status'], r['object']), (200, 'completed', 'response'), 'JSON: completed')
	tap.is_(r['output'][0]['content'][0]['text'], sim_text(20), 'JSON: the text')
	tap.is_(REQUIRED - r.keys(), set(), 'JSON: every key that OpenAI requires')
	tap.is_((r['metadata'], r['instructions'], r['temperature'], r['store']), ({'a': 'b'}, 'be kind', 0.5, False), 'JSON: says what was asked, and that nothing is stored')
	tap.is_((r['usage']['output_tokens'], r['usage']['total_tokens'] - r['usage']['input_tokens']), (20, 20), 'JSON: usage')
	tap.ok(headers.get('x-request-id'), 'JSON: X-Request-Id')
	r = post(gate, max_output_tokens=3)[2]
	tap.is_((r['status'], r['incomplete_details'], r['output'][0]['status']), ('incomplete', {'reason': 'max_output_tokens'}, 'incomplete'), 'JSON: cut by max_output_tokens')
	status, headers, r = post(gate, text='x', previous_response_id='resp_1')
	tap.is_((status, r['error']['code']), (400, 'previous_response_not_found'), 'JSON: nothing is stored')
	status, headers, r = post(gate, 'x', tools=[{'type': 'web_search'}])
	tap.is_((status, r['error']['param']), (400, 'tools[0].type'), 'JSON: a hosted tool is refused by name')
	status, headers, r = post(gate, '[[sim:429,retry_after=7,code=insufficient_quota]]')
	tap.is_((status, headers.get('x-should-retry')), (429, 'false'), "JSON: the provider's refusal, and no retry of it")

def order(tap, gate):
	s, rows = events(gate, '[[sim:tokens=3]]')
	tap.is_((s.status, s.headers['content-type'], s.rest), (200, 'text/event-stream', b''), 'SSE: a stream that ends with an event')
	tap.is_(short(rows), ['created', 'in_progress', 'output_item.added', 'content_part.added', *['output_text.delta'] * 3,
		'output_text.done', 'content_part.done', 'output_item.done', 'completed'], 'SSE: the order of events')
	tap.is_([row['sequence_number'] for row in rows], list(range(len(rows))), 'SSE: sequence numbers')
	tap.is_(len({row['item_id'] for row in rows if 'item_id' in row} | {rows[2]['item']['id']}), 1, 'SSE: all of one item')
	tap.is_({row['response']['id'] for row in rows if 'response' in row}, {rows[0]['response']['id']}, 'SSE: of one response')
	tap.is_((rows[0]['response']['status'], rows[0]['response']['output']), ('in_progress', []), 'SSE: created empty')
	tap.is_(rows[-1]['response']['output'], [rows[-2]['item']], 'SSE: the response has the item')
	tap.is_(rows[-1]['response']['usage']['output_tokens'], 3, 'SSE: and its usage')
	s, rows = events(gate, 'the weather in Paris?', tools=TOOLS)
	tap.is_(short(rows), ['created', 'in_progress', 'output_item.added', *['function_call_arguments.delta'] * 2,
		'function_call_arguments.done', 'output_item.done', 'completed'], 'SSE: the order of a call')
	call = rows[-2]['item']
	tap.is_((call['name'], json.loads(call['arguments']), call['status']), ('get_weather', {'city': 'Paris'}, 'completed'), 'SSE: the call')
	s, rows = events(gate, [{'role': 'user', 'content': 'the weather in Paris?'}, call,
		{'type': 'function_call_output', 'call_id': call['call_id'], 'output': 'rain'}], tools=TOOLS)
	tap.is_(rows[-1]['response']['output'][0]['content'][0]['text'], sim_text(20), 'SSE: its output gets an answer')
	s, rows = events(gate, max_output_tokens=2)
	tap.is_((short(rows)[-1], rows[-2]['item']['status']), ('incomplete', 'incomplete'), 'SSE: cut by max_output_tokens')
	s, rows = events(gate, '[[sim:json_for_stream]]')
	tap.is_((short(rows)[-1], short(rows).count('output_text.delta')), ('completed', 1), 'SSE: of a provider that does not stream')
	s, rows = events(gate, '[[sim:multi_data]]', metadata={'a': 'x\ny'})
	tap.is_(rows[-1]['response']['output'][0]['content'][0]['text'], sim_text(20), 'SSE: of a provider that breaks its lines')

def failures(tap, gate):
	s, rows = events(gate, '[[sim:cut_mid,n=2]]')
	tap.is_(short(rows)[-2:], ['output_text.delta', 'failed'], 'cut: the stream ends with response.failed')
	tap.is_((rows[-1]['response']['status'], rows[-1]['response']['error']['code']), ('failed', 'server_error'), 'cut: and says so')
	s, rows = events(gate, '[[sim:error_mid,n=2]]')
	tap.like(rows[-1]['response']['error']['message'], 'had an error while processing', "an error in the stream: the provider's words")
	s = asyncio.run(broken_off(gate))
	tap.is_((s.status, s.headers['content-type']), (400, 'application/json'), 'what fails before the first event has a status')

async def broken_off(gate):
	s = await Stream().open(gate.port, body('[[sim:400]]', stream=True), PATH)
	await s.head()
	s.close()
	return s

async def limits(tap, sim, gate):
	"""concurrent_requests is 2: streams and plain requests wait for the same permits."""
	sim.reset()
	got = await asyncio.gather(*[stream(gate) for _ in range(6)], *[asyncio.to_thread(post, gate) for _ in range(6)])
	tap.is_([row[1][-1]['type'] for row in got[:6]], ['response.completed'] * 6, 'limits: six streams are complete')
	tap.is_([row[2]['status'] for row in got[6:]], ['completed'] * 6, 'limits: six requests are complete')
	tap.at_most(sim.stats()['max_in_flight'], 2, 'limits: never more than 2 at the provider')
	long = [await Stream().open(gate.port, body('[[sim:tokens=2000,rate=20]]', stream=True), PATH) for _ in range(4)]
	for s in long[:2]:
		await s.head()
	queued = lambda: gate.health()['providers']['sim']
	tap.ok(await asyncio.to_thread(wait_until, lambda: (queued()['in_flight'], queued()['queued']) == (2, 2)), 'limits: two run, two wait')
	for s in long:
		s.close()
	idle = lambda: (queued()['in_flight'], queued()['queued'], sim.stats()['in_flight']) == (0, 0, 0)
	tap.ok(await asyncio.to_thread(wait_until, idle), 'limits: who leaves gives all back')

async def slow_reader(tap, gate):
	paused = lambda: gate.stat()['providers']['sim']['statistics']['headgate_provider_pauses_total']
	before = paused()
	s = await Stream().open(gate.port, body('[[sim:tokens=60000,rate=0]]', stream=True), PATH)
	s.writer.transport.pause_reading()
	tap.ok(await asyncio.to_thread(wait_until, lambda: paused() > before), 'slow reader: its provider is paused')
	s.writer.transport.resume_reading()
	await s.run()
	last = json.loads(s.events[-1])
	tap.is_(last['response']['output'][0]['content'][0]['text'] == sim_text(60000), True, 'slow reader: gets all of it in the end')
	s.close()

def waiting(tap, gate):
	s, rows = events(gate, '[[sim:first_token_ms=1500]]')
	at = short(rows).index('output_item.added')
	tap.ok(short(rows)[:at] == ['created'] + ['in_progress'] * (at - 1) and at > 4, f'silence: {at - 1} signs of life before the first token')
	tap.is_(([row['sequence_number'] for row in rows], s.comments), (list(range(len(rows))), 0), 'silence: which are events, and counted')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 500) as sim:
	with Gate(sim, tap, workers=2, access_log=True, http_client={'max_retries': 0, 'concurrent_requests': 2}) as gate:
		whole(tap, gate)
		order(tap, gate)
		failures(tap, gate)
		asyncio.run(limits(tap, sim, gate))
		asyncio.run(slow_reader(tap, gate))
		by_node(tap, gate, 'responses.mjs', 'openai', 12)
		by_node(tap, gate, 'agents.mjs', '@openai/agents', 3, least=20)
		by_node(tap, gate, 'vercel.mjs', '@ai-sdk/openai', 5)
		tap.ok(wait_until(lambda: gate.grep(r'access: .* POST /v1/responses 200 complete .*provider=sim model=sim-1 tokens=20')), 'the access log tells provider, model and tokens')
	with Gate(sim, tap, workers=1, streaming={'sse_keepalive': '100ms'}) as gate:
		waiting(tap, gate)
