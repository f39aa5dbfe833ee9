#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Providers over TLS: certificates are checked; HTTP/2 shares connections, and nobody's stream costs another one anything."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from tls import *

need_nghttpx()

class At:
	"""A provider's place, for a configuration."""
	def __init__(self, url):
		self.url = url

def ask(gate):
	"""(status, code of the error or None, text) of one JSON chat."""
	status, _, body = request(gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False))
	answer = json.loads(body)
	return status, answer.get('error', {}).get('code'), answer['choices'][0]['message']['content'] if status == 200 else None

def certificates(tap, ca, sim):
	refused = (502, 'provider_tls_failed', None)
	once = {'max_retries': 0}
	with Terminator(ca, sim) as front:
		with Gate(front, tap, workers=1, provider={'ca_file': ca.pem}) as gate:
			tap.is_(ask(gate), (200, None, sim_text(10)), 'an authority of our own in ca_file: its provider is asked')
		with Gate(front, tap, workers=1, http_client=once) as gate:
			tap.is_(ask(gate), refused, 'without it the provider is refused')
		with Gate(At(front.url.replace('127.0.0.1', 'localhost')), tap, workers=1, provider={'ca_file': ca.pem}, http_client=once) as gate:
			tap.is_(ask(gate), refused, 'and so is one under another name than that in its certificate')
		with authority() as other, Gate(front, tap, workers=1, provider={'ca_file': other.pem}, http_client=once) as gate:
			tap.is_(ask(gate), refused, 'and one of another authority')
	tap.is_(len(sim.events('request')), 1, 'no refused provider saw a request')

def ours(ca, **more):
	return {'provider': {'ca_file': ca.pem}, 'http_client': {'max_retries': 0, 'concurrent_requests': 100, **more}}

def statistics(gate):
	return {name.removeprefix('headgate_provider_'): value for name, value in gate.stat()['providers']['sim']['statistics'].items()}

async def crowd(gate, n, text='hello'):
	"""That many streams at once."""
	return await asyncio.gather(*[stream_chat(gate.port, text) for _ in range(n)])

def whole(streams, n=10):
	"""How many; the others are shown."""
	good = [s.status == 200 and s.events[-1:] == ['[DONE]'] and s.text() == sim_text(n) for s in streams]
	for s, is_good in zip(streams, good):
		if not is_good:
			print(f'# {s.status} {s.events[-1:]} {s.rest}', file=sys.stderr)
	return sum(good)

def many_on_one(tap, ca, sim):
	with Terminator(ca, sim) as front, Gate(front, tap, workers=1, **ours(ca)) as gate:
		tap.is_(whole(asyncio.run(crowd(gate, 60))), 60, '60 streams at once are whole')
		tap.is_(len(front.served()), 60, '... the provider has served them')
		tap.is_({protocol for _, protocol in front.served()}, {'h2'}, '... over HTTP/2')
		tap.is_(len({connection for connection, _ in front.served()}), 2, '... on two connections: 32 streams each')
		seen = statistics(gate)
		tap.is_((seen['sockets_opened_total'], seen['sockets_reused_total']), (2, 58), '... says the pool, too')
		tap.is_((seen['sockets'], seen['http2_sockets'], seen['idle_sockets']), (2, 2, 2), '... which now are idle')
		tap.is_(whole(asyncio.run(crowd(gate, 20))), 20, '20 more')
		tap.is_(statistics(gate)['sockets_opened_total'], 2, '... open none')
	with Terminator(ca, sim) as front, Gate(front, tap, workers=1, **ours(ca, http2='off')) as gate:
		tap.is_(whole(asyncio.run(crowd(gate, 20))), 20, 'http2: off: 20 streams are whole')
		tap.is_({protocol for _, protocol in front.served()}, {'http/1.1'}, '... over HTTP/1.1')
		tap.ok(statistics(gate)['sockets_opened_total'] > 2, '... on more connections')
	with Terminator(ca, sim) as front, Gate(front, tap, workers=1, **ours(ca, max_keepalive=0)) as gate:
		tap.is_(whole(asyncio.run(crowd(gate, 20))), 20, 'max_keepalive: 0: 20 streams are whole')
		tap.is_((statistics(gate)['sockets_opened_total'], statistics(gate)['sockets']), (1, 0), '... on one connection, which is not kept')
	with Terminator(ca, sim, alpn='http/1.1') as front, Gate(front, tap, workers=1, **ours(ca)) as gate:
		for _ in range(2):
			tap.is_(whole(asyncio.run(crowd(gate, 20))), 20, 'a provider that does not offer it: 20 streams are whole')
		tap.is_({protocol for _, protocol in front.served()}, {'http/1.1'}, '... over HTTP/1.1')

async def open_streams(gate, texts):
	return [await Stream().open(gate.port, chat_body(text)) for text in texts]

def in_flight(sim, n):
	return wait_until(lambda: sim.stats()['in_flight'] == n)

