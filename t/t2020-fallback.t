#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A provider that dies under load: its fallback serves, nobody stalls, it is asked again; keys that are refused rest."""
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

with Tap() as tap:
	death_and_return(tap)
	keys(tap)
