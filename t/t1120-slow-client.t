#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A client that stops reading costs a bounded amount of memory, and nobody else anything."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

SLOW, WOULD_BE_MB = 20, 8

def rss_kb(gate):
	return sum(int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{pid}/status').read()).group(1)) for pid in gate.workers().values())

def stuck_client(port, body):
	"""Sends a request and never reads; a small receive buffer, so that the kernel holds little."""
	s = socket.socket()
	s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
	s.connect(('127.0.0.1', port))
	data = json.dumps(body).encode()
	s.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n'
		b'Content-Length: %d\r\n\r\n' % len(data) + data)
	return s

async def others(port):
	return await asyncio.gather(*[stream_chat(port, '[[sim:tokens=50,rate=100]]') for _ in range(20)])

with Tap() as tap, Sim('--text', 'tokens') as sim, \
		Gate(sim, tap, workers=2, http_client={'concurrent_requests': 100},
			streaming={'client_stall_timeout': '4s'}) as gate:
	asyncio.run(others(gate.port))
	before = rss_kb(gate)
	directive = f'[[sim:tokens={WOULD_BE_MB * 4096},rate=0]]'	# 256 bytes a token, and more
	slow = [stuck_client(gate.port, chat_body(directive)) for _ in range(SLOW)]
	tap.ok(wait_until(lambda: gate.health()['providers']['sim']['in_flight'] == SLOW), f'{SLOW} clients ask for {WOULD_BE_MB} MB each and read nothing')
	done = asyncio.run(others(gate.port))
	tap.is_([s.text() == sim_text(50) for s in done].count(True), 20, '20 others are served meanwhile, whole')
	grown = rss_kb(gate) - before
	tap.at_most(grown, SLOW * WOULD_BE_MB * 1024 // 8, f'memory (kB) grew by far less than the {SLOW * WOULD_BE_MB} MB asked for')
	tap.ok(wait_until(lambda: gate.stat()['providers']['sim']['statistics']['headgate_provider_pauses_total'] >= SLOW), 'their streams were paused')
	tap.ok(wait_until(lambda: gate.health()['providers']['sim']['in_flight'] == 0, 40), 'client_stall_timeout cuts them off and frees their permits')
	tap.is_(gate.health()['failures'].get('client_stalled'), SLOW, 'each is counted as client_stalled')
	tap.ok(wait_until(lambda: sim.stats()['in_flight'] == 0), 'and their provider connections are closed')
	for s in slow:
		s.close()
