#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The long form of t4000 and t4010, by hand: thousands of streams of 30 s over 4 workers, a third of them chats over
WebSocket, while the daemon is reloaded 20 times, upgraded twice, and has a worker killed 10 times.

	HEADGATE_BUILD=build t/load/operations.py [STREAMS]	takes about two minutes

There are more clients than permits and places, so that both limits are reached all the time. Whose connection is whose is read from
/proc while the worker that is to be killed is stopped: only its streams may break, as a client can tell (SSE: the
connection ends within the body; WebSocket: 1006), all others are whole to the byte; idle WebSockets of
workers that drain end with 1012; limits hold at the simulator, in /health and in the segment; a client that
connects once a millisecond sees no error."""
import collections, os, resource, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from headgate import *
import websockets

STREAMS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000	# at once: concurrent_requests
IN_LINE, IDLE, LEFT_OUT = STREAMS // 50, 100, 30
PLACES = STREAMS + IN_LINE + IDLE
SECONDS = 30
TEXT = sim_text(2 * SECONDS)
SERVER = {'drain_timeout': 45, 'max_generations': 16}
SHAPE = dict(workers=4, concurrency={'max_connections': PLACES, 'connection_queue_size': 4 * STREAMS}, http_client={'concurrent_requests': STREAMS,
	'max_connections': STREAMS + 500, 'max_keepalive': 400, 'queue_size': 2 * STREAMS})

def holders(pids):
	"""The client's port of each connection that these processes hold: port -> pid."""
	inodes = {}
	for pid in pids:
		try:
			for fd in os.listdir(f'/proc/{pid}/fd'):
				name = os.readlink(f'/proc/{pid}/fd/{fd}')
				if name.startswith('socket:['):
					inodes[name[8:-1]] = pid
		except FileNotFoundError:
			continue	# it has left, or closed that one
	with open('/proc/net/tcp') as file:
		rows = [line.split() for line in file.readlines()[1:]]
	return {int(row[2].rpartition(':')[2], 16): inodes[row[9]] for row in rows if row[9] in inodes}

class Client:
	"""One of the connections, by its port."""
	def __init__(self, run):
		self.run, self.killed, self.owner, self.port, self.transport = run, False, None, None, None

	async def connect(self):
		"""A socket that asyncio's transports may have."""
		own = socket.socket()
		own.setblocking(False)
		own.bind(('127.0.0.1', 0))
		self.port = own.getsockname()[1]
		self.run.live[self.port] = self		# before a worker can have it
		try:
			await asyncio.get_running_loop().sock_connect(own, ('127.0.0.1', self.run.gate.port))
		except OSError:
			own.close()
			raise
		return own

	async def stream(self):
		s = Stream()
		s.reader, s.writer = await asyncio.open_connection(sock=await self.connect(), limit=1 << 22)
		self.transport = s.writer.transport
		return s

	async def websocket(self):
		ws = await websockets.connect(f'ws://127.0.0.1:{self.run.gate.port}/ws/chat', sock=await self.connect(), max_size=None, ping_interval=None,
			open_timeout=60, close_timeout=20)
		self.transport = ws.transport
		return ws

	def close(self):
		if self.run.live.get(self.port) is self:	# the port may be another's by now
			del self.run.live[self.port]
		if self.transport:
			self.transport.abort()

