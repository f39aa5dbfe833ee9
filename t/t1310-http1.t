#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A connection of HTTP/1.1 from its first byte to its last: what is smuggled behind a wrong message is never served, pipelined
requests are answered in order, 100-continue, HEAD, HTTP/1.0, how long a connection lives, and the h11 limits."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

HOST = b'Host: t\r\n'
HIDDEN = b'GET /smuggled HTTP/1.1\r\n' + HOST + b'\r\n'
POST = b'POST /echo HTTP/1.1\r\n' + HOST
CHUNKED = POST + b'Transfer-Encoding: chunked\r\n\r\n'

class Wire:
	"""One connection, its answers one after the other."""
	def __init__(self, gate, data=b''):
		self.s = socket.create_connection(('127.0.0.1', gate.port), timeout=20)
		self.held = b''
		self.s.sendall(data)

	def more(self):
		try:
			part = self.s.recv(65536)
		except ConnectionResetError:
			part = b''
		self.held += part
		return part

	def answer(self, head_only=False):
		"""(status, fields by lower-case name, body), or None: the connection is closed."""
		while b'\r\n\r\n' not in self.held:
			if not self.more():
				return None
		head, self.held = self.held.split(b'\r\n\r\n', 1)
		lines = head.decode().split('\r\n')
		fields = {k.lower(): v.strip() for k, _, v in (line.partition(':') for line in lines[1:])}
		size = 0 if head_only else int(fields.get('content-length', 0))
		while len(self.held) < size and self.more():
			pass
		body, self.held = self.held[:size], self.held[size:]
		return int(lines[0].split()[1]), fields, body

	def closed(self):
		"""Nothing more comes, and then it is closed."""
		return not self.held and not self.more()

def echo(text, extra=b''):
	return POST + extra + b'Content-Length: %d\r\n\r\n%s' % (len(text), text)

