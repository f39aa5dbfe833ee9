#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Behind HAProxy and behind nginx, with the files of etc/examples as they stand but for ports and
descriptors: tokens come one by one, WebSockets
pass, the client's address is known, and one of two headgates drains without an error anywhere."""
import os, shutil, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

CLIENT = '127.0.0.9'	# an address of this machine that no proxy connects from
PATHS = os.environ['PATH'] + ':/usr/sbin:/usr/local/sbin'

def start(proxy, folder, front, gates):
	"""The proxy with its example; how headgate is set up for it stands in the example's head."""
	with open(os.path.join(TOP, 'etc/examples', {'haproxy': 'haproxy.cfg', 'nginx': 'nginx.conf'}[proxy])) as file:
		text = file.read()
	for was, port in (('8080', front), ('8001', gates[0].port), ('8002', gates[1].port)):
		text = text.replace(f'127.0.0.1:{was}', f'127.0.0.1:{port}')
	for name in 'body', 'proxy', 'fastcgi', 'uwsgi', 'scgi':
		kind = 'client_body' if name == 'body' else name
		text = text.replace('access_log off;', f'access_log off;\n\t{kind}_temp_path {folder}/{name};')
	text = re.sub('(maxconn|worker_connections|worker_rlimit_nofile) +[0-9]+', r'\1 2000', text)	# what this machine allows
	text = text.replace('/run/nginx.pid', folder + '/pid')
	path = os.path.join(folder, 'conf')
	with open(path, 'w') as file:
		file.write(text)
	os.chmod(folder, 0o755)
	program = shutil.which(proxy, path=PATHS)
	argv = [program, '-db', '-f', path] if proxy == 'haproxy' else [program, '-p', folder, '-c', path, '-g', 'daemon off;']
	child = Process(argv)
	def up():
		try:
			return request(front, 'GET', '/v1/models', timeout=5)[0] == 200
		except OSError:
			return False
	if not wait_until(up):
		raise RuntimeError(f'{proxy} does not serve:\n' + '\n'.join(child.lines[-20:]))
	return child

