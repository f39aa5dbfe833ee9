#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Behind a proxy: the PROXY protocol and X-Forwarded-For tell who the client is, from trusted addresses only."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

V2 = b'\r\n\r\n\0\r\nQUIT\n'
V2_LOCAL = V2 + b'\x20\0\0\0'
V2_PEER = V2 + b'\x21\x11\0\x0c' + bytes([192, 0, 2, 7, 127, 0, 0, 1]) + (4711).to_bytes(2, 'big') + b'\0\x50'

def get(gate, before=b'', address='127.0.0.1', more=''):
	"""The status of GET /v1/models with these bytes in front; None: nothing came."""
	with socket.socket() as s:
		s.bind((address, 0))
		s.settimeout(20)
		s.connect(('127.0.0.1', gate.port))
		s.sendall(before + f'GET /v1/models HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{more}\r\n'.encode())
		try:
			got = s.recv(65536)
		except ConnectionResetError:
			return None
		return int(got.split()[1]) if got else None

def seen(gate, peer):
	return wait_until(lambda: gate.grep(f' {re.escape(peer)} GET /v1/models '), 5)

with Tap() as tap, Sim('--text', 'tokens') as sim:
	with Gate(sim, tap, workers=2, access_log=True, chat={'trusted_proxies': ['127.0.0.2', '127.1.0.0/16']}) as gate:
		tap.is_(get(gate, address='127.0.0.2', more='X-Forwarded-For: 192.0.2.1\r\n'), 200, 'a request of a trusted proxy')
		tap.ok(seen(gate, '192.0.2.1'), '... is logged as that of its client')
		tap.is_(get(gate, address='127.0.0.2', more='X-Forwarded-For: 192.0.2.66, 192.0.2.2, 127.1.2.3\r\n'), 200, 'through two proxies, with a lie of the client in front')
		tap.ok(seen(gate, '192.0.2.2') and not gate.grep('192.0.2.66'), '... it is the last one that is no proxy of ours')
		tap.is_(get(gate, address='127.0.0.3', more='X-Forwarded-For: 192.0.2.3\r\n'), 200, 'somebody else who says so')
		tap.ok(wait_until(lambda: gate.grep(r' 127\.0\.0\.3:\d+ GET'), 5) and not gate.grep('192.0.2.3'), '... is not believed')
		tap.is_(get(gate, V2_PEER, '127.0.0.2'), 400, 'without proxy_protocol its header is no request')
	with Gate(sim, tap, workers=2, access_log=True, chat={'trusted_proxies': ['127.0.0.2'], 'proxy_protocol': True}) as gate:
		for name, header, peer in (('version 2', V2_PEER, '192.0.2.7:4711'), ('version 1', b'PROXY TCP4 192.0.2.8 127.0.0.1 99 80\r\n', '192.0.2.8:99'),
				('version 1 of IPv6', b'PROXY TCP6 2001:db8::9 ::1 99 80\r\n', '[2001:db8::9]:99')):
			tap.is_(get(gate, header, '127.0.0.2'), 200, f'{name}: served')
			tap.ok(seen(gate, peer), f'... and logged as {peer}')
		tap.is_(get(gate, V2_LOCAL, '127.0.0.2'), 200, "the proxy's own check is served as the proxy")
		tap.is_(get(gate, address='127.0.0.2'), None, 'a connection of the proxy without a header is cut')
		tap.is_(get(gate, b'PROXY TCP4 1.2.3.4 1 2\r\n', '127.0.0.2'), None, '... or with a broken one')
		tap.ok(gate.wait_line('connection of the proxy 127.0.0.2:\\d+ cut: it does not begin with', 5), '... and the log says why')
		tap.is_(get(gate), 200, 'others need none')
		tap.is_(get(gate, V2_PEER), 400, '... and cannot forge one')
		with socket.socket() as s:	# byte by byte
			s.bind(('127.0.0.2', 0))
			s.connect(('127.0.0.1', gate.port))
			s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
			for byte in V2_PEER + b'GET /v1/models HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n':
				s.send(bytes([byte]))
			tap.ok(b'200 OK' in s.recv(65536), 'a header that comes in pieces')
