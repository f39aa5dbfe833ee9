#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""WebSocket to the letter of RFC 6455, by hand against the echo endpoint."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from wsraw import *

def echo_of_bodies(tap, gate):
	for name, method, body in [('a text', 'POST', b'hello'), ('all bytes', 'PUT', bytes(range(256)) * 40), ('a large body', 'POST', os.urandom(3 << 20))]:
		status, headers, got = request(gate.port, method, '/echo', body)
		tap.ok((status, got) == (200, body), f'{method} with {name}: comes back unchanged')
	tap.is_(headers['content-type'], 'application/octet-stream', 'as a type that no browser runs')
	status, headers, got = request(gate.port, 'GET', '/echo')
	tap.ok(status == 200 and len(got) >= 5, 'without a body: at least 5 bytes')
	status, headers, got = request(gate.port, 'HEAD', '/echo')
	tap.ok(status == 200 and got == b'' and int(headers['content-length']) >= 5, 'HEAD: its head alone')

def echo_of_messages(tap, gate):
	sizes = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20, 16 << 20]
	for opcode, name in [(TEXT, 'text'), (BINARY, 'binary')]:
		with Raw(gate.port, '/echo') as c:
			good = []
			for size in sizes:
				payload = b'*' * size if opcode == TEXT else os.urandom(size)
				c.send(frame(opcode, payload))
				good.append(c.frame() == (True, 0, opcode, payload))
			tap.is_(good, [True] * len(sizes), f'{name} messages of {sizes} bytes: unchanged')
			c.send(close(1000))
			tap.is_(c.closed(), 1000, '... and closed')


# ---- cases: what is sent, which frames come back, and the close code at the end ----
# The groups are those of the Autobahn test suite. Each case has a connection of its own; a code of 1000
# means that the client closes when it has got its frames.

T, B = lambda text: (TEXT, text if isinstance(text, bytes) else text.encode()), lambda data: (BINARY, data)
HELLO = frame(TEXT, 'Hello')

def split(opcode, parts, between=None):
	"""A message in fragments, with the frames of `between` behind the fragment of that number."""
	out = []
	for i, part in enumerate(parts):
		out += [frame(CONT if i else opcode, part, fin=i == len(parts) - 1), (between or {}).get(i, b'')]
	return b''.join(out)

def pings():
	yield 'without payload', [frame(PING)], [(PONG, b'')], 1000
	yield 'with a text', [frame(PING, 'Hello')], [(PONG, b'Hello')], 1000
	yield 'with bytes', [frame(PING, b'\0\xff\xfe\xfd\xfc\xfb\0\xff')], [(PONG, b'\0\xff\xfe\xfd\xfc\xfb\0\xff')], 1000
	yield 'of 125 bytes', [frame(PING, b'\xfe' * 125)], [(PONG, b'\xfe' * 125)], 1000
	yield 'of 126 bytes', [frame(PING, b'\xfe' * 126)], [], 1002
	yield 'byte by byte', [(1, frame(PING, b'\xfe' * 125))], [(PONG, b'\xfe' * 125)], 1000
	yield 'a pong that nobody asked for', [frame(PONG)], [], 1000
	yield 'such a pong, then a ping', [frame(PONG, 'x'), frame(PING, 'y')], [(PONG, b'y')], 1000
	ten = b''.join(frame(PING, f'payload-{i}') for i in range(10))
	yield 'ten at once: in order', [ten], [(PONG, b'payload-%d' % i) for i in range(10)], 1000
	yield 'ten, byte by byte', [(1, ten)], [(PONG, b'payload-%d' % i) for i in range(10)], 1000

def reserved():
	for rsv in range(1, 8):
		for opcode, name in [(TEXT, 'a text'), (BINARY, 'a binary message'), (PING, 'a ping'), (CLOSE, 'a close')]:
			yield f'bits {rsv} of {name}', [HELLO, frame(opcode, b'' if opcode == CLOSE else b'Hello', rsv=rsv), frame(PING)], [T('Hello')], 1002
	for rsv in (1, 4):
		yield f'bits {rsv} of a continuation', [frame(TEXT, 'a', fin=False), frame(CONT, 'b', rsv=rsv)], [], 1002
	for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
		yield f'opcode {opcode}', [HELLO, frame(opcode), frame(PING)], [T('Hello')], 1002
		yield f'opcode {opcode} with payload', [HELLO, (1, frame(opcode, 'payload')), frame(PING)], [T('Hello')], 1002

