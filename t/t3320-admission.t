#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who may come in when it is full: places and the wait for one, pending connections and their bound, descriptors."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

def dial(gate, data=b''):
	s = socket.create_connection(('127.0.0.1', gate.port), timeout=20)
	s.sendall(data)
	return s

def ask(s, path='/v1/models', method='GET', more=''):
	"""One request on an open socket: (status, head, body)."""
	s.sendall(f'{method} {path} HTTP/1.1\r\nHost: t\r\n{more}\r\n'.encode())
	return answer(s)

def answer(s):
	got = b''
	while b'\r\n\r\n' not in got:
		part = s.recv(65536)
		if not part:
			return None, got, b''
		got += part
	head, body = got.split(b'\r\n\r\n', 1)
	size = int(re.search(rb'(?i)content-length: (\d+)', head).group(1))
	while len(body) < size:
		body += s.recv(65536)
	return int(head.split()[1]), head.decode(), body

def pending(gate):
	return gate.stat()['pending']['used']

def closed(s):
	try:
		return s.recv(1) == b''
	except ConnectionResetError:
		return True

def h2(gate, path):
	return subprocess.run(['curl', '-s', '-m', '20', '--http2-prior-knowledge', '-o', '/dev/null', '-w', '%{http_code}',
		f'http://127.0.0.1:{gate.port}{path}'], capture_output=True, text=True).stdout

def the_bound(tap, sim):
	with Gate(sim, tap, workers=1, concurrency={'connection_queue_size': 5, 'max_connections': 2},
			server={'keepalive_timeout': '60s', 'header_timeout': '60s'}) as gate:
		idle = [dial(gate) for _ in range(3)]
		tap.is_([ask(s)[0] for s in idle], [200] * 3, 'three clients have asked and keep their connections')
		halves = [dial(gate, b'GET / HT') for _ in range(2)]
		tap.ok(wait_until(lambda: pending(gate) == 5), 'two more are in the middle of a head: five are pending')
		more = dial(gate)
		tap.is_(ask(more)[0], 200, 'a sixth connection is served')
		tap.ok(closed(idle[0]), '... and the oldest idle one is closed for it')
		tap.ok(not any(select_readable(s) for s in idle[1:]), 'the others stay open')
		fresh = [dial(gate, b'GET / HT') for _ in range(3)]
		tap.ok(wait_until(lambda: pending(gate) == 5 and not gate.stat()['statistics']['headgate_idle_sockets']), 'now nobody is idle')
		late = dial(gate)
		status, head, body = ask(late)
		tap.is_((status, json.loads(body)['error']['code']), (503, 'connection_queue_size'), 'the next one hears 503')
		tap.ok('Retry-After: 1\r\n' in head and 'X-Headgate-Limit: chat.websocket.concurrency.connection_queue_size' in head and 'Connection: close' in head,
			'... with the limit and when to come again')
		tap.ok(closed(late), '... and is closed')
		body = json.dumps(chat_body())
		late = dial(gate)
		status = ask(late, '/v1/chat/completions', 'POST', f'Content-Type: application/json\r\nContent-Length: {len(body)}\r\n')[0]
		tap.is_(status, 503, 'a body is not even waited for')
		tap.is_([gate.health()['status'] for _ in range(3)], ['ok'] * 3, '/health answers meanwhile')
		tap.is_([h2(gate, path) for path in ('/health', '/v1/models')], ['200', '503'], '... over HTTP/2, too, and nothing else does')
		overs = [dial(gate) for _ in range(400)]
		tap.is_(gate.health()['status'], 'ok', '... also behind 400 connections that say nothing')
		heard = [answer(s)[0] for s in overs[:100]]
		tap.is_(heard, [503] * 100, 'the oldest of those hear 503 unasked')
		tap.ok(len(gate.grep('connection beyond connection_queue_size=5')) >= 1, 'the log says so')
		for s in halves + fresh + overs + [more]:
			s.close()
		tap.ok(wait_until(lambda: pending(gate) == 0), 'they leave: nobody is pending')

