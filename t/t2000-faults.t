#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a provider may do wrong, and what each kind of client is told: status, code, attempts."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

RETRIES = 0 if without_effect('max_retries') else 2
R = 1 + RETRIES		# attempts of what is tried again
WAIT = {'connect_timeout': 1, 'read_timeout': 1, 'write_timeout': 1, 'max_retries': RETRIES, 'backoff_factor': 0.01,
	'requests_per_minute': 0, 'concurrent_requests': 50}

# Each row has a provider of its own, and each kind of client a gate of its own, so that no circuit opens and none
# is judged by what another one did. What a client without a stream gets, one with a stream, one on a WebSocket: its status, the code of the error (in
# band where the status is 200) and the attempts that the simulator saw.
# (name, directive, JSON, SSE, WebSocket)
def same(status, code, ws_code, tries):
	return (status, code, tries), (status, code, tries), (200, ws_code, tries)

def status(number, code=None, tries=1, more=''):
	return (f'{number}{more.replace(",", "_").replace("=", "_")}', f'{number}{more}', *same(number, code, 'provider_error', tries))

ROWS = [
	('refused', '', *same(502, 'provider_connect_failed', 'provider_connect_failed', 0)),
	('black_hole', '', *same(504, 'provider_connect_timeout', 'provider_connect_timeout', 0)),
	('tls', '', *same(502, 'provider_tls_failed', 'provider_tls_failed', 0)),
	status(400),
	('401', '401', *same(502, 'provider_auth', 'provider_auth', 1)),
	status(404, 'model_not_found'),
	status(408, tries=R),
	status(409, tries=R),
	status(413),
	status(429, 'rate_limit_exceeded', R),
	status(429, 'rate_limit_exceeded', R, ',retry_after=1'),
	status(429, 'rate_limit_exceeded', R, ',retry_after_ms=20'),
	status(429, 'rate_limit_exceeded', R, ',retry_after_date=1'),
	status(429, 'insufficient_quota', 1, ',code=insufficient_quota'),
	status(500, tries=R),
	status(502, tries=R),
	status(503, 'server_is_overloaded', R),
	status(504, tries=R),
	status(529, tries=R),
	# An attempt that meets a kept connection's end is made once more, on a new one.
	('reset_before', 'reset_before_headers', *same(502, 'provider_reset', 'provider_reset', range(R, 2 * R + 1))),
	('reset_after', 'reset_after_headers',
		(502, 'provider_reset', R), (200, 'provider_reset', 1), (200, 'provider_reset', 1)),
	('reset_mid', 'reset_mid', (502, 'provider_reset', R), (200, 'provider_reset', 1), (200, 'provider_reset', 1)),
	('cut_mid', 'cut_mid', (502, 'provider_reset', R), (200, 'provider_reset', 1), (200, 'provider_reset', 1)),
	('stall_headers', 'stall_headers', *same(504, 'provider_read_timeout', 'provider_read_timeout', R)),
	('stall_first', 'stall_first',
		(504, 'provider_read_timeout', R), (200, 'provider_read_timeout', 1), (200, 'provider_read_timeout', 1)),
	('stall_mid', 'stall_mid',
		(504, 'provider_read_timeout', R), (200, 'provider_read_timeout', 1), (200, 'provider_read_timeout', 1)),
	('half_json', 'half_json', *same(502, 'provider_bad_answer', 'provider_bad_answer', 1)),
	('html', 'html_error', *same(502, 'provider_error', 'provider_error', R)),
	('endless', 'endless_event', (200, None, 1), (200, 'provider_bad_answer', 1), (200, 'provider_bad_answer', 1)),
	('wrong_type', 'wrong_type', (200, None, 1), (502, 'provider_bad_answer', 1), (200, 'provider_bad_answer', 1)),
	('error_mid', 'error_mid,code=overloaded', (200, None, 1), (200, 'provider_stream_error', 1), (200, 'provider_stream_error', 1)),
]

class Traps:
	"""Ports that no simulator can play: one that nobody listens on, one that takes no more connections, and
	one that greets every caller in plain text."""
	def __init__(self):
		self.closed, self.full, self.callers = socket.socket(), socket.socket(), []
		self.plain = socket.create_server(('127.0.0.1', 0))
		threading.Thread(target=self.greet, daemon=True).start()
		self.closed.bind(('127.0.0.1', 0))
		self.full.bind(('127.0.0.1', 0))
		self.full.listen(0)
		for _ in range(4):
			caller = socket.socket()
			caller.setblocking(False)
			caller.connect_ex(self.full.getsockname())
			self.callers.append(caller)
		self.urls = {'refused': 'http://127.0.0.1:%d/v1' % self.closed.getsockname()[1],
			'black_hole': 'http://127.0.0.1:%d/v1' % self.full.getsockname()[1],
			'tls': 'https://127.0.0.1:%d/v1' % self.plain.getsockname()[1]}

	def greet(self):
		while True:
			caller = self.plain.accept()[0]
			caller.sendall(b'220 This is no web server\r\n')
			self.callers.append(caller)

