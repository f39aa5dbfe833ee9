# SPDX-License-Identifier: BSD-2-Clause
"""Whole-system tests: TAP, the daemon and the simulated provider on free ports, clients.

	from headgate import Tap, Sim, Gate
	with Tap() as tap, Sim('--rate', '100') as sim, Gate(sim, workers=4) as gate:
		tap.is_(gate.health()['status'], 'ok', 'it is well')

Nothing here sleeps for readiness: both programs print a line when they are ready. Leaving a Gate
adds three tests of its own: no error or BUG in its log, no sanitizer report, books that balance.
"""
import asyncio, http.client, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get('HEADGATE_BUILD', 'build'))
SANITIZED = 'asan' in os.path.basename(BUILD)
# AddressSanitizer keeps freed memory for a while; little of it, so that growth can still be seen.
os.environ.setdefault('ASAN_OPTIONS', 'quarantine_size_mb=4:detect_leaks=1')


class Tap:
	"""Prints TAP; as a context manager it prints the plan and the exit status."""
	def __init__(self):
		self.count = self.failed = 0

	def __enter__(self):
		return self

	def __exit__(self, kind, error, trace):
		if error is not None and not isinstance(error, SystemExit):
			import traceback
			for line in ''.join(traceback.format_exception(kind, error, trace)).splitlines():
				self.diag(line)
			self.ok(False, f'no exception ({kind.__name__})')
		print(f'1..{self.count}', flush=True)
		sys.stdout.flush()
		os._exit(1 if self.failed else 0)

	def diag(self, text):
		for line in str(text).splitlines():
			print('# ' + line, file=sys.stderr, flush=True)

	def ok(self, good, name):
		self.count += 1
		self.failed += not good
		print(f'{"ok" if good else "not ok"} {self.count} - {name}', flush=True)
		if not good:
			self.diag(f'failed: {name}')
		return bool(good)

	def is_(self, got, want, name):
		if not self.ok(got == want, name):
			self.diag(f'got:  {got!r}\nwant: {want!r}')
		return got == want

	def like(self, got, pattern, name):
		if not self.ok(re.search(pattern, got), name):
			self.diag(f'got:  {got!r}\nlike: {pattern!r}')

	def at_most(self, got, limit, name):
		return self.ok(got <= limit, f'{name} ({got} <= {limit})')

	def skip(self, name, why):
		self.count += 1
		print(f'ok {self.count} - {name} # SKIP {why}', flush=True)


def without_effect(option):
	"""Is this option accepted only, in the program under test?"""
	text = subprocess.run([os.path.join(BUILD, 'headgate'), '--print=options-mdoc'], capture_output=True, text=True).stdout
	return 'Not built yet' in text[text.index(f'.It Ic {option}\n'):].split('.It', 2)[1]


def skip_all(why):
	print(f'1..0 # SKIP {why}')
	sys.exit(0)


def wait_until(what, seconds=20.0, every=0.02):
	"""Polls what() until it is true; returns its last value."""
	end = time.monotonic() + seconds
	while True:
		value = what()
		if value or time.monotonic() > end:
			return value
		time.sleep(every)