class Run:
	def __init__(self, gate):
		self.killed_ports = set()
		self.gate, self.going, self.live, self.seen, self.wrong = gate, True, {}, collections.Counter(), []
		self.drained, self.left_idle = set(), []	# pids that were seen to drain; owner and code of idle WebSockets that were closed

	async def sse(self, client):
		"""How an SSE chat ended: 'whole', 'cut', 'full' or what is wrong with it."""
		s = None
		try:
			s = await client.stream()
			data = json.dumps(chat_body(f'[[sim:tokens={2 * SECONDS},rate=2]]')).encode()
			s.writer.write(b'POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(data) + data)
			await s.run()
		except (asyncio.IncompleteReadError, ConnectionError):
			if s is None:
				return 'cut'
			clean = '[DONE]' in s.events or s.status not in (None, 200) or not TEXT.startswith(s.text())
			return 'cut' if not clean else f'cut, but {s.status} {s.events[-1:]}'
		if s.status == 503 and json.loads(s.rest)['error']['code'] == 'max_connections':
			return 'full'
		return 'whole' if s.status == 200 and s.events and s.events[-1] == '[DONE]' and s.text() == TEXT else f'ended, but {s.status} {s.events[-1:]} {s.rest}'

	async def chat(self, client):
		"""The same over WebSocket."""
		text, ws = '', None
		try:
			ws = await client.websocket()
			await ws_ask(ws, f'[[sim:tokens={2 * SECONDS},rate=2]]')
			while True:
				message = json.loads(await ws.recv())
				if message['status'] == 'chunk':
					text += message['chunk']['data']
				elif message['status'] != 'processing':
					break
			good = message['status'] == 'complete' and text == TEXT
			await ws.close()
			return 'whole' if good else f'ended, but {message}'
		except websockets.ConnectionClosed as error:
			if error.rcvd is None and TEXT.startswith(text):
				return 'cut'	# 1006, that is
			return 'full' if error.rcvd and error.rcvd.code == 1013 and not text else f'closed: {error}, after {len(text)} bytes'
		except (websockets.InvalidHandshake, ConnectionError, EOFError) as error:
			return 'cut' if ws is None and not isinstance(error, websockets.InvalidStatusCode) else f'handshake: {error!r}'

	async def stream(self, n):
		kind, ask = ('WebSocket', self.chat) if n % 3 == 0 else ('SSE', self.sse)
		await asyncio.sleep(5 * n / STREAMS)
		while self.going:
			client = Client(self)
			came = time.monotonic()
			how = await ask(client)
			client.close()
			if how in ('whole', 'full') or (how == 'cut' and client.killed):
				self.seen[kind, how, client.killed] += 1
			else:
				self.wrong.append(f'{kind}: {how} after {time.monotonic() - came:.1f} s at {client.owner}, its worker was {"killed" if client.killed else "not killed"}')
			if how == 'full':
				await asyncio.sleep(0.5)

	async def idle(self):
		"""A WebSocket that does nothing, and comes again when it was closed."""
		while self.going:
			came = time.monotonic()
			client, ws, code, why = Client(self), None, 1006, ''
			try:
				ws = await client.websocket()
				while self.going:
					try:
						await asyncio.wait_for(ws.recv(), 1)
					except asyncio.TimeoutError:
						pass
				await ws.close()
				code = 1000
			except websockets.ConnectionClosed as error:
				code = error.rcvd.code if error.rcvd else 1006
			except (websockets.InvalidHandshake, ConnectionError, EOFError) as error:
				why = f' {error!r}'
			client.close()
			self.seen['idle', code, client.killed] += 1
			if code == 1012:
				self.left_idle.append(client.owner)
			if code not in (1000, 1012, 1013) and not (code == 1006 and client.killed):
				self.wrong.append(f'idle WebSocket: {code}{why} after {time.monotonic() - came:.1f} s, its worker was {"killed" if client.killed else "not killed"}')
			await asyncio.sleep(0.5)

	async def look(self):
		"""Are limits kept, in /health and in the segment? Who drains, and whose are the idle WebSockets?"""
		self.looks, self.most, self.mapped = 0, collections.Counter(), 0
		while self.going:
			health = await asyncio.to_thread(self.gate.health)
			stat = await asyncio.to_thread(self.gate.stat)
			self.looks += 1
			self.drained |= {w['pid'] for w in stat['workers'] if w['state'] == 'draining'}
			for name, value in (('places', health['connections']['active']), ('permits', health['providers']['sim']['in_flight']),
					('places in the segment', stat['gates'][0]['used']), ('permits in the segment', stat['providers']['sim']['permits']['used'])):
				self.most[name] = max(self.most[name], value)
			if self.looks % 4 == 0:
				await self.whose([w['pid'] for w in stat['workers']])
			await asyncio.sleep(0.1)

	async def whose(self, pids):
		for port, pid in (await asyncio.to_thread(holders, pids)).items():
			if port in self.live:
				self.live[port].owner = pid

	async def kill(self, n):
		"""Stops one of the workers, sees whose connections it has, kills it. How many."""
		workers = [w for w in (await asyncio.to_thread(self.gate.stat))['workers'] if w['state'] in ('ready', 'draining') and w['streams'] > STREAMS // 100]
		pid = workers[n % len(workers)]['pid']
		os.kill(pid, signal.SIGSTOP)
		ports = await asyncio.to_thread(holders, [pid])
		os.kill(pid, signal.SIGKILL)
		self.killed_ports |= set(ports)
		victims = [self.live[port] for port in ports if port in self.live]
		for client in victims:
			client.killed = True
		return len(victims)

	async def reload(self, sim, n):
		with open(self.gate.conf_path, 'w') as file:
			file.write(config_text(sim, run_dir=self.gate.run_dir, server={**SERVER, 'header_timeout': 10 + n}, **SHAPE))
		number = (await asyncio.to_thread(self.gate.health))['generation']
		status, text = await asyncio.to_thread(say, self.gate, 'reload')
		if status:
			tap.diag(f'reload {n}: {text}')
		return await asyncio.to_thread(wait_until, lambda: self.gate.health()['generation'] > number)

	async def upgrade(self):
		status, text = await asyncio.to_thread(say, self.gate, 'upgrade')
		for _ in range(600):	# the one before may still drain
			if status == 0 or 'not ready' in text:
				break
			await asyncio.sleep(0.2)
			status, text = await asyncio.to_thread(say, self.gate, 'upgrade')
		tap.diag(text)
		return status == 0

async def main(tap, sim, gate):
	run, knocking, held = Run(gate), Knocking(gate.port), []
	clients = [asyncio.create_task(run.stream(n)) for n in range(STREAMS + IN_LINE)] + [asyncio.create_task(run.idle()) for _ in range(IDLE + LEFT_OUT)]
	looking = asyncio.create_task(run.look())
	await asyncio.sleep(8)
	reloads = upgrades = 0
	started = time.monotonic()
	for round in range(10):
		for _ in range(2):
			reloads += bool(await run.reload(sim, len(held) * 2 + reloads))
			await asyncio.sleep(2)
		if round in (2, 6):
			upgrades += await run.upgrade()
		held.append(await run.kill(round))
		tap.diag(f'{time.monotonic() - started:.0f} s: {reloads} reloads, {upgrades} upgrades, killed workers had {held}; load {os.getloadavg()[0]:.1f}')
		await asyncio.sleep(4)
	run.going = False
	done, stuck = await asyncio.wait([*clients, looking], timeout=120)
	told = await asyncio.to_thread(knocking.end)
	tap.diag('ends: ' + ', '.join(f'{kind} {how}{" with its worker" if killed else ""}: {n}' for (kind, how, killed), n in sorted(run.seen.items(), key=str)))
	tap.is_((reloads, upgrades, len(held), len(stuck)), (20, 2, 10, 0), '20 reloads, 2 upgrades, 10 kills, nobody stuck')
	tap.is_([repr(task.exception()) for task in done if task.exception()], [], 'no client left early')
	tap.is_(run.wrong[:10], [], f'each stream is whole to the byte, or its worker was killed and it was cut so that it can tell ({len(run.wrong)} are not)')
	ends = lambda kind, how, killed: run.seen[kind, how, killed]
	tap.is_(sum(n for (_, how, killed), n in run.seen.items() if killed), sum(held), f'all {sum(held)} connections of killed workers are accounted for')
	tap.ok(all(ends(*end, True) > STREAMS // 20 for end in (('SSE', 'cut'), ('WebSocket', 'cut'))), '... of both kinds')
	tap.ok(ends('SSE', 'whole', False) > STREAMS and ends('WebSocket', 'whole', False) > STREAMS / 2, f'more than {STREAMS} and half as many others were whole')
	owners = collections.Counter('drains' if pid in run.drained else 'unknown' if pid is None else 'does not drain' for pid in run.left_idle)
	tap.ok(owners['drains'] > 100 and not owners['does not drain'], f'idle WebSockets closed with 1012 were those of workers that drain ({dict(owners)})')
	cut = [why for why in knocking.lost if int(why.split(':')[0].split()[1]) in run.killed_ports]	# in the middle of a request, with their worker
	tap.is_((knocking.lost, knocking.refused, knocking.asked - knocking.answered), (cut, 0, len(cut)),
		f'a client that comes once a millisecond sees no error but of a worker that was killed ({len(cut)}): {told}')
	tap.is_(sim.most_in_flight(), STREAMS, f'concurrent_requests at the simulator: never more than {STREAMS}, and that was reached')
	tap.is_(dict(run.most), {'places': PLACES, 'permits': STREAMS, 'places in the segment': PLACES, 'permits in the segment': STREAMS},
		f'both limits were reached and never exceeded, in {run.looks} looks')

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
with Tap() as tap, Sim('--text', 'tokens') as sim, Gate(sim, tap, allowed='signal 9', server=SERVER, **SHAPE) as gate:
	asyncio.run(main(tap, sim, gate))
	gate.stopped = True
	gate.settle()
	say(gate, 'stop')
