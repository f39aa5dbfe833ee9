#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The daemon: -D, the pid file, -s, log files that move, systemd's words, users."""
import os, pwd, shutil, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

NOBODY = 'http://127.0.0.1:9/v1'	# no provider is needed here
HEADGATE = os.path.join(BUILD, 'headgate')

def run(*args, **more):
	done = subprocess.run([HEADGATE, *args], capture_output=True, text=True, timeout=60, **more)
	return done.returncode, done.stdout, done.stderr

class House:
	"""A directory with a configuration for a daemon."""
	def __init__(self, extra='', log=True, mode=0o755, **config):
		self.dir = tempfile.mkdtemp(prefix='headgate-')
		os.chmod(self.dir, mode)
		self.run_dir, self.log, self.conf = (os.path.join(self.dir, name) for name in ('run', 'log', 'headgate.yaml'))
		self.pid_path = os.path.join(self.run_dir, 'headgate.pid')
		self.text = config_text(NOBODY, run_dir=self.run_dir, **config) + (f'logging:\n  file: {self.log}\n' if log else '') + extra
		with open(self.conf, 'w') as file:
			file.write(self.text)

	def lines(self, pattern='', path=None):
		try:
			with open(path or self.log) as file:
				return [line for line in file if re.search(pattern, line)]
		except OSError:
			return []

	@property
	def pid(self):
		try:
			with open(self.pid_path) as file:
				return int(file.read())
		except (OSError, ValueError):
			return 0

	def all_lines(self):
		return self.lines('listening on', self.log + '.1') + self.lines('listening on')

	@property
	def port(self):
		return int(re.search(r'listening on http://[^ ]*:(\d+)', self.all_lines()[-1]).group(1))

	def start(self):
		return run('-D', '-c', self.conf)

	def say(self, word):
		return run('-s', word, '-c', self.conf)

	def health(self):
		return get_json(self.port, '/health')

def background(tap):
	house = House(workers=2)
	tap.is_(house.start(), (0, '', ''), '-D: returns with status 0, silent')
	pid = house.pid
	tap.ok(pid and alive(pid), '... the pid file has a living pid')
	tap.is_(house.health()['status'], 'ok', '... and it serves already')
	with open(f'/proc/{pid}/stat') as file:
		fields = file.read().rpartition(')')[2].split()
	tap.is_((fields[1] != str(os.getpid()), fields[4]), (True, '0'), '... on its own, without a terminal')
	tap.is_({os.readlink(f'/proc/{pid}/fd/{fd}') for fd in (0, 1, 2)}, {'/dev/null'}, '... standard input, output and error lead nowhere')
	status, out, err = house.start()
	tap.is_(status, 1, 'a second one does not start')
	tap.like(''.join(house.lines(f'belongs to a running headgate .pid {pid}')), '.', '... and says why')

	status, out, err = house.say('reload')
	tap.is_((status, err), (0, ''), '-s reload: status 0')
	tap.like(out, r'^headgate: reload: new workers were asked for$', '... and what came of it')
	with open(house.conf, 'a') as file:
		file.write('nonsense: 1\n')
	status, out, err = house.say('reload')
	tap.is_(status, 2, '-s reload of a bad file: status 2, the running one is not bothered')
	with open(house.conf, 'w') as file:
		file.write(house.text)

	moved = house.log + '.1'
	os.rename(house.log, moved)
	tap.is_(house.say('reopen')[0], 0, '-s reopen')
	tap.ok(wait_until(lambda: house.lines('was opened again')), '... begins a new log file')
	held = lambda: [p for p in [pid] + [w['pid'] for w in house.health()['workers'] if w['state'] == 'ready']
		if moved in {os.path.realpath(f'/proc/{p}/fd/{fd}') for fd in os.listdir(f'/proc/{p}/fd')}]
	tap.is_(wait_until(lambda: not held()) and held(), [], '... in all processes')
	before = len(house.lines('', moved))
	house.say('reload')
	tap.ok(wait_until(lambda: house.lines('reload: ')) and len(house.lines('', moved)) == before, '... and nobody writes to the old one')

	workers = [w['pid'] for w in house.health()['workers']]
	tap.is_(house.say('stop'), (0, '', ''), '-s stop: status 0')
	tap.is_(([p for p in [pid] + workers if alive(p)], os.listdir(house.run_dir)), ([], []), '... and it is gone, nothing is left')
	status, out, err = house.say('stop')
	tap.is_((status, out), (1, ''), '-s stop where nothing runs: status 1')
	tap.like(err, r'^headgate: stop: no headgate runs with pid_file .*headgate.pid', '... and why')
	tap.is_(run('-s', 'dance', '-c', house.conf)[0], 2, 'an unknown word: status 2')

	tap.is_(house.start()[0], 0, 'and again')
	tap.is_(house.say('drain')[0], 0, '-s drain: status 0 once it has left')
	tap.is_(house.pid, 0, '... without a pid file')