def headers():
	yield 'no mask', [frame(TEXT, 'Hello', masked=False)], [], 1002
	yield 'no mask on a close', [frame(CLOSE, masked=False)], [], 1002
	yield '5 bytes, length in 2', [frame(TEXT, 'Hello', size=2)], [], 1002
	yield '125 bytes, length in 2', [frame(TEXT, 'x' * 125, size=2)], [], 1002
	yield '126 bytes, length in 8', [frame(TEXT, 'x' * 126, size=8)], [], 1002
	yield '65535 bytes, length in 8', [frame(TEXT, 'x' * 65535, size=8)], [], 1002
	yield 'length with its top bit', [head(BINARY, 1 << 63) + b'\0\0\0\0'], [], 1002
	yield 'a ping with the length in 2', [frame(PING, 'x', size=2)], [], 1002
	yield 'a length beyond max_message_size, no payload', [head(BINARY, (16 << 20) + 1)], [], 1009
	yield 'fragments that exceed it together', [frame(BINARY, b'x' * (16 << 20), fin=False), head(CONT, 1)], [], 1009

def fragments():
	yield 'of a ping', [split(PING, ['frag', 'ment'])], [], 1002
	yield 'of a pong', [split(PONG, ['frag', 'ment'])], [], 1002
	yield 'of a close', [frame(CLOSE, fin=False)], [], 1002
	for name, wrap in [('', lambda x: x), (', byte by byte', lambda x: (1, x))]:
		two, with_ping = split(TEXT, ['fragment1', 'fragment2']), split(TEXT, ['fragment1', 'fragment2'], {0: frame(PING, 'ping')})
		yield 'two' + name, [wrap(two)], [T('fragment1fragment2')], 1000
		yield 'two, a ping between' + name, [wrap(with_ping)], [(PONG, b'ping'), T('fragment1fragment2')], 1000
		yield 'a continuation of nothing' + name, [wrap(frame(CONT, 'non-continuation') + HELLO)], [], 1002
		yield 'the same, with more to come' + name, [wrap(frame(CONT, 'non-continuation', fin=False) + HELLO)], [], 1002
	yield 'a continuation after a whole message', [split(TEXT, ['a', 'b']), frame(CONT, 'c', fin=False), HELLO], [T('ab')], 1002
	yield 'a text in a text', [frame(TEXT, 'a', fin=False), frame(TEXT, 'b')], [], 1002
	yield 'a binary message in a text', [frame(TEXT, 'a', fin=False), frame(BINARY, b'b')], [], 1002
	six = [f'fragment{i}' for i in range(6)]
	yield 'six, two pings in order', [split(TEXT, six, {1: frame(PING, 'one'), 3: frame(PING, 'two')})], \
		[(PONG, b'one'), (PONG, b'two'), T(''.join(six))], 1000
	yield 'empty ones', [split(TEXT, ['', '', ''])], [T('')], 1000
	yield 'empty ones around a text', [split(TEXT, ['', 'middle', ''])], [T('middle')], 1000
	yield 'a close between', [frame(TEXT, 'a', fin=False), close(1000), frame(CONT, 'b')], [], 'echo 1000'
	yield '65536 of 64 bytes', [split(BINARY, [b'*' * 64] * 65536)], [B(b'*' * (4 << 20))], 1000
	yield '1 MiB in frames of 1300', [split(TEXT, ['*' * 1300] * 806 + ['*' * 776])], [T('*' * (1 << 20))], 1000
	yield '65536 bytes, 997 at a time', [(997, frame(TEXT, '*' * 65536))], [T('*' * 65536)], 1000

