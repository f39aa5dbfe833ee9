#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the machine does not allow: each a plain message that says what to do, and nothing hangs. (A stale pid file:
t4020.)"""
import os, resource, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

NOBODY = 'http://127.0.0.1:9/v1'	# no provider is needed here
NOBODY_ID = 65534
HEADGATE = os.path.join(BUILD, 'headgate')

def write_conf(extra='', port=0, **config):
	folder = tempfile.mkdtemp(prefix='headgate-')
	os.chmod(folder, 0o777)
	path = os.path.join(folder, 'headgate.yaml')
	with open(path, 'w') as file:
		file.write(config_text(NOBODY, run_dir=os.path.join(folder, 'run'), **config).replace('port: 0', f'port: {port}') + extra.replace('DIR', folder))
	return path

def refused(tap, what, pattern, extra='', **more):
	"""It does not start, at once, with this message."""
	config = more.pop('config', {})
	done = subprocess.run([HEADGATE, '-c', write_conf(extra, **config)], capture_output=True, text=True, timeout=20, **more)
	tap.is_(done.returncode, 1, f'{what}: status 1')
	tap.like(done.stderr, pattern, '... and a message that says what to do')

def descriptors(soft, hard):
	return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

def low_descriptors(tap):
	small = subprocess.Popen([HEADGATE, '-c', write_conf(workers=2)], stderr=subprocess.PIPE,
		text=True, preexec_fn=descriptors(100, 100))
	lines = []
	for line in small.stderr:
		lines.append(line)
		if 'listening on' in line:
			break
	text = ''.join(lines)
	tap.like(text, r'may open 100 descriptors, the configured limits can need \d+: raise it \(ulimit -Hn, LimitNOFILE=\)',
		'100 descriptors: it starts, and says what to raise')
	port = int(re.search(r'listening on http://[^ ]*:(\d+)', text).group(1))
	# more clients than that: those who came first are served, the others wait; nothing falls or spins
	clients = [socket.create_connection(('127.0.0.1', port), timeout=20) for _ in range(250)]
	for client in clients:
		client.close()
	tap.is_(wait_until(lambda: request(port, 'GET', '/health/live', timeout=5)[0] == 200), True,
		'... with 250 clients at once it lives on, and serves when they are gone')
	small.terminate()
	small.stderr.read()
	tap.is_(small.wait(30), 0, '... and stops')
	refused(tap, '20 descriptors', r'[Tt]oo many open files.*(ulimit -n|LimitNOFILE)', preexec_fn=descriptors(20, 20), config={'workers': 8})

def backlog(tap):
	with open('/proc/sys/net/core/somaxconn') as file:
		most = int(file.read())
	if most >= 65535:
		return tap.skip('somaxconn below backlog', 'it is as high as can be')
	with Gate(NOBODY, tap, workers=1, server={'backlog': 65535}) as gate:
		tap.ok(gate.wait_line(rf'backlog is 65535, but the kernel cuts it to {most}: raise net.core.somaxconn'), 'somaxconn below backlog: said at the start')

def busy_port(tap):
	with socket.socket() as other:
		other.bind(('127.0.0.1', 0))
		other.listen()
		refused(tap, 'a busy port', r'cannot listen on 127\.0\.0\.1 port \d+: .*another program listens there', config={'port': other.getsockname()[1]})

def places(tap):
	refused(tap, 'a log file where none can be', r"cannot open logging.file: .*No such file or directory", 'logging:\n  file: /nonexistent/folder/log\n')
	refused(tap, 'a pid file where none can be', r"cannot make pid_file: No such file or directory; set pid_file", 'pid_file: /nonexistent/folder/pid\n')
	who = {'user': NOBODY_ID, 'group': NOBODY_ID, 'extra_groups': []} if os.geteuid() == 0 else {}	# root may write anything
	try:
		subprocess.run([HEADGATE, '-V'], stdout=subprocess.DEVNULL, **who)
	except PermissionError:
		return tap.skip('a log file that may not be written', 'nobody else may run this program')
	refused(tap, 'a log file that may not be written', 'cannot open logging.file: Permission denied', 'logging:\n  file: /etc/passwd\n', **who)

def full_disk(tap):
	with Sim('--text', 'tokens', '--tokens', 5) as sim:
		path = write_conf('logging:\n  file: /dev/full\n', workers=2, server={'access_log': True})
		with open(path) as file:
			text = file.read().replace(NOBODY, sim.url)
		with open(path, 'w') as file:
			file.write(text)
		gate = Process([HEADGATE, '-c', path])
		tap.ok(gate.wait_line(r'cannot write to the log: No space left on device; lines are lost'), 'a full disk for the log: said on standard error')
		port = wait_until(lambda: listening_port(gate.pid))
		tap.is_([request(port, 'POST', '/v1/chat/completions', chat_body(stream=False))[0] for _ in range(20)], [200] * 20, '... and everybody is served')
		tap.at_most(len(gate.grep('cannot write to the log')), 12, '... without a flood of complaints')
		tap.is_(gate.end(), 0, '... and it stops')

def listening_port(pid):
	"""The port that one of the sockets of this process listens at."""
	inodes = set()
	for fd in os.listdir(f'/proc/{pid}/fd'):
		try:
			inodes.add(os.readlink(f'/proc/{pid}/fd/{fd}'))
		except OSError:
			pass
	with open('/proc/net/tcp') as file:
		for line in list(file)[1:]:
			fields = line.split()
			if fields[3] == '0A' and f'socket:[{fields[9]}]' in inodes:
				return int(fields[1].split(':')[1], 16)

with Tap() as tap:
	for part in (low_descriptors, backlog, busy_port, places, full_disk):
		part(tap)