def select_readable(s):
	import select
	return select.select([s], [], [], 0)[0]

async def one_or_the_other(tap, sim):
	"""A connection is pending or admitted, never both, never neither."""
	with Gate(sim, tap, workers=2, concurrency={'connection_queue_size': 50, 'max_connections': 10}) as gate:
		sockets = [await ws_connect(gate.port) for _ in range(4)]
		streams = [await Stream().open(gate.port, chat_body('[[sim:tokens=1000,rate=50]]')) for _ in range(3)]
		for s in streams:
			await s.head()
		h = await asyncio.to_thread(gate.health)
		tap.is_((h['active_connections'], h['pending']['active']), (7, 1), 'seven are admitted; of them none is pending')
		for s in streams:
			s.close()
		for ws in sockets:
			await ws.close()
		tap.ok(await asyncio.to_thread(wait_until, lambda: (h := gate.health())['active_connections'] == 0 and h['pending']['active'] == 1), 'none is left behind')
		# a stream, and then the same connection is idle
		import http.client
		c = http.client.HTTPConnection('127.0.0.1', gate.port)
		for turn in range(2):
			c.request('POST', '/v1/chat/completions', json.dumps(chat_body('[[sim:tokens=3]]')), {'Content-Type': 'application/json'})
			text = c.getresponse().read()
		tap.ok(b'[DONE]' in text and wait_until(lambda: pending(gate) == 1), 'after a stream its connection is pending again')
		c.close()
		tap.is_(h2(gate, '/v1/models'), '200', 'HTTP/2 is counted in the same way')
		s = await asyncio.create_subprocess_exec('curl', '-s', '--http2-prior-knowledge', '-N', '-d', json.dumps(chat_body('[[sim:tokens=1000,rate=50]]')),
			'-H', 'Content-Type: application/json', f'http://127.0.0.1:{gate.port}/v1/chat/completions', stdout=asyncio.subprocess.PIPE)
		await s.stdout.readline()
		tap.ok(await asyncio.to_thread(wait_until, lambda: gate.health()['active_connections'] == 1 and pending(gate) == 0), '... a stream of it is admitted, not pending')
		s.kill()
		await s.wait()

async def waiting(tap, sim):
	with Gate(sim, tap, workers=4, concurrency={'max_connections': 2, 'connection_queue_timeout': '20s'}) as gate:
		holders = [await ws_connect(gate.port) for _ in range(2)]
		order = []
		async def wait_ws(n):
			ws = await ws_connect(gate.port)
			order.append(n)
			await ws.close()
		async def wait_sse(n):
			s = await stream_chat(gate.port, '[[sim:tokens=3]]')
			order.append(n)
			return s
		tasks = []
		for n in range(8):
			tasks.append(asyncio.create_task((wait_ws if n % 2 else wait_sse)(n)))
			while (await asyncio.to_thread(gate.health))['pending']['waiting'] <= n:
				await asyncio.sleep(0.01)
		tap.is_(order, [], 'eight clients wait for a place')
		gone = await Stream().open(gate.port, chat_body())
		while (await asyncio.to_thread(gate.health))['pending']['waiting'] < 9:
			await asyncio.sleep(0.01)
		gone.close()
		tap.ok(await asyncio.to_thread(wait_until, lambda: gate.health()['pending']['waiting'] == 8), 'one who leaves costs nothing')
		await holders[0].close()
		await asyncio.gather(*tasks)
		tap.is_(sorted(order), list(range(8)), 'all of them get one')
		overtaken = sum(sum(later > n for later in order[:at]) for at, n in enumerate(order))
		tap.at_most(overtaken, 4, 'in the order in which they came, over all workers, but for the time that an answer takes')
		tap.is_(gate.stat()['statistics']['headgate_rejected_max_connections_total'], 0, 'nobody was turned away')
		await holders[1].close()

