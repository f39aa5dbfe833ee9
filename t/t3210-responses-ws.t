#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""GET /v1/responses as a WebSocket: lanes, memory, warm-up, limits, errors, age, drain; real clients."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
import websockets

LAST = ('response.completed', 'response.incomplete', 'response.failed', 'error')
TEXT = ['created', 'in_progress', 'output_item.added', 'content_part.added', *['output_text.delta'] * 20,
	'output_text.done', 'content_part.done', 'output_item.done', 'completed']

class Socket:
	"""A socket whose events are sorted by lane (None: the default one)."""
	async def open(self, gate):
		self.ws = await ws_connect(gate.port, '/v1/responses')
		self.lanes = {}
		return self

	async def create(self, text='hello', **more):
		await self.ws.send(json.dumps({'type': 'response.create', 'model': 'sim-1', 'input': text, **more}))

	async def next(self, lane=None):
		"""The next event of a lane."""
		queue = self.lanes.setdefault(lane, [])
		while not queue:
			event = json.loads(await asyncio.wait_for(self.ws.recv(), 60))
			self.lanes.setdefault(event.get('stream_id'), []).append(event)
		return queue.pop(0)

	async def all(self, lane=None):
		"""All events of one response."""
		rows = [await self.next(lane)]
		while rows[-1]['type'] not in LAST:
			rows.append(await self.next(lane))
		return rows

	async def ask(self, *args, **more):
		await self.create(*args, **more)
		return await self.all(more.get('stream_id'))

	async def closed(self):
		"""Reads to the end; the close code and all that came before."""
		rows = []
		try:
			while True:
				rows.append(json.loads(await asyncio.wait_for(self.ws.recv(), 60)))
		except websockets.ConnectionClosed:
			return self.ws.close_code, rows

def short(rows):
	return [row['type'].removeprefix('response.') for row in rows]

def text(rows):
	return ''.join(part['text'] for item in rows[-1]['response']['output'] for part in item.get('content', []))

def later(condition):
	return asyncio.to_thread(wait_until, condition)

async def basics(tap, sim, gate):
	s = await Socket().open(gate)
	rows = await s.ask(stream=True)
	tap.is_(short(rows), TEXT, 'the events of a response')
	tap.is_([row['sequence_number'] for row in rows], list(range(len(rows))), 'numbered')
	tap.is_(text(rows), sim_text(20), 'the last has the output')
	rows = await s.ask(stream_id='lane.1')
	tap.is_((short(rows), rows[0]['sequence_number']), (TEXT, 0), 'the same on a lane of its own')
	for message, code in (('{', 'invalid_json'), ('{}', 'bad_request'), ('{"type":"response.create"}', 'bad_request'),
			('{"type":"response.create","stream_id":"a b"}', 'invalid_stream_id')):
		await s.ws.send(message)
		row = await s.next()
		tap.is_((row['type'], row['status'], row['error']['code']), ('error', 400, code), f'{message} is an error, the socket stays')
	await s.ws.send('{"type":"response.steer","previous_response_id":"resp_1","input":"x"}')
	tap.is_((await s.next())['error']['code'], 'steering_not_supported', 'no steering')
	rows = await s.ask('[[sim:400]]', stream_id='lane.1')
	tap.is_((rows[0]['type'], rows[0]['status'], 'find fault' in rows[0]['error']['message']), ('error', 400, True), "the provider's refusal is an error event")
	rows = await s.ask('[[sim:cut_mid,n=2]]')
	tap.is_(short(rows)[-2:], ['output_text.delta', 'failed'], 'a cut answer is response.failed')
	await s.ws.send(b'x')
	tap.is_((await s.closed())[0], 1003, 'binary messages are not spoken')

async def memory(tap, sim, gate):
	s = await Socket().open(gate)
	size = lambda: sim.events('request')[-1]['body_bytes']
	first = (await s.ask('one'))[-1]['response']['id']
	alone = size()
	await s.ask('two', previous_response_id=first)
	tap.at_most(alone + len(sim_text(20)), size(), 'memory: the continuation carries the first turn')
	row = (await s.ask('three', previous_response_id=first, stream_id='fork'))[0]
	tap.is_((row['error']['code'], row['stream_id']), ('previous_response_not_found', 'fork'), 'memory: only the latest of a lane')
	before = sim.stats()['requests']
	rows = await s.ask('x' * 2000, generate=False, stream_id='warm')
	tap.is_((short(rows), rows[-1]['response']['output'], sim.stats()['requests']), (['created', 'in_progress', 'completed'], [], before), 'warm-up: nothing is generated')
	rows = await s.ask('go', previous_response_id=rows[-1]['response']['id'], stream_id='warm')
	tap.ok(text(rows) == sim_text(20) and size() > 2000, 'warm-up: what follows carries it')
	latest = rows[-1]['response']['id']
	await s.ask('[[sim:500]]', previous_response_id=latest, stream_id='fork')
	tap.is_(short(await s.ask('x', previous_response_id=latest, stream_id='warm'))[-1], 'completed', 'memory: a fork that fails forgets nothing')
	await s.ws.close()