class Process:
	"""A child whose output is collected line by line."""
	def __init__(self, argv, env=None, cwd=None, pass_fds=(), executable=None):
		self.lines = []
		self.changed = threading.Condition()
		self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
			stderr=subprocess.STDOUT, env=env, cwd=cwd, pass_fds=pass_fds, executable=executable, text=True, errors='replace')
		self.reader = threading.Thread(target=self._read, daemon=True)
		self.reader.start()

	def _read(self):
		for line in self.child.stdout:
			with self.changed:
				self.lines.append(line.rstrip('\n'))
				self.changed.notify_all()
		with self.changed:
			self.lines.append('')
			self.changed.notify_all()

	def wait_line(self, pattern, seconds=30.0, start=0):
		"""The first match of pattern in a line from number start on; None after that time."""
		end = time.monotonic() + seconds
		at = start
		with self.changed:
			while True:
				while at < len(self.lines):
					match = re.search(pattern, self.lines[at])
					if match:
						return match
					at += 1
				left = end - time.monotonic()
				if left <= 0 or (self.child.poll() is not None and not self.reader.is_alive()):
					return None
				self.changed.wait(min(left, 0.5))

	def grep(self, pattern):
		with self.changed:
			return [line for line in self.lines if re.search(pattern, line)]

	@property
	def pid(self):
		return self.child.pid

	def end(self, sig=signal.SIGTERM, seconds=30.0):
		if self.child.poll() is None:
			self.child.send_signal(sig)
		try:
			status = self.child.wait(seconds)
		except subprocess.TimeoutExpired:
			self.child.kill()
			status = self.child.wait()
		self.reader.join(5)
		return status


class Sim(Process):
	"""llmsim on a free port, with an events file."""
	control = None

	def __init__(self, *args):
		self.dir = tempfile.mkdtemp(prefix='llmsim-')
		self.events_path = os.path.join(self.dir, 'events')
		super().__init__([os.path.join(BUILD, 'llmsim'), '--listen', '127.0.0.1:0', '--events',
			self.events_path, *[str(a) for a in args]])
		ready = self.wait_line(r'ready on (http://127\.0\.0\.1:(\d+)/v1)')
		if not ready:
			raise RuntimeError('llmsim did not start: ' + '\n'.join(self.lines))
		self.url, self.port = ready.group(1), int(ready.group(2))

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.end()

	def stats(self):
		return get_json(self.port, '/sim/stats')

	def reset(self):
		request(self.port, 'POST', '/sim/reset')

	def outage(self, how, seconds=0):
		"""From now on, for that long (0: until the next order): refuse, a fault, or none. See llmsim(1)."""
		if not self.control:	# kept, for nobody else is let in when it refuses
			self.control = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
		self.control.request('POST', '/sim/outage', json.dumps({'how': how, 'ms': int(seconds * 1000)}))
		if self.control.getresponse().read() != b'{}\n':
			raise ValueError(how)

	def events(self, kind=None):
		with open(self.events_path) as file:
			rows = [json.loads(line) for line in file if line.endswith('\n')]
		return [row for row in rows if kind is None or row['event'] == kind]

	def most_in_flight(self, grace_us=100000):
		"""The most requests in flight at once, without those whose client had left: a FIN and another
		process's new request travel on two connections and may be seen in either order, so a
		request that ends as client_gone within grace_us was not in flight any more."""
		most, running = 0, {}
		rows = [row for row in self.events() if row['event'] in ('request', 'done')]
		gone = {row['req']: row['t_us'] for row in rows if row['event'] == 'done' and row['how'] == 'client_gone'}
		for row in rows:
			if row['event'] == 'done':
				running.pop(row['req'], None)
				continue
			running[row['req']] = True
			most = max(most, sum(gone.get(req, row['t_us'] + 2 * grace_us) > row['t_us'] + grace_us for req in running))
		return most


def config_text(sim, workers=2, chat=None, concurrency=None, server=None, http_client=None, streaming=None,
		context=None, responses=None, provider=None, extra='', echo_endpoint='', system_prompt='', run_dir='', access_log=False,
		page=False):
	"""A configuration; each dict is the rows of its section."""
	def rows(indent, values):
		return ''.join(f'{" " * indent}{key}: {json.dumps(value)}\n' for key, value in (values or {}).items())
	url = sim if isinstance(sim, str) else sim.url
	return (f'run_dir: {run_dir}\nchat:\n  service:\n    system_prompt: {json.dumps(system_prompt)}\n'
		+ (f'    streaming:\n{rows(6, streaming)}' if streaming else '')
		+ (f'    context:\n{rows(6, context)}' if context else '')
		+ (f'  responses:\n{rows(4, responses)}' if responses else '')
		+ (f'  echo_endpoint: {echo_endpoint}\n' if echo_endpoint else '') + ('  page: true\n' if page else '')
		+ f'  websocket:\n    port: 0\n{rows(4, chat)}    concurrency:\n'
		+ rows(6, {'max_connections': 1000, **(concurrency or {})})
		+ f'      uvicorn:\n{rows(8, {"workers": workers, "access_log": access_log, **(server or {})})}'
		+ f'llm:\n  active: sim\n  providers:\n    sim:\n      base_url: {url}\n'
		+ rows(6, {'model': 'sim-1', **(provider or {})})
		+ f'      http_client:\n{rows(8, {"requests_per_minute": 0, **(http_client or {})})}' + extra)


