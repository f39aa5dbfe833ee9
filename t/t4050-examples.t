#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The examples load, keep the rules of thumb, and serve; headgate -t says which rule is broken, and why."""
import glob, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

HEADGATE = os.path.join(BUILD, 'headgate')
KEYS = {'OPENAI_API_KEY': 'k', 'GROQ_API_KEY': 'k', 'OPENROUTER_API_KEY': 'k'}

def test(path):
	done = subprocess.run([HEADGATE, '-t', '-c', path], capture_output=True, text=True, timeout=60, env={**os.environ, **KEYS})
	return done.returncode, done.stdout, done.stderr

def limits(path):
	text = subprocess.run([HEADGATE, '--dump-config', '-c', path], capture_output=True, text=True, env={**os.environ, **KEYS}).stdout
	return {key: int(re.search(rf'{key}: (\d+)', text).group(1)) for key in ('max_connections', 'connection_queue_size', 'backlog')}

def examples(tap):
	names = sorted(os.path.basename(p)[:-5] for p in glob.glob(os.path.join(TOP, 'etc/examples/*.yaml')))
	tap.is_(names, ['development', 'groq', 'large', 'medium', 'openai', 'openrouter', 'small'], 'the examples that the manual names')
	for name in names:
		path = os.path.join(TOP, 'etc/examples', name + '.yaml')
		status, out, err = test(path)
		tap.is_((status, out.splitlines()[-1:], re.findall('(?m)^advice.*', out)), (0, ['configuration ok'], []), f'{name}: loads, and no rule is broken')
		odd = [line for line in err.splitlines() if not re.search('backlog: |max_connections: .* open files|without effect', line)]
		tap.is_(odd, [], '... nor is there a warning, but of what this machine allows')
	sizes = [limits(os.path.join(TOP, 'etc/examples', name + '.yaml'))['max_connections'] for name in ('development', 'small', 'medium', 'large')]
	tap.is_(sizes, [20, 100, 500, 2000], "the seed's sizes")
	text = open(os.path.join(TOP, 'etc/examples/small.yaml')).read()
	with tempfile.TemporaryDirectory() as folder:
		path = os.path.join(folder, 'small.yaml')
		with open(path, 'w') as file:
			file.write(text.replace('  websocket:', '  websocket:\n    port: 0') + f'run_dir: {folder}/run\n')
		server = Process([HEADGATE, '-c', path], env={**os.environ, **KEYS})
		tap.ok(server.wait_line('listening on'), 'one of them serves')
		tap.is_(server.end(), 0, '... and stops')

def rules(tap):
	base = ['llm:', '  providers:', '    a:', '      base_url: http://127.0.0.1:1/v1']
	cases = (
		('connection_queue_size: 150', None, r'connection_queue_size: 150 is less than 2 times max_connections \(100\)'),
		('connection_queue_size: 501', None, r'connection_queue_size: 501 is more than 5 times max_connections \(100\)'),
		(None, 'concurrent_requests: 12', r'a\.http_client\.concurrent_requests: 12 is less than 25 % of the pool \(max_connections: 50\).*13 to 25 is usual'),
		(None, 'concurrent_requests: 26', r'a\.http_client\.concurrent_requests: 26 is more than 50 % of the pool'),
		('max_connections: 300', None, r'connection_queue_size: 500 is less than 2 times max_connections \(300\)'))
	with tempfile.TemporaryDirectory() as folder:
		path = os.path.join(folder, 'f.yaml')
		for chat, client, pattern in cases:
			with open(path, 'w') as file:
				file.write('\n'.join(base + ([f'      http_client: {{{client}}}'] if client else [])
					+ (['chat:', '  websocket:', '    concurrency:', f'      {chat}'] if chat else [])) + '\n')
			status, out, err = test(path)
			advice = re.findall(r'(?m)^advice: .*f\.yaml:\d+:\d+: .*', out)
			tap.is_((status, len(advice)), (0, 1), f'{chat or client}: accepted, with one line of advice')
			tap.like(''.join(advice), pattern, '... that says which rule and why')
		with open(path, 'w') as file:
			file.write('\n'.join(base + ['chat: {websocket: {concurrency: {uvicorn: {backlog: 400}}}}']) + '\n')
		tap.like(test(path)[2], r'backlog: 400 is below connection_queue_size, 500', 'backlog below the queue: a warning')