# What is wrong, and the bytes; behind it stands a request that somebody else in between may have taken for part of it.
SMUGGLED = [
	('both lengths', POST + b'Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
	('both lengths, the other way round', POST + b'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n'),
	('two lengths that differ', POST + b'Content-Length: 0\r\nContent-Length: 44\r\n\r\n'),
	('two lengths that are the same', POST + b'Content-Length: 1\r\nContent-Length: 1\r\n\r\nx'),
	('a list of lengths', POST + b'Content-Length: 1, 1\r\n\r\nx'),
	('a length with a sign', POST + b'Content-Length: +1\r\n\r\nx'),
	('a negative length', POST + b'Content-Length: -1\r\n\r\nx'),
	('a length in hexadecimal', POST + b'Content-Length: 0x1\r\n\r\nx'),
	('a length of nothing', POST + b'Content-Length:\r\n\r\n'),
	('a space before the colon', POST + b'Content-Length : 1\r\n\r\nx'),
	('a coding with a space before the colon', POST + b'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n'),
	('another coding', POST + b'Transfer-Encoding: identity\r\n\r\n'),
	('chunked twice', POST + b'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
	('chunked, but not last', POST + b'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'),
	('chunked with a control character', POST + b'Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n'),
	('chunked in HTTP/1.0', b'POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
	('a folded field', POST + b'Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n'),
	('a field before the first', b'POST /echo HTTP/1.1\r\n ' + HOST + b'Content-Length: 1\r\n\r\nx'),
	('a bare LF', b'POST /echo HTTP/1.1\r\nHost: t\nContent-Length: 1\r\n\r\nx'),
	('a bare CR', b'POST /echo HTTP/1.1\r\nHost: t\rContent-Length: 1\r\n\r\nx'),
	('a NUL', b'POST /echo HTTP/1.1\r\nHost: t\0\r\nContent-Length: 1\r\n\r\nx'),
	('two Hosts', b'POST /echo HTTP/1.1\r\n' + HOST + HOST + b'Content-Length: 1\r\n\r\nx'),
	('an absolute target with user and password', b'GET http://a:b@t/ HTTP/1.1\r\n' + HOST + b'\r\n'),
	('a chunk with a sign', CHUNKED + b'+1\r\nx\r\n0\r\n\r\n'),
	('a chunk in hexadecimal with 0x', CHUNKED + b'0x1\r\nx\r\n0\r\n\r\n'),
	('a chunk longer than it says', CHUNKED + b'1\r\nxy\r\n0\r\n\r\n'),
	('a chunk that ends with LF', CHUNKED + b'1\r\nx\n0\r\n\r\n'),
	('a chunk size that ends with LF', CHUNKED + b'1\nx\r\n0\r\n\r\n'),
	('a chunk size that overflows', CHUNKED + b'10000000000000001\r\nx\r\n0\r\n\r\n'),
	('a chunk size of nothing', CHUNKED + b'\r\nx\r\n0\r\n\r\n'),
	('a trailer that is no field', CHUNKED + b'0\r\nnothing\r\n\r\n'),
]

def smuggling(tap, gate):
	for name, data in SMUGGLED:
		w = Wire(gate, data + HIDDEN)
		first = w.answer()
		tap.ok(first and first[0] == 400 and first[1].get('connection') == 'close' and w.closed(), f'{name}: 400, and closed')
	tap.is_(gate.grep('smuggled'), [], 'what stood behind was never served')

def order(tap, gate):
	"""The first of them takes longest."""
	slow = json.dumps(chat_body('[[sim:first_token_ms=300]]', stream=False)).encode()
	w = Wire(gate, b'POST /v1/chat/completions HTTP/1.1\r\n' + HOST + b'Content-Length: %d\r\n\r\n%s' % (len(slow), slow)
		+ b''.join(echo(b'number %d' % n) for n in range(20)) + CHUNKED + b'3\r\none\r\n3;x=y\r\ntwo\r\n0\r\nT: t\r\n\r\n' + b'\r\n' + echo(b'last'))
	tap.ok(b'chat.completion' in w.answer()[2], 'pipelined: the first one, for which all others wait')
	tap.is_([w.answer()[2] for _ in range(22)], [b'number %d' % n for n in range(20)] + [b'onetwo', b'last'], 'pipelined: 22 more, in their order')

def forms(tap, gate):
	w = Wire(gate, POST + b'Expect: 100-continue\r\nContent-Length: 5\r\n\r\n')
	tap.is_(w.answer()[0], 100, 'Expect: 100-continue is answered 100 before the body comes')
	w.s.sendall(b'hello')
	tap.is_(w.answer()[2], b'hello', '... and then with what was asked for')
	w = Wire(gate, POST + b'Expect: 100-continue\r\nContent-Length: 999999\r\n\r\n')
	tap.is_(w.answer()[0], 413, '... or refused before the body comes')
	w = Wire(gate, POST + b'Expect: miracles\r\nContent-Length: 1\r\n\r\nx')
	tap.is_(w.answer()[0], 417, 'another expectation: 417')
	w = Wire(gate, b'HEAD /v1/models HTTP/1.1\r\n' + HOST + b'\r\n' + b'GET /v1/models HTTP/1.1\r\n' + HOST + b'\r\n')
	head, get = w.answer(head_only=True), w.answer()
	fields = lambda a: {k: v for k, v in a[1].items() if k not in ('date', 'x-request-id')}
	tap.ok(head[0] == get[0] == 200 and fields(head) == fields(get) and len(get[2]) == int(head[1]['content-length']), 'HEAD: the head of GET, without its body')
	w = Wire(gate, b'GET /v1/models HTTP/1.0\r\n\r\n' + HIDDEN)
	tap.ok(w.answer()[0] == 200 and w.closed(), 'HTTP/1.0: one answer')
	w = Wire(gate, b'GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n' * 2)
	got = [w.answer() for _ in range(2)]
	tap.is_([(a[0], a[1].get('connection', '').lower()) for a in got], [(200, 'keep-alive')] * 2, '... unless the client asks for more')
	w = Wire(gate, b'GET http://elsewhere:8/v1/models HTTP/1.1\r\n' + HOST + b'\r\n')
	tap.is_(w.answer()[0], 200, 'a target in absolute form')
	w = Wire(gate, b'GET /v1/models HTTP/1.1\r\n' + HOST + b'Connection: close\r\n\r\n' + HIDDEN)
	tap.ok(w.answer()[1]['connection'] == 'close' and w.closed(), 'Connection: close is the last one')

def life(tap, gate):
	w = Wire(gate, (b'GET /v1/models HTTP/1.1\r\n' + HOST + b'\r\n') * 5)
	tap.is_([w.answer()[1].get('connection', 'open') for _ in range(4)], ['open'] * 3 + ['close'], 'max_keepalive_requests: 4: the fourth answer says that it is the last')
	tap.ok(w.closed(), '... and a fifth is not served')
	slow = json.dumps(chat_body('[[sim:first_token_ms=2500]]', stream=False)).encode()
	busy = Wire(gate, b'POST /v1/chat/completions HTTP/1.1\r\n' + HOST + b'Content-Length: %d\r\n\r\n%s' % (len(slow), slow))
	idle = Wire(gate, b'GET /v1/models HTTP/1.1\r\n' + HOST + b'\r\n')
	tap.ok(idle.answer()[0] == 200 and idle.closed(), 'keepalive_timeout: an idle connection is closed')
	tap.is_(busy.answer()[0], 200, '... one that waits for its answer is not')

def trickle(w, data):
	"""A byte now and then, until it is cut: the answer."""
	w.s.settimeout(0.2)
	for byte in data:
		try:
			w.s.sendall(bytes([byte]))
			if not w.more() or b'\r\n\r\n' in w.held:
				break
		except TimeoutError:
			pass
		except OSError:
			break
	w.s.settimeout(20)
	return w.answer()

def limits(tap, gate):
	def refused(name, data, status, code):
		w = Wire(gate, data)
		a = w.answer()
		tap.ok(a and (a[0], json.loads(a[2])['error']['code']) == (status, code) and w.closed(), f'{name}: {status} {code}, and closed')
	refused('a request line over h11_max_request_line_size', b'GET /' + b'x' * 1000, 414, 'uri_too_long')
	refused('a head over h11_max_header_size', b'GET / HTTP/1.1\r\n' + HOST + b'X: y\r\n' * 700 + b'\r\n', 431, 'head_too_large')
	refused('an unfinished head over h11_max_incomplete_event_size', b'GET / HTTP/1.1\r\n' + HOST + b'X: ' + b'y' * 3000, 431, 'head_too_large')
	refused('a body over max_body_size', POST + b'Content-Length: 2000\r\n\r\n', 413, 'body_too_large')
	refused('a chunked body over max_body_size', CHUNKED + b'400\r\n' + b'x' * 1024 + b'\r\n400\r\n' + b'x' * 1024, 413, 'body_too_large')
	for name, data in (('head', b'GET / HTTP/1.1\r\n' + HOST + b'X: ' + b'y' * 100), ('body', echo(b'x' * 900)[:-800])):
		a = trickle(Wire(gate, data[:-60]), data[-60:])
		tap.is_(a and a[0], 408, f'a {name} that comes byte by byte is cut after header_timeout: 408')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 1000) as sim:
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', access_log=True, server={'keepalive_timeout': '5s', 'max_body_size': 10000}) as gate:
		smuggling(tap, gate)
		order(tap, gate)
		forms(tap, gate)
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', server={'max_body_size': 1500, 'keepalive_timeout': '1s', 'header_timeout': '2s',
			'max_keepalive_requests': 4, 'h11_max_request_line_size': 500, 'h11_max_header_size': 4000, 'h11_max_incomplete_event_size': 2000}) as gate:
		life(tap, gate)
		limits(tap, gate)