class Gate(Process):
	"""headgate on a free port."""
	allowed = r'^$'		# log lines at level error that a test expects

	def __init__(self, sim, tap=None, env=None, allowed=None, tls=None, source=None, **config):
		"""For our own requests: tls, the ssl.SSLContext that they need, if the configuration asks for TLS; source, the
		address that they come from."""
		self.source = source
		self.tap = tap
		self.tls = tls
		self.dir = tempfile.mkdtemp(prefix='headgate-')
		self.run_dir = os.path.join(self.dir, 'run')
		self.conf_path = os.path.join(self.dir, 'headgate.yaml')
		if allowed:
			self.allowed = allowed
		with open(self.conf_path, 'w') as file:
			file.write(config_text(sim, run_dir=self.run_dir, **config))
		full = dict(os.environ)
		full.update(env or {})
		super().__init__([os.path.join(BUILD, 'headgate'), '-c', self.conf_path], env=full)
		ready = self.wait_line(r'listening on https?://[^ ]*:(\d+)')
		if not ready:
			self.end(signal.SIGKILL)
			raise RuntimeError('headgate did not start:\n' + '\n'.join(self.lines))
		self.port = int(ready.group(1))
		self.stopped = False

	def __enter__(self):
		return self

	def __exit__(self, kind, error, trace):
		if error is None and self.tap and not self.stopped:
			self.settle()
		if not self.stopped:
			status = self.stop()
			if self.tap and error is None:
				self.tap.is_(status, 0, 'headgate left with status 0')
		if self.tap:
			self.assert_log()
			if error is not None:
				self.tap.diag('\n'.join(self.lines[-40:]))

	def assert_log(self):
		bad = [line for line in self.grep(r' error \[|BUG:') if not re.search(self.allowed, line)]
		self.tap.is_(bad, [], 'no error in the log')
		self.tap.is_(self.grep(r'Sanitizer|runtime error:'), [], 'no sanitizer report')

	def stop(self, sig=signal.SIGTERM):
		self.stopped = True
		return self.end(sig)

	def settle(self):
		"""Everything was given back, and the books balance."""
		idle = lambda: (h := self.health()) and h['active_connections'] == 0 and \
			all(p['in_flight'] == 0 and p['queued'] == 0 for p in h['providers'].values())
		self.tap.ok(wait_until(idle), 'all places and permits came back')
		status, text = self.check()
		if not self.tap.is_(status, 0, 'headgatestat --check: books balance'):
			self.tap.diag(text)

	def check(self):
		done = subprocess.run([os.path.join(BUILD, 'headgatestat'), '-r', self.run_dir, '--check'],
			capture_output=True, text=True, timeout=60)
		return done.returncode, done.stdout + done.stderr

	def stat(self):
		done = subprocess.run([os.path.join(BUILD, 'headgatestat'), '-r', self.run_dir, '--json'],
			capture_output=True, text=True, timeout=60, check=True)
		return json.loads(done.stdout)

	def health(self):
		try:
			return get_json(self.port, '/health', self.tls, self.source)
		except (OSError, http.client.HTTPException, ValueError):
			return None

	def workers(self):
		"""slot -> pid of the workers that are ready."""
		return {w['slot']: w['pid'] for w in (self.health() or {'workers': []})['workers'] if w['state'] == 'ready'}


