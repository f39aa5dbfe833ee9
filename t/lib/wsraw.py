# SPDX-License-Identifier: BSD-2-Clause
"""WebSocket by hand over a blocking socket: every bit of a frame is the test's.

	with Raw(port, '/echo') as c:
		c.send(frame(TEXT, b'hello'))
		c.frame()	-> (fin, rsv, opcode, payload); None: the server has closed the connection
"""
import os, socket, struct

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='


def mask_bytes(key, data):
	n = len(data)
	stream = (key * (n // 4 + 1))[:n]
	return (int.from_bytes(data, 'big') ^ int.from_bytes(stream, 'big')).to_bytes(n, 'big')


def head(opcode, length, fin=True, rsv=0, masked=True, size=None):
	"""The header up to the mask; size: bytes of the length (0, 2, 8), else the shortest."""
	if size is None:
		size = 0 if length < 126 else 2 if length < 65536 else 8
	first = bytes([fin << 7 | rsv << 4 | opcode])
	short = length if size == 0 else 126 if size == 2 else 127
	return first + bytes([masked << 7 | short]) + (b'' if not size else struct.pack('>H' if size == 2 else '>Q', length))


def frame(opcode, payload=b'', fin=True, rsv=0, masked=True, size=None):
	if isinstance(payload, str):
		payload = payload.encode()
	key = os.urandom(4)
	text = head(opcode, len(payload), fin, rsv, masked, size)
	return text + (key + mask_bytes(key, payload) if masked else payload)


def close(code=None, reason=b''):
	return frame(CLOSE, b'' if code is None else struct.pack('>H', code) + reason)


def hello(path, *headers, version='13', key=KEY):
	return ('\r\n'.join([f'GET {path} HTTP/1.1', 'Host: t', 'Upgrade: websocket', 'Connection: Upgrade',
		f'Sec-WebSocket-Version: {version}', f'Sec-WebSocket-Key: {key}', *headers, '', ''])).encode()


class Raw:
	def __init__(self, port, path, *headers, timeout=20, behind=b''):
		"""behind: bytes that go out together with the handshake."""
		self.socket = socket.create_connection(('127.0.0.1', port), timeout=timeout)
		self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.held = b''
		self.socket.sendall(hello(path, *headers) + behind)
		while b'\r\n\r\n' not in self.held:
			self.more()
		text, self.held = self.held.split(b'\r\n\r\n', 1)
		lines = text.decode('latin-1').split('\r\n')
		self.status = int(lines[0].split()[1])
		self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(':') for line in lines[1:])}

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.socket.close()

	def send(self, *parts):
		self.socket.sendall(b''.join(parts))

	def chop(self, data, size=1):
		for i in range(0, len(data), size):
			self.socket.sendall(data[i:i + size])

	def more(self):
		got = self.socket.recv(1 << 18)
		if not got:
			raise EOFError
		self.held += got

	def need(self, n):
		while len(self.held) < n:
			self.more()

	def frame(self):
		try:
			self.need(2)
			first, second = self.held[0], self.held[1]
			at, n = 2, second & 127
			if n >= 126:
				at += 2 if n == 126 else 8
				self.need(at)
				n = int.from_bytes(self.held[2:at], 'big')
			parts, got = [self.held[at:at + n]], len(self.held) - at
			self.held = self.held[at + n:]
			while got < n:
				part = self.socket.recv(min(1 << 20, n - got))
				if not part:
					raise EOFError
				parts.append(part)
				got += len(part)
		except (EOFError, ConnectionResetError):
			return None
		assert not second & 128, 'a server does not mask'
		return bool(first & 128), first >> 4 & 7, first & 15, b''.join(parts)

	def message(self):
		"""The payload of the next frame, which must be a whole message: (opcode, payload)."""
		got = self.frame()
		return got and (got[2], got[3]) if not got or got[0] else ('fragment', got)

	def closed(self):
		"""Reads to the close frame and on to the end of the connection: the code (None: none came; 1005: a
		close without one), or what was wrong."""
		code = None
		while (got := self.frame()):
			if code is not None:
				return f'a frame after the close: {got}'
			if got[2] == CLOSE:
				code = int.from_bytes(got[3][:2], 'big') if got[3] else 1005
		return code