async def chat(port, text='hello', **more):
	s = Stream()
	data = json.dumps(chat_body(text, **more)).encode()
	s.reader, s.writer = await asyncio.open_connection('127.0.0.1', port, limit=1 << 22, local_addr=(CLIENT, 0))
	s.writer.write(b'POST /v1/chat/completions HTTP/1.1\r\nHost: chat\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(data) + data)
	try:
		return await asyncio.wait_for(s.run(), 60)
	finally:
		s.close()

async def one_by_one(tap, name, sim, port):
	before = len(sim.events('token'))
	s = await chat(port, '[[sim:tokens=30,rate=20]]')
	tap.is_(s.text(), sim_text(30), f'{name}: an SSE stream is whole')
	wait_until(lambda: len(sim.events('token')) >= before + 30, 5)
	sent = [row['t_us'] / 1e6 for row in sim.events('token')[before:]]
	came = [t for t, event in zip(s.times, s.events) if event != '[DONE]' and '"content":"t' in event]
	early = sum(came[n] < sent[n + 3] for n in range(27))
	tap.ok(len(came) == 30 and early >= 24, f'{name}: its tokens come one by one ({early} of 27 before the third after it was sent)')

async def websocket(tap, name, port):
	ws = await ws_connect(port, local_addr=(CLIENT, 0))
	await ws_ask(ws, '[[sim:tokens=50,rate=100]]')
	messages, text = await ws_answer(ws)
	tap.is_((text, messages[-1]['status']), (sim_text(50), 'complete'), f'{name}: a WebSocket chat')
	tap.ok(len([m for m in messages if m['status'] == 'chunk']) > 25, f'{name}: ... token by token')
	await ws.close()
	tap.is_(ws.close_code, 1000, f'{name}: ... closed with 1000')

async def drain(tap, name, sim, port, gates):
	"""Clients that come again and again, and streams that last, while the one drains and the other goes on."""
	import websockets
	going, whole, wrong, again = [True], [0], [], []
	async def client(n):
		while going[0]:
			try:
				if n % 3 == 0:
					ws = await ws_connect(port, local_addr=(CLIENT, 0))
					await ws_ask(ws)
					text = (await ws_answer(ws))[1]
					await ws.close()
				else:
					s = await chat(port)
					text = s.text() if s.status == 200 and s.events[-1] == '[DONE]' else f'{s.status} {s.rest[:200]}'
				if text == sim_text(20):
					whole[0] += 1
				else:
					wrong.append(text)
			except websockets.ConnectionClosedError as error:
				# it had asked for nothing yet when its headgate began to drain: "service restart", come again
				(again if error.rcvd and error.rcvd.code == 1012 else wrong).append(repr(error))
			except Exception as error:
				wrong.append(repr(error))
	async def plain():	# keeps its connection, as browsers do
		def ask(c):
			c.request('POST', '/v1/chat/completions', json.dumps(chat_body(stream=False)), {'Content-Type': 'application/json'})
			r = c.getresponse()
			r.read()
			return r.status
		c = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
		while going[0]:
			try:
				status = await asyncio.to_thread(ask, c)
				if status == 200:
					whole[0] += 1
				else:
					wrong.append(status)
			except Exception as error:
				wrong.append(repr(error))
	long = [asyncio.create_task(chat(port, '[[sim:tokens=250,rate=25]]')) for _ in range(10)]
	tasks = [asyncio.create_task(client(n)) for n in range(12)] + [asyncio.create_task(plain()) for _ in range(2)]
	await asyncio.to_thread(wait_until, lambda: whole[0] > 50)
	seats = [gate.health()['connections']['active'] for gate in gates]
	tap.ok(min(seats) > 0, f'{name}: both headgates have clients ({seats})')
	os.kill(gates[0].pid, signal.SIGQUIT)
	gates[0].stopped = True
	status = await asyncio.to_thread(gates[0].child.wait, 60)
	before = whole[0]
	await asyncio.to_thread(wait_until, lambda: whole[0] > before + 50)
	ends = await asyncio.gather(*long)
	going[0] = False
	await asyncio.wait(tasks, timeout=30)
	tap.is_(status, 0, f'{name}: one of them drains and leaves')
	tap.is_([s.text() == sim_text(250) and s.events[-1] == '[DONE]' for s in ends].count(True), 10, f'{name}: streams of before are whole, to the byte')
	tap.is_(wrong, [], f'{name}: {whole[0]} clients, and no error ({len(again)} WebSockets were told to come again, 1012)')
	tap.at_most(len(again), 4, f'{name}: ... at most one for each that chats over WebSocket')

def behind(tap, name):
	if not shutil.which(name, path=PATHS):
		tap.skip(name, f'not installed (Debian: {name})')
		return
	chat = {'trusted_proxies': ['127.0.0.1']}
	if name == 'haproxy':
		chat['proxy_protocol'] = True
	shape = dict(workers=2, chat=chat, access_log=True, server={'drain_delay': '3s' if name == 'haproxy' else '6s'},
		http_client={'concurrent_requests': 100, 'max_connections': 100})
	front = free_port()
	with Sim('--text', 'tokens', '--tokens', 20, '--rate', 200) as sim, Gate(sim, tap, source='127.0.0.8', **shape) as a, \
			Gate(sim, tap, source='127.0.0.8', **shape) as b, tempfile.TemporaryDirectory(prefix=f'{name}-') as folder:
		proxy = start(name, folder, front, (a, b))
		asyncio.run(one_by_one(tap, name, sim, front))
		asyncio.run(websocket(tap, name, front))
		lines = a.grep(rf'access: .*POST /v1/chat/completions') + b.grep(rf'access: .*POST /v1/chat/completions')
		tap.ok(lines and all(f' {CLIENT}:' in line or f' {CLIENT} ' in line for line in lines), f"{name}: the access log has the client's address")
		status, _, body = request(front, 'POST', '/v1/chat/completions', chat_body('x' * 2000000, stream=False))
		tap.is_((status, json.loads(body)['choices'][0]['message']['content']), (200, sim_text(20)), f'{name}: a 2 MB request, answered as JSON')
		asyncio.run(drain(tap, name, sim, front, (a, b)))
		tap.is_(proxy.end(signal.SIGTERM if name == 'nginx' else signal.SIGUSR1), 0, f'{name}: stops')

with Tap() as tap:
	for name in 'haproxy', 'nginx':
		behind(tap, name)
