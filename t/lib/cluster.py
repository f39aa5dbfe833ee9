# SPDX-License-Identifier: BSD-2-Clause
"""Several headgates that share limits through a Redis of the test's own.

	with Redis() as redis, Sim() as sim, Cluster(tap, redis, sim, 3, ttl='2s', http_client={...}) as nodes:
		nodes.sharing()
"""
import subprocess
from headgate import *

# Debian's redis-tools has the same program under another name, and no service.
REDIS_SERVER = next(filter(None, map(shutil.which, ('redis-server', 'valkey-server', 'redis-check-rdb'))), None)


def need_redis():
	if not REDIS_SERVER:
		skip_all('there is no redis-server (package redis-tools: scripts/deps check)')


class Redis(Process):
	"""redis-server on a unix socket of its own; keeps nothing on disk, so a restart has lost everything."""
	def __init__(self, *args, stepclock=False):
		"""stepclock: the wall clock that it sees can be set (step())."""
		self.dir = tempfile.mkdtemp(prefix='headgate-redis-')
		self.clock, env = os.path.join(self.dir, 'clock'), None
		if stepclock:
			library = os.path.join(self.dir, 'stepclock.so')
			subprocess.run(['cc', '-O2', '-shared', '-fPIC', '-o', library, os.path.join(TOP, 't/lib/stepclock.c')], check=True)
			self.step(0)
			env = {**os.environ, 'LD_PRELOAD': library, 'STEPCLOCK': self.clock}
		self.socket = os.path.join(self.dir, 'redis.sock')
		self.args, self.env = args, env
		self.start()

	def start(self):
		super().__init__(['redis-server', '--port', '0', '--unixsocket', self.socket, '--save', '', '--appendonly', 'no',
			'--dir', self.dir, *self.args], env=self.env, executable=REDIS_SERVER)
		if not self.wait_line(r'eady to accept connections'):
			raise RuntimeError('redis-server did not start: ' + '\n'.join(self.lines))

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.child.send_signal(signal.SIGCONT)
		self.end(signal.SIGKILL)

	def command(self, *words):
		"""One command; what comes back, as text."""
		data = b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(w), w) for w in (str(word).encode() for word in words))
		with socket.socket(socket.AF_UNIX) as s:
			s.settimeout(10)
			s.connect(self.socket)
			s.sendall(data)
			return s.recv(1 << 20).decode('latin-1')

	def calls(self):
		"""How many scripts were run since it started."""
		found = re.search(r'cmdstat_evalsha:calls=(\d+)', self.command('INFO', 'commandstats'))
		return int(found.group(1)) if found else 0

	def step(self, by):
		"""Its host's clock is so many seconds ahead of ours from now on."""
		with open(self.clock + '.new', 'w') as file:
			file.write(f'{by}\n')
		os.rename(self.clock + '.new', self.clock)

	def time(self):
		"""Seconds since 1970, as it sees them."""
		return int(self.command('TIME').split('\r\n')[2])

	def cut(self):
		"""All connections but this one."""
		self.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')

	def restart(self):
		"""As after a crash: empty."""
		self.child.send_signal(signal.SIGCONT)
		self.end(signal.SIGKILL)
		self.start()


class Node(Gate):
	def __init__(self, tap, redis, sim, name, nodes, ttl='2s', cluster='', extra='', **config):
		self.name = name
		section = f'cluster:\n  node: {name}\n  nodes: {nodes}\n  lease_ttl: {ttl}\n{cluster}  redis: {{address: {redis.socket}}}\n'
		super().__init__(sim, tap, extra=section + extra, **config)

	def cluster(self):
		return (self.health() or {}).get('cluster')

	def lease(self, limit='llm.providers.sim.http_client.concurrent_requests'):
		cluster = self.cluster()
		return cluster['limits'][limit]['lease'] if cluster else None

	def agent(self):
		return (self.cluster() or {}).get('agent_pid', 0)


def children(pid):
	with open(f'/proc/{pid}/task/{pid}/children') as file:
		return [int(p) for p in file.read().split()]


def kill(pid, sig=signal.SIGKILL):
	"""It may be gone already."""
	try:
		os.kill(pid, sig)
	except ProcessLookupError:
		pass


class Cluster:
	def __init__(self, tap, redis, sim, n, **config):
		self.tap, self.redis, self.sim, self.n, self.config = tap, redis, sim, n, config
		self.nodes = []

	def __enter__(self):
		try:
			for i in range(self.n):
				self.nodes.append(self.start('abcdefgh'[i]))
		except BaseException:
			self.__exit__(RuntimeError, None, None)
			raise
		return self

	def start(self, name, **more):
		return Node(self.tap, self.redis, self.sim, name, self.n, **{**self.config, **more})

	def __exit__(self, kind, error, trace):
		for node in self.nodes:
			if kind is not None:
				if not node.stopped:
					node.stop(signal.SIGKILL)
				if self.tap:
					self.tap.diag(f'node {node.name}:\n' + '\n'.join(node.lines[-25:]))
			else:
				node.__exit__(None, None, None)

	def __getitem__(self, i):
		return self.nodes[i]

	def __iter__(self):
		return iter(self.nodes)

	def sharing(self, seconds=20):
		"""All are known to each other, and have what they may have by now."""
		def all_know():
			states = [node.cluster() for node in self.nodes]
			return all(s and s['state'] == 'sharing' and s['members'] == self.n and all(l['lease'] for l in s['limits'].values())
				for s in states)
		return wait_until(all_know, seconds)


def mean_in_flight(sim, first, last):
	"""Requests in flight on average between event number `first` of the simulator and number `last`."""
	rows = [row for row in sim.events() if row['event'] in ('request', 'done')][:last]
	running = total = 0
	for n, row in enumerate(rows):
		if n > first:
			total += running * (row['t_us'] - rows[n - 1]['t_us'])
		running += 1 if row['event'] == 'request' else -1
	return total / (rows[-1]['t_us'] - rows[first]['t_us'])


def marks(sim):
	"""For mean_in_flight(): how many events there are by now."""
	return len([row for row in sim.events() if row['event'] in ('request', 'done')])


class Load:
	"""So many clients at a node, each with one request after the other, until stop()."""
	def __init__(self, port, clients, **more):
		self.port, self.wanted, self.more = port, clients, more
		self.done, self.failed, self.tasks = [], [], {}
		self.resize(clients)

	def resize(self, clients):
		"""More clients, or fewer: those that are too many go away, whatever they wait for."""
		self.wanted = clients
		for n, task in self.tasks.items():
			if n >= clients:
				task.cancel()
		for n in range(clients):
			if n not in self.tasks or self.tasks[n].done():
				self.tasks[n] = asyncio.create_task(self._client(n))

	async def _client(self, n):
		while n < self.wanted:
			began = time.monotonic()
			try:
				s = await stream_chat(self.port, f'client {n}', **self.more)
				good = s.status == 200 and s.events and s.events[-1] == '[DONE]'
			except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
				s, good = None, False
			(self.done if good else self.failed).append((time.monotonic(), began, s))
			if not good:
				await asyncio.sleep(0.05)

	async def stop(self):
		"""They end what they have begun."""
		self.wanted = 0
		await asyncio.gather(*self.tasks.values(), return_exceptions=True)
