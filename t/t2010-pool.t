#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The pool of sockets to a provider is exact over all workers, and recovers by itself."""
import os, signal, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

ENTRY = 'headgate_provider_'

def most_open(sim, grace_us=20000):
	"""The most sockets open at once. A FIN and another process's new connection may be seen in either
	order, so a socket that is closed within grace_us was not open any more."""
	most, running, rows = 0, set(), sim.events()
	spectators = {row['conn'] for row in rows if row['event'] == 'spectator'}
	rows = [row for row in rows if row['event'] in ('open', 'close') and row['conn'] not in spectators]
	closed = {row['conn']: row['t_us'] for row in rows if row['event'] == 'close'}
	for row in rows:
		if row['event'] == 'close':
			running.discard(row['conn'])
			continue
		running.add(row['conn'])
		most = max(most, sum(closed.get(conn, row['t_us'] + 2 * grace_us) > row['t_us'] + grace_us for conn in running))
	return most

async def ask(port, n, ends):
	try:
		s = await stream_chat(port, f'request {n}')
		ends.append(s.status == 200 and s.events[-1:] == ['[DONE]'] and s.text() == sim_text(10))
	except Exception:
		ends.append(None)	# cut: its worker was killed

async def crowd(gate, requests, clients, ends, at=None, then=None):
	"""That many requests, so many at a time; then() when the at-th has ended."""
	left = iter(range(requests))
	async def client():
		for n in left:
			await ask(gate.port, n, ends)
			if at and len(ends) == at:
				await asyncio.to_thread(then)
	await asyncio.gather(*[client() for _ in range(clients)])

def limits_hold(tap, sim, gate):
	ends = []
	asyncio.run(crowd(gate, 1000, 40, ends))
	stats = sim.stats()
	tap.is_(sum(e is True for e in ends), 1000, 'all of 1000 requests complete')
	tap.is_(most_open(sim), 10, 'the simulator saw all 10 sockets, and never more')
	tap.at_most(stats['max_idle_connections'], 4, 'and never more than 4 idle ones')
	pool = gate.health()['providers']['sim']['pool']
	tap.is_(pool['max'], 10, '/health tells the limit of the pool')
	tap.is_(pool['waiting'], 0, 'and that nobody waits any more')
	tap.at_most(pool['idle'], 4, 'and how many are idle')
	seen = gate.stat()['providers']['sim']['statistics']
	tap.ok(seen[ENTRY + 'pool_waits_total'] > 100, f'waits are counted: {seen[ENTRY + "pool_waits_total"]}')
	tap.is_(seen[ENTRY + 'pool_wait_seconds']['count'], seen[ENTRY + 'pool_waits_total'], 'each with its time')
	tap.ok(seen[ENTRY + 'sockets_reused_total'] > 500, f'most requests reuse a socket: {seen[ENTRY + "sockets_reused_total"]}')
	tap.is_(seen[ENTRY + 'sockets_reused_total'] + seen[ENTRY + 'sockets_opened_total'], 1000, 'the others opened one')

def a_death_frees_its_sockets(tap, sim, gate):
	ends = []
	victim = sorted(gate.workers().values())[0]
	sim.reset()
	asyncio.run(crowd(gate, 600, 40, ends, 200, lambda: os.kill(victim, signal.SIGKILL)))
	cut = sum(e is None for e in ends)
	tap.is_(sum(e is True for e in ends), 600 - cut, 'a worker was killed: all others complete')
	tap.at_most(cut, 40, 'no more than it had are cut')
	tap.at_most(most_open(sim), 10, 'its sockets were taken over, not doubled')
	tap.ok(wait_until(lambda: len(gate.workers()) == 4), 'its successor is there')
	tap.ok(wait_until(lambda: (h := gate.health()) and h['providers']['sim']['pool']['open'] == sim.stats()['connections_open'] or None),
		'what the pool counts is what the simulator sees')

def timeout(tap, sim):
	with Gate(sim, tap, workers=2, http_client={'max_connections': 2, 'pool_timeout': '300ms'}) as gate:
		async def run():
			long = [await Stream().open(gate.port, chat_body(f'long {n} [[sim:tokens=100000]]')) for n in range(2)]
			for s in long:
				await s.head()
			third = await Stream().open(gate.port, chat_body('short'))
			await third.head()
			text = b''.join([part async for part in third.body()]).decode()
			third.close()
			tap.is_(third.status, 504, 'both sockets are taken: the third is told 504')
			error = json.loads(text)['error']
			tap.is_(error['code'], 'pool_timeout', 'with the code pool_timeout')
			tap.like(error['message'], 'pool_timeout', 'and a text that names it')
			tap.like(third.headers.get('x-headgate-limit', ''), r'sim\.http_client\.pool_timeout', 'and the limit')
			for s in long:
				s.close()
			ends = []
			await crowd(gate, 20, 4, ends)
			tap.is_(ends, [True] * 20, 'when they have left, it serves again, without a restart')
		asyncio.run(run())
		tap.is_(gate.stat()['providers']['sim']['statistics'][ENTRY + 'pool_timeouts_total'], 1, 'the timeout is counted')

def expiry(tap, sim):
	with Gate(sim, tap, workers=2, http_client={'keepalive_expiry': '1s'}) as gate:
		ends = []
		asyncio.run(crowd(gate, 20, 4, ends))
		tap.ok(sim.stats()['connections_open'] > 0, 'sockets stay open for a while')
		tap.ok(wait_until(lambda: sim.stats()['connections_open'] == 0), 'and are closed when they expire')
		tap.is_(gate.health()['providers']['sim']['pool'], {'open': 0, 'idle': 0, 'max': 50, 'waiting': 0}, '/health agrees')

def none_kept(tap, sim):
	with Gate(sim, tap, workers=2, http_client={'max_keepalive': 0}) as gate:
		ends = []
		asyncio.run(crowd(gate, 20, 4, ends))
		tap.is_(ends, [True] * 20, 'max_keepalive 0: all complete')
		tap.is_(gate.stat()['providers']['sim']['statistics'][ENTRY + 'sockets_opened_total'], 20, 'on a socket of its own each')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 10, '--rate', 200) as sim:
	with Gate(sim, tap, workers=4, allowed='killed by signal 9', http_client={'concurrent_requests': 25,
			'max_connections': 10, 'max_keepalive': 4, 'pool_timeout': '30s'}) as gate:
		limits_hold(tap, sim, gate)
		a_death_frees_its_sockets(tap, sim, gate)
	expiry(tap, sim)
	none_kept(tap, sim)
	timeout(tap, sim)
