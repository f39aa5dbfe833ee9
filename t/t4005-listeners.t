#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Reload with other addresses and another number of workers: checked before anything changes, and no client is
lost, neither one that is served nor one that waits in the queue of a socket that goes."""
import os, ssl, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from tls import authority

SHAPE = dict(workers=2, concurrency={'max_connections': 500}, server={'drain_timeout': 6},
	http_client={'concurrent_requests': 100, 'max_connections': 100})
ASK = b'GET /v1/models HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n'

def reloaded(gate, sim, port, host='127.0.0.1', admin='', at=None, **more):
	"""Writes the file and sends HUP; the verdict, which is the last line about a reload in the log."""
	with open(gate.conf_path, 'w') as file:
		file.write(config_text(sim, run_dir=gate.run_dir, **{**SHAPE, **more}).replace('port: 0', f'host: "{host}"\n    port: {port}')
			+ (f'admin:\n  listen: {admin}\n' if admin else ''))
	start = len(gate.lines)
	os.kill(gate.pid, signal.SIGHUP)
	return gate.wait_line(r'reload: (nothing was changed: .*|limits changed|new workers were asked for.*)', start=start).group(1)

def took_over(gate, start):
	"""The next generation serves; its addresses are told. The port."""
	gate.wait_line('generation .* serves', start=start)
	line = gate.wait_line(r'listening on https?://[^ ]*:(\d+) \((\d+) workers\)', start=start)
	gate.port = int(line.group(1))
	return int(line.group(2))

async def another_port(tap, sim, gate):
	streams = [asyncio.create_task(stream_chat(gate.port, '[[sim:tokens=150,rate=50]]')) for _ in range(20)]
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 20)
	old, new = gate.port, free_port()
	knocking = Knocking(old)
	def change():
		start = len(gate.lines)
		return reloaded(gate, sim, new), took_over(gate, start)
	tap.is_(await knocking.during(change), ('new workers were asked for', 2), 'another port')
	tap.is_(knocking.lost, [], f'of {knocking.answered} clients that found the old one open each was answered')
	tap.ok(await asyncio.to_thread(wait_until, lambda: socket.socket().connect_ex(('127.0.0.1', old)) != 0), '... until it was closed')
	tap.is_(gate.port, new, 'the log says the new one')
	tap.is_((await asyncio.to_thread(gate.health))['status'], 'ok', '... which serves')
	tap.ok(gate.wait_line(f'no longer listening on http://127.0.0.1:{old}'), '... and that the old one is no longer served')
	ends = await asyncio.gather(*streams)
	tap.is_([s.events[-1] == '[DONE]' and s.text() == sim_text(150) for s in ends].count(True), 20, 'streams of before are whole')

async def queued(tap, sim, gate):
	"""What waits in the queue of a socket that goes, while its workers hang, is served when they are back."""
	old, new = gate.port, free_port()
	pids = list(gate.workers().values())
	for pid in pids:
		os.kill(pid, signal.SIGSTOP)
	clients = [await asyncio.open_connection('127.0.0.1', old) for _ in range(40)]
	for _, writer in clients:
		writer.write(ASK)
	start = len(gate.lines)
	await asyncio.to_thread(reloaded, gate, sim, new)
	await asyncio.to_thread(took_over, gate, start)
	for pid in pids:
		os.kill(pid, signal.SIGCONT)
	async def read(reader):
		try:
			return (await asyncio.wait_for(reader.read(), 20))[:12]
		except Exception as error:
			return error
	got = [await read(reader) for reader, _ in clients]
	tap.is_(got, [b'HTTP/1.1 200'] * 40, '40 clients in the queue of workers that hang: all are answered at the old port')
	refused = lambda: socket.socket().connect_ex(('127.0.0.1', old)) != 0
	tap.ok(await asyncio.to_thread(wait_until, refused), '... which is closed then')

async def more_and_fewer(tap, sim, gate):
	for n in (5, 1, 3, 2):
		knocking = Knocking(gate.port)
		def change():
			start = len(gate.lines)
			return reloaded(gate, sim, gate.port, workers=n), took_over(gate, start)
		tap.is_(await knocking.during(change), ('new workers were asked for', n), f'{n} workers')
		tap.is_((knocking.lost, knocking.refused), ([], 0), f'... no client is lost or refused ({knocking.answered} answers)')
		await asyncio.to_thread(wait_until, lambda: len(gate.health()['workers']) == n)
		tap.is_(sorted(w['state'] for w in gate.health()['workers']), ['ready'] * n, '... and serve')
	# with all of them at rest, each gets its share
	requests = lambda: {w['pid']: w['requests'] for w in gate.stat()['workers'] if w['state'] == 'ready'}
	before = requests()
	await asyncio.to_thread(lambda: [raw(gate.port, ASK) for _ in range(200)])
	shares = [n - before[pid] for pid, n in requests().items()]
	tap.ok(len(shares) == 2 and min(shares) > 40, f'... each with its share of 200 clients ({shares})')

def free_everywhere():
	"""A port that nobody has at any address, [::1] included."""
	with socket.create_server(('', 0), family=socket.AF_INET6, dualstack_ipv6=True) if socket.has_dualstack_ipv6() else socket.create_server(('', 0)) as s:
		return s.getsockname()[1]

async def everywhere(tap, sim, gate):
	"""The same port on all addresses: both sockets are ours."""
	start = len(gate.lines)
	await asyncio.to_thread(reloaded, gate, sim, free_everywhere())
	await asyncio.to_thread(took_over, gate, start)
	knocking = Knocking(gate.port)
	def change():
		start = len(gate.lines)
		return reloaded(gate, sim, gate.port, host='*', chat=None, extra='clients:\n  allow_anonymous: true\n'), took_over(gate, start)
	tap.is_(await knocking.during(change), ('new workers were asked for', 2), 'from one address to all, at the same port')
	tap.is_((knocking.lost, knocking.refused), ([], 0), f'... no client is lost or refused ({knocking.answered} answers)')
	tap.ok(gate.wait_line('host is [*] and clients need no key'), '... and it is said that anybody comes in')
	start = len(gate.lines)
	await asyncio.to_thread(reloaded, gate, sim, gate.port)
	await asyncio.to_thread(took_over, gate, start)

def admin(tap, sim, gate):
	def page(port):
		try:
			return request(port, 'GET', '/status')[0]
		except OSError:
			return 'refused'
	ports = [free_port(), free_port()]
	seen = []
	for address in (str(ports[0]), str(ports[1]), f'"[::1]:{ports[1]}"', ''):
		start = len(gate.lines)
		reloaded(gate, sim, gate.port, admin=address)
		took_over(gate, start)
		seen.append([page(port) for port in ports])
		wait_until(lambda: len(gate.workers()) == 2)
	# closed only when it has been emptied
	wait_until(lambda: page(ports[1]) == 'refused')
	tap.is_((seen[0], seen[1][1]), ([200, 'refused'], 200), 'admin.listen is added, and moved')
	tap.is_([page(port) for port in ports], ['refused', 'refused'], '... and removed')
	tap.is_(request(gate.port, 'GET', '/metrics')[0], 200, '... /metrics is among the other endpoints again')

def refused(tap, sim, gate):
	pids, number, port = gate.workers(), gate.health()['generation'], gate.port
	with socket.create_server(('127.0.0.1', 0)) as other:
		busy = other.getsockname()[1]
		for what, more, pattern in (
				('a busy port', {'port': busy}, f'chat.websocket.port: cannot listen on 127.0.0.1 port {busy}: .*another program'),
				('a busy admin.listen', {'port': free_port(), 'admin': busy}, f'admin.listen: cannot listen on 127.0.0.1 port {busy}: '),
				("an address that is not this machine's", {'host': '192.0.2.1', 'port': port, 'extra': 'clients: {allow_anonymous: true}\n'}, 'must be an address of this machine'),
				('more workers than there is room for', {'port': port, 'workers': 9}, 'workers: 9 do not fit beside the 2 that serve; .* room for 10')):
			said = reloaded(gate, sim, **{'port': 0, **more})
			tap.like(said, 'nothing was changed: .*' + pattern, f'{what}: refused')
			tap.ok(wait_until(lambda: re.search(pattern, gate.health()['reload']['message'])), '... and /health says so')
			tap.is_((gate.workers(), gate.health()['generation']), (pids, number), '... nothing was changed')
			if what == 'a busy admin.listen':
				tap.is_(socket.socket().connect_ex(('127.0.0.1', more['port'])) != 0, True, '... nor is the new port open')
	tap.is_(reloaded(gate, sim, port, server={'drain_timeout': 7}), 'new workers were asked for', 'a good file is taken as before')
	wait_until(lambda: gate.health()['generation'] > number)

def there_and_back(tap, sim, gate):
	"""To another address and back at once, while the first is being emptied."""
	first, second = gate.port, free_port()
	for port in (second, first, second, first):
		start = len(gate.lines)
		reloaded(gate, sim, port)
		took_over(gate, start)
	tap.is_((gate.port, gate.health()['status']), (first, 'ok'), 'there and back, twice: the first address serves')
	wait_until(lambda: socket.socket().connect_ex(('127.0.0.1', second)) != 0)
	tap.is_(socket.socket().connect_ex(('127.0.0.1', second)) != 0, True, '... alone')

async def drained(tap, sim, gate):
	"""A drain of all: who is in the queue is served."""
	pids = list(gate.workers().values())
	for pid in pids:
		os.kill(pid, signal.SIGSTOP)
	clients = [await asyncio.open_connection('127.0.0.1', gate.port) for _ in range(40)]
	for _, writer in clients:
		writer.write(ASK)
	os.kill(gate.pid, signal.SIGQUIT)
	await asyncio.to_thread(gate.wait_line, 'draining: ')
	for pid in pids:
		os.kill(pid, signal.SIGCONT)
	got = [(await asyncio.wait_for(reader.read(), 20))[:12] for reader, _ in clients]
	tap.is_(got, [b'HTTP/1.1 200'] * 40, 'QUIT: 40 clients in the queue are answered')
	gate.stopped = True
	tap.is_(gate.child.wait(20), 0, '... before it leaves, with status 0')

def announced(tap, sim):
	"""drain_delay: first it says that it will, then it does."""
	with Gate(sim, tap, **{**SHAPE, 'server': {'drain_delay': '1s'}}) as gate:
		os.kill(gate.pid, signal.SIGQUIT)
		gate.wait_line('about to drain: ')
		tap.is_([request(gate.port, 'GET', path)[0] for path in ('/health/ready', '/health', '/health/live')], [503, 503, 200], 'drain_delay: readiness says 503')
		tap.is_(raw(gate.port, ASK)[:12], b'HTTP/1.1 200', '... and all goes on')
		gate.stopped = True
		tap.is_(gate.child.wait(20), 0, '... until it drains')
		tap.ok(gate.wait_line('draining: '), '... as ever')

def upgraded(tap, sim, gate):
	"""The new binary serves elsewhere, as its file says: who waits at the old address is served by the old one."""
	old, new = gate.port, free_port()
	with open(gate.conf_path, 'w') as file:
		file.write(config_text(sim, run_dir=gate.run_dir, **SHAPE).replace('port: 0', f'port: {new}'))
	knocking = Knocking(old)
	status = asyncio.run(knocking.during(lambda: say(gate, 'upgrade')))[0]
	tap.is_((status, knocking.lost), (0, []), f'an upgrade to another port: of {knocking.answered} clients at the old one each was answered')
	gate.port = new
	tap.is_(gate.health()['status'], 'ok', '... and the new one serves')
	pid = int(open(os.path.join(gate.run_dir, 'headgate.pid')).read())
	gate.stopped = True
	gate.child.wait(30)
	say(gate, 'stop')
	tap.ok(wait_until(lambda: not alive(pid)), '... and stops')

async def switches(tap, sim, gate):
	"""TLS and the PROXY protocol come and go at the same address."""
	context = ssl.create_default_context()
	context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
	streams = [asyncio.create_task(stream_chat(gate.port, '[[sim:tokens=150,rate=50]]')) for _ in range(10)]
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 10)
	def ask(first=b'', tls=None):
		with socket.create_connection(('127.0.0.1', gate.port), timeout=20) as s:
			try:
				s = tls.wrap_socket(s) if tls else s
				s.sendall(first + ASK)
				return s.recv(4096)[:12]
			except (ConnectionResetError, ssl.SSLError):
				return b''
	with authority() as ca:
		certificate, key = ca.certificate('server', 'IP:127.0.0.1')
		proxied = {'trusted_proxies': ['127.0.0.0/8'], 'proxy_protocol': True}
		header = b'PROXY TCP4 192.0.2.7 127.0.0.1 1000 80\r\n'
		for what, chat, first, tls in (('TLS', {'tls': {'certificate': certificate, 'key': key}}, b'', context),
				('the PROXY protocol', proxied, header, None), ('neither', {}, b'', None)):
			start = len(gate.lines)
			await asyncio.to_thread(reloaded, gate, sim, gate.port, chat=chat)
			await asyncio.to_thread(gate.wait_line, 'generation .* serves', 30, start)
			# the workers of before may have one more that they had accepted
			new = lambda: ask(first, tls) == b'HTTP/1.1 200' and (what == 'neither' or ask() != b'HTTP/1.1 200')
			tap.ok(await asyncio.to_thread(wait_until, new), f'a reload to {what} at the same address')
	ends = await asyncio.gather(*streams)
	tap.is_([s.events[-1] == '[DONE]' and s.text() == sim_text(150) for s in ends].count(True), 10, 'streams of before are whole')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 400) as sim:
	with Gate(sim, tap, **SHAPE) as gate:
		asyncio.run(another_port(tap, sim, gate))
		asyncio.run(queued(tap, sim, gate))
		asyncio.run(more_and_fewer(tap, sim, gate))
	with Gate(sim, tap, allowed='nothing was changed', **SHAPE) as gate:
		asyncio.run(everywhere(tap, sim, gate))
		admin(tap, sim, gate)
		refused(tap, sim, gate)
		there_and_back(tap, sim, gate)
		upgraded(tap, sim, gate)
	with Gate(sim, tap, **SHAPE) as gate:
		asyncio.run(switches(tap, sim, gate))
		asyncio.run(drained(tap, sim, gate))
	announced(tap, sim)
