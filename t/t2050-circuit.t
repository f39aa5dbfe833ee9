#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A provider that dies under load: its circuit opens, for all workers, its fallback serves, nobody stalls, and it closes
again; one request at a time asks whether it is back. HEADGATE_DEATH_S: for how long it is dead."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

DEATH_S = float(os.environ.get('HEADGATE_DEATH_S', 5))	# the first probe fails after 2 s, the next one is 4 s later, ...
CLIENTS = 20
TOKENS = {20: 'first', 5: 'spare'}	# by its length an answer says who gave it
OPEN, CLOSED = "circuit: 'sim': open", "circuit: 'sim': closed"

class Clients:
	"""They ask again and again; each answer is (when, how long, who), or who is how else it ended."""
	def __init__(self, port):
		self.port, self.going, self.answers = port, True, []

	async def client(self):
		while self.going:
			began = time.monotonic()
			s = await stream_chat(self.port)
			who = [TOKENS[n] for n in TOKENS if ending(s) == (200, None) and s.text() == sim_text(n)]
			self.answers.append((began, time.monotonic() - began, who[0] if who else ending(s)))

	def count(self, who, since=0):
		return sum(a[2] == who and a[0] >= since for a in self.answers)

	def wait(self, who, n, seconds=20.0):
		"""Until n more have come that were asked for from now on."""
		now = time.monotonic()
		return wait_until(lambda: self.count(who, now) >= n, seconds)

	async def run(self, play):
		tasks = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
		try:
			await asyncio.to_thread(play, self)
		finally:
			self.going = False
		done, stuck = await asyncio.wait(tasks, timeout=20)
		for task in done:
			task.result()
		return len(stuck)

def statistics(gate):
	seen = gate.stat()['providers']['sim']['statistics']
	return {name: seen.get(f'headgate_provider_{name}_total', -1) for name in ('calls', 'retries', 'fallbacks')}

def figures(name, answers, since, until):
	"""What happened meanwhile, for people."""
	part = sorted(a[1] for a in answers if since <= a[0] < until)
	if part:
		print(f'# {name}: {until - since:.1f} s, {len(part) / (until - since):.0f} answers/s, ' + ', '.join(
			f'{q} {part[min(len(part) - 1, int(len(part) * p))] * 1000:.0f} ms' for q, p in (('p50', .5), ('p99', .99), ('worst', 1))))

def gate_with(first, spare, tap, **http_client):
	return Gate(first, tap, workers=4, provider={'fallback': ['spare']}, extra=provider_text('spare', spare),
		http_client={'max_retries': 1, 'backoff_factor': 0.05, 'concurrent_requests': 50, **http_client})

def death(tap):
	"""It is gone, connections and all."""
	times = []
	def play(clients):
		tap.ok(clients.wait('first', CLIENTS * 5), 'all is well: the provider serves')
		tap.is_(clients.count('spare'), 0, '... and the spare one nobody')
		times.extend([time.monotonic(), time.monotonic() + DEATH_S])
		first.outage('refuse', DEATH_S)
		tap.ok(gate.wait_line(OPEN), 'it dies: its circuit opens')
		times.append(time.monotonic())
		tap.ok(clients.wait('spare', CLIENTS * 5), '... and the spare one serves')
		wait_until(lambda: time.monotonic() > times[1], DEATH_S + 1)
		tap.ok(clients.wait('first', CLIENTS * 5, 5 + DEATH_S), 'it comes back: it serves again')
		times.append(min(a[0] for a in clients.answers if a[0] > times[1] and a[2] == 'first'))
		now = time.monotonic()
		tap.ok(clients.wait('first', CLIENTS * 5), '... for good')
		tap.is_(clients.count('spare', now), 0, '... and the spare one rests')
	with Sim('--text', 'tokens', '--tokens', 20, '--rate', 200) as first, Sim('--text', 'tokens', '--tokens', 5, '--rate', 50) as spare, \
			gate_with(first, spare, tap, connect_timeout=1) as gate:
		clients = Clients(gate.port)
		tap.is_(asyncio.run(clients.run(play)), 0, 'no client was left waiting')
		worst = max(a[1] for a in clients.answers)
		tap.ok(worst < 2, f'nobody stalled: the longest answer took {worst:.2f} s')
		odd = [a[2] for a in clients.answers if a[2] not in TOKENS.values()]
		tap.at_most(len(odd), CLIENTS, 'only streams that had begun were cut')
		tap.is_([how for how in odd if how[0] != 200 or how[1] == 'silence'], [], '... in band')
		n = statistics(gate)
		tap.is_(n['fallbacks'], clients.count('spare'), 'who was handed on is counted')
		opens, closes = gate.grep(OPEN), gate.grep(CLOSED)
		tap.ok(len(closes) == 1 and 1 <= len(opens) <= 8, f'the circuit of four workers opened {len(opens)} times (failed probes included), and closed once')
		died, back, opened, again = times
		figures('before', clients.answers, clients.answers[0][0], died)
		figures('dead', clients.answers, died, back)
		figures('after', clients.answers, again, time.monotonic())
		print(f'# open after {opened - died:.2f} s, closed {again - back:.2f} s after it was back; {len(odd)} streams cut; {n}')

def one_probe(tap):
	"""It takes requests, and says nothing: whoever tries it is stuck for a while, so only one may."""
	at = []
	def play(clients):
		clients.wait('first', CLIENTS)
		at.append(time.monotonic() * 1e6)
		first.outage('stall_headers')
		gate.wait_line(OPEN)
		silent = lambda: sum(row['t_us'] > at[0] for row in first.events('done') if row['how'] == 'client_gone')
		wait_until(lambda: first.stats()['in_flight'] == 0 and silent() >= 5)
		at.append(time.monotonic() * 1e6)
		tap.ok(wait_until(lambda: first.stats()['in_flight'] == 1, 10), 'a silent provider: a probe goes out')
		now = time.monotonic()
		tap.ok(wait_until(lambda: first.stats()['in_flight'] == 0, 10), '... and is given up')
		at.append(time.monotonic() * 1e6)
		tap.ok(clients.count('spare', now) > CLIENTS, f'... and {clients.count("spare", now)} others are served meanwhile')
	with Sim('--text', 'tokens', '--tokens', 20, '--rate', 200) as first, Sim('--text', 'tokens', '--tokens', 5, '--rate', 50) as spare, \
			gate_with(first, spare, tap, read_timeout=1) as gate:
		stuck = asyncio.run(Clients(gate.port).run(play))
		probes = [row['in_flight'] for row in first.events('request') if at[1] < row['t_us'] <= at[2]]
		tap.is_((probes, stuck), ([1], 0), '... one of four workers and twenty clients, no more')
		crowd = sum(at[0] < row['t_us'] <= at[1] for row in first.events('request'))
		tap.at_most(crowd, 2 * CLIENTS, 'before that, no more than were under way found out')

def switched_off(tap):
	with Sim('--fault', '500') as sick, Gate(sick, tap, workers=2, http_client={'max_retries': 0, 'circuit_breaker': False}) as gate:
		async def ask():
			return {ending(await stream_chat(gate.port)) for _ in range(30)}
		ends = asyncio.run(ask())
		tap.is_((len(ends), {end[0] for end in ends}, sick.stats()['requests']), (1, {500}, 30), 'circuit_breaker off: every request goes out')

with Tap() as tap:
	death(tap)
	one_probe(tap)
	switched_off(tap)
