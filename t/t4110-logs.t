#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Logs: the lines that operators know, the same as JSON, levels of rooms, the access log, syslog, floods,
what is passed on to the provider, and no secret anywhere."""
import fcntl, glob, http.server, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

TRACE = '0af7651916cd43dd8448eb211c80319c'
PARENT = f'00-{TRACE}-b7ad6b7169203331-01'

class Provider(http.server.ThreadingHTTPServer):
	"""Remembers what it was sent, and answers with it."""
	daemon_threads = True
	def __init__(self):
		seen = self.seen = []
		class Handler(http.server.BaseHTTPRequestHandler):
			protocol_version = 'HTTP/1.1'
			def do_POST(self):
				self.rfile.read(int(self.headers['content-length']))
				seen.append(self.headers)
				body = json.dumps({'choices': [], 'usage': {'prompt_tokens': 1, 'completion_tokens': 7}}).encode()
				self.send_response(200)
				self.send_header('content-type', 'application/json')
				self.send_header('content-length', str(len(body)))
				self.end_headers()
				self.wfile.write(body)
			def log_message(self, *args):
				pass
		super().__init__(('127.0.0.1', 0), Handler)
		threading.Thread(target=self.serve_forever, daemon=True).start()
		self.url = f'http://127.0.0.1:{self.server_port}/v1'

async def ws_once(gate, request_id='m1', text='hello'):
	ws = await ws_connect(gate.port)
	await ws_ask(ws, text, request_id=request_id)
	await ws_answer(ws, request_id)
	await ws.close()

def lines_to_the_letter(tap, sim):
	with Gate(sim, tap, workers=1, concurrency={'max_connections': 100}, http_client={'requests_per_minute': 3500}) as gate:
		asyncio.run(ws_once(gate))
		for line in ('WebSocket server configured with max_connections=100, queue_size=500, uvicorn_backlog=2048',
				'LLM HTTP client configured with max_connections=50, concurrent_requests=25, pool_timeout=5.0s',
				'WebSocket connection established. Active connections: 1/100'):
			tap.ok(gate.wait_line(r': ' + re.escape(line) + '$'), line)
		tap.is_(gate.grep(r' access: '), [], 'no access log unless it is asked for')
		for _ in range(30):
			request(gate.port, 'GET', '/nowhere?secret=1')
		told = gate.wait_line(r' info .*exchange: \[\w+\] not_found: \'GET /nowhere\' from 127\.0\.0\.1:\d+: status 404$')
		tap.ok(told, 'a refusal is told')
		tap.at_most(len(gate.grep('not_found')), 3, 'and 30 of them are no flood')

def rejections(tap, sim):
	"""One place, taken: 200 clients are turned away within a few seconds."""
	with Gate(sim, tap, workers=1, concurrency={'max_connections': 1}) as gate:
		async def storm():
			ws = await ws_connect(gate.port)
			for _ in range(200):
				s = await stream_chat(gate.port)
				assert s.status == 503
			await asyncio.sleep(1.1)
			await stream_chat(gate.port)	# tells how many were passed over
			await ws.close()
		asyncio.run(storm())
		pattern = r' warning \[worker 0\] admit: SSE stream rejected: max_connections=1 reached( \((\d+) more like this\))?$'
		tap.ok(gate.wait_line(pattern), 'a rejection is a warning')
		found = [re.search(pattern, line) for line in gate.grep('rejected')]
		tap.at_most(len(found), 8, 'that does not come in floods')
		tap.is_(sum(1 + int(m.group(2) or 0) for m in found), 201, 'and counts those that were passed over')

def access_log(tap, sim):
	with Gate(sim, tap, workers=1, access_log=True) as gate:
		def line(pattern):
			found = gate.wait_line(r' info \[worker 0\] access: (' + pattern + ')$')
			tap.ok(found, 'access log: ' + (found.group(1) if found else pattern))
		number = r'\d+\.\d'
		asyncio.run(stream_chat(gate.port))
		line(r'[0-9a-f]{16} 127\.0\.0\.1:\d+ POST /v1/chat/completions 200 complete bytes=\d+ ms=' + number +
			r' provider=sim model=sim-1 tokens=3 queue_wait_ms=' + number + ' first_token_ms=' + number)
		request(gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False, model='a "b" c\n'),
			{'X-Request-Id': 'abc-1', 'traceparent': PARENT})
		line(r'abc-1 \S+ POST /v1/chat/completions 200 complete bytes=\d+ ms=\S+ provider=sim model="a \\x22b\\x22 c\\x0a" tokens=3 .* trace=' + TRACE)
		request(gate.port, 'GET', '/health?x=y', headers={'traceparent': 'nonsense', 'X-Request-Id': 'h 1'})
		line(r'[0-9a-f]{16} \S+ GET /health 200 complete bytes=\d+ ms=' + number)
		asyncio.run(ws_once(gate))
		line(r'[0-9a-f]{16} \S+ WEBSOCKET /ws/chat 200 complete message_id=m1 ms=\S+ provider=sim model=sim-1 tokens=3 .*')
		line(r'[0-9a-f]{16} \S+ GET /ws/chat 101 complete bytes=\d+ .*')

def as_json(tap, sim):
	with Gate(sim, None, workers=1, access_log=True, extra='logging: {format: json}\n') as gate:
		asyncio.run(ws_once(gate))
		request(gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False, model='a "b" c\n\x7f'),
			{'X-Request-Id': 'abc-1', 'traceparent': PARENT})
		gate.wait_line('abc-1')
		gate.stop()
		rows = [json.loads(line) for line in gate.lines if line]
		tap.ok(len(rows) > 6, f'json: all {len(rows)} lines are objects')
		tap.ok(all({'time', 'level', 'process', 'pid', 'room', 'message'} <= set(row) for row in rows), 'with the same six members')
		tap.ok(any(row['message'] == 'WebSocket connection established. Active connections: 1/1000' for row in rows), 'the lines are the same')
		row = next(row for row in rows if row.get('request_id') == 'abc-1')
		tap.is_({k: row.get(k) for k in ('level', 'room', 'message', 'method', 'path', 'status', 'ending', 'provider', 'model', 'tokens', 'trace')},
			{'level': 'info', 'room': 'access', 'message': 'request', 'method': 'POST', 'path': '/v1/chat/completions', 'status': 200,
			'ending': 'complete', 'provider': 'sim', 'model': 'a "b" c\n\x7f', 'tokens': 3, 'trace': TRACE}, 'the access log: a member for each fact')
		tap.ok(all(isinstance(row.get(k), (int, float)) for k in ('ms', 'queue_wait_ms', 'first_token_ms', 'bytes')), 'numbers are numbers')

def levels(tap, sim):
	with Gate(sim, tap, workers=1, extra='logging: {level: warning, levels: {master: info, provider: debug}}\n') as gate:
		async def leave():
			s = await Stream().open(gate.port, chat_body('[[sim:stall_headers]]'))
			await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'])
			s.close()
		asyncio.run(leave())
		asyncio.run(ws_once(gate))
		tap.ok(gate.wait_line(r' debug \[worker 0\] provider: \[\w+\] sim: cancelled$'), 'a room may be more talkative than the others')
		tap.is_([line for line in gate.lines if re.search(r' (info|debug) \[[^]]*\] (?!provider:|master:)', line)], [], 'which are not')
	source = ''.join(open(path).read() for path in glob.glob(os.path.join(TOP, 'src/**/*.[cdh]*'), recursive=True))
	rooms = set(re.findall(r'log_(?:error|warning|info|debug)\(\s*"(\w+)"', source)) | set(re.findall(r'log_(?:line|facts)\([^"()]*(?:\([^"()]*\)[^"()]*)*"(\w+)"', source))
	options = set(re.findall(r'"logging\.levels\.(\w+)"', source))
	tap.ok(len(rooms) > 6 and rooms <= options, 'every room that logs has an option: ' + ' '.join(sorted(rooms)))

def to_syslog(tap, sim):
	with tempfile.TemporaryDirectory(prefix='headgate-') as d:
		path = os.path.join(d, 'log')
		listen = lambda: (s := socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), s.bind(path), s.settimeout(10))[0]
		def until(s, pattern):
			while True:
				text = s.recv(65536).decode()
				if re.search(pattern, text):
					return text
		first = listen()
		with Gate(sim, tap, workers=1, extra=f'logging: {{syslog: "{path}"}}\n') as gate:
			tap.like(until(first, 'listening'), r'^<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d headgate\[\d+\]: \[master\] master: listening on http://\S+ \(1 workers\)$',
				'syslog: the lines, as RFC 3164 has them')
			first.close()
			os.unlink(path)
			asyncio.run(ws_once(gate))	# nobody listens: lost, and nobody waits
			second = listen()
			asyncio.run(ws_once(gate))
			tap.like(until(second, 'established'), r'^<30>.*\[worker 0\] admit: WebSocket connection established', 'and again when the daemon is back')
			while True:	# a daemon that does not read: its queue fills, and nobody waits
				try:
					second.setblocking(False)
					second.recv(65536)
				except BlockingIOError:
					break
			for _ in range(400):
				asyncio.run(ws_once(gate)) if _ % 100 == 0 else request(gate.port, 'GET', '/health')
			second.close()

def nobody_reads(tap, sim, what):
	"""Standard error is full, and nobody empties it: who serves does not wait for that."""
	if what == 'a pipe':
		ours, theirs = os.pipe()
		fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
	elif what == 'a terminal':
		ours, theirs = os.openpty()
	else:
		ours, theirs = (s.detach() for s in socket.socketpair())
	before = fcntl.fcntl(theirs, fcntl.F_GETFL)
	with tempfile.TemporaryDirectory(prefix='headgate-') as folder:
		path = os.path.join(folder, 'headgate.yaml')
		with open(path, 'w') as file:
			file.write(config_text(sim, run_dir=os.path.join(folder, 'run'), workers=2, access_log=True).replace('port: 0', f'port: {free_port()}'))
		port = int(re.search(r'port: (\d+)', open(path).read()).group(1))
		server = subprocess.Popen([os.path.join(BUILD, 'headgate'), '-c', path], stdin=subprocess.DEVNULL, stderr=theirs)
		def answers(n):
			return sum(request(port, 'GET', '/v1/models', timeout=10)[0] == 200 for _ in range(n))
		def up():
			try:
				return answers(1)
			except OSError:
				return False
		def lost():
			done = subprocess.run([os.path.join(BUILD, 'headgatestat'), '-r', os.path.join(folder, 'run'), '--json'], capture_output=True, text=True)
			return json.loads(done.stdout)['statistics']['headgate_log_lines_lost_total']
		wait_until(up)
		sent, most = 1, 20000
		while not lost() and sent < most:
			sent += answers(500)
		tap.ok(lost() > 0, f'{what} is full after at most {sent} lines, the rest is counted')
		tap.is_(answers(200), 200, '... and nobody waits')
		os.set_blocking(ours, False)
		got = []
		def read():
			try:
				while (part := os.read(ours, 65536)):
					got.append(part)
			except (BlockingIOError, OSError):
				pass
			return b''.join(got).decode()
		read()
		# each worker and the master tell their own, with their next line
		def told():
			answers(20)
			return sum(int(n) for n in re.findall(r' warning \[[^]]*\] log: (\d+) lines are missing here', read()))
		wait_until(lambda: told() >= lost())
		tap.is_(told(), lost(), '... and is told when it is read again, to the line')
		server.terminate()
		reader = wait_until(lambda: (read(), server.poll())[1] is not None)
		tap.is_((reader, server.returncode), (True, 0), '... it stops as ever')
		tap.is_(fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK, before & os.O_NONBLOCK, '... and nobody else who has it is made not to wait')
		os.close(ours)
		os.close(theirs)

def passed_on(tap):
	provider = Provider()
	with Gate(provider.url, tap, workers=1) as gate:
		request(gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False), {'X-Request-Id': 'abc-1', 'traceparent': PARENT})
		tap.is_([provider.seen[-1]['X-Request-Id'], provider.seen[-1]['traceparent']], ['abc-1', PARENT], 'X-Request-Id and traceparent reach the provider')
		headers = request(gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False), {'X-Request-Id': 'no good\tid'})[1]
		tap.is_([provider.seen[-1]['X-Request-Id'], provider.seen[-1]['traceparent']], [headers['x-request-id'], None],
			'a request without an id gets one, and without a trace none')
		tap.like(headers['x-request-id'], r'^[0-9a-f]{16}$', 'which the client is told')

def secrets(tap, sim):
	"""A key of each origin, providers that refuse it, everything logged."""
	words = {'literal': 'sk-LITERAL-5e6f', 'env': 'sk-ENVIRON-9a1b', 'file': 'sk-FROMFILE-77aa', 'url': 'sk-INQUERY-31c2', 'header': 'sk-CLIENT-0d0d'}
	with tempfile.NamedTemporaryFile('w', prefix='headgate-') as file:
		file.write(words['file'] + '\n')
		file.flush()
		more = ''.join(f'    {name}:\n      base_url: {sim.url}\n      model: {name}-1\n      http_client: {{max_retries: 0}}\n      {key}\n' for name, key in (
			('literal', 'api_key: ' + words['literal']), ('environ', 'api_key_env: HG_TEST_KEY'), ('fromfile', 'api_key_file: ' + file.name)))
		# the list of providers is the last thing that config_text writes before `extra`
		with Gate(sim, tap, workers=1, access_log=True, env={'HG_TEST_KEY': words['env']}, extra=more + 'logging: {level: debug}\n') as gate:
			for name in 'literal', 'environ', 'fromfile':
				for text in ('hello', f'[[sim:401]]', '[[sim:reset_before_headers]]', '[[sim:half_json]]', '[[sim:error_mid]]'):
					for stream in False, True:
						request(gate.port, 'POST', '/v1/chat/completions', chat_body(text, stream=stream, model=f'{name}-1'),
							{'Authorization': 'Bearer ' + words['header']})
			request(gate.port, 'GET', '/v1/models?key=' + words['url'])
			seen = {path: request(gate.port, 'GET', path)[2].decode() for path in ('/health', '/metrics', '/v1/models')}
			seen['headgatestat'] = json.dumps(gate.stat())
			for pid in [gate.pid, *gate.workers().values()]:
				seen[f'title of {pid}'] = open(f'/proc/{pid}/cmdline').read()
			for option in '-t', '--dump-config':
				done = subprocess.run([os.path.join(BUILD, 'headgate'), '-c', gate.conf_path, option], capture_output=True, text=True,
					env={**os.environ, 'HG_TEST_KEY': words['env']})
				seen[option] = done.stdout + done.stderr
			with open(os.path.join(gate.run_dir, 'segment'), 'rb') as segment:
				seen['segment'] = segment.read().decode('latin-1')
		seen['log'] = '\n'.join(gate.lines)
		tap.ok(len(seen['log']) > 5000, f'{len(gate.lines)} lines were logged')
		tap.is_([f'{word} in {where}' for where, text in seen.items() for word in words.values() if word in text], [],
			f'no secret in any of {len(seen)} places')

with Tap() as tap, Sim('--tokens', 3, '--rate', 0) as sim:
	lines_to_the_letter(tap, sim)
	rejections(tap, sim)
	access_log(tap, sim)
	as_json(tap, sim)
	levels(tap, sim)
	to_syslog(tap, sim)
	for what in 'a pipe', 'a terminal', 'a socket':
		nobody_reads(tap, sim, what)
	passed_on(tap)
	secrets(tap, sim)
