#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""WebSocket over a stream of HTTP/2 (RFC 8441): the same rules, beside other streams, one connection."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from wsraw import *
try:
	import h2.config, h2.connection, h2.events
except ImportError:
	skip_all('python3-h2 is not installed')

GOAWAY = 7
EXTENDED_CONNECT = 8	# SETTINGS_ENABLE_CONNECT_PROTOCOL
DEFLATE = ('sec-websocket-extensions', 'permessage-deflate; client_max_window_bits')
BASE = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'

class Connection:
	"""HTTP/2 with prior knowledge; keeps what came for each stream."""
	def __init__(self, port):
		self.socket = socket.create_connection(('127.0.0.1', port), timeout=20)
		self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding='utf-8', validate_outbound_headers=False))
		self.h2.initiate_connection()
		self.settings, self.answers, self.data, self.ended, self.reset, self.gone = {}, {}, {}, set(), {}, False
		self.reading, self.raw = True, b''	# give windows back
		self.flush()
		self.until(lambda: self.settings)

	def flush(self):
		self.socket.sendall(self.h2.data_to_send())

	def until(self, what, seconds=20):
		end = time.monotonic() + seconds
		while not what() and not self.gone and time.monotonic() < end:
			self.socket.settimeout(max(0.01, end - time.monotonic()))
			try:
				got = self.socket.recv(65536)
			except TimeoutError:
				break
			self.gone = not got
			for event in self.h2.receive_data(self.but_goaway(got)):
				self.take(event)
			self.flush()
		return what()

	def but_goaway(self, got):
		"""Whole frames; python3-h2 would take a connection that is to end for one that has ended."""
		self.raw += got
		frames = b''
		while len(self.raw) >= 9 and len(self.raw) >= (n := 9 + int.from_bytes(self.raw[:3], 'big')):
			frames += self.raw[:n] if self.raw[3] != GOAWAY else b''
			self.raw = self.raw[n:]
		return frames

	def take(self, event):
		if isinstance(event, h2.events.RemoteSettingsChanged):
			self.settings = {int(k): v.new_value for k, v in event.changed_settings.items()}
		elif isinstance(event, h2.events.ResponseReceived):
			self.answers[event.stream_id] = dict(event.headers)
		elif isinstance(event, h2.events.DataReceived):
			self.data[event.stream_id] = self.data.get(event.stream_id, b'') + event.data
			if self.reading:
				self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
		elif isinstance(event, h2.events.StreamEnded):
			self.ended.add(event.stream_id)
		elif isinstance(event, h2.events.StreamReset):
			self.reset[event.stream_id] = event.error_code

	def request(self, *headers, end=False):
		stream = self.h2.get_next_available_stream_id()
		self.h2.send_headers(stream, list(headers), end_stream=end)
		self.flush()
		return stream

	def get(self, path):
		stream = self.request((':method', 'GET'), (':scheme', 'http'), (':path', path), (':authority', 't'), end=True)
		self.until(lambda: stream in self.ended)
		return self.answers[stream][':status'], self.data.get(stream, b'')

class Socket:
	def __init__(self, connection, path='/echo', *more, protocol='websocket', version='13', wait=True):
		self.c = connection
		self.id = connection.request((':method', 'CONNECT'), (':protocol', protocol), (':scheme', 'http'), (':path', path), (':authority', 't'),
			('sec-websocket-version', version), *more)
		self.c.until(lambda: self.id in self.c.answers or self.id in self.c.reset)
		self.headers = self.c.answers.get(self.id, {})
		self.status = self.headers.get(':status')

	def send(self, *parts):
		data = b''.join(parts)
		while data:
			room = min(self.c.h2.local_flow_control_window(self.id), 16384)
			if not room and not self.c.until(lambda: self.c.h2.local_flow_control_window(self.id)):
				return len(data)
			if room:
				self.c.h2.send_data(self.id, data[:room])
				self.c.flush()
				data = data[room:]
		return 0

	def frame(self):
		def whole():
			got = self.c.data.get(self.id, b'')
			if len(got) < 2:
				return None
			n, at = got[1] & 127, 2
			if n >= 126:
				at += 2 if n == 126 else 8
				if len(got) < at:
					return None
				n = int.from_bytes(got[2:at], 'big')
			return (at, n) if len(got) >= at + n else None
		self.c.until(lambda: whole() or self.id in self.c.ended or self.id in self.c.reset)
		found = whole()
		if not found:
			return None
		at, n = found
		got = self.c.data[self.id]
		self.c.data[self.id] = got[at + n:]
		return bool(got[0] & 128), got[0] >> 4 & 7, got[0] & 15, got[at:at + n]

	def message(self):
		got = self.frame()
		return got and got[2:]

	def closed(self):
		code = None
		while (got := self.frame()):
			if got[2] == CLOSE:
				code = int.from_bytes(got[3][:2], 'big')
		self.c.until(lambda: self.id in self.c.ended or self.id in self.c.reset)
		return code, self.id in self.c.ended

