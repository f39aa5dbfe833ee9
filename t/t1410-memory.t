#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What an idle WebSocket, an idle connection and an open stream cost in a worker's memory, each with all of them
having come at once. doc/performance.md tells what it is; the bounds are what it may be."""
import os, resource, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

UPGRADE = b'GET /ws/chat HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' \
	b'Sec-WebSocket-Version: 13\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nCookie: ' + b'c' * 1000 + b'\r\n\r\n'
LIVE = b'GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n'

def chat(text, stream):
	body = json.dumps(chat_body(text, stream=stream)).encode()
	return b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(body) + body

# what it is, its request, how its answer begins and the last that it is to say, how many, kB that each may cost
CASES = [
	('idle WebSocket', UPGRADE, b'HTTP/1.1 101 ', b'\r\n\r\n', 1000, 3),
	('idle connection, after a request that headgate answers', LIVE, b'HTTP/1.1 200 ', b'}', 1000, 3),
	('idle connection, after a chat', chat('hello', False), b'HTTP/1.1 200 ', b'"usage"', 1000, 6),
	('open stream', chat('[[sim:tokens=1000,rate=1]]', True), b'HTTP/1.1 200 ', b'"content"', 500, 12),
	# bodies that wait for their answer at the same time; what that took stays with the process, but nothing is kept twice
	('open stream of a request of 24 kB', chat('[[sim:tokens=1000,rate=1]]' + 'words ' * 4000, True), b'HTTP/1.1 200 ', b'"content"', 500, 36),
]

def pss_kb(gate):
	"""Of memory that is nobody else's: pages of programs come and go as the kernel likes."""
	return sum(int(re.search(r'Pss_Anon:\s+(\d+)', open(f'/proc/{pid}/smaps_rollup').read()).group(1)) for pid in gate.workers().values())

def measure(tap, sim, name, request, begin, last, n, bound):
	with Gate(sim, tap, workers=1, concurrency={'max_connections': 4000, 'connection_queue_size': 4000}, server={'keepalive_timeout': 300},
			http_client={'concurrent_requests': 4000, 'max_connections': 4000, 'queue_size': 4000}) as gate:
		warm, _ = crowd(gate.port, 20, request, last)	# what is made once is there now
		before = pss_kb(gate)
		sockets, got = crowd(gate.port, n, request, last)
		each = (pss_kb(gate) - before) / n
		tap.diag(f'{name}: {each:.2f} kB')
		tap.is_(sum(text.startswith(begin) and last in text for text in got), n, f'{name}: {n} at once were answered')
		if SANITIZED:
			tap.skip(f'{name}: memory', 'AddressSanitizer keeps what is freed')
		else:
			tap.ok(0.1 < each <= bound, f'{name}: at most {bound} kB')
		for s in sockets + warm:
			s.close()

with Tap() as tap, Sim('--rate', '0') as sim:
	for case in CASES:
		measure(tap, sim, *case)