def providers(sim, traps):
	return ''.join(f'    p{name}:\n      base_url: {traps.urls.get(name, sim.url)}\n      model: m\n      http_client:\n'
		+ ''.join(f'        {key}: {value}\n' for key, value in WAIT.items()) for name, *_ in ROWS)

def error_code(text):
	try:
		return json.loads(text)['error']['code']
	except (ValueError, KeyError, TypeError):
		return None

async def ask_json(port, model, text):
	body = chat_body(text, stream=False, model=model)
	code, headers, answer = await asyncio.to_thread(request, port, 'POST', '/v1/chat/completions', body)
	return code, error_code(answer), headers

async def ask_sse(port, model, text):
	s = await stream_chat(port, text, model=model)
	if s.status != 200:
		return s.status, error_code(s.failure), s.headers
	return s.status, None if s.events[-1] == '[DONE]' else error_code(s.events[-1]), s.headers

async def ask_ws(port, model, text):
	ws = await ws_connect(port)
	await ws_ask(ws, text, model=model)
	messages, _ = await ws_answer(ws)
	await ws.close()
	last = messages[-1]
	return 200, last['chunk']['metadata']['code'] if last['status'] == 'error' else None, {}

class WholeStream(Stream):
	"""Keeps the body of an answer that is no stream, too."""
	async def body(self):
		self.failure = b''
		async for part in super().body():
			self.failure += part
			yield part

Stream = stream_chat.__globals__['Stream'] = WholeStream
KINDS = (('JSON', ask_json), ('SSE', ask_sse), ('WebSocket', ask_ws))

async def ask_all(port, kind, ask):
	"""row -> what the client got; all of them at once."""
	jobs = {row[0]: ask(port, f'p{row[0]}/m', f'{row[0]}/{kind} ' + (f'[[sim:{row[1]}]]' if row[1] else '')) for row in ROWS}
	return dict(zip(jobs, await asyncio.gather(*jobs.values())))

def attempts(sim):
	count = {}
	for event in sim.events('request'):
		who = event['prompt'].split(' ')[0]
		count[who] = count.get(who, 0) + 1
	return count

def the_table(tap, gate, sim, column):
	kind, ask = KINDS[column]
	got = asyncio.run(ask_all(gate.port, kind, ask))
	tried = attempts(sim)
	for name, _, *wants in ROWS:
		(code, error, headers), want = got[name], wants[column]
		times, tries = tried.get(f'{name}/{kind}', 0), want[2]
		if not isinstance(tries, range):
			tries = range(tries, tries + 1)
		tap.is_((code, error), want[:2], f'{name}: {kind}')
		tap.ok(times in tries, f'{name}: {kind}: {times} attempts are in {tries}')
		if code in (429, 502, 503, 504, 529) and R > 1 and R in tries:
			tap.is_(headers.get('x-should-retry'), 'false', f'{name}: {kind}: more attempts are none of the client\'s business')
		if 'retry-after' in headers:
			tap.at_most(float(headers['retry-after']), 60, f'{name}: {kind}: Retry-After')

def slow_request(tap, gate):
	"""A provider that hardly reads: what the kernel does not take for it is noticed."""
	body = chat_body('x' * (8 << 20), stream=False)
	code, headers, answer = request(gate.port, 'POST', '/v1/chat/completions', body)
	tap.is_((code, error_code(answer)), (504, 'provider_write_timeout'), 'slow_read: JSON')
	body['stream'] = True
	code, headers, answer = request(gate.port, 'POST', '/v1/chat/completions', body)
	tap.is_((code, error_code(answer)), (504, 'provider_write_timeout'), 'slow_read: SSE')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 1000) as sim:
	traps = Traps()
	for column in range(len(KINDS)):
		with Gate(sim, tap, workers=2, concurrency={'max_connections': 500}, extra=providers(sim, traps)) as gate:
			the_table(tap, gate, sim, column)
			s = asyncio.run(stream_chat(gate.port))
			tap.is_((s.events[-1], s.text()), ('[DONE]', sim_text(20)), 'afterwards a whole stream comes through')
	with Sim('--fault', 'slow_read') as slow, \
			Gate(slow, tap, http_client={'write_timeout': 1, 'max_retries': 0}) as gate:
		slow_request(tap, gate)