def utf8():
	kosme = 'Hello-µ@ßöäüàá-UTF-8!!'.encode()
	good = [b'\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5', b'\0', b'\xc2\x80', b'\xe0\xa0\x80', b'\xf0\x90\x80\x80', b'\x7f', b'\xdf\xbf',
		b'\xef\xbf\xbf', b'\xf4\x8f\xbf\xbf', b'\xed\x9f\xbf', b'\xee\x80\x80', b'\xef\xbf\xbd', b'\xef\xbf\xbe', b'\xef\xb7\x90',
		b'\xf0\x9f\xbf\xbe', b'\xf0\xaf\xbf\xbf', b'\xf3\xbf\xbf\xbf', b'\xe2\x82\xac' * 3]
	bad = [b'\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited', b'\xf8\x88\x80\x80\x80', b'\xfc\x84\x80\x80\x80\x80', b'\xf7\xbf\xbf\xbf',
		b'\xf4\x90\x80\x80', b'\x80', b'\xbf', b'\x80\xbf' * 3, bytes(range(0x80, 0xc0)), b'\xc0 \xc1 ', b'\xe0 \xe1 ', b'\xf0 \xf7 ', b'\xf8 ', b'\xfc ',
		b'\xc0', b'\xe0\x80', b'\xf0\x80\x80', b'\xfe', b'\xff', b'\xfe\xfe\xff\xff', b'\xc0\xaf', b'\xe0\x80\xaf', b'\xf0\x80\x80\xaf',
		b'\xc1\xbf', b'\xe0\x9f\xbf', b'\xf0\x8f\xbf\xbf', b'\xc0\x80', b'\xe0\x80\x80', b'\xf0\x80\x80\x80', b'\xed\xa0\x80', b'\xed\xad\xbf',
		b'\xed\xae\x80', b'\xed\xbf\xbf', b'\xed\xa0\x80\xed\xb0\x80', b'\xc2', b'\xe1\xbd', b'\xf4\x8f\xbf', b'abc\xce']
	for text in good:
		yield f'{text.hex()}', [frame(TEXT, text), (1, frame(TEXT, text)), split(TEXT, [text[i:i + 1] for i in range(len(text))])], [T(text)] * 3, 1000
	for text in bad:
		yield f'{text.hex()}', [frame(TEXT, text)], [], 1007
		yield f'{text.hex()} in fragments', [split(TEXT, [text[i:i + 1] for i in range(len(text))])], [], 1007
	yield 'a character cut by a frame', [split(TEXT, [kosme[:7], kosme[7:]])], [T(kosme)], 1000
	yield 'it is no rule for binary messages', [frame(BINARY, b'\xff\xfe')], [B(b'\xff\xfe')], 1000
	# fail fast: the rest never comes
	yield 'at once, in a frame that is not whole', [head(TEXT, 100) + b'\0\0\0\0' + b'\xce\xba\xf4\x90'], [], 1007
	yield 'at once, in the first fragment', [frame(TEXT, b'\xce\xba\xed\xa0', fin=False)], [], 1007
	yield 'at once, over a border of fragments', [frame(TEXT, b'\xce\xba\xf4', fin=False), frame(CONT, b'\x90', fin=False)], [], 1007

def closes():
	yield 'without a code', [close()], [], 'echo 1005'
	yield 'then a text', [close(1000), HELLO], [], 'echo 1000'
	yield 'then a ping', [close(1000), frame(PING)], [], 'echo 1000'
	yield 'then another', [close(1000), close(1001)], [], 'echo 1000'
	yield 'after half a message', [frame(TEXT, 'x', fin=False), close(1000)], [], 'echo 1000'
	yield 'after 256 KiB', [frame(TEXT, '*' * 262144), close(1000)], [T('*' * 262144)], 'echo 1000'
	yield 'one byte of payload', [frame(CLOSE, 'a')], [], 1002
	yield 'a reason of 123 bytes', [close(1000, b'*' * 123)], [], 'echo 1000'
	yield 'a reason of 124', [frame(CLOSE, b'\x03\xe8' + b'*' * 124)], [], 1002
	yield 'a reason that is no UTF-8', [close(1000, b'\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80x')], [], 1007
	yield 'a reason cut in a character', [close(1000, b'\xce\xba\xe1')], [], 1007
	yield 'a reason in UTF-8, byte by byte', [(1, close(1000, 'κόσμε€'.encode()))], [], 'echo 1000'
	for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]:
		yield f'code {code}', [close(code)], [], f'echo {code}'
	for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]:
		yield f'code {code}', [close(code)], [], 1002