def sizing(tap):
	"""doc/tuning.md has the costs that headgate -t reckons with, and its examples are what headgate -t says."""
	with open(os.path.join(TOP, 'doc/tuning.md')) as file:
		doc = file.read()
	with open(os.path.join(TOP, 'src/conf/costs.def')) as file:
		costs = [f'{value} {unit}' for value, unit in re.findall(r'(?m)^COST\(\w+, (\d+), "(\w+)"\)', file.read())]
	told = re.findall(r'(?m)^\|[^|]*\| (\d+ (?:kB|us|descriptors)) \|', doc)
	tap.is_((sorted(told), len(costs)), (sorted(costs), 10), 'doc/tuning.md: the costs of costs.def')
	row = lambda name: [cell.strip() for cell in re.search(rf'(?m)^\| {re.escape(name)} \|(.*)\|$', doc).group(1).split('|')]
	yaml = '\n'.join(line[4:] for line in re.search(r'(?s)For 15,000:\n\n(.*?)\n\n[^ ]', doc).group(1).splitlines())
	with tempfile.TemporaryDirectory() as folder:
		for n, name in enumerate(('small', 'medium', 'large', None)):
			path = os.path.join(folder, 'f.yaml')
			text = open(os.path.join(TOP, 'etc/examples', name + '.yaml')).read().replace('workers: auto', 'workers: 2') if name else yaml
			with open(path, 'w') as file:
				file.write(text)
			status, out, err = test(path)
			own, kernel, descriptors = re.search(r'machine .*: (\d+) MB, (\d+) MB more in the kernel; (\d+) descriptors', out).groups()
			tap.is_((f'{own} MB', f'{kernel} MB', descriptors, re.findall('(?m)^advice.*', out)),
				(row('memory of headgate')[n], row('memory of the kernel')[n], row('descriptors of a worker')[n], []),
				f"... and {name or '15,000 clients'}: what headgate -t says")

def installed(tap):
	"""make install puts everything in its place, with the paths of the installation in it."""
	with tempfile.TemporaryDirectory() as folder:
		done = subprocess.run(['make', '-s', '-C', TOP, 'install', f'DESTDIR={folder}', f'B={os.path.relpath(BUILD, TOP)}', 'DEVELOPER=1', *(['SAN=asan'] if SANITIZED else [])],
			capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')})
		if not tap.is_(done.returncode, 0, 'make install'):
			tap.diag(done.stdout + done.stderr)
		have = sorted(os.path.relpath(os.path.join(d, f), folder) for d, _, files in os.walk(folder) for f in files)
		want = ['etc/init.d/headgate', 'etc/logrotate.d/headgate', 'lib/systemd/system/headgate.service', 'lib/systemd/system/headgate.socket',
			*('usr/local/' + name for name in ('bin/headgatestat', 'bin/llmsim', 'etc/headgate/headgate.yaml', 'sbin/headgate', 'share/doc/headgate/examples/large.yaml', 'share/doc/headgate/examples/haproxy.cfg', 'share/doc/headgate/examples/nginx.conf',
				'share/doc/headgate/examples/sysctl.conf', 'share/man/man8/headgate.8'))]
		tap.is_([name for name in want if name not in have], [], 'the programs, manual, examples and service files are there')
		service = [name for name in have if name.startswith(('etc/init.d', 'etc/logrotate.d', 'lib/'))]
		tap.is_([name for name in service if re.search('@[a-z]+@', open(os.path.join(folder, name)).read())], [], 'no path is left to be filled in')
		init = os.path.join(folder, 'etc/init.d/headgate')
		tap.is_(subprocess.run(['sh', '-n', init]).returncode, 0, 'the init script is a shell script')
		init_script(tap, init, folder)

def init_script(tap, script, folder):
	"""start stop restart reload upgrade status configtest, as LSB has them."""
	conf = os.path.join(folder, 'headgate.yaml')
	with open(conf, 'w') as file:
		file.write(config_text('http://127.0.0.1:9/v1', run_dir=os.path.join(folder, 'run')) + f'logging:\n  file: {folder}/log\n')
	with open(script) as file:
		text = file.read().replace('/usr/local/sbin/headgate', HEADGATE).replace('/usr/local/etc/headgate/headgate.yaml', conf)
	with open(script, 'w') as file:
		file.write(text)
	def call(word):
		done = subprocess.run([script, word], capture_output=True, text=True, timeout=60)
		return done.returncode
	pid = lambda: int(open(os.path.join(folder, 'run/headgate.pid')).read())
	tap.is_((call('status'), call('configtest'), call('start'), call('status')), (3, 0, 0, 0), 'init script: status, configtest, start, status')
	first = pid()
	tap.is_((call('start'), pid() == first), (0, True), '... start again: nothing')
	tap.is_((call('reload'), pid() == first), (0, True), '... reload')
	tap.is_((call('upgrade'), pid() == first), (0, False), '... upgrade')
	second = pid()
	tap.is_((call('restart'), pid() == second, call('status')), (0, False, 0), '... restart')
	with open(conf, 'a') as file:
		file.write('nonsense: 1\n')
	third = pid()
	tap.ok(call('configtest') != 0 and call('restart') != 0 and pid() == third, '... a bad file: configtest and restart fail, and it goes on')
	with open(conf) as file:
		good = file.read().replace('nonsense: 1\n', '')
	with open(conf, 'w') as file:
		file.write(good)
	os.kill(third, signal.SIGKILL)
	tap.ok(wait_until(lambda: call('status') == 1), '... status after a kill -9: dead, with a pid file')
	tap.is_((call('start'), call('stop'), call('status'), call('stop')), (0, 0, 3, 0), '... start, stop, status, stop')
	tap.is_(call('dance'), 2, '... an unknown word: 2')

with Tap() as tap:
	for part in (examples, rules, sizing, installed):
		part(tap)
