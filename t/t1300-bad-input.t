#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Bad input gets a clear error and costs nobody else anything."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

def post(body, extra='', length=None):
	body = body if isinstance(body, bytes) else body.encode()
	return (f'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n{extra}'
		f'Content-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n').encode() + body

GOOD = json.dumps(chat_body(stream=False))
HTTP = [
	('malformed JSON', post('{"model": }'), 400, 'invalid_json', r'line 1, column 11'),
	('half a JSON', post(GOOD[:-3]), 400, 'invalid_json', ''),
	('not an object', post('[1,2]'), 400, None, 'object'),
	('an empty body', post(''), 400, None, ''),
	('bad UTF-8', post(b'{"messages":[{"role":"user","content":"\xff\xfe"}]}'), 400, 'invalid_json', 'UTF-8'),
	('messages of a wrong type', post('{"model":"sim-1","messages":"hello"}'), 400, None, 'messages'),
	('no messages', post('{"model":"sim-1"}'), 400, None, 'messages'),
	('stream of a wrong type', post('{"model":"sim-1","messages":[],"stream":"yes"}'), 400, None, 'stream'),
	('model of a wrong type', post('{"model":7,"messages":[]}'), 400, None, 'model'),
	('JSON nested without end', post('{"messages":' + '[' * 100000), 400, 'invalid_json', ''),
	('a huge body', post('', length=99999999999), 413, 'body_too_large', 'max_body_size'),
	('an unknown path', b'GET /nothing HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n', 404, 'not_found', ''),
	('a wrong method', b'DELETE /v1/chat/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n', 405, 'method_not_allowed', ''),
	('a long request line', b'GET /' + b'x' * 9000 + b' HTTP/1.1\r\nHost: t\r\n\r\n', 414, 'uri_too_long', ''),
	('a large head', b'GET / HTTP/1.1\r\nHost: t\r\n' + b'X-A: %s\r\n' % (b'y' * 1000) * 40 + b'\r\n', 431, 'head_too_large', ''),
	('no Host', b'GET /health HTTP/1.1\r\n\r\n', 400, None, ''),
	('two Hosts', b'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400, None, ''),
	('a space before the colon', b'GET /health HTTP/1.1\r\nHost: t\r\nX-A : b\r\n\r\n', 400, None, ''),
	('a folded header', b'GET /health HTTP/1.1\r\nHost: t\r\nX-A: b\r\n c\r\n\r\n', 400, None, ''),
	('a bare LF', b'GET /health HTTP/1.1\nHost: t\n\n', 400, None, ''),
	('a NUL', b'GET /health HTTP/1.1\r\nHost: t\r\nX-A: \0\r\n\r\n', 400, None, ''),
	('both Content-Length and Transfer-Encoding', b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400, None, ''),
	('two Content-Lengths', b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde', 400, None, ''),
	('a signed Content-Length', b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: +4\r\n\r\nabcd', 400, None, ''),
	('a chunk size that overflows', b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nabcde\r\n0\r\n\r\n', 400, None, ''),
	('HTTP/9.9', b'GET /health HTTP/9.9\r\nHost: t\r\n\r\n', 505, None, ''),
	('no HTTP at all', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\0' * 50 + b'\r\n\r\n', 400, None, ''),
	('a plain GET on the WebSocket path', b'GET /ws/chat HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n', 426, 'upgrade_required', ''),
	('WebSocket version 8', b'GET /ws/chat HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n', 426, 'upgrade_required', ''),
	('a strange Origin', b'GET /ws/chat HTTP/1.1\r\nHost: t\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n', 403, 'origin_not_allowed', ''),
]

def by_http(tap, gate):
	for name, data, status, code, text in HTTP:
		answer = raw(gate.port, data)
		try:
			head, body = answer.split(b'\r\n\r\n', 1)
			got = int(head.split()[1])
			error = json.loads(body)['error']
			good = got == status and set(error) == {'message', 'type', 'param', 'code'} and \
				(code is None or error['code'] == code) and re.search(text, error['message'])
		except (ValueError, KeyError, IndexError):
			good = False
		if not tap.ok(good, f'{name}: {status}, and the error says why'):
			tap.diag(answer[:600])
	answer = raw(gate.port, b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{"half', shut=True)
	tap.ok(b'HTTP/1.1 200' not in answer, 'half a request, then FIN: nothing is made of it')
	answer = raw(gate.port, b'GET /hea')
	tap.like(answer.decode('latin-1'), r'^HTTP/1.1 408', 'half a head, then silence: 408')
	answer = raw(gate.port, b'GET /health HTTP/1.1\r\nHost: t\r\n\r\n' * 3 + b'GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n')
	tap.is_(answer.count(b'HTTP/1.1 200'), 4, 'four pipelined requests: four answers')
	with socket.create_connection(('127.0.0.1', gate.port), timeout=20) as s:
		for byte in b'GET /health?x=y HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n':
			s.sendall(bytes([byte]))
		tap.like(s.recv(100).decode(), r'^HTTP/1.1 200', 'byte by byte: served')

async def by_websocket(tap, gate):
	ws = await ws_connect(gate.port)
	async def errors(message):
		await ws.send(message)
		return json.loads(await asyncio.wait_for(ws.recv(), 20))
	for name, message, code in [
			('malformed JSON', '{"action":', 'invalid_json'),
			('not an object', '"chat"', None),
			('an unknown action', '{"action":"dance","request_id":"r1"}', 'unknown_action'),
			('no action', '{"request_id":"r1"}', None),
			('no payload', '{"action":"chat","request_id":"r1"}', None),
			('text of a wrong type', '{"action":"chat","request_id":"r1","payload":{"text":7}}', None),
			('no request_id', '{"action":"chat","payload":{"text":"x"}}', None),
			('cancel of what is not there', '{"action":"cancel","request_id":"nobody"}', None)]:
		m = await errors(message)
		good = m['status'] == 'error' and m['chunk']['error'] and (code is None or m['chunk']['metadata']['code'] == code)
		if not tap.ok(good, f'WebSocket, {name}: an error, and the socket stays open'):
			tap.diag(m)
	await ws_ask(ws, 'still here')
	tap.is_((await ws_answer(ws))[0][-1]['status'], 'complete', 'WebSocket: after all that it still serves')
	import websockets
	for name, data, code in [('a huge message', 'x' * 1100000, 1009), ('a binary message', b'\1\2', 1003)]:
		ws = await ws_connect(gate.port)
		await ws.send(data)
		try:
			await asyncio.wait_for(ws.recv(), 20)
		except websockets.ConnectionClosed:
			pass
		tap.is_(ws.close_code, code, f'WebSocket, {name}: closed with {code}')

def frames(tap, gate):
	hello = (b'GET /ws/chat HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
		b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
	for name, frame, code in [
			('a frame without a mask', b'\x81\x05hello', 1002),
			('bad UTF-8', b'\x81\x82\0\0\0\0\xff\xfe', 1007),
			('a reserved bit', b'\xc1\x80\0\0\0\0', 1002),
			('an unknown opcode', b'\x83\x80\0\0\0\0', 1002),
			('a stray continuation', b'\x80\x80\0\0\0\0', 1002),
			('a fragmented ping', b'\x09\x80\0\0\0\0', 1002),
			('a close with one byte', b'\x88\x81\0\0\0\0a', 1002)]:
		answer = raw(gate.port, hello + frame)
		rest = answer.split(b'\r\n\r\n', 1)[1]
		tap.ok(rest[:1] == b'\x88' and int.from_bytes(rest[2:4], 'big') == code, f'WebSocket, {name}: closed with {code} ({rest[:8].hex()})')

with Tap() as tap, Sim('--rate', '0') as sim, \
		Gate(sim, tap, workers=2, server={'header_timeout': '1s'}) as gate:
	by_http(tap, gate)
	asyncio.run(by_websocket(tap, gate))
	frames(tap, gate)
	tap.is_(request(gate.port, 'POST', '/v1/chat/completions', GOOD)[0], 200, 'after all that it still serves')
	tap.is_(len(gate.grep(r'pid.*(died|killed|exited)')), 0, 'and no worker died')