def free_port():
	"""One that nobody has right now."""
	with socket.socket() as s:
		s.bind(('127.0.0.1', 0))
		return s.getsockname()[1]


def request(port, method, path, body=None, headers=None, timeout=60, tls=None, source=None):
	"""One plain request: (status, headers dict with lower-case names, body bytes)."""
	more = {'timeout': timeout, 'source_address': (source, 0) if source else None}
	c = http.client.HTTPSConnection('127.0.0.1', port, context=tls, **more) if tls else http.client.HTTPConnection('127.0.0.1', port, **more)
	try:
		if body is not None and not isinstance(body, (bytes, str)):
			body = json.dumps(body)
		c.request(method, path, body, {'Content-Type': 'application/json', **(headers or {})})
		r = c.getresponse()
		return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
	finally:
		c.close()


def get_json(port, path, tls=None, source=None):
	return json.loads(request(port, 'GET', path, tls=tls, source=source)[2])


def chat_body(text='hello', stream=True, **more):
	return {'model': 'sim-1', 'stream': stream, 'messages': [{'role': 'user', 'content': text}], **more}


def raw(port, data, timeout=20, shut=False):
	"""Sends bytes, returns all that comes until the peer closes (or the time is over)."""
	with socket.create_connection(('127.0.0.1', port), timeout=timeout) as s:
		s.sendall(data)
		if shut:
			s.shutdown(socket.SHUT_WR)
		got = b''
		try:
			while (part := s.recv(65536)):
				got += part
		except (TimeoutError, ConnectionResetError):
			pass
		return got


def crowd(port, n, request, last):
	"""n connections at once that each send this and read up to `last`, or the end: the connections, and what came."""
	sockets, got = [], []
	for _ in range(n):
		sockets.append(socket.create_connection(('127.0.0.1', port), timeout=60))
		sockets[-1].sendall(request)
	for s in sockets:
		text = b''
		while last not in text and (more := s.recv(65536)):
			text += more
		got.append(text)
	return sockets, got


# ---- asyncio clients ---------------------------------------------------------

class Stream:
	"""An SSE chat by hand: head first, then events as they come."""
	def __init__(self):
		self.status, self.headers, self.events, self.times, self.comments = None, {}, [], [], 0

	async def open(self, port, body, path='/v1/chat/completions'):
		data = json.dumps(body).encode()
		self.reader, self.writer = await asyncio.open_connection('127.0.0.1', port, limit=1 << 22)
		self.writer.write(b'POST %s HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n'
			b'Content-Length: %d\r\n\r\n' % (path.encode(), len(data)) + data)
		await self.writer.drain()
		return self

	async def head(self):
		text = (await self.reader.readuntil(b'\r\n\r\n')).decode('latin-1')
		lines = text.split('\r\n')
		self.status = int(lines[0].split()[1])
		self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(':') for line in lines[1:] if line)}
		return self.status

	async def body(self):
		"""The decoded body, part by part."""
		if self.headers.get('transfer-encoding') == 'chunked':
			while True:
				size = int(await self.reader.readuntil(b'\r\n'), 16)
				part = await self.reader.readexactly(size + 2)
				if size == 0:
					return
				yield part[:-2]
		elif 'content-length' in self.headers:
			yield await self.reader.readexactly(int(self.headers['content-length']))
		else:
			while (part := await self.reader.read(65536)):
				yield part

	async def run(self):
		"""Reads to the end; self.events are the data of all events."""
		await self.head()
		held = b''
		async for part in self.body():
			held += part
			while b'\n\n' in held:
				event, held = held.split(b'\n\n', 1)
				for line in event.split(b'\n'):
					if line.startswith(b'data:'):
						self.events.append(line[5:].strip().decode())
						self.times.append(time.monotonic())
					elif line.startswith(b':'):
						self.comments += 1
		self.rest = held
		return self

	def text(self):
		out = ''
		for event in self.events:
			if event != '[DONE]':
				for choice in json.loads(event).get('choices', []):
					out += choice['delta'].get('content') or ''
		return out

	def close(self):
		self.writer.transport.abort()