def the_handshake(tap, gate):
	c = Connection(gate.port)
	tap.is_(c.settings.get(EXTENDED_CONNECT), 1, 'extended CONNECT is announced')
	ws = Socket(c, '/echo', ('sec-websocket-protocol', 'x, chat.v1'), DEFLATE)
	tap.is_((ws.status, ws.headers.get('sec-websocket-protocol'), ws.headers.get('sec-websocket-extensions'), ws.headers.get('sec-websocket-accept')),
		('200', 'chat.v1', BASE, None), 'answered 200, with subprotocol and compression')
	for name, status, make in [('version 8', '400', lambda: Socket(c, '/echo', version='8')), ('another protocol', '501', lambda: Socket(c, '/echo', protocol='foo')),
			('an unknown path', '404', lambda: Socket(c, '/nothing')), ('a path that speaks no WebSocket', '405', lambda: Socket(c, '/health')),
			('malformed extensions', '400', lambda: Socket(c, '/echo', ('sec-websocket-extensions', 'a; ='))),
			('a strange Origin', '403', lambda: Socket(c, '/ws/chat', ('origin', 'http://evil.example')))]:
		tap.is_(make().status, status, f'{name}: {status}')
	tap.is_(c.get('/ws/chat')[0], '426', 'a plain GET of the WebSocket path: 426')
	ws.send(frame(TEXT, 'still here'))
	tap.is_(ws.message(), (TEXT, b'still here'), 'and all of that beside a socket that is served')

def the_rules(tap, gate):
	c = Connection(gate.port)
	ws = Socket(c)
	for name, sent, want in [('a text', [frame(TEXT, 'hello')], [(TEXT, b'hello')]), ('65537 bytes', [frame(BINARY, b'*' * 65537)], [(BINARY, b'*' * 65537)]),
			('3 MiB', [frame(BINARY, b'*' * (3 << 20))], [(BINARY, b'*' * (3 << 20))]),
			('fragments with a ping between', [frame(TEXT, 'a', fin=False) + frame(PING, 'p') + frame(CONT, 'b')], [(PONG, b'p'), (TEXT, b'ab')]),
			('byte by byte', [bytes([b]) for b in frame(TEXT, 'slowly')], [(TEXT, b'slowly')])]:
		for part in sent:
			ws.send(part)
		tap.is_([ws.message() for _ in want] == want, True, f'{name}: as over HTTP/1.1')
	ws.send(close(1000, b'bye'))
	tap.is_(ws.closed(), (1000, True), 'a close is answered, and the stream ends')
	for name, sent, code in [('no mask', frame(TEXT, 'x', masked=False), 1002), ('bad UTF-8', frame(TEXT, b'\xff'), 1007), ('an unknown opcode', frame(3), 1002),
			('a message that is too large', head(BINARY, 1 << 40), 1009)]:
		ws = Socket(c)
		ws.send(sent)
		tap.is_(ws.closed(), (code, True), f'{name}: {code}, and the stream ends')
	tap.is_(c.get('/health')[0], '200', 'the connection goes on')
	many = [Socket(c) for _ in range(50)]
	for i, ws in enumerate(many):
		ws.send(frame(TEXT, f'number {i}'))
	tap.is_([ws.message() for ws in many], [(TEXT, b'number %d' % i) for i in range(50)], '50 sockets on one connection')
	tap.is_(gate.health()['active_connections'], 50, '... each of them takes a place')
	c.h2.reset_stream(many[0].id)
	c.h2.end_stream(many[1].id)
	c.flush()
	tap.ok(wait_until(lambda: gate.health()['active_connections'] == 48), 'a reset and an END_STREAM without a close are departures')
	c.socket.close()
	tap.ok(wait_until(lambda: gate.health()['active_connections'] == 0), 'and so is the end of the connection')