def failures(tap):
	house = House(log=False)
	status, out, err = house.start()
	tap.is_((status, out), (2, ''), '-D without a log file: status 2')
	tap.like(err, 'logging.file', '... and what to set')
	house = House(workers=1)
	tap.is_(house.start()[0], 0, 'one daemon')
	other = House(workers=1, extra=f'pid_file: {house.pid_path}\n')
	tap.is_(other.start()[0], 1, 'another one with its pid file does not start')
	tap.ok(other.lines(rf'another headgate \(pid {house.pid}\) runs with this pid_file'), '... and says so')
	master = house.pid
	workers = [w['pid'] for w in house.health()['workers']]
	os.kill(master, signal.SIGKILL)
	wait_until(lambda: not any(alive(p) for p in [master] + workers))
	tap.is_(house.pid, master, 'kill -9 leaves a stale pid file')
	tap.is_(house.start()[0], 0, '... which does not keep the next one from starting')
	tap.ok(house.lines(f'left by pid {master}'), '... and is spoken of')
	tap.is_(house.say('stop')[0], 0, '... and stopping')
	for key, value, pattern in (('user', 'no-such-user', "there is no user 'no-such-user'; make one"),):
		house = House(extra=f'{key}: {value}\n')
		status, out, err = run('-c', house.conf)
		tap.is_(status, 1, f'{key}: {value}: status 1')
		tap.like(err, pattern, '... and advice')

def systemd(tap):
	"""READY, RELOADING, STOPPING and WATCHDOG, as a service manager hears them; sockets that it opened."""
	heard = []
	with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
		path = os.path.join(folder, 'notify')
		s.bind(path)
		s.settimeout(20)
		def hear(pattern):
			while True:
				try:
					heard.append(s.recv(4096).decode())
				except TimeoutError:
					return None
				if re.search(pattern, heard[-1]):
					return heard[-1]
		with Gate(NOBODY, tap, workers=2, env={'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '300000'}) as gate:
			tap.is_(hear('READY'), 'READY=1', 'READY=1 when all workers are ready')
			tap.is_([hear('WATCHDOG'), hear('WATCHDOG')], ['WATCHDOG=1'] * 2, 'WATCHDOG=1 again and again')
			os.kill(gate.pid, signal.SIGHUP)
			tap.like(hear('RELOADING') or '', r'^RELOADING=1\nMONOTONIC_USEC=\d+$', 'RELOADING=1 with a time')
			tap.is_(hear('READY'), 'READY=1', '... then READY=1')
			gate.stop()
			tap.is_(hear('STOPPING'), 'STOPPING=1', 'STOPPING=1')
		with socket.socket() as given:
			given.bind(('127.0.0.1', 0))
			given.listen(100)
			port = given.getsockname()[1]
			house = House(log=False, workers=3)
			# the shell becomes headgate, so $$ is its pid
			server = Process(['/bin/sh', '-c', f'LISTEN_PID=$$ LISTEN_FDS=1 exec {HEADGATE} -c {house.conf} 3<&{given.fileno()}'], pass_fds=(given.fileno(),))
			ready = server.wait_line(r'listening on http://127\.0\.0\.1:(\d+) \(3 workers\)')
			tap.is_(ready and int(ready.group(1)), port, 'socket activation: it serves at the socket that it was given')
			tap.is_([request(port, 'GET', '/health/live')[0] for _ in range(20)], [200] * 20, '... all clients')
			tap.is_(server.end(), 0, '... and leaves')

def users(tap):
	names = [u.pw_name for u in pwd.getpwall()]
	if os.geteuid() != 0 or 'nobody' not in names:
		tap.skip('workers run as another user', 'not root')
		return
	house = House(workers=2, extra='user: nobody\n')
	tap.is_(house.start(), (0, '', ''), 'user: nobody')
	ids = lambda pid: [line.split()[1] for line in open(f'/proc/{pid}/status') if re.match(r'(Uid|Gid|NoNewPrivs):', line)]
	nobody = pwd.getpwnam('nobody')
	want = [str(nobody.pw_uid), str(nobody.pw_gid), '1']
	tap.is_([ids(w['pid']) for w in house.health()['workers']], [want] * 2, 'workers are nobody, for good')
	tap.is_(ids(house.pid)[0], '0', '... the master is not')
	tap.is_(os.stat(house.log).st_uid, nobody.pw_uid, 'the log file is theirs')
	tap.is_((os.stat(house.run_dir).st_uid, os.stat(house.run_dir).st_gid, oct(os.stat(house.run_dir).st_mode & 0o777)),
		(0, nobody.pw_gid, '0o750'), 'the run directory is not, but their group may look')
	os.rename(house.log, house.log + '.1')
	house.say('reopen')
	wait_until(lambda: house.lines('was opened again'))
	wait_until(lambda: os.path.exists(house.log))
	tap.is_((house.say('reload')[0], house.lines('cannot open logging.file')), (0, []), 'they open it again when it moved')
	tap.is_(house.say('stop')[0], 0, '-s stop')

with Tap() as tap:
	for part in (background, failures, systemd, users):
		part(tap)
