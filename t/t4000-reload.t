#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Reload: nobody notices but by the new limits; a bad file changes nothing."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from wsraw import hello

SHAPE = dict(workers=4, concurrency={'max_connections': 500}, http_client={'concurrent_requests': 100, 'max_connections': 100})

def write(gate, sim, **more):
	with open(gate.conf_path, 'w') as file:
		file.write(config_text(sim, run_dir=gate.run_dir, **{**SHAPE, **more}))

def hup(gate):
	os.kill(gate.pid, signal.SIGHUP)

def reload_count(gate):
	r = (gate.health() or {}).get('reload', {'good': 0, 'failed': 0})
	return r['good'] + r['failed']

def reloaded(gate, sim, **more):
	"""Writes the file, sends HUP, waits for the verdict: the reload part of /health."""
	before = reload_count(gate)
	write(gate, sim, **more)
	hup(gate)
	wait_until(lambda: reload_count(gate) > before)
	return gate.health()['reload']

def generation(gate):
	return (gate.health() or {}).get('generation')

async def streams_survive(tap, sim, gate):
	"""48 streams of 4 s over 4 workers, five generations."""
	knocking = Knocking(gate.port)
	idle = [await ws_connect(gate.port) for _ in range(20)]
	streams = [asyncio.create_task(stream_chat(gate.port, '[[sim:tokens=200,rate=50]]')) for _ in range(48)]
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 48)
	for n in range(4):
		write(gate, sim, concurrency={'max_connections': 500 + n}, server={'header_timeout': 20 + n, 'drain_timeout': 6})
		hup(gate)
		await asyncio.to_thread(wait_until, lambda: generation(gate) == n + 2)
	tap.is_(generation(gate), 5, 'four reloads: four new generations serve, one after the other')
	ends = await asyncio.gather(*streams)
	whole = [s.events[-1] == '[DONE]' and s.text() == sim_text(200) for s in ends]
	tap.is_(whole.count(True), 48, '48 streams of before are whole, to the byte')
	codes, times = [], []
	for ws in idle:
		try:
			await asyncio.wait_for(ws.recv(), 20)
		except Exception:
			codes.append(ws.close_code)
			times.append(time.monotonic())
	tap.is_(codes, [1012] * 20, 'idle WebSockets of before are closed with 1012')
	told = await asyncio.to_thread(knocking.end)
	tap.is_((knocking.lost, knocking.refused), ([], 0), f'a client that comes once a millisecond sees no error: {told}')
	tap.is_(knocking.answered, knocking.asked, '... each was answered')
	left = lambda: len((gate.health() or {'workers': []})['workers']) == 4
	tap.ok(await asyncio.to_thread(wait_until, left), 'the workers of before have left')
	tap.is_(len(gate.grep(r'drain_timeout: cutting')), 0, '... by themselves')

async def spread(tap, sim, gate):
	"""WebSockets that do nothing are not closed all at once."""
	idle = [await ws_connect(gate.port) for _ in range(40)]
	ends = []
	async def wait_end(ws):
		try:
			await asyncio.wait_for(ws.recv(), 20)
		except Exception:
			ends.append(time.monotonic())
	tasks = [asyncio.create_task(wait_end(ws)) for ws in idle]
	await asyncio.to_thread(reloaded, gate, sim, server={'drain_timeout': 4, 'header_timeout': 12})
	await asyncio.wait(tasks)
	ends.sort()
	tap.is_(len(ends), 40, 'all 40 idle WebSockets were closed')
	gap = ends[30] - ends[9]
	tap.ok(gap > 0.6, f'... spread over drain_timeout, 3 s (the middle half over {gap:.2f} s)')

def late(tap, sim, gate):
	"""WebSockets of which a worker that drains knows only the connection yet are told as well."""
	def open_late(how):
		sockets = lambda: sum(w['sockets'] for w in gate.stat()['workers'])
		wait_until(lambda: sockets() == 0)
		clients = [socket.create_connection(('127.0.0.1', gate.port), timeout=20) for _ in range(8)]
		wait_until(lambda: sockets() == 8)
		pids = [w['pid'] for w in gate.stat()['workers'] if w['sockets']]
		how()
		wait_until(lambda: all(w['state'] == 'draining' for w in gate.stat()['workers'] if w['pid'] in pids))
		for client in clients:
			client.sendall(hello('/ws/chat'))
		return clients
	def code(client):
		got = b''
		while b'\x88' not in got and (part := client.recv(4096)):
			got += part
		client.close()
		return got[:12], int.from_bytes(got.partition(b'\x88')[2][1:3], 'big')
	clients = open_late(lambda: reloaded(gate, sim, server={'drain_timeout': 3, 'header_timeout': 17}))
	tap.is_([code(client) for client in clients], [(b'HTTP/1.1 101', 1012)] * 8, 'WebSockets whose handshake comes when their worker drains: 1012')
	clients = open_late(lambda: os.kill(gate.pid, signal.SIGQUIT))
	tap.is_([code(client) for client in clients], [(b'HTTP/1.1 101', 1012)] * 8, '... when all drain, too')
	gate.stopped = True
	tap.is_((gate.child.wait(20), gate.grep('drain_timeout: cutting')), (0, []), '... and nobody was cut for that')

