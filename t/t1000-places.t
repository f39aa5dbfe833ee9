#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""max_connections is exact over all workers: 300 WebSockets at once, 100 places, 4 workers."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
import websockets

async def one(port, refused):
	ws = await ws_connect(port)
	try:
		await asyncio.wait_for(ws.recv(), 3600)
	except websockets.ConnectionClosed:
		refused.append((ws.close_code, ws.close_reason))
	finally:
		ws.transport.abort()

async def main(tap, gate):
	refused = []
	tasks = [asyncio.create_task(one(gate.port, refused)) for _ in range(300)]
	slow, answers = 0, 0
	while len(refused) < 200 and answers < 2000:
		health = await asyncio.to_thread(gate.health)
		answers += 1
		slow += health is None or health['active_connections'] > 100
		await asyncio.sleep(0.005)
	tap.is_(len(refused), 200, '200 of 300 WebSockets were closed')
	tap.is_(set(refused), {(1013, 'Server at maximum capacity')}, 'all of them with 1013 and its reason')
	tap.is_(slow, 0, f'/health always answered, and never showed more than 100 ({answers} times)')
	health = await asyncio.to_thread(gate.health)
	tap.is_((health['active_connections'], health['max_connections']), (100, 100), '/health says 100/100')
	tap.is_(health['rejections'].get('max_connections'), 200, '/health counts 200 rejections')
	tap.is_(sum(not t.done() for t in tasks), 100, 'exactly 100 are admitted')

	status, headers, body = await asyncio.to_thread(request, gate.port, 'POST', '/v1/chat/completions', chat_body())
	error = json.loads(body)['error']
	tap.is_(status, 503, 'an SSE stream finds the house full: 503')
	tap.ok(int(headers.get('retry-after', 0)) >= 1, 'with Retry-After')
	tap.is_(error['code'], 'max_connections', 'and the error names the limit')
	tap.is_(headers.get('x-headgate-limit'), 'chat.websocket.concurrency.max_connections', 'and so does the header')
	status, _, _ = await asyncio.to_thread(request, gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False))
	tap.is_(status, 200, 'a plain JSON request takes no place and is served')

	for t in tasks:
		t.cancel()
	await asyncio.gather(*tasks, return_exceptions=True)

with Tap() as tap, Sim('--rate', '0') as sim, \
		Gate(sim, tap, workers=4, concurrency={'max_connections': 100}) as gate:
	asyncio.run(main(tap, gate))
	tap.ok(wait_until(lambda: gate.health()['active_connections'] == 0), 'after they left: 0')
	tap.ok(gate.wait_line(r'WebSocket connection established\. Active connections: 100/100'), "the seed's line counts to 100/100")
	tap.ok(gate.wait_line(r'max_connections=100'), 'a warning names the limit')
