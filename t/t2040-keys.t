#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Several API keys: they share the load; one that is refused rests, for all workers, and another one takes over at once."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

PARKED = 'headgate_provider_keys_parked_total'
# If any wait for a backoff came between two keys, it would be minutes.
PATIENT = {'max_retries': 2, 'backoff_factor': 300, 'queue_timeout': '600s'}
BASIC = ('--text', 'tokens', '--tokens', 20, '--rate', 1000)

def key(name):
	return f'sk-{name}-0123456789'

def uses(sim, name):
	"""Times (s) at which a key was used."""
	return [row['t_us'] / 1e6 for row in sim.events('request') if row['key'] == key(name)]

def with_keys(*names):
	return {'api_keys': [key(name) for name in names]}

async def one_by_one(port, n):
	return [ending(await asyncio.wait_for(stream_chat(port), 15)) for _ in range(n)]

async def at_once(port, n):
	return [ending(s) for s in await asyncio.wait_for(asyncio.gather(*[stream_chat(port) for _ in range(n)]), 15)]

def parked(gate):
	return gate.stat()['providers']['sim']['statistics'].get(PARKED)

async def load_is_shared(tap, gate, sim):
	streams = [await Stream().open(gate.port, chat_body('[[sim:stall_first]]')) for _ in range(40)]
	for s in streams:
		await s.head()
	counts = [len(uses(sim, name)) for name in ('a', 'b', 'c', 'd')]
	tap.is_(sum(counts), 40, 'forty requests at once, four keys')
	tap.ok(min(counts) >= 8 and max(counts) <= 12, f'... a quarter each, more or less: {counts}')
	for s in streams:
		s.close()

def sharing(tap):
	with Sim(*BASIC, *[arg for name in 'abcd' for arg in ('--key', key(name))]) as sim, \
			Gate(sim, tap, workers=2, provider=with_keys('a', 'b', 'c', 'd'), http_client={'concurrent_requests': 50}) as gate:
		asyncio.run(load_is_shared(tap, gate, sim))

def one_fails(tap, name, spec):
	"""Refused for good: it is tried once, by the first who comes, and that one is served by another key at once."""
	with Sim(*BASIC, '--key', key('good'), '--key', f'{key("bad")},{spec}') as sim, \
			Gate(sim, tap, workers=4, provider=with_keys('bad', 'good'), http_client=PATIENT) as gate:
		tap.is_(asyncio.run(one_by_one(gate.port, 20)), [(200, None)] * 20, f'{name}: everybody is served')
		tap.is_(len(uses(sim, 'bad')), 1, f'{name}: no worker tries that key again')
		tap.is_(len(uses(sim, 'good')), 20, f'{name}: the other one serves')
		tap.is_(parked(gate), 1, f'{name}: it is counted')
		tap.is_(asyncio.run(at_once(gate.port, 20)), [(200, None)] * 20, f'{name}: many at once')
		tap.is_(len(uses(sim, 'bad')), 1, f'{name}: ... none with that key')
		secret(tap, gate, name)

def secret(tap, gate, name):
	"""The keys are nowhere to be read."""
	words = [open(f'/proc/{pid}/cmdline').read() for pid in [gate.pid, *gate.workers().values()]]
	text = '\n'.join(gate.lines + words) + json.dumps(gate.stat()) + json.dumps(gate.health())
	tap.is_(re.findall(r'0123456789', text), [], f'{name}: no key in log, title, /health or statistics')

def one_is_busy(tap):
	"""Told to wait: its time is heeded, then it is used again."""
	with Sim(*BASIC, '--key', key('good'), '--key', f'{key("busy")},429,retry_after=2,times=1') as sim, \
			Gate(sim, tap, workers=2, provider=with_keys('busy', 'good'), http_client=PATIENT) as gate:
		async def until_it_is_back():
			ends, end = [], time.monotonic() + 15
			while not uses(sim, 'busy'):	# keys take turns
				ends += await one_by_one(gate.port, 1)
			while len(uses(sim, 'busy')) < 2 and time.monotonic() < end:
				ends += await at_once(gate.port, 4)
			return ends
		ends = asyncio.run(until_it_is_back())
		tap.is_(set(ends), {(200, None)}, 'one is rate-limited: everybody is served')
		times = uses(sim, 'busy')
		tap.ok(len(times) >= 2, '... and it is used again')
		tap.ok(times[1] - times[0] >= 1.9, f'... not before it said: {times[1] - times[0]:.2f} s, Retry-After: 2')

def all_fail(tap):
	with Sim(*BASIC, '--key', f'{key("x")},401', '--key', f'{key("y")},429,code=insufficient_quota') as sim, \
			Gate(sim, tap, workers=2, provider=with_keys('x', 'y'), http_client=PATIENT) as gate:
		first = asyncio.run(asyncio.wait_for(stream_chat(gate.port), 15))
		tap.ok(first.status in (429, 502), f'no key is good: the first is told what the provider said ({ending(first)})')
		seen = sim.stats()['requests']
		tap.is_(seen, 2, '... when both were tried')
		second = asyncio.run(asyncio.wait_for(stream_chat(gate.port), 15))
		tap.is_(ending(second), (503, 'api_keys_parked'), 'the next is told that all of them rest')
		tap.ok(1 <= int(second.headers.get('retry-after', 0)) <= 60, '... and to come back later')
		tap.is_(sim.stats()['requests'], seen, '... and the provider is not asked')

def a_single_key_does_not_rest(tap):
	with Sim(*BASIC, '--key', f'{key("only")},401,times=1') as sim, Gate(sim, tap, workers=2, provider=with_keys('only')) as gate:
		tap.is_(asyncio.run(one_by_one(gate.port, 3)), [(502, 'provider_auth')] + [(200, None)] * 2, 'a single key does not rest')

with Tap() as tap:
	sharing(tap)
	one_fails(tap, '401', '401')
	one_fails(tap, '403', '403')
	one_fails(tap, 'quota', '429,code=insufficient_quota')
	one_is_busy(tap)
	all_fail(tap)
	a_single_key_does_not_rest(tap)
