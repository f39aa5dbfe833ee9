# SPDX-License-Identifier: BSD-2-Clause
"""Certificates made on the spot, and nghttpx as a provider's TLS terminator that speaks HTTP/2.

	from tls import *
	with authority() as ca, Terminator(ca, sim) as front, Wire(front) as wire: ...	# wire.url is https:, too
"""
import asyncio, contextlib, os, shutil, socket, subprocess, tempfile, threading, time
from headgate import Process, skip_all, wait_until

NGHTTPX = shutil.which('nghttpx', path=os.environ['PATH'] + ':/usr/sbin:/usr/local/sbin')


def need_nghttpx():
	if not NGHTTPX:
		skip_all('no nghttpx (Debian: nghttp2-proxy)')


class Authority:
	"""A certificate authority of our own in a directory; ca.pem is its certificate."""
	def __init__(self, directory):
		self.dir = directory
		self.pem, self.key = self.path('ca.pem'), self.path('ca.key')
		self._openssl('req', '-x509', *self._new_key(self.key), '-out', self.pem, '-days', '2', '-subj', '/CN=test authority')

	def path(self, name):
		return os.path.join(self.dir, name)

	@staticmethod
	def _new_key(path):
		return '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path

	@staticmethod
	def _openssl(*args):
		subprocess.run(['openssl', *args], check=True, capture_output=True)

	def certificate(self, name, san):
		"""(certificate, key) of a server; san such as IP:127.0.0.1"""
		cert, key, request, extra = (self.path(f'{name}.{end}') for end in ('pem', 'key', 'csr', 'ext'))
		with open(extra, 'w') as file:
			file.write(f'subjectAltName={san}\n')
		self._openssl('req', *self._new_key(key), '-out', request, '-subj', f'/CN={name}')
		self._openssl('x509', '-req', '-in', request, '-CA', self.pem, '-CAkey', self.key, '-CAcreateserial',
			'-out', cert, '-days', '2', '-extfile', extra)
		return cert, key


@contextlib.contextmanager
def authority():
	with tempfile.TemporaryDirectory(prefix='headgate-ca-') as directory:
		yield Authority(directory)


class Terminator:
	"""nghttpx on a free port, in front of a simulator; it speaks what alpn says, to the simulator HTTP/1.1
	on a connection for each stream. Its access log tells the connection and the protocol of each request."""
	def __init__(self, ca, sim, *args, san='IP:127.0.0.1', alpn='h2,http/1.1'):
		cert, key = ca.certificate(f'provider-{len(os.listdir(ca.dir))}', san)	# files that are its own
		for _ in range(10):		# it takes no port 0: somebody may be faster
			with socket.create_server(('127.0.0.1', 0)) as s:
				self.port = s.getsockname()[1]
			self.process = Process([NGHTTPX, '--conf=/dev/null', '--workers=1', '--log-level=NOTICE', '--errorlog-file=/dev/stderr',
				'--accesslog-file=/dev/stderr', '--accesslog-format=served $remote_port $alpn $status', f'--frontend=127.0.0.1,{self.port}',
				f'--backend=127.0.0.1,{sim.port}', f'--npn-list={alpn}', *args, key, cert])
			if self.process.wait_line(rf'Listening on 127\.0\.0\.1:{self.port}'):
				break
			self.process.end()
		else:
			raise RuntimeError('nghttpx did not start: ' + '\n'.join(self.process.lines))
		self.url = f'https://127.0.0.1:{self.port}/v1'

	def served(self):
		"""(connection, protocol) of each request that has ended."""
		return [tuple(line.split()[1:3]) for line in self.process.grep('^served ')]

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.process.end()


class Wire:
	"""Passes bytes on to one terminator, or to several in turn, and counts the connections."""
	def __init__(self, *fronts):
		self.fronts, self.seen, self.spans, self.open_now = fronts, 0, [], set()
		self.loop = asyncio.new_event_loop()
		listening = threading.Event()
		self.thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
		self.thread.start()
		listening.wait()
		self.url = f'https://127.0.0.1:{self.port}/v1'

	def _run(self, listening):
		asyncio.set_event_loop(self.loop)
		server = self.loop.run_until_complete(asyncio.start_server(self._pass_on, '127.0.0.1', 0))
		self.port = server.sockets[0].getsockname()[1]
		listening.set()
		self.loop.run_forever()

	async def _pass_on(self, reader, writer):
		span = [time.monotonic(), None]
		self.spans.append(span)
		front = self.fronts[self.seen % len(self.fronts)]
		self.seen += 1
		self.open_now.add(writer)
		there_reader, there_writer = await asyncio.open_connection('127.0.0.1', front.port)
		async def copy(source, to):
			try:
				while (part := await source.read(65536)):
					to.write(part)
					await to.drain()
			except ConnectionError:
				pass
			to.close()
		back = asyncio.create_task(copy(there_reader, writer))
		await copy(reader, there_writer)
		span[1] = time.monotonic()
		self.open_now.discard(writer)
		await back

	def most_open(self, grace=0.02):
		"""The most connections at once; one that closes within grace was not open any more, since a FIN and
		another process's new connection may be seen in either order."""
		return max(sum(start <= at and (end is None or end > at + grace) for start, end in self.spans) for at, _ in self.spans)

	def cut(self):
		"""Resets all connections."""
		def abort():
			for writer in list(self.open_now):
				writer.transport.abort()
		self.loop.call_soon_threadsafe(abort)
		wait_until(lambda: not self.open_now)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		async def end():
			others = asyncio.all_tasks() - {asyncio.current_task()}
			for task in others:
				task.cancel()
			await asyncio.gather(*others, return_exceptions=True)
			self.loop.stop()
		asyncio.run_coroutine_threadsafe(end(), self.loop)
		self.thread.join(5)
