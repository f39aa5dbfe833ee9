#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who serves when a provider cannot: which of its failures go to a fallback and which do not, chains and their order, models of
their own; a provider that dies under load; keys that are refused rest."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

if without_effect('fallback') or without_effect('max_retries'):
	skip_all('this headgate has no fallback')

CLIENTS = 20

class SamePort(Sim):
	"""A simulator that can die and come back at the same place."""
	def __init__(self, *args):
		self.args = args
		super().__init__(*args)

	def come_back(self):
		return SamePort(*self.args, '--listen', f'127.0.0.1:{self.port}')

class Clients:
	"""They ask again and again; each answer says by its length who gave it (20 tokens, or 5)."""
	def __init__(self, port):
		self.port, self.going, self.first, self.spare, self.other = port, True, 0, 0, []

	async def client(self):
		while self.going:
			s = await stream_chat(self.port)
			whole = s.status == 200 and s.events and s.events[-1] == '[DONE]'
			if whole and s.text() == sim_text(20):
				self.first += 1
			elif whole and s.text() == sim_text(5):
				self.spare += 1
			else:
				self.other.append((s.status, s.events[-1:]))

	async def run(self, play):
		tasks = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
		await asyncio.to_thread(play)
		self.going = False
		done, stuck = await asyncio.wait(tasks, timeout=20)
		for task in done:
			task.result()
		return len(stuck)

def death_and_return(tap):
	config = {'max_retries': 1, 'backoff_factor': 0.01, 'connect_timeout': 1, 'read_timeout': 5}
	first = SamePort('--text', 'tokens', '--tokens', 20, '--rate', 200)
	with Sim('--text', 'tokens', '--tokens', 5, '--rate', 200) as spare:
		extra = f'    spare:\n      base_url: {spare.url}\n      model: spare-1\n      http_client:\n        requests_per_minute: 0\n'
		with Gate(first, tap, workers=2, provider={'fallback': ['spare']}, http_client=config, extra=extra) as gate:
			clients = Clients(gate.port)

			def play():
				nonlocal first
				grows = lambda name, by=CLIENTS * 3: (lambda old: wait_until(lambda: getattr(clients, name) >= old + by))(getattr(clients, name))
				tap.ok(grows('first'), 'all is well: the provider serves')
				tap.is_(clients.spare, 0, '... and the spare one nobody')
				first.end(signal.SIGKILL)
				tap.ok(grows('spare'), 'it dies: the spare one serves')
				seen = clients.first
				tap.ok(grows('spare'), '... and goes on')
				tap.is_(clients.first, seen, '... alone')
				first = first.come_back()
				tap.ok(grows('first', CLIENTS), 'it comes back, and is asked again')
				old = clients.spare
				tap.ok(grows('first'), '... for good')
				tap.at_most(clients.spare - old, CLIENTS, '... and the spare one rests')
			stuck = asyncio.run(clients.run(play))
			tap.is_(stuck, 0, 'no client was left waiting')
			tap.at_most(len(clients.other), CLIENTS, 'only streams that had begun were cut')
			tap.is_([s for s, events in clients.other if s != 200], [], '... in band')
			models = {row['model'] for row in spare.events('request')}
			tap.is_(models, {'spare-1'}, 'the spare one was asked for its own model')
	first.end()

async def many(port, n):
	return [(await stream_chat(port)).status for _ in range(n)]

def keys(tap):
	with Sim('--key', 'good', '--text', 'tokens', '--tokens', 20, '--rate', 1000) as sim:
		config = {'max_retries': 2, 'backoff_factor': 0.01}
		with Gate(sim, tap, workers=2, provider={'api_keys': ['bad', 'good']}, http_client=config) as gate:
			tap.is_(asyncio.run(many(gate.port, 40)), [200] * 40, 'two keys, one of them refused: everybody is served')
			refused = sim.stats()['responses'].get('401', 0)
			tap.ok(1 <= refused <= 4, f'... and the refused one rests ({refused} times refused)')

BASIC = ('--text', 'tokens', '--rate', 1000, '--tokens')
WHOLE = {sim_text(n): who for n, who in ((20, 'first'), (5, 'second'), (3, 'third'))}

# What is wrong with the first provider, and who serves a client without a stream, and one with; a code: nobody does.
SICK = [
	('500', 'second', 'second'),
	('503', 'second', 'second'),
	('408', 'second', 'second'),
	('429', 'second', 'second'),
	('429,code=insufficient_quota', 'second', 'second'),
	('500,should_retry=no', 'second', 'second'),
	('401', 'second', 'second'),
	('refuse', 'second', 'second'),
	('reset_before_headers', 'second', 'second'),
	('stall_headers', 'second', 'second'),
	('html_error', 'second', 'second'),
	('wrong_type', 'first', 'second'),
	# The request is at fault: another provider would say the same.
	('400', (400, None), (400, None)),
	('404', (404, 'model_not_found'), (404, 'model_not_found')),
	('413', (413, None), (413, None)),
	# Nothing has been passed on of a document before it is complete, but something of a stream.
	('half_json', 'second', None),
	('reset_after_headers', 'second', (200, 'provider_reset')),
	('reset_mid', 'second', (200, 'provider_reset')),
	('cut_mid', 'second', (200, 'provider_reset')),
	('stall_mid', 'second', (200, 'provider_read_timeout')),
	('error_mid', 'first', (200, 'provider_stream_error')),
]