def the_chat(tap, gate):
	c = Connection(gate.port)
	ws = Socket(c, '/ws/chat')
	ws.send(frame(TEXT, json.dumps({'action': 'chat', 'request_id': 'r1', 'payload': {'text': 'hello'}})))
	text, last = '', None
	while last not in ('complete', 'error'):
		m = json.loads(ws.message()[1])
		last = m['status']
		if last == 'chunk':
			text += m['chunk']['data']
	tap.is_((last, text), ('complete', sim_text(20)), 'a chat')
	ws.send(frame(BINARY, b'x'))
	tap.is_(ws.closed(), (1003, True), 'a binary message in it: 1003')

def the_windows(tap, gate):
	"""Who does not take our answers is not read any more, and stops nobody else."""
	c = Connection(gate.port)
	c.reading = False
	ws, sent = Socket(c), 0
	message = frame(BINARY, os.urandom(60000))
	left = 0
	while not left and sent < 400:
		c.socket.settimeout(1)
		data, left = message, 0
		while data:
			room = min(c.h2.local_flow_control_window(ws.id), 16384, len(data))
			if not room:
				if not c.until(lambda: c.h2.local_flow_control_window(ws.id), 1.5):
					left = len(data)
					break
				continue
			c.h2.send_data(ws.id, data[:room])
			c.flush()
			data = data[room:]
		sent += 1
	tap.ok(left and sent < 100, f'who reads nothing is stopped by his window ({sent} messages of 60 kB)')
	tap.is_(request(gate.port, 'GET', '/health')[0], 200, 'others are served')
	c.socket.close()

def the_drain(tap, sim, gate):
	"""A worker that drains tells its WebSockets one after the other, one that comes after its first word, too."""
	c = Connection(gate.port)
	sockets = [Socket(c, '/ws/chat') for _ in range(4)]
	pid = list(gate.workers().values())
	with open(gate.conf_path, 'w') as file:
		file.write(config_text(sim, run_dir=gate.run_dir, workers=1, server={'drain_timeout': 4, 'header_timeout': 17}))
	os.kill(gate.pid, signal.SIGHUP)
	wait_until(lambda: gate.workers() and list(gate.workers().values()) != pid)
	sockets.append(Socket(c, '/ws/chat'))
	told = lambda: [ws.id for ws in sockets if b'\x88' in c.data.get(ws.id, b'')]
	c.until(told)
	first = told()
	tap.ok(0 < len(first) < 5, f'a drain: WebSockets on one connection are not told all at once ({len(first)} of 5)')
	tap.is_([(ws.status, ws.frame()[2:]) for ws in sockets], [('200', (CLOSE, b'\x03\xf4service restart'))] * 5, '... but all, with 1012')
	c.socket.close()
	tap.is_(gate.grep('drain_timeout: cutting'), [], '... and nobody is cut')

with Tap() as tap, Sim('--rate', '0', '--text', 'tokens', '--tokens', '20') as sim:
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', chat={'max_message_size': '4MiB', 'subprotocols': ['chat.v1']}) as gate:
		the_handshake(tap, gate)
		the_rules(tap, gate)
		the_chat(tap, gate)
		the_windows(tap, gate)
	with Gate(sim, tap, workers=1, server={'drain_timeout': 4}) as gate:
		the_drain(tap, sim, gate)
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', chat={'ping_interval': '200ms', 'ping_timeout': '400ms'}) as gate:
		c = Connection(gate.port)
		ws = Socket(c)
		got = [ws.frame()[2]]
		ws.send(frame(PONG))
		got.append(ws.frame()[2])
		tap.is_(got, [PING, PING], 'pings')
		tap.is_(ws.closed(), (1011, True), 'and who does not answer is closed with 1011')
