#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A chat gateway as one would write it with FastAPI, uvicorn and httpx: one process, one event loop, a pool of
connections with limits, a semaphore for requests, a count for WebSockets. For comparison only.

	bench/python_stack.py PORT PROVIDER_PORT MAX_CONNECTIONS
"""
import asyncio, contextlib, json, resource, sys

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

PORT, PROVIDER, MAX_CONNECTIONS = (int(a) for a in sys.argv[1:4])
CONCURRENT_REQUESTS = 30000	# as much as the other gateways may

app = FastAPI()
client = httpx.AsyncClient(base_url=f'http://127.0.0.1:{PROVIDER}/v1',
	limits=httpx.Limits(max_connections=30000, max_keepalive_connections=20000, keepalive_expiry=300),
	timeout=httpx.Timeout(connect=10, read=300, write=10, pool=60))
semaphore = asyncio.Semaphore(CONCURRENT_REQUESTS)
connections = set()


@contextlib.asynccontextmanager
async def asked(body):
	"""The provider's answer, as far as its head."""
	async with semaphore, client.stream('POST', '/chat/completions', content=body, headers={'Content-Type': 'application/json'}) as answer:
		yield answer


async def chunks(body):
	async with asked(body) as answer:
		async for chunk in answer.aiter_raw():
			yield chunk


@app.post('/v1/chat/completions')
async def completions(request: Request):
	body = await request.body()
	if json.loads(body).get('stream'):
		return StreamingResponse(chunks(body), media_type='text/event-stream')
	async with asked(body) as answer:
		return Response(await answer.aread(), answer.status_code, media_type='application/json')


@app.get('/health/live')
async def live():
	return Response('ok\n', media_type='text/plain')


def dump(value):
	"""Without spaces, as the mock and the clients of the benchmark look for it."""
	return json.dumps(value, separators=(',', ':'))


async def chat(websocket, request):
	"""One chat: the text in, a message for each piece of the answer out."""
	identity, payload = request.get('request_id'), request['payload']
	async with asked(dump({'model': 'bench', 'stream': True, 'messages': [{'role': 'user', 'content': payload['text']}],
		**payload.get('metadata', {})})) as answer:
		async for line in answer.aiter_lines():
			if not line.startswith('data: ') or line.startswith('data: [DONE]'):
				continue
			text = json.loads(line[6:])['choices'][0]['delta'].get('content')
			if text:
				await websocket.send_text(dump({'request_id': identity, 'status': 'chunk', 'chunk':
					{'type': 'text', 'data': text, 'metadata': {}}}))
	await websocket.send_text(dump({'request_id': identity, 'status': 'complete', 'chunk': {}}))


@app.websocket('/ws/chat')
async def ws_chat(websocket: WebSocket):
	if len(connections) >= MAX_CONNECTIONS:
		await websocket.close(1013, 'Server at maximum capacity')	# before it was accepted: uvicorn answers 403
		return
	connections.add(websocket)
	try:
		await websocket.accept()
		while True:
			await chat(websocket, json.loads(await websocket.receive_text()))
	except WebSocketDisconnect:
		pass
	finally:
		connections.discard(websocket)


if __name__ == '__main__':
	resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
	uvicorn.run(app, host='127.0.0.1', port=PORT, backlog=65535, access_log=False, log_level='error', timeout_keep_alive=300, ws_ping_interval=None)
