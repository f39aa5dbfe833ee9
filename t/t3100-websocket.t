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

with Tap() as tap, Sim('--rate', '0') as sim, Gate(sim, tap, workers=2, echo_endpoint='/echo',
		chat={'max_message_size': '16MiB'}) as gate:
	echo_of_bodies(tap, gate)
	echo_of_messages(tap, gate)