async def lanes(tap, sim, gate):
	s = await Socket().open(gate)
	await s.create('[[sim:tokens=3]]')
	await s.create('[[sim:tokens=1]]')
	one, two = await s.all(), await s.all()
	tap.is_([text(one), text(two)], [sim_text(3), sim_text(1)], 'lanes: in order within one')
	sim.reset()
	for n in range(20):
		await s.create('[[sim:tokens=2000,rate=20]]', stream_id=f'l{n}')
	running = lambda: (gate.health()['providers']['sim']['in_flight'], sim.stats()['in_flight'])
	tap.ok(await later(lambda: running() == (16, 16)), 'lanes: 16 run at once')
	tap.is_(gate.health()['active_connections'], 1, 'lanes: on one place')
	s.ws.transport.abort()
	tap.ok(await later(lambda: running() == (0, 0)), 'lanes: all end with the socket')
	tap.is_(sim.stats()['max_in_flight'], 16, 'lanes: and never more')
	s = await Socket().open(gate)
	for n in range(32):
		await s.ask(generate=False, stream_id=f'l{n}')
	row = (await s.ask(generate=False, stream_id='more'))[0]
	tap.is_(row['error']['code'], 'websocket_stream_limit_reached', 'lanes: 32 over the life of a socket')
	tap.is_(short(await s.ask(generate=False))[-1], 'completed', 'lanes: the default one does not count')
	await s.ws.close()

async def limits(tap, sim, gate):
	"""concurrent_requests 2, max_connections 1, sse_keepalive 100ms."""
	sim.reset()
	s = await Socket().open(gate)
	for n in range(6):
		await s.create('[[sim:first_token_ms=300]]', stream_id=f'l{n}')
	done = [await s.all(f'l{n}') for n in range(6)]
	tap.is_([text(rows) for rows in done], [sim_text(20)] * 6, 'limits: six lanes are served')
	tap.at_most(sim.stats()['max_in_flight'], 2, 'limits: by two permits')
	waits = [short(rows).index('output_item.added') for rows in done]
	tap.ok(max(waits) > 3, f'limits: signs of life while they wait ({waits})')
	full = await Socket().open(gate)
	tap.is_((await full.closed())[0], 1013, 'limits: a socket more is closed with 1013')
	await s.ws.close()

async def age(tap, gate):
	s = await Socket().open(gate)
	await s.create('[[sim:tokens=40,rate=20]]')
	rows = await s.all()
	tap.is_(short(rows)[-1], 'completed', 'age: what runs is finished')
	code, rest = await s.closed()
	tap.is_(([row['error']['code'] for row in rest], code), (['websocket_connection_limit_reached'], 1001), 'age: then an error, and 1001')

async def drain(tap, gate):
	idle, busy = await Socket().open(gate), await Socket().open(gate)
	await busy.create('[[sim:tokens=60,rate=50]]')
	await busy.create('waits')
	while (await busy.next())['type'] != 'response.output_text.delta':
		pass
	gate.child.send_signal(signal.SIGQUIT)
	tap.is_((await idle.closed())[0], 1012, 'drain: an idle socket is closed with 1012')
	code, rows = await busy.closed()
	tap.is_([row['error']['code'] for row in rows if row['type'] == 'error'], ['shutting_down'], 'drain: what waits is refused')
	tap.is_((rows[-1]['type'], text(rows[-1:]), code), ('response.completed', sim_text(60), 1012), 'drain: what runs is finished first')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 500) as sim:
	with Gate(sim, tap, workers=2, access_log=True, http_client={'max_retries': 0}) as gate:
		asyncio.run(basics(tap, sim, gate))
		asyncio.run(memory(tap, sim, gate))
		asyncio.run(lanes(tap, sim, gate))
		tap.ok(wait_until(lambda: gate.grep(r'resp_[0-9a-f]+ .*provider=sim model=sim-1 tokens=20')), 'the access log has a line for each response')
		by_node(tap, gate, 'responses-ws.mjs', 'openai', 7)
		own = os.path.join(TOP, 'build/node/node_modules/node/bin/node')
		by_node(tap, gate, 'agents-ws.mjs', '@openai/agents', 4, own if os.path.exists(own) else 'node', least=22)
	with Gate(sim, tap, workers=1, concurrency={'max_connections': 1}, http_client={'concurrent_requests': 2},
			streaming={'sse_keepalive': '100ms'}) as gate:
		asyncio.run(limits(tap, sim, gate))
	with Gate(sim, tap, workers=1, responses={'max_age': '1s'}) as gate:
		asyncio.run(age(tap, gate))
	with Gate(sim, workers=1) as gate:
		asyncio.run(drain(tap, gate))
