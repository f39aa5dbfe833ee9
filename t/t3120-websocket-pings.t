#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""ping_interval and ping_timeout: who answers stays, who does not is closed, who is slow is not taken for dead."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from wsraw import *

def answered(tap, gate):
	with Raw(gate.port, '/echo') as c:
		start, got = time.monotonic(), []
		for _ in range(4):
			got.append(c.frame())
			c.send(frame(PONG, got[-1][3]))
		took = time.monotonic() - start
		tap.ok([f[2] for f in got] == [PING] * 4 and took > 0.75, f'pings come every ping_interval (4 of 0.2 s in {took:.2f} s)')
		c.send(frame(TEXT, 'still here'))
		frames = [c.frame()]
		while frames[-1] and frames[-1][2] == PING:
			frames.append(c.frame())
		tap.is_(frames[-1], (True, 0, TEXT, b'still here'), 'and who answers is served')

def silent(tap, gate):
	with Raw(gate.port, '/echo') as c:
		pings = [c.frame()]
		last = c.frame()
		tap.ok(pings[0][2] == PING and last[2] == CLOSE and last[3] == b'\x03\xf3keepalive ping timeout', 'who does not answer is closed with 1011')
		tap.is_(c.frame(), None, '... and the connection with it')
	tap.ok(wait_until(lambda: gate.health()['active_connections'] == 0), '... and its place is free')

def alive(tap, gate):
	"""No pong, but other signs of life."""
	with Raw(gate.port, '/echo') as c:
		end, n, kinds = time.monotonic() + 4, 0, set()
		data = frame(TEXT, 'x' * 4000)
		while time.monotonic() < end:	# one message, a few bytes at a time: a pong would have to wait behind it
			c.send(data[n * 20:n * 20 + 20])
			n += 1
			time.sleep(0.05)
		c.send(data[n * 20:])
		while (got := c.frame()) and got[2] == PING:
			kinds.add(got[2])
		tap.is_(got, (True, 0, TEXT, b'x' * 4000), 'a message that takes longer than ping_timeout to come')

def slow(tap, gate):
	"""It takes what is sent, slowly; so it cannot see the ping for long."""
	payload = os.urandom(8 << 20)
	message = frame(BINARY, payload)	# masking it takes longer than ping_timeout on a busy machine
	with Raw(gate.port, '/echo') as c:
		c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)	# some segments of loopback: a smaller window opens five times a second only
		c.send(message)
		got, end = 0, time.monotonic() + 4
		while time.monotonic() < end:
			got += len(c.socket.recv(16384))
			time.sleep(0.02)
		parts = [c.socket.recv(1 << 20)]
		while got + sum(map(len, parts)) < len(payload):
			parts.append(c.socket.recv(1 << 20))
			if not parts[-1]:
				break
		tap.ok(got + sum(map(len, parts)) >= len(payload), f'who reads slowly is not taken for dead ({got >> 10} KiB in 4 s)')

async def real_client(tap, gate):
	ws = await ws_connect(gate.port, '/echo')
	await asyncio.sleep(1.5)
	await ws.send('hello')
	tap.is_(await asyncio.wait_for(ws.recv(), 20), 'hello', 'python websockets answers by itself')
	await ws.close()

def never(tap, sim):
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', chat={'ping_interval': 0, 'ping_timeout': '100ms'}) as gate:
		with Raw(gate.port, '/echo') as c:
			c.socket.settimeout(1)
			try:
				got = c.frame()
			except TimeoutError:
				got = 'nothing'
			tap.is_(got, 'nothing', 'ping_interval 0: no pings')
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', chat={'ping_interval': '100ms', 'ping_timeout': 0}) as gate:
		with Raw(gate.port, '/echo') as c:
			tap.is_([c.frame()[2] for _ in range(8)], [PING] * 8, 'ping_timeout 0: pings, and no answer is awaited')

def many(tap, sim, n=300):
	"""All of them are pinged, all that answer stay."""
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', chat={'ping_interval': '500ms', 'ping_timeout': '10s'}) as gate:
		held = [Raw(gate.port, '/echo') for _ in range(n)]
		for c in held:
			c.send(frame(PONG) if c.frame()[2] == PING else b'')
		tap.ok(wait_until(lambda: gate.stat()['statistics']['headgate_websocket_pings_sent_total'] >= 2 * n), f'{n} sockets: all pinged again')
		tap.is_(gate.health()['active_connections'], n, 'and all are there')
		for c in held:
			c.socket.close()

with Tap() as tap, Sim('--rate', '0') as sim:
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', chat={'ping_interval': '200ms', 'ping_timeout': '1500ms', 'max_message_size': '16MiB'}) as gate:
		answered(tap, gate)
		silent(tap, gate)
		alive(tap, gate)
		slow(tap, gate)
		asyncio.run(real_client(tap, gate))
		tap.is_(sum(v for k, v in gate.stat()['endings'].items() if k == 'ping_timeout'), 1, 'one ping_timeout is counted: the silent one')
	never(tap, sim)
	many(tap, sim)
