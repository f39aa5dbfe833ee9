#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The master: boot, deaths and successors, stop, drain, its own death, and what it refuses to do."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

NOBODY = 'http://127.0.0.1:9/v1'	# no provider is needed here
OBITUARY = r'worker (\d+): pid (\d+), generation (\d+), ended after'

def children(pid):
	"""By their own word: the kernel's list of children leaves some out while others end."""
	def parent(child):
		try:
			with open(f'/proc/{child}/stat') as file:
				return int(file.read().rpartition(')')[2].split()[1])
		except OSError:
			return 0
	return [int(child) for child in os.listdir('/proc') if child.isdigit() and parent(child) == pid]

def wait_workers(gate, count, without=()):
	"""The pids of `count` ready workers, none of them in `without`."""
	return wait_until(lambda: len(w := gate.workers()) == count and
		not set(w.values()) & set(without) and w) or {}

def run(*args, config=None):
	"""headgate with these arguments, to its end: (status, stdout, stderr)."""
	with tempfile.TemporaryDirectory() as folder:
		path = os.path.join(folder, 'headgate.yaml')
		if config is not None:
			with open(path, 'w') as file:
				file.write(config.replace('RUN', os.path.join(folder, 'run')))
			args = ('-c', path, *args)
		done = subprocess.run([os.path.join(BUILD, 'headgate'), *args], capture_output=True,
			text=True, timeout=60)
		return done.returncode, done.stdout, done.stderr

def boot_and_stop(tap):
	with Gate(NOBODY, tap, workers=3, concurrency={'max_connections': 100},
			http_client={'concurrent_requests': 25}) as gate:
		ready = [i for i, line in enumerate(gate.lines) if 'listening on' in line]
		seed = [i for i, line in enumerate(gate.lines)
			if line.endswith('WebSocket server configured with max_connections=100, queue_size=500, uvicorn_backlog=2048')
			or line.endswith('LLM HTTP client configured with max_connections=50, concurrent_requests=25, pool_timeout=5.0s')]
		tap.ok(len(ready) == 1 and len(seed) == 2, "one ready line, the seed's two lines")
		tap.ok(max(seed, default=0) < ready[0], 'the ready line is the last of them')
		tap.like(gate.lines[ready[0]], r'http://127\.0\.0\.1:\d+ \(3 workers\)$', 'it says where, and how many')
		health = gate.health()
		tap.is_(health and health['status'], 'ok', '/health answers')
		workers = wait_workers(gate, 3)
		tap.is_(sorted(workers.values()), sorted(children(gate.pid)), '/health tells the true workers')
		tap.ok(os.path.exists(os.path.join(gate.run_dir, 'segment')), 'there is a segment')
		tap.is_(gate.stop(), 0, 'TERM: status 0')
		tap.is_(os.listdir(gate.run_dir), [], '... and nothing is left in the run directory')
		tap.is_([pid for pid in workers.values() if alive(pid)], [], '... and no worker')

def deaths(tap):
	with Gate(NOBODY, tap, workers=2, allowed='signal 11|worker 0: .*exit code 0') as gate:
		first = wait_workers(gate, 2)
		os.kill(first[1], signal.SIGKILL)
		second = wait_workers(gate, 2, [first[1]])
		tap.is_(second.get(0), first[0], 'kill -9: the other worker lives')
		tap.ok(second.get(1) in children(gate.pid), '... and the dead one has a successor')
		gate.wait_line(OBITUARY)
		tap.is_([re.search(OBITUARY, line).groups() for line in gate.grep('signal 9')],
			[('1', str(first[1]), '1')], '... and an obituary')
		tap.like(gate.grep('signal 9')[0], r'permits recovered: [01]$', '... that counts what came back: nothing, or the connection that asked for /health')
		os.kill(second[0], signal.SIGTERM)
		third = wait_workers(gate, 2, [second[0]])
		tap.ok(third, 'a worker that somebody told to leave is replaced')
		tap.is_(len(gate.grep('worker 0: .*exit code 0')), 1, '... with an obituary, too')
		if SANITIZED:
			tap.skip('last words', 'the sanitizer has the last word')
			return
		os.kill(third[1], signal.SIGSEGV)
		tap.ok(wait_workers(gate, 2, [third[1]]), 'a worker that fell is replaced')
		tap.like((gate.grep('signal 11') or [''])[0], r'worker 1: .*last words: fell by SIGSEGV;',
			'... its last words are in the obituary')

def hung(tap):
	# a busy machine may keep a worker that is well from its heartbeat for a second or two: not for five
	with Gate(NOBODY, tap, workers=2, server={'worker_timeout': 4}, allowed='no heartbeat') as gate:
		first = wait_workers(gate, 2)
		os.kill(first[0], signal.SIGSTOP)
		tap.ok(gate.wait_line(r'worker 0: no heartbeat for worker_timeout'), 'a worker that hangs is noticed')
		tap.ok(wait_until(lambda: not alive(first[0])), '... and killed')
		second = wait_workers(gate, 2, [first[0]])
		tap.ok(second.get(0) and second.get(1) == first[1], '... and replaced, the other one is left alone')

