#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Hostile clients: half-open heads, slow bodies, slow readers, resets, no descriptors left. /health answers, streams
that were admitted lose nothing, memory stays bounded."""
import os, resource, struct, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
TOKENS = 400

def rss_kb(gate):
	return sum(int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{pid}/status').read()).group(1)) for pid in gate.pids)

def dial(gate, data=b'', reads_little=False):
	s = socket.socket()
	if reads_little:
		s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
	s.connect(('127.0.0.1', gate.port))
	try:
		s.sendall(data)
	except (BrokenPipeError, ConnectionResetError):
		pass		# answered 503 and closed already
	return s

def post(length, body=b''):
	return b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % length + body

class Guests:
	"""Streams that were admitted before, in a thread of their own."""
	def __init__(self, gate):
		self.gate, self.result = gate, None
		self.thread = threading.Thread(target=lambda: setattr(self, 'result', asyncio.run(self.all())))
		self.thread.start()

	async def all(self):
		return await asyncio.gather(*[stream_chat(self.gate.port, f'[[sim:tokens={TOKENS},rate=40]]') for _ in range(10)])

class Health:
	"""Asks for /health all the time."""
	def __init__(self, gate):
		self.gate, self.going, self.good, self.bad, self.slowest = gate, True, 0, 0, 0
		self.thread = threading.Thread(target=self.run)
		self.thread.start()

	def run(self):
		while self.going:
			begin = time.monotonic()
			try:
				good = request(self.gate.port, 'GET', '/health', timeout=10)[0] == 200
			except (OSError, http.client.HTTPException):
				good = False
			self.good += good
			self.bad += not good
			self.slowest = max(self.slowest, time.monotonic() - begin)
			time.sleep(0.01)

def attack(tap, gate, name, at_most_kb, sockets):
	"""Reports what the sockets of one attack cost, and lets them go."""
	grown = rss_kb(gate) - gate.before
	# a sanitizer keeps what was freed for a while
	tap.at_most(grown, at_most_kb * (4 if SANITIZED else 1), f'{name}: memory (kB) grew by')
	for s in sockets:
		s.close()

with Tap() as tap, Sim('--text', 'tokens') as sim, Gate(sim, tap, workers=2, concurrency={'connection_queue_size': 1000},
		http_client={'concurrent_requests': 300, 'max_connections': 300, 'queue_size': 10}, server={'header_timeout': '4s'},
		streaming={'client_stall_timeout': '3s'}) as gate:
	gate.pids = list(gate.workers().values())
	asyncio.run(stream_chat(gate.port, '[[sim:tokens=20]]'))
	guests = Guests(gate)
	wait_until(lambda: gate.stat()['providers']['sim']['permits']['used'] == 10)
	gate.before = rss_kb(gate)
	health = Health(gate)

	sockets = [dial(gate, b'GET /v1/models HTTP/1.1\r\nHost: t\r\nX: ' + b'x' * 200) for _ in range(2000)]
	tap.at_most(gate.stat()['pending']['used'], 1000, '2,000 half-open heads: no more than connection_queue_size are pending')
	attack(tap, gate, '2,000 half-open heads', 40000, sockets)

	sockets = [dial(gate, post(100000, b'{"messages": [' + b' ' * 1000)) for _ in range(2000)]
	attack(tap, gate, '2,000 slow bodies', 60000, sockets)

	body = json.dumps(chat_body('[[sim:tokens=20000,rate=0]]')).encode()
	sockets = [dial(gate, post(len(body), body), reads_little=True) for _ in range(200)]
	wait_until(lambda: gate.stat()['statistics']['headgate_sse_streams'] >= 200, 10)
	attack(tap, gate, '200 clients that read nothing of 5 MB each', 120000, sockets)

	for _ in range(3000):
		s = dial(gate, b'GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n')
		s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
		s.close()
	attack(tap, gate, 'a flood of 3,000 resets', 60000, [])

	limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in gate.pids}
	for pid in gate.pids:
		many = len(os.listdir(f'/proc/{pid}/fd')) + 30
		resource.prlimit(pid, resource.RLIMIT_NOFILE, (many, limits[pid][1]))
	sockets = [dial(gate) for _ in range(300)]
	tap.ok(gate.wait_line('not accepting for a while: Too many open files', 10), 'descriptors exhausted: accepting pauses')
	turns = lambda: gate.stat()['statistics']['headgate_loop_turns_total']
	before = turns()
	time.sleep(1)
	# ten streams of 40 tokens a second make some 1,000 turns; a loop that spins makes 100,000
	tap.at_most(turns() - before, 10000, '... and nobody spins meanwhile: turns of the event loops in a second')
	tap.at_most(len(gate.grep('not accepting for a while')), 2, '... and each worker says so once')
	for pid in gate.pids:
		resource.prlimit(pid, resource.RLIMIT_NOFILE, limits[pid])
	tap.is_(request(gate.port, 'GET', '/v1/models')[0], 200, '... with room again, who comes is served')
	attack(tap, gate, 'descriptors exhausted', 60000, sockets)

	guests.thread.join(30)
	health.going = False
	health.thread.join(30)
	tap.is_([s.text() == sim_text(TOKENS) and s.events[-1] == '[DONE]' for s in guests.result], [True] * 10, 'ten streams admitted before lost nothing')
	tap.is_(health.bad, 0, f'/health answered {health.good} times meanwhile, always')
	tap.diag(f'/health took {health.slowest:.3f} s at worst; memory {gate.before} kB before, {rss_kb(gate)} kB after')
	tap.is_(list(gate.workers().values()), gate.pids, 'the workers are those of the beginning')
	tap.ok(wait_until(lambda: gate.stat()['pending']['used'] <= 1), 'nothing is left of it')