async def turned_away(tap, sim):
	import websockets
	async def full(gate):
		s = await Stream().open(gate.port, chat_body())
		status = await s.head()
		s.close()
		return status, s.headers
	async def upgrade(gate):
		try:
			ws = await ws_connect(gate.port)
			try:
				await ws.recv()
			except websockets.exceptions.ConnectionClosed as error:
				return error.code, error.reason
		except websockets.exceptions.InvalidStatusCode as error:
			return error.status_code, error.headers.get('Retry-After')
	with Gate(sim, tap, workers=2, concurrency={'max_connections': 1, 'connection_queue_timeout': '300ms'}) as gate:
		holder = await ws_connect(gate.port)
		tap.is_(await upgrade(gate), (1013, 'Server at maximum capacity'), 'who waited in vain is closed with 1013')
		status, headers = await full(gate)
		tap.is_((status, headers.get('x-headgate-limit')), (503, 'chat.websocket.concurrency.max_connections'), '... a stream gets 503 with the limit')
		await holder.close()
	with Gate(sim, tap, workers=2, chat={'reject_with': 'http'}, concurrency={'max_connections': 1}) as gate:
		holder = await ws_connect(gate.port)
		tap.is_(await upgrade(gate), (503, '1'), 'reject_with: http answers 503 with Retry-After before the upgrade')
		await holder.close()

KEYS = 'clients:\n  allow_anonymous: true\n  keys:\n    - name: alice\n      key_env: ALICE\n      max_connections: 2\n'

async def own_limit(tap, sim):
	key = 'alice-key-0123456789abcdef'
	bearer = {'Authorization': f'Bearer {key}'}
	with Gate(sim, tap, workers=4, env={'ALICE': key}, extra=KEYS) as gate:
		sockets = [await ws_connect(gate.port, extra_headers=bearer) for _ in range(2)]
		third = await ws_connect(gate.port, extra_headers=bearer)
		try:
			await third.recv()
		except Exception as error:
			tap.is_(error.code, 1013, "a key's third WebSocket is one too many")
		other = await ws_connect(gate.port)
		await ws_ask(other, '[[sim:tokens=3]]')
		tap.is_((await ws_answer(other))[0][-1]['status'], 'complete', 'others are not concerned')
		status, headers, body = request(gate.port, 'POST', '/v1/chat/completions', chat_body(), headers=bearer)
		tap.is_((status, headers.get('x-headgate-limit')), (429, 'clients.keys.alice.max_connections'), '... a stream of hers gets 429 and the name of the limit')
		for ws in sockets + [other]:
			await ws.close()
		tap.ok(await asyncio.to_thread(wait_until, lambda: request(gate.port, 'POST', '/v1/chat/completions', chat_body('[[sim:tokens=3]]'), headers=bearer)[0] == 200),
			'and comes in when they have left')

def descriptors(tap, sim):
	import resource
	with Gate(sim, tap, workers=1, concurrency={'connection_queue_size': 10000}, server={'header_timeout': '60s'}) as gate:
		pid = gate.workers()[0]
		open_now = len(os.listdir(f'/proc/{pid}/fd'))
		resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 60, open_now + 60))
		first = dial(gate)
		tap.is_(ask(first)[0], 200, 'before: a request is served')
		many = [dial(gate) for _ in range(200)]
		tap.ok(gate.wait_line('not accepting for a while: Too many open files', 10), 'out of descriptors: it says so')
		tap.is_(ask(first)[0], 200, 'who is in is served')
		before = int(open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[11])
		time.sleep(0.5)
		spent = int(open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[11]) - before
		tap.at_most(spent, 25, 'it does not spin (ticks of CPU time in 0.5 s)')
		for s in many:
			s.close()
		tap.is_(request(gate.port, 'GET', '/health', timeout=20)[0], 200, 'with room again it accepts again')
		tap.is_(len(gate.grep('not accepting for a while')), 1, 'one line for one shortage')
		first.close()

with Tap() as tap, Sim('--text', 'tokens') as sim:
	the_bound(tap, sim)
	for part in (one_or_the_other, waiting, turned_away, own_limit):
		asyncio.run(part(tap, sim))
	descriptors(tap, sim)