def neighbours(tap):
	"""A worker hangs: its clients are served by the next one until it is back."""
	with Gate(NOBODY, tap, workers=3, server={'worker_timeout': 600}) as gate:
		pids = wait_workers(gate, 3)
		os.kill(pids[0], signal.SIGSTOP)
		os.kill(pids[2], signal.SIGSTOP)
		tap.ok(gate.wait_line(r'worker 1\].* accepting for worker 2') and gate.wait_line(r'worker 1\].* accepting for worker 0'),
			'the one worker that is left accepts for both that hang')
		answers = [request(gate.port, 'GET', '/health/live', timeout=20)[0] for _ in range(60)]
		tap.is_(answers, [200] * 60, '... so that every client is served')
		os.kill(pids[0], signal.SIGCONT)
		os.kill(pids[2], signal.SIGCONT)
		tap.ok(gate.wait_line('no longer accepting for worker 2') and gate.wait_line('no longer accepting for worker 0'),
			'... until they are back')
		tap.is_(gate.workers(), pids, 'nobody was replaced')

def drain(tap):
	with Gate(NOBODY, tap, workers=2) as gate:
		wait_workers(gate, 2)
		with socket.create_connection(('127.0.0.1', gate.port)):
			tap.is_(gate.stop(signal.SIGQUIT), 0, 'QUIT: status 0, an idle connection does not hold it up')
		tap.is_(os.listdir(gate.run_dir), [], '... the segment is gone')
		tap.is_(gate.grep('drain_timeout'), [], '... nothing had to be cut')
		tap.is_(len(gate.grep(OBITUARY + '.*exit code 0')), 2, '... both workers left by themselves')

def drain_with_work(tap):
	"""What runs when QUIT comes is brought to its end; who comes later is refused."""
	async def streams(gate):
		running = [await Stream().open(gate.port, chat_body('[[sim:tokens=60,rate=60]]')) for _ in range(12)]
		await asyncio.gather(*[s.head() for s in running])
		os.kill(gate.pid, signal.SIGQUIT)
		await asyncio.to_thread(gate.wait_line, 'draining')
		refused = await asyncio.to_thread(wait_until, lambda: not listens(gate.port))
		texts = []
		for s in running:
			data = b''
			async for part in s.body():
				data += part
			texts.append(data.rstrip().endswith(b'data: [DONE]'))
		return texts, refused
	def listens(port):
		with socket.socket() as s:
			return s.connect_ex(('127.0.0.1', port)) == 0
	with Sim('--text', 'tokens') as sim, Gate(sim, tap, workers=2) as gate:
		whole, refused = asyncio.run(streams(gate))
		tap.is_(whole, [True] * 12, 'QUIT: 12 running streams end whole')
		tap.ok(refused, '... while the address takes nobody new')
		gate.stopped = True
		tap.is_(gate.child.wait(30), 0, '... then it leaves by itself, with status 0')

def slow_machine(tap):
	"""A worker that is ready before its master knows its pid; and one that takes longer than a heartbeat to let go of its clients."""
	if SANITIZED:
		return tap.skip('a slow machine', 'AddressSanitizer comes first, or not at all')
	with tempfile.TemporaryDirectory() as where:
		library = os.path.join(where, 'slow.so')
		subprocess.run(['cc', '-O2', '-shared', '-fPIC', '-o', library, os.path.join(TOP, 't/lib/slow.c')], check=True)
		with Gate(NOBODY, tap, workers=2, env={'LD_PRELOAD': library}, allowed='signal 9', concurrency={'connection_queue_size': 1000}) as gate:
			first, seen = wait_workers(gate, 2), set()
			os.kill(first[1], signal.SIGKILL)
			def replaced():
				now = gate.workers()
				seen.update(now.values())
				return len(now) == 2 and now[1] not in (first[1], 0)
			tap.ok(wait_until(replaced, every=0.005), 'a worker dies, and another takes its place')
			tap.ok(0 not in seen, f'... which has a pid from the first moment ({sorted(seen)})')
			sockets = lambda: sum(w['sockets'] for w in gate.stat()['workers'])
			wait_until(lambda: sockets() == 0)
			clients = [socket.create_connection(('127.0.0.1', gate.port), timeout=20) for _ in range(1000)]
			tap.ok(wait_until(lambda: sockets() == len(clients)), 'workers with 1,000 connections')
			tap.is_(gate.stop(), 0, '... that need longer than a heartbeat to close them leave as any others')