def cancel(tap, ca, sim):
	"""A client that leaves: its stream alone is reset, at once, also where nothing else moves on the connection."""
	silence_ms = 2500
	with Terminator(ca, sim) as front, Gate(front, tap, workers=1, **ours(ca)) as gate:
		async def run():
			silent = f'[[sim:tokens=10,first_token_ms={silence_ms}]]'
			streams = await open_streams(gate, [silent] * 5)
			tap.ok(await asyncio.to_thread(in_flight, sim, 5), '5 streams wait for their first token')
			streams[2].close()
			tap.ok(await asyncio.to_thread(in_flight, sim, 4), 'the client of one leaves: the provider is rid of it')
			tap.is_(gate.health()['providers']['sim']['in_flight'], 4, '... and its permit is free')
			rest = streams[:2] + streams[3:]
			await asyncio.gather(*[s.run() for s in rest])
			tap.is_(whole(rest), 4, '... and the others are whole')
			tap.is_(statistics(gate)['sockets_opened_total'], 1, '... all on one connection')
			for s in streams:
				s.close()
			alone, = await open_streams(gate, [silent])
			await asyncio.to_thread(in_flight, sim, 1)
			alone.close()
			tap.ok(await asyncio.to_thread(in_flight, sim, 0), 'one that is alone on its connection leaves: the provider is rid of it, too')
		start = len(sim.events())
		asyncio.run(run())
		rows = sim.events()[start:]
		asked = min(row['t_us'] for row in rows if row['event'] == 'request')
		gone = [row['t_us'] for row in rows if row['event'] == 'done' and row['how'] == 'client_gone']
		tap.ok(len(gone) == 2 and gone[0] < asked + silence_ms * 1000, f'... before any other one had a token: {(gone[0] - asked) // 1000} ms')
		tap.is_(whole(asyncio.run(crowd(gate, 5))), 5, 'then it serves on')

def memory_kb(gate, what='VmRSS'):
	return sum(int(re.search(rf'{what}:\s+(\d+)', open(f'/proc/{pid}/status').read()).group(1)) for pid in gate.workers().values())

def stuck_client(port, text):
	"""Sends a request and never reads; a small receive buffer, so that the kernel holds little."""
	s = socket.socket()
	s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
	s.connect(('127.0.0.1', port))
	data = json.dumps(chat_body(text)).encode()
	s.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n'
		b'Content-Length: %d\r\n\r\n' % len(data) + data)
	return s

def slow_readers(tap, ca, sim):
	"""They are on the same connection as the others."""
	slow = 6
	with Terminator(ca, sim) as front, Gate(front, tap, workers=1, streaming={'client_stall_timeout': '60s'}, **ours(ca)) as gate:
		asyncio.run(crowd(gate, 20))
		before = memory_kb(gate)
		stuck = [stuck_client(gate.port, '[[sim:tokens=24000,rate=0]]') for _ in range(slow)]	# 6 MB
		tap.ok(wait_until(lambda: statistics(gate)['pauses_total'] == slow), f'{slow} clients ask for 6 MB and read nothing: their streams are paused')
		tap.ok(in_flight(sim, 0), '... the provider has sent all')
		tap.is_(gate.health()['providers']['sim']['in_flight'], slow, '... and none has ended')
		tap.is_(whole(asyncio.run(crowd(gate, 20))), 20, '20 others are served meanwhile, whole')
		tap.is_(statistics(gate)['sockets_opened_total'], 1, '... on the same connection')
		tap.at_most(memory_kb(gate) - before, slow * 4096, 'memory (kB) grew by less than was asked for')
		for s in stuck[1:]:
			s.close()
		stuck[0].settimeout(20)
		got = b''
		while b'[DONE]' not in got[-100:] and (part := stuck[0].recv(1 << 20)):
			got += part
		tokens = re.findall(rb'"content":"t(\d+) "', got)
		tap.is_([int(n) for n in tokens], list(range(24000)), 'one of them reads after all: not a token is missing')
		stuck[0].close()
		wait_until(lambda: gate.health()['providers']['sim']['in_flight'] == 0)
		stuck = [stuck_client(gate.port, '[[sim:tokens=65536,rate=0]]') for _ in range(slow)]	# 16 MB
		tap.ok(wait_until(lambda: gate.health()['failures'].get('client_too_slow') == slow), 'who falls 4 MiB behind is cut off')
		tap.is_(whole(asyncio.run(crowd(gate, 20))), 20, '... and others are served, whole')
		tap.at_most(memory_kb(gate, 'VmHWM') - before, slow * 10 * 1024, 'memory (kB) was bounded all the time')
		for s in stuck:
			s.close()

