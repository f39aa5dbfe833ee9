#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Accepting is balanced: 2,000 idle WebSockets on 4 workers."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

async def upgrade(port):
	reader, writer = await asyncio.open_connection('127.0.0.1', port)
	writer.write(b'GET /ws/chat HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
		b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
	head = await reader.readuntil(b'\r\n\r\n')
	return writer if b'101' in head.split(b'\r\n')[0] and b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in head else None

async def main(tap, gate):
	sockets = []
	for _ in range(20):
		sockets += await asyncio.gather(*[upgrade(gate.port) for _ in range(100)])
	tap.is_(sum(s is not None for s in sockets), 2000, '2,000 WebSockets are open')
	shares = [w['websockets'] for w in (await asyncio.to_thread(gate.stat))['workers'] if w['state'] == 'ready']
	tap.diag(f'shares: {shares}')
	tap.is_(sum(shares), 2000, 'the workers know of all of them')
	tap.at_most(max(shares), 625, 'no worker holds more than 1.25 of its share')
	for s in sockets:
		s.transport.abort()

with Tap() as tap, Gate('http://127.0.0.1:9/v1', tap, workers=4, concurrency={'max_connections': 2000},
		server={'keepalive_timeout': '60s'}) as gate:
	asyncio.run(main(tap, gate))