async def limits_hold(tap, sim, gate):
	"""Limits go up and down under load, with workers of two generations: at the simulator it is what was set last."""
	load = Load(gate.port)
	async def changes():
		async def most(limit, **server):
			await asyncio.to_thread(reloaded, gate, sim, http_client={'concurrent_requests': limit, 'max_connections': 100}, **server)
			# what was in flight may end first
			await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] <= limit)
			sim.reset()
			before, top = load.complete, 0
			while load.complete < before + 150:
				await asyncio.sleep(0.02)
				top = max(top, (await asyncio.to_thread(sim.stats))['in_flight'])
			return top, gate.health()['providers']['sim']['concurrent_requests']
		for limit, more in ((30, {}), (5, {'server': {'header_timeout': 13, 'drain_timeout': 6}}), (40, {'server': {'header_timeout': 14, 'drain_timeout': 6}}), (8, {'server': {'header_timeout': 14, 'drain_timeout': 6}})):
			before = generation(gate)
			top, said = await most(limit, **more)
			what = 'with new workers' if generation(gate) != before else 'in place'
			tap.ok(top <= limit and said == limit, f'concurrent_requests {limit} holds, {what} (most seen: {top})')
			tap.ok(top > limit // 2, '... and is used')
	stuck = await load.run(60, changes)
	tap.is_((load.wrong, load.refused, stuck), (0, 0, 0), f'no answer was wrong, nobody refused or stuck ({load.complete} complete)')

async def at_once(tap, sim, gate):
	"""Under load, with a line: how long after HUP the simulator sees as many as may be now, or the last one too many begin; and
	how long after it the last WebSocket comes that is turned away, or let in, as it was before."""
	LOW, HIGH, PLACES = 20, 60, 30
	going, probes, changes = [True], [], []
	body = json.dumps(chat_body('[[sim:tokens=20,rate=100]]', stream=False)).encode()
	async def chat():
		reader, writer = await asyncio.open_connection('127.0.0.1', gate.port)
		while going[0]:
			writer.write(b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
			head = await reader.readuntil(b'\r\n\r\n')
			await reader.readexactly(int(re.search(rb'(?i)content-length: (\d+)', head).group(1)))
		writer.close()
	async def come():
		while going[0]:
			came = time.monotonic()
			ws = await ws_connect(gate.port)
			try:
				await (await ws.ping())
				good = True
			except Exception:
				good = ws.close_code != 1013
			probes.append((came, time.monotonic(), good))
			ws.transport.abort()
	await asyncio.to_thread(reloaded, gate, sim)	# what follows changes limits only
	await asyncio.to_thread(wait_until, lambda: [w['state'] for w in gate.health()['workers']] == ['ready'] * 4)
	held = [await ws_connect(gate.port) for _ in range(PLACES)]
	tasks = [asyncio.create_task(chat()) for _ in range(100)] + [asyncio.create_task(come()) for _ in range(8)]
	for n in range(11):
		if n == 1:
			sim.reset()
		write(gate, sim, concurrency={'max_connections': PLACES + 300 * (n % 2)}, http_client={'concurrent_requests': HIGH if n % 2 else LOW, 'max_connections': 100})
		changes.append(time.monotonic())
		hup(gate)
		await asyncio.sleep(0.7)
	going[0] = False
	await asyncio.gather(*tasks)
	tap.is_([ws.closed for ws in held], [False] * PLACES, 'who is in stays, whatever the limit')
	for ws in held:
		ws.transport.abort()
	seen, running = [], 0	# when one began, how many there were before it
	for row in sim.events():
		if row['event'] == 'request':
			seen.append((row['t_us'] / 1e6, row['t_us'] / 1e6, running))
		running += {'request': 1, 'done': -1}.get(row['event'], 0)
	few, took = [], {name: [] for name in ('concurrent_requests raised', 'concurrent_requests lowered', 'max_connections raised', 'max_connections lowered')}
	for n in range(1, 10):
		since, until = changes[n:n + 2]
		between = lambda rows: [(came - since, what) for came, told, what in rows if since < came and told < until]
		few += [len(between(seen)), len(between(probes))]
		if n % 2:
			took['concurrent_requests raised'].append(min((t for t, before in between(seen) if before == HIGH - 1), default=9))
			took['max_connections raised'].append(max((t for t, good in between(probes) if not good), default=0))
		else:
			took['concurrent_requests lowered'].append(max((t for t, before in between(seen) if before >= LOW), default=0))
			took['max_connections lowered'].append(max((t for t, good in between(probes) if good), default=0))
	tap.ok(min(few) > 5, f'{len(seen)} requests and {len(probes)} WebSockets, 100 clients in line meanwhile')
	for name, times in took.items():
		tap.ok(sorted(times)[len(times) // 2] < 0.1, f'{name} by a reload under load: in force within 100 ms ({" ".join(f"{t * 1000:.0f}" for t in times)} ms)')

def limits_only(tap, sim, gate):
	reloaded(gate, sim)	# a known state
	wait_until(lambda: len(gate.health()['workers']) == 4)
	pids, number = gate.workers(), generation(gate)
	verdict = reloaded(gate, sim, concurrency={'max_connections': 7})
	tap.is_((verdict['ok'], verdict['message']), (True, 'limits changed'), 'a reload that changes limits only')
	tap.is_((gate.health()['max_connections'], gate.workers(), generation(gate)), (7, pids, number), '... needs no new workers')

def bad_file(tap, sim, gate):
	before, pids = gate.health(), gate.workers()
	count = reload_count(gate)
	with open(gate.conf_path, 'a') as file:
		file.write('nonsense: 1\nmore: 2\n')
	hup(gate)
	wait_until(lambda: reload_count(gate) > count)
	after = gate.health()
	tap.is_((after['reload']['ok'], after['reload']['failed']), (False, before['reload']['failed'] + 1), '/health knows that a reload failed')
	tap.like(after['reload']['message'], r'headgate\.yaml:\d+:\d+: .*nonsense', '... and why')
	tap.ok(gate.wait_line(r'error \[master\] master: reload: nothing was changed: .*headgate\.yaml:\d+:\d+: .*nonsense'), 'so does the log')
	tap.ok(gate.wait_line(r'error \[master\] master: reload: .*headgate\.yaml:\d+:\d+: .*more'), '... of every error')
	tap.is_((gate.workers(), after['max_connections'], after['generation']), (pids, before['max_connections'], before['generation']), 'nothing was changed')

def restart_only(tap, sim, gate):
	before = gate.health()
	write(gate, sim, server={'max_generations': 7}, extra='rlimit_nofile: 4096\n')
	count = reload_count(gate)
	hup(gate)
	wait_until(lambda: reload_count(gate) > count)
	tap.ok(gate.wait_line(r'max_generations: 4 -> 7: stays as it is until a restart') and gate.wait_line(r'rlimit_nofile: 0 -> 4096: stays as it is until a restart'),
		'what takes a restart is said, a line each')
	after = gate.health()
	tap.is_((after['reload']['ok'], after['generation']), (True, before['generation']), '... and stays as it is')

def providers_come_and_go(tap, sim, gate):
	second = sim.url
	def with_providers(names):
		text = config_text(sim, run_dir=gate.run_dir, **SHAPE)
		for name, limit in names:
			text += f'    {name}:\n      base_url: {second}\n      model: {name}-1\n      http_client:\n        concurrent_requests: {limit}\n        requests_per_minute: 0\n'
		count, number = reload_count(gate), generation(gate)
		with open(gate.conf_path, 'w') as file:
			file.write(text)
		hup(gate)
		wait_until(lambda: reload_count(gate) > count)
		# whoever of before answers once more knows nothing of it
		return wait_until(lambda: (now := gate.health()) and now['generation'] != number and
			all(w['state'] == 'draining' or w['generation'] == now['generation'] for w in now['workers']))
	def answers(model):
		return request(gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False, model=model))[0]
	with_providers([('one', 3)])
	tap.is_(gate.health()['providers'].get('one', {}).get('concurrent_requests'), 3, 'a provider that a reload adds is there')
	tap.is_(answers('one/one-1'), 200, '... and answers')
	with_providers([('two', 4), ('three', 5)])
	health = gate.health()['providers']
	tap.is_((sorted(health), health.get('two', {}).get('concurrent_requests'), health.get('three', {}).get('concurrent_requests')),
		(['sim', 'three', 'two'], 4, 5), 'one is gone, two others came, each with its own limits')
	tap.is_((answers('two/two-1'), answers('three/three-1'), answers('sim-1')), (200, 200, 200), '... and all of them answer')
	wait_until(lambda: len(gate.health()['workers']) == 4, 30)
	with_providers([('three', 5), ('four', 6)])
	names = list(gate.stat()['providers'])
	tap.ok('four' in names and 'one' not in names and 'three' in names,
		f'the place of one that is gone is used again once nobody needs it ({names})')
	tap.is_((answers('four/four-1'), answers('three/three-1')), (200, 200), '... and answers')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 150) as sim:
	with Gate(sim, tap, server={'drain_timeout': 6}, **SHAPE) as gate:
		asyncio.run(streams_survive(tap, sim, gate))
		asyncio.run(limits_hold(tap, sim, gate))
	with Gate(sim, tap, allowed='nothing was changed|reload: .*headgate.yaml:', server={'drain_timeout': 3}, **SHAPE) as gate:
		asyncio.run(spread(tap, sim, gate))
		asyncio.run(at_once(tap, sim, gate))
		limits_only(tap, sim, gate)
		bad_file(tap, sim, gate)
		restart_only(tap, sim, gate)
		providers_come_and_go(tap, sim, gate)
	with Gate(sim, tap, server={'drain_timeout': 3}, **SHAPE) as gate:
		late(tap, sim, gate)