async def turns(gate, requests, clients, at=None, then=None):
	"""That many requests, so many at a time; then() when the at-th has ended. How each ended."""
	ends, left = [], iter(range(requests))
	async def client():
		for n in left:
			try:
				ends.append(whole([await stream_chat(gate.port, f'request {n}')]) == 1)
			except Exception:
				ends.append(None)	# cut: its worker was killed
			if len(ends) == at:
				await asyncio.to_thread(then)
	await asyncio.gather(*[client() for _ in range(clients)])
	return ends

def pool_holds(tap, ca, sim):
	"""Fewer connections than workers: all get their turn; and a death frees what it had."""
	with Terminator(ca, sim) as front, Wire(front) as wire, Gate(wire, tap, workers=4, allowed='killed by signal 9',
			**ours(ca, max_connections=3, max_keepalive=2, pool_timeout='30s')) as gate:
		tap.is_(asyncio.run(turns(gate, 300, 60)), [True] * 300, '300 requests over 4 workers and 3 connections are whole')
		tap.is_(wire.most_open(), 3, '... there never were more connections')
		tap.ok(wire.seen < 100, f'... and far fewer than requests: {wire.seen}')
		tap.ok(wait_until(lambda: len(wire.open_now) <= 2), 'max_keepalive stay idle')
		victim = sorted(gate.workers().values())[0]
		ends = asyncio.run(turns(gate, 300, 60, 100, lambda: os.kill(victim, signal.SIGKILL)))
		tap.is_(ends.count(True), 300 - ends.count(None), 'a worker is killed: all requests of the others are whole')
		tap.at_most(ends.count(None), 60, '... no more than it had are cut')
		tap.is_(wire.most_open(), 3, '... its connections were taken over, not doubled')
		tap.ok(wait_until(lambda: (h := gate.health()) and h['providers']['sim']['pool']['open'] == len(wire.open_now) or None),
			'... and what the pool counts is what there is')

def provider_ways(tap, ca, sim):
	"""What the provider may do to its connections."""
	with Terminator(ca, sim, '--frontend-http2-max-concurrent-streams=5') as front, Gate(front, tap, workers=1, **ours(ca)) as gate:
		tap.is_(whole(asyncio.run(crowd(gate, 5))), 5, 'it takes 5 streams on a connection')
		tap.is_(asyncio.run(turns(gate, 100, 20)), [True] * 100, '... 100 requests, 20 at a time, are whole')
	with Terminator(ca, sim, '--frontend-max-requests=10') as front, Gate(front, tap, workers=1, **ours(ca, max_retries=3, backoff_factor=0.01)) as gate:
		tap.is_(asyncio.run(turns(gate, 100, 20)), [True] * 100, 'it says goodbye after each 10 requests: all 100 are whole')
		tap.ok(len({connection for connection, _ in front.served()}) >= 5, '... on many connections')
	with Terminator(ca, sim) as new, Terminator(ca, sim, alpn='http/1.1') as old, Wire(new, old) as wire, \
			Gate(wire, tap, workers=1, **ours(ca, keepalive_expiry='100ms', circuit_breaker=False)) as gate:
		for _ in range(3):
			tap.is_(whole(asyncio.run(crowd(gate, 70))), 70, 'every other connection is HTTP/1.1: 70 at once are whole')
		tap.ok(new.served() and old.served(), '... over both')
	with Terminator(ca, sim) as front, Wire(front) as wire, Gate(wire, tap, workers=1, **ours(ca, circuit_breaker=False)) as gate:
		async def run():
			streams = await open_streams(gate, ['[[sim:tokens=10000,rate=100]]'] * 40)
			await asyncio.gather(*[s.head() for s in streams])
			await asyncio.to_thread(wire.cut)
			heads = [s.status for s in streams]
			await asyncio.gather(*[drain(s) for s in streams])
			tap.is_(heads, [200] * 40, '40 streams run')
			tap.is_([json.loads(s.events[-1])['error']['code'] for s in streams], ['provider_reset'] * 40,
				'... their connections are reset: each client is told in its stream')
			for s in streams:
				s.close()
		asyncio.run(run())
		tap.is_(whole(asyncio.run(crowd(gate, 40))), 40, '... and it serves on')
		tap.is_(statistics(gate)['sockets'], len(wire.open_now), '... with as many connections as it counts')
	with Gate(At(front.url), tap, workers=1, **ours(ca, circuit_breaker=False)) as gate:
		ends = asyncio.run(crowd(gate, 20))
		tap.is_({s.status for s in ends}, {502}, 'nobody is there: 20 requests at once are told')

async def drain(s):
	"""The rest of a stream whose head was read."""
	held = b''
	async for part in s.body():
		held += part
	s.events = [event[5:].strip().decode() for event in held.split(b'\n\n') if event.startswith(b'data:')]

PARTS = (certificates, many_on_one, cancel, slow_readers, pool_holds, provider_ways)
with Tap() as tap, authority() as ca, Sim('--text', 'tokens', '--tokens', 10, '--rate', 200) as sim:
	for part in PARTS:
		if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
			part(tap, ca, sim)
