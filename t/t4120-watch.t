#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""headgatestat -w on a terminal: what it shows, that it follows sizes and restarts, and leaves the terminal as it was."""
import fcntl, os, pty, select, struct, sys, termios
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

STAT = os.path.join(BUILD, 'headgatestat')

class Screen:
	"""headgatestat -w in a terminal of its own; each of its pictures begins at the upper left corner."""
	def __init__(self, run_dir, rows=40, columns=140):
		self.pid, self.fd = pty.fork()
		if self.pid == 0:
			os.execv(STAT, [STAT, '-w', '-r', run_dir])
		self.size(rows, columns)
		self.text, self.status = '', None

	def size(self, rows, columns):
		fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

	def read(self, seconds=0.05):
		while select.select([self.fd], [], [], seconds)[0]:
			try:
				self.text += os.read(self.fd, 65536).decode()
			except OSError:
				return False	# it has left
		return True

	def picture(self):
		"""The lines of the last whole picture."""
		whole = [part for part in self.text.split('\x1b[H')[1:] if '\x1b[J' in part]
		return re.sub(r'\x1b\[[?\d;]*[A-Za-z]', '', whole[-1].split('\x1b[J')[0]).split('\r\n') if whole else []

	def until(self, pattern, seconds=20):
		def seen():
			self.read()
			return re.search(pattern, '\n'.join(self.picture()))
		return wait_until(seen, seconds)

	def flags(self):
		return termios.tcgetattr(self.fd)[3] & (termios.ECHO | termios.ICANON)

	def cpu_ticks(self):
		with open(f'/proc/{self.pid}/stat') as file:
			fields = file.read().rsplit(')', 1)[1].split()
		return int(fields[11]) + int(fields[12])

	def leave(self, key):
		os.write(self.fd, key)
		wait_until(lambda: not self.read() or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
		return os.waitpid(self.pid, 0)[1]

async def at_work(tap, gate, screen):
	streams = [await Stream().open(gate.port, chat_body('[[sim:tokens=2000,rate=50]]')) for _ in range(3)]
	tap.ok(screen.until(r'(?m)^places +3/7 in use +0 waiting +0 WebSockets +3 streams'), 'places')
	found = screen.until(r'(?m)^sim +2/2 +1 +\d+ms +\d+ms +\d+ms +[\d.]+ +[\d.]+ +\d+/500 +2 +0  closed$')
	tap.ok(found, 'the provider: in flight, line, waits, rates, window')
	def tokens():
		screen.read()
		m = re.search(r'(?m)^sim +2/2 +1 +\S+ +\S+ +\S+ +\S+ +([\d.]+) ', '\n'.join(screen.picture()))
		return m and 60 < float(m.group(1)) < 130
	tap.ok(wait_until(tokens), 'about 100 tokens a second')
	tap.is_(len(re.findall(r'(?m)^\d+ +\d+ ready ', '\n'.join(screen.picture()))), 2, 'both workers')
	for _ in range(5):
		await asyncio.to_thread(request, gate.port, 'GET', '/nowhere')
	tap.ok(screen.until(r'(?m)^not_found +[\d.]+ +5$'), 'who was turned away')
	for s in streams:
		s.close()
	tap.ok(await asyncio.to_thread(screen.until, r'(?m)^places +0/7 in use'), 'and empty again')

def sizes(tap, screen):
	screen.size(10, 60)
	tap.ok(wait_until(lambda: (screen.read(), len(p := screen.picture()) == 10 and max(map(len, p)) == 60)[1]), 'a small terminal gets a small picture')
	tap.ok(re.match(r'headgate +master', screen.picture()[0]), 'of the most important')
	screen.size(40, 140)
	tap.ok(wait_until(lambda: (screen.read(), len(screen.picture()) > 10)[1]), 'and a large one a large picture')

with Tap() as tap, Sim('--rate', 50) as sim:
	with Gate(sim, tap, workers=2, concurrency={'max_connections': 7}, http_client={'concurrent_requests': 2, 'requests_per_minute': 500}) as gate:
		run_dir, first = gate.run_dir, gate.pid
		screen = Screen(run_dir)
		tap.ok(screen.until(rf'^headgate +master {first} +up \S+ +2 workers'), 'a headline')
		tap.is_(screen.flags(), 0, 'keys come one by one, unseen')
		asyncio.run(at_work(tap, gate, screen))
		sizes(tap, screen)
		before = screen.cpu_ticks()
		time.sleep(2)	# what it uses in that time is the test
		tap.at_most(screen.cpu_ticks() - before, 20, 'hundredths of a second of work in two seconds')
	tap.ok(screen.until(r'^headgate +not running, waiting for it'), 'headgate stopped: it waits')
	again = Process([os.path.join(BUILD, 'headgate'), '-c', gate.conf_path])
	tap.ok(again.wait_line('listening on') and screen.until(rf'^headgate +master {again.pid} '), 'headgate started: it goes on')
	tap.is_(screen.leave(b'q'), 0, 'q leaves, with status 0')
	tap.ok(screen.text.startswith('\x1b[?1049h') and screen.text.rstrip().endswith('\x1b[?1049l'), 'the screen is as it was')
	other = Screen(run_dir)
	other.until('^headgate +master')
	os.kill(other.pid, signal.SIGTERM)
	tap.is_(os.waitpid(other.pid, 0)[1], 0, 'TERM, too')
	other.read()
	tap.ok(other.text.rstrip().endswith('\x1b[?1049l'), 'and leaves the screen as it was')
	piped = subprocess.Popen([STAT, '-w', '-r', run_dir], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
	rows = [piped.stdout.readline() for _ in range(3)]
	piped.terminate()
	tap.ok(rows[0].startswith('headgate ') and '\x1b' not in ''.join(rows), 'into a pipe: plain text')
	tap.is_(piped.wait(10), 0, 'until it is told to stop')
	again.end()
	done = subprocess.run([STAT, '-w', '-r', run_dir], capture_output=True, text=True, timeout=20)
	tap.is_((done.returncode, done.stdout), (2, ''), 'no headgate at the first look: status 2')