def impatient(tap):
	"""Two TERMs: workers that do not listen are killed at once."""
	with Gate(NOBODY, tap, workers=2, server={'shutdown_timeout': 600, 'worker_timeout': 600}) as gate:
		pids = list(wait_workers(gate, 2).values())
		for pid in pids:
			os.kill(pid, signal.SIGSTOP)
		os.kill(gate.pid, signal.SIGTERM)
		gate.wait_line('stopping')
		tap.is_([pid for pid in pids if alive(pid)], pids, 'TERM waits for workers')
		tap.is_(gate.stop(), 0, 'a second TERM does not')
		tap.is_([pid for pid in pids if alive(pid)], [], '... they are gone')

def orphans(tap):
	with Gate(NOBODY, tap, workers=2) as gate:
		pids = list(wait_workers(gate, 2).values())
		gate.stopped = True
		os.kill(gate.pid, signal.SIGKILL)
		tap.ok(wait_until(lambda: not any(alive(pid) for pid in pids)), 'the master was killed: workers leave')
		wait_until(lambda: len(gate.grep('the master is gone')) == 2)	# we may read slower than they leave
		tap.is_(len(gate.grep('the master is gone')), 2, '... and say why')
		gate.child.wait()
		again = subprocess.run([os.path.join(BUILD, 'headgate'), '-t', '-c', gate.conf_path], capture_output=True)
		tap.is_(again.returncode, 0, 'the file is still good')
		successor = Process([os.path.join(BUILD, 'headgate'), '-c', gate.conf_path])
		tap.ok(successor.wait_line('listening on'), 'what a killed master left behind does not stop a new one')
		tap.is_(successor.end(), 0, '... which leaves with status 0')

def one_address_one_master(tap):
	with Gate(NOBODY, tap, workers=2) as gate:
		config = config_text(NOBODY, run_dir='RUN').replace('port: 0', f'port: {gate.port}')
		status, out, err = run(config=config)
		tap.is_(status, 1, 'a second headgate on the same port does not start')
		tap.like(err, rf'cannot listen on 127\.0\.0\.1 port {gate.port}: .*another program listens there', '... and says why')
		status, out, err = run(config=config_text(NOBODY, run_dir=gate.run_dir))
		tap.is_(status, 1, 'nor one with the same run directory')
		tap.like(err, rf'belongs to a running headgate \(pid {gate.pid}\)', '... and says why')
		tap.is_(len(wait_workers(gate, 2)), 2, 'the first one does not mind')

def run_directory(tap):
	with tempfile.TemporaryDirectory() as folder:
		real, link, shared = (os.path.join(folder, name) for name in ('real', 'link', 'shared'))
		os.mkdir(real, 0o700)
		os.symlink(real, link)
		os.mkdir(shared)
		os.chmod(shared, 0o777)
		for path, what in ((link, 'a link'), (shared, 'a directory that everybody may write to')):
			status, out, err = run(config=config_text(NOBODY, run_dir=path))
			tap.is_((status, os.listdir(path)), (1, []), f'{what} is refused as run directory')
			tap.like(err, rf"'{path}': the run directory must be", '... in plain words')

def command_line(tap):
	good = config_text(NOBODY, run_dir='RUN')
	status, out, err = run('-t', config=good)
	tap.is_((status, out.splitlines()[-1:]), (0, ['configuration ok']), '-t: a good file')
	status, out, err = run('--dump-config', config=good)
	tap.is_(status, 0, '--dump-config')
	tap.like(out, r'max_connections', '... prints options')
	for args in ((), ('-t',)):
		status, out, err = run(*args, config=good + 'nonsense: 1\n')
		tap.is_((status, out), (2, ''), f'a bad file: status 2 ({" ".join(args) or "serving"})')
		tap.like(err, r'^headgate: .*headgate\.yaml:\d+:\d+: .*nonsense', '... with the place')
	for args in (('--no-such-option',), ('stray',), ('--print=nothing',), ('-c', '/nonexistent/headgate.yaml')):
		status, out, err = run(*args)
		tap.ok(status == 2 and err and not out, f'{" ".join(args)}: status 2 and a message')
	for args, pattern in ((('-V',), r'^headgate \d+\.\d+'), (('-h',), '^usage:'),
			(('--print=options-mdoc',), r'(?m)^\.It')):
		status, out, err = run(*args)
		tap.is_((status, err), (0, ''), f'{args[0]}: status 0')
		tap.like(out, pattern, '... and its text')
	elsewhere = good.replace('    port: 0', '    host: 192.0.2.1\n    port: 0')
	tap.is_(run(config=elsewhere)[0], 2, 'an address that others can reach: only when everybody may come')
	status, out, err = run(config=elsewhere + 'clients:\n  allow_anonymous: true\n')
	tap.is_(status, 1, "somebody else's address: status 1")
	tap.like(err, r'an address of this machine', '... and advice')

with Tap() as tap:
	for part in (boot_and_stop, deaths, hung, neighbours, drain, drain_with_work, slow_machine, impatient, orphans, one_address_one_master,
			run_directory, command_line):
		part(tap)