def served_by(s):
	"""Who gave this answer; or how else it ended."""
	if ending(s) != (200, None):
		return ending(s)
	return WHOLE.get(s.text() if s.events else json.loads(s.rest)['choices'][0]['message']['content'], 'somebody')

def alone(**more):
	"""No further attempts, and no circuit: each case by itself."""
	return {'max_retries': 0, 'circuit_breaker': False, 'read_timeout': '300ms', **more}

def tokens(gate, name):
	return gate.stat()['providers'][name]['statistics']['headgate_provider_completion_tokens_total']

def what_goes_on(tap):
	with Sim(*BASIC, 20) as first, Sim(*BASIC, 5) as second, Gate(first, tap, workers=2, http_client=alone(),
			provider={'fallback': ['second']}, extra=provider_text('second', second)) as gate:
		asked = 0
		for how, *wants in SICK:
			for kind, want in zip(('JSON', 'SSE'), wants):
				if want is None:
					continue
				first.outage('none')
				first.outage(how)
				got = served_by(asyncio.run(ask(gate.port, stream=kind == 'SSE')))
				tap.is_(got, want, f'{how}: {kind}: ' + (f'{want} serves' if isinstance(want, str) else 'nobody else is asked'))
				asked += want == 'second'
		tap.is_(second.stats()['requests'], asked, 'the fallback was asked for nothing else')
		tap.is_(tokens(gate, 'second'), asked * 5, 'its tokens are counted as its own')
		first.outage('500')
		s = asyncio.run(ask(gate.port, stream_options={'include_usage': True}))
		tap.is_(json.loads(s.events[-2])['usage']['completion_tokens'], 5, 'who asks for usage gets that of who served')

async def over_websocket(tap, gate):
	ws = await ws_connect(gate.port)
	await ws_ask(ws)
	messages, text = await ws_answer(ws, timeout=10)
	await ws.close()
	tap.is_((messages[-1]['status'], WHOLE.get(text)), ('complete', 'third'), 'WebSocket: the same')

def asked(*sims):
	return [[row['model'] for row in sim.events('request')] for sim in sims]

def chains(tap):
	"""The first provider is sick, and so is the second; the fourth is the second's fallback, which is nobody else's."""
	with Sim(*BASIC, 20) as first, Sim(*BASIC, 5) as second, Sim(*BASIC, 3) as third, Sim(*BASIC, 4) as fourth:
		models = {'big': ['third/three'], 'alone': [], 'fast': ['third', 'second']}
		extra = (provider_text('second', second, alone(), model='two', fallback=['fourth'])
			+ provider_text('third', third, alone(), model='m-3', models=['three']) + provider_text('fourth', fourth))
		with Gate(first, tap, workers=2, http_client=alone(), extra=extra,
				provider={'models': list(models), 'fallback': ['second', 'third/three'], 'model_fallback': models}) as gate:
			for sim in (first, second):
				sim.outage('503')
			one = lambda **more: served_by(asyncio.run(ask(gate.port, **more)))
			tap.is_(one(), 'third', 'two are sick: the third serves')
			tap.is_(asked(first, second, third, fourth), [['sim-1'], ['two'], ['three'], []], '... in this order, each asked for its model')
			asyncio.run(over_websocket(tap, gate))
			tap.is_(one(model='big'), 'third', 'a model with a fallback of its own')
			tap.is_(asked(first, second, third)[1:], [['two'] * 2, ['three'] * 3], '... which is asked, and not the provider\'s')
			tap.is_(one(model='alone'), (503, 'server_is_overloaded'), 'a model that nobody else serves')
			tap.is_([len(x) for x in asked(first, second, third, fourth)], [4, 2, 3, 0], '... is asked for once')
			second.outage('none')
			tap.is_(one(model='fast'), 'third', 'a model with another order')
			third.outage('500')
			tap.is_(one(model='fast'), 'second', '... which is followed to its end')
			second.outage('429,retry_after=7')
			s = asyncio.run(ask(gate.port, stream=False))
			tap.is_((ending(s), s.headers.get('x-should-retry')), ((500, None), 'false'), 'nobody can: the client hears what the last one said, and not to try again')

def full(tap):
	"""A line that is full, and one that takes too long."""
	for name, options in (('queue_size', {'queue_size': 0}), ('queue_timeout', {'queue_timeout': '300ms'}),
			('requests_per_minute', {'requests_per_minute': 1, 'queue_timeout': '1s'}), ('pool_timeout', {'pool_timeout': '300ms', 'max_connections': 1, 'concurrent_requests': 9}),
			('first_token_timeout', {'first_token_timeout': '300ms', 'concurrent_requests': 9})):
		with Sim(*BASIC, 20) as first, Sim(*BASIC, 5) as second, Gate(first, tap, workers=2, provider={'fallback': ['second']},
				extra=provider_text('second', second), http_client={'max_retries': 0, 'concurrent_requests': 1, **options}) as gate:
			async def play():
				held = await Stream().open(gate.port, chat_body('[[sim:stall_mid]]'))
				await held.head()
				if name == 'first_token_timeout':
					first.outage('stall_headers')
				got = served_by(await ask(gate.port))
				held.close()
				return got
			tap.is_(asyncio.run(play()), 'second', f'{name}: the second serves who would wait too long')

with Tap() as tap:
	what_goes_on(tap)
	chains(tap)
	full(tap)
	death_and_return(tap)
	keys(tap)