async def stream_chat(port, text='hello', **more):
	"""A whole SSE chat; its Stream."""
	s = await Stream().open(port, chat_body(text, **more))
	try:
		return await s.run()
	finally:
		s.close()


async def ask(*args, seconds=10, **more):
	"""stream_chat(), or None if that takes longer."""
	try:
		return await asyncio.wait_for(stream_chat(*args, **more), seconds)
	except asyncio.TimeoutError:
		return None


def ending(s):
	"""How a Stream ended, or an answer in one piece: (status, error code). The code is None if all is well, and
	'silence' if a stream just ended."""
	if s is None:
		return None, 'nothing came'
	if s.status != 200:
		return s.status, json.loads(s.rest)['error']['code']
	if not s.events:
		return s.status, 'silence' if 'event-stream' in s.headers['content-type'] else None
	return s.status, None if s.events[-1] == '[DONE]' else json.loads(s.events[-1]).get('error', {'code': 'silence'})['code']


def provider_text(name, sim, http_client=None, model='m', **more):
	"""A further provider, for config_text's extra."""
	rows = lambda indent, values: ''.join(f'{" " * indent}{key}: {json.dumps(value)}\n' for key, value in values.items())
	url = sim if isinstance(sim, str) else sim.url
	return (f'    {name}:\n' + rows(6, {'base_url': url, 'model': model, **more})
		+ f'      http_client:\n{rows(8, {"requests_per_minute": 0, **(http_client or {})})}')


async def ws_connect(port, path='/ws/chat', **more):
	import websockets
	return await websockets.connect(f'ws://127.0.0.1:{port}{path}', max_size=None, ping_interval=None,
		open_timeout=60, close_timeout=20, **more)


async def ws_ask(ws, text='hello', request_id='r1', **payload):
	await ws.send(json.dumps({'action': 'chat', 'request_id': request_id, 'payload': {'text': text, **payload}}))


async def ws_answer(ws, request_id='r1', timeout=120):
	"""Messages of one request up to complete or error: (list of messages, text)."""
	got, text = [], ''
	while True:
		message = json.loads(await asyncio.wait_for(ws.recv(), timeout))
		if message.get('request_id') != request_id:
			continue
		got.append(message)
		if message['status'] == 'chunk' and message['chunk'].get('type') == 'text':
			text += message['chunk']['data']
		if message['status'] in ('complete', 'error'):
			return got, text


def sim_text(n):
	"""What llmsim --text tokens answers with n tokens."""
	return ''.join(f't{i} ' for i in range(n))


class Load:
	"""Clients that come again and again, over SSE and WebSocket, until told to stop; the simulator
	speaks --text tokens --tokens 20."""
	def __init__(self, port):
		self.port, self.going, self.complete, self.cut, self.wrong, self.refused = port, True, 0, 0, 0, 0

	async def client(self, n):
		while self.going:
			try:
				if n % 3 == 0:
					ws = await ws_connect(self.port)
					await ws_ask(ws)
					messages, text = await ws_answer(ws)
					await ws.close()
					ended = messages[-1]['status'] == 'complete'
				elif n % 3 == 1:
					s = await stream_chat(self.port)
					ended, text = s.events and s.events[-1] == '[DONE]', s.text()
				else:	# leaves while it waits or reads
					s = await Stream().open(self.port, chat_body())
					await asyncio.sleep(0.01 * (n % 7))
					s.close()
					continue
				self.complete += ended and text == sim_text(20)
				self.wrong += not (ended and text == sim_text(20))
			except ConnectionRefusedError:
				self.refused += 1
			except Exception:
				self.cut += 1		# our worker was killed: the connection says so

	async def run(self, clients, until):
		tasks = [asyncio.create_task(self.client(n)) for n in range(clients)]
		await until()
		self.going = False
		await asyncio.wait(tasks, timeout=60)
		return sum(not t.done() for t in tasks)