def play(tap, gate, name, cases):
	"""One test for a group; what fails is told."""
	failed, n = [], 0
	for case, sent, want, end in cases:
		n += 1
		with Raw(gate.port, '/echo') as c:
			try:
				for part in sent:
					c.chop(part[1], part[0]) if isinstance(part, tuple) else c.send(part)
			except (BrokenPipeError, ConnectionResetError):
				pass	# it had seen enough
			got = [c.message() for _ in want]
			if end == 1000:
				c.send(close(1000))
			code = c.closed()
			if got != want or code != (end if isinstance(end, int) else int(end.split()[1])):
				failed.append(f'{case}: got {str(got)[:200]} {code}, want {str(want)[:200]} {end}')
	tap.ok(n and not failed, f'{name}: {n} cases')
	tap.diag('\n'.join(failed))

# ---- the opening handshake ----

def handshakes(tap, gate):
	def status(data):
		answer = raw(gate.port, data)
		first, _, rest = answer.partition(b'\r\n\r\n')
		lines = first.decode('latin-1').split('\r\n')
		return int(lines[0].split()[1]), {k.lower(): v.strip() for k, _, v in (line.partition(':') for line in lines[1:])}
	with Raw(gate.port, '/echo', behind=HELLO) as c:
		tap.is_((c.status, c.headers.get('sec-websocket-accept'), c.headers.get('upgrade'), c.headers.get('connection')),
			(101, ACCEPT, 'websocket', 'Upgrade'), 'the answer of RFC 6455')
		tap.is_(c.message(), T('Hello'), 'a message in the same segment as the handshake is served')
		tap.ok('sec-websocket-protocol' not in c.headers, 'no subprotocol where none is offered')
	for offered, chosen in [('other, realtime,chat.v1', 'realtime'), ('openai-insecure-api-key.sk-x', None)]:
		with Raw(gate.port, '/echo', f'Sec-WebSocket-Protocol: {offered}') as c:
			tap.is_((c.status, c.headers.get('sec-websocket-protocol')), (101, chosen), f'offered {offered}: answered {chosen}')
	code, h = status(hello('/echo').replace(b'Upgrade: websocket', b'Upgrade: foo'))
	tap.is_((code, h.get('upgrade')), (426, 'websocket'), 'an unknown upgrade: 426 at once, and which one is known')
	code, h = status(b'GET /health HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n')
	tap.is_(code, 200, 'one to h2c is passed over')
	for version in ('8', '12', '14', '013', '13, 8', ''):
		code, h = status(hello('/echo', version=version))
		tap.is_((code, h.get('sec-websocket-version')), (426, '13'), f'version "{version}": 426, and which one is spoken')
	for key in ('', 'x', 'dGhlIHNhbXBsZSBub25jZQ', 'dGhlIHNhbXBsZSBub25jZQ==x', 'dGhlIHNhbXBsZSBub25j', '!GhlIHNhbXBsZSBub25jZQ=='):
		tap.is_(status(hello('/echo', key=key))[0], 400, f'key "{key}": 400')
	tap.is_(status(hello('/echo', f'Sec-WebSocket-Key: {KEY}'))[0], 400, 'two keys: 400')
	good = hello('/echo')
	for name, data in [('in other letters', good.replace(b'Upgrade: websocket', b'uPGRADE: WebSocket').replace(b'Connection: Upgrade', b'connection: keep-alive, upgrade')),
			('among other upgrades', good.replace(b'Upgrade: websocket', b'Upgrade: foo/2, websocket')),
			('over two lines', good.replace(b'Connection: Upgrade', b'Connection: keep-alive\r\nConnection: Upgrade'))]:
		with socket.create_connection(('127.0.0.1', gate.port), timeout=20) as s:
			s.sendall(data)
			tap.like(s.recv(1000).decode('latin-1'), r'^HTTP/1.1 101', f'{name}: served')

with Tap() as tap, Sim('--rate', '0') as sim, Gate(sim, tap, workers=2, echo_endpoint='/echo',
		chat={'max_message_size': '16MiB', 'subprotocols': ['chat.v1', 'realtime']}) as gate:
	echo_of_bodies(tap, gate)
	echo_of_messages(tap, gate)
	handshakes(tap, gate)
	for name, cases in [('pings', pings), ('reserved bits and opcodes', reserved), ('headers', headers), ('fragments', fragments), ('UTF-8', utf8), ('closes', closes)]:
		play(tap, gate, name, cases())
