#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who holds a worker's memory: bytes for each idle WebSocket, idle connection and open stream, by the function that
allocated them. The tables of doc/performance.md, "What a client costs, by owner".

	HEADGATE_BUILD=build t/load/owners.py [CLIENTS]		needs a C compiler and addr2line; less than a minute

What libraries allocate counts for the function of headgate that called them. Blocks are counted as malloc() rounds them, with
its own word; page tables and what was freed and not reused are not in it: for all of it together see bench/run."""
import collections, os, resource, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from headgate import *

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
BODY = json.dumps(chat_body('[[sim:tokens=1000,rate=1]]')).encode()
CASES = [
	('an idle WebSocket', b'GET /ws/chat HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
		b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n', b'\r\n\r\n'),
	('an idle connection', b'GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n', b'}'),
	('an open stream', b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(BODY) + BODY,
		b'"content"'),
]

def blocks(path):
	"""(bytes, callers as (object, function, file)) of each block."""
	with open(path) as file:
		rows = [line.split() for line in file]
	maps = [(int(r[1].split('-')[0], 16), int(r[1].split('-')[1], 16), int(r[3], 16), r[6]) for r in rows if r[0] == 'M' and len(r) > 6]
	kept = [(int(r[1]), [int(a, 16) - 1 for a in r[2:]]) for r in rows if r[0] == 'A']
	by_object, names = collections.defaultdict(list), {}
	for address in {a for _, callers in kept for a in callers}:
		for begin, end, offset, name in maps:
			if begin <= address < end:
				by_object[name].append((address, address - begin + offset))
	for name, addresses in by_object.items():
		out = subprocess.run(['addr2line', '-f', '-s', '-e', name, *[hex(o) for _, o in addresses]], capture_output=True, text=True).stdout.split('\n')
		for i, (address, _) in enumerate(addresses):
			names[address] = (os.path.basename(name), out[2 * i], out[2 * i + 1].split(':')[0])
	return [(size, [names[a] for a in callers if a in names]) for size, callers in kept]

def owner(callers):
	ours = [f'`{function}()` in {file}' for name, function, file in callers if name == 'headgate' and file not in ('mem.c', 'buf.c')]
	via = '' if not callers or callers[0][0] == 'headgate' else f', in {callers[0][0].split(".")[0].split("-")[0]}'
	return (ours[0] if ours else 'libraries by themselves') + via

def held(gate, where):
	totals = collections.Counter()
	for pid in gate.workers().values():
		path = os.path.join(where, str(pid))
		os.kill(pid, signal.SIGRTMIN + 5)
		wait_until(lambda: os.path.exists(path) and open(path).read().endswith('END\n'))
		for size, callers in blocks(path):
			totals[owner(callers)] += size
		os.unlink(path)
	return totals

def main():
	limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
	resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
	many = 2 * CLIENTS + 100
	with tempfile.TemporaryDirectory() as where, Sim('--rate', '0') as sim:
		library = os.path.join(where, 'heap.so')
		subprocess.run(['cc', '-O1', '-shared', '-fPIC', '-o', library, os.path.join(HERE, 'heap.c')], check=True)
		for name, request_bytes, last in CASES:
			with Gate(sim, env={'LD_PRELOAD': library, 'HEAP_DIR': where}, workers=1, concurrency={'max_connections': many, 'connection_queue_size': many},
					server={'keepalive_timeout': 300}, http_client={'concurrent_requests': many, 'max_connections': many, 'queue_size': many}) as gate:
				before = held(gate, where)
				sockets, _ = crowd(gate.port, CLIENTS, request_bytes, last)
				each = {o: size / CLIENTS for o, size in (held(gate, where) - before).items() if size / CLIENTS >= 16}
				print(f'### {name}: {sum(each.values()):,.0f} bytes\n\n| bytes | allocated by |\n| --- | --- |')
				for o, size in sorted(each.items(), key=lambda row: -row[1]):
					print(f'| {size:,.0f} | {o} |')
				print(flush=True)
				for s in sockets:
					s.close()

main()