def alive(pid):
	"""Running, that is: a zombie is not."""
	try:
		with open(f'/proc/{pid}/stat') as file:
			return file.read().rpartition(')')[2].split()[0] not in 'ZX'
	except OSError:
		return False


def say(gate, word):
	"""headgate -s WORD: its status, and what it printed."""
	done = subprocess.run([os.path.join(BUILD, 'headgate'), '-c', gate.conf_path, '-s', word], capture_output=True, text=True, timeout=60)
	return done.returncode, done.stdout + done.stderr


class Knocking:
	"""A client that connects once a millisecond (t/lib/knock.c), from now until end(); what became of each of them."""
	def __init__(self, port):
		self.dir = tempfile.mkdtemp(prefix='knock-')
		program = os.path.join(self.dir, 'knock')
		subprocess.run(['cc', '-O2', '-o', program, os.path.join(TOP, 't/lib/knock.c')], check=True)
		self.process = Process([program, str(port)])

	def __getattr__(self, name):
		"""asked, answered, refused, lost (why), slowest_ms, seconds: so far."""
		rows = self.process.grep('^{')
		return json.loads(rows[-1] if rows else '{"asked":0,"answered":0,"refused":0,"lost":[]}')[name]

	def wait(self, n):
		"""Until n more of them have an answer, or are refused."""
		before = self.answered + self.refused
		return wait_until(lambda: self.answered + self.refused >= before + n, 60)

	def end(self):
		"""Nobody comes any more; all who came have their answer. A line to read."""
		if self.process.end(seconds=60) != 0 or not self.over:
			raise RuntimeError('knock: ' + '\n'.join(self.process.lines[-5:]))
		shutil.rmtree(self.dir)
		return f'{self.answered} answers, {self.asked / self.seconds:.0f} clients a second, the slowest took {self.slowest_ms} ms'

	async def during(self, change):
		"""Knock, change, knock on; wait for all answers."""
		await asyncio.to_thread(self.wait, 100)
		result = await asyncio.to_thread(change)
		await asyncio.to_thread(self.wait, 300)
		await asyncio.to_thread(self.end)
		return result


def by_node(tap, gate, script, package, checks, node='node', least=0, env=None):
	"""A client of t/node: so many lines of JSON, each a check. Skipped where the package or Node (least: its version) is not there.
	With TLS, env says in CA_FILE whom to trust, and HTTP/2 is spoken. True: it ran."""
	home = os.path.join(TOP, 'build/node')
	if not shutil.which(node) or not os.path.isdir(os.path.join(home, 'node_modules', package)):
		return tap.skip(package, 'not installed: make node-clients')
	version = subprocess.run([node, '--version'], capture_output=True, text=True).stdout.strip()
	if int(version[1:].split('.')[0]) < least:
		return tap.skip(package, f'needs Node {least}, this is {version}')
	for name in ('client.mjs', script):
		copy = shutil.copy(os.path.join(TOP, 't/node', name), os.path.join(home, name))
	got = subprocess.run([node, copy, f'http{"s" if gate.tls else ""}://127.0.0.1:{gate.port}/v1'], capture_output=True, text=True, timeout=120,
		env={**os.environ, **(env or {})})
	rows = [json.loads(line) for line in got.stdout.splitlines()]
	for row in rows:
		if not tap.ok(row['ok'], f"{package}: {row['name']}"):
			tap.diag(row['got'])
	tap.is_((got.returncode, len(rows)), (0, checks), f'{package}: the script ran to its end')
	tap.diag(got.stderr)
	return True
