#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each time-out of a provider has an ending, a status, a code and a counter of its own; none cuts a healthy stream."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

SHORT = '500ms'
STALLED = '[[sim:stall_first]]'
ENDLESS = '[[sim:tokens=100000,rate=20]]'

# Each has a provider of its own, of the same name: what is short there, what the simulator is told, and what a client
# without a stream gets, and one with a stream.
# (name, options, directive, JSON, SSE)
ROWS = [
	('connect', {'connect_timeout': SHORT}, '', (504, 'provider_connect_timeout'), (504, 'provider_connect_timeout')),
	('silent', {'read_timeout': SHORT}, '[[sim:stall_headers]]', (504, 'provider_read_timeout'), (504, 'provider_read_timeout')),
	('before', {'read_timeout': SHORT}, STALLED, (504, 'provider_read_timeout'), (200, 'provider_read_timeout')),
	('between', {'read_timeout': SHORT}, '[[sim:stall_mid,n=3]]', (504, 'provider_read_timeout'), (200, 'provider_read_timeout')),
	('first', {'first_token_timeout': SHORT}, '[[sim:stall_headers]]', None, (504, 'provider_first_token_timeout')),
	('token', {'first_token_timeout': SHORT}, STALLED, None, (200, 'provider_first_token_timeout')),
	('late', {'first_token_timeout': SHORT}, '[[sim:first_token_ms=20000]]', None, (200, 'provider_first_token_timeout')),
	('whole', {'request_timeout': SHORT}, ENDLESS, (504, 'provider_request_timeout'), (200, 'provider_request_timeout')),
	('hidden', {'request_timeout': SHORT}, '[[sim:stall_headers]]',
		(504, 'provider_request_timeout'), (504, 'provider_request_timeout')),
	('rate', {'request_timeout': SHORT, 'requests_per_minute': 1, 'queue_timeout': '300s'}, '',
		(504, 'provider_request_timeout'), (504, 'provider_request_timeout')),
	('pool', {'pool_timeout': SHORT, 'max_connections': 1}, '', (504, 'pool_timeout'), (504, 'pool_timeout')),
	('queue', {'queue_timeout': SHORT, 'concurrent_requests': 1}, '', (503, 'queue_timeout'), (503, 'queue_timeout')),
]
# Those of whose place somebody else has taken before, and with what.
TAKEN = {'pool': STALLED, 'queue': STALLED, 'rate': ''}
# The limit that a refusal names.
LIMITS = {'pool': 'pool_timeout', 'queue': 'concurrent_requests'}

def providers(sim, hole):
	port = hole.getsockname()[1]
	return ''.join(provider_text(name, f'http://127.0.0.1:{port}/v1' if name == 'connect' else sim,
		{'max_retries': 0, **options}) for name, options, *_ in ROWS)

def black_hole():
	"""A port that takes no more connections."""
	full = socket.socket()
	full.bind(('127.0.0.1', 0))
	full.listen(0)
	callers = [socket.socket() for _ in range(3)]
	for caller in callers:
		caller.setblocking(False)
		caller.connect_ex(full.getsockname())
	return full, callers

async def take(port, name):
	s = await Stream().open(port, chat_body(TAKEN[name], model=f'{name}/m'))
	await s.head()
	if not TAKEN[name]:
		await wait_end(s)
	return s

async def wait_end(s):
	async for _ in s.body():
		pass

async def the_table(tap, gate):
	taken = [await take(gate.port, name) for name in TAKEN]
	jobs = [(name, kind, want, ask(gate.port, directive, model=f'{name}/m', stream=kind == 'SSE'))
		for name, _, directive, *wants in ROWS for kind, want in zip(('JSON', 'SSE'), wants) if want]
	counts = {}
	for (name, kind, want, _), s in zip(jobs, await asyncio.gather(*[job[3] for job in jobs])):
		counts[want[1]] = counts.get(want[1], 0) + 1
		if not tap.is_(ending(s), want, f'{name}: {kind}'):
			continue
		if name in LIMITS:
			tap.is_(s.headers.get('x-headgate-limit'), f'llm.providers.{name}.http_client.{LIMITS[name]}', f'{name}: {kind}: the limit')
			tap.ok(1 <= int(s.headers.get('retry-after', 0)) <= 60, f'{name}: {kind}: Retry-After')
	for s in taken:
		s.close()
	for code, count in counts.items():
		counted(tap, gate, code, count)

def counted(tap, gate, code, count):
	seen = lambda: gate.stat()['endings'].get(code)
	wait_until(lambda: seen() == count, 5)
	tap.is_(seen(), count, f'{code} is counted')

def slow_reader(tap):
	with Sim('--fault', 'slow_read') as slow, Gate(slow, tap, http_client={'write_timeout': SHORT, 'max_retries': 0}) as gate:
		for stream in (False, True):
			s = asyncio.run(stream_chat(gate.port, 'x' * (8 << 20), stream=stream))
			tap.is_(ending(s), (504, 'provider_write_timeout'), 'write: ' + ('SSE' if stream else 'JSON'))
		counted(tap, gate, 'provider_write_timeout', 2)

def others_still_served(tap, gate):
	"""Only those whose place was taken are refused; then it is free again."""
	for name in ('pool', 'queue', 'between', 'first', 'whole'):
		tap.is_(ending(asyncio.run(stream_chat(gate.port, '[[sim:tokens=5,rate=50]]', model=f'{name}/m'))), (200, None), f'{name}: a quick answer is whole')

def tried_again(tap, sim):
	with Gate(sim, tap, http_client={'first_token_timeout': SHORT, 'max_retries': 1, 'backoff_factor': 0.01}) as gate:
		sim.reset()
		s = asyncio.run(stream_chat(gate.port, '[[sim:stall_headers,times=1]]'))
		tap.is_((ending(s), s.text()), ((200, None), sim_text(20)), 'no first token: another attempt may bring it')
		tap.is_(sim.stats()['requests'], 2, '... the second one')

async def long_stream(tap, gate):
	"""Six times as long as each of the time-outs; with a client that takes its time, too."""
	s = await stream_chat(gate.port, '[[sim:tokens=13,rate=4]]')
	tap.is_((ending(s), s.text()), ((200, None), sim_text(13)), 'a long stream is whole')
	tap.ok(s.times[-1] - s.times[0] > 2.5, f'... and was long: {s.times[-1] - s.times[0]:.1f} s')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 1000) as sim:
	hole, callers = black_hole()
	with Gate(sim, tap, workers=2, extra=providers(sim, hole)) as gate:
		asyncio.run(the_table(tap, gate))
		others_still_served(tap, gate)
	slow_reader(tap)
	tried_again(tap, sim)
	names = ('connect', 'read', 'write', 'pool', 'queue', 'first_token')
	with Gate(sim, tap, workers=1, http_client={f'{name}_timeout': SHORT for name in names}) as gate:
		asyncio.run(long_stream(tap, gate))
