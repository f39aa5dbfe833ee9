#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""headgate -t and --dump-config: the seed's blocks, the sample, errors all at once, the manual."""
import os, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

PROVIDER = 'llm: {providers: {p: {base_url: "http://127.0.0.1:9/v1"}}}\n'
CLEAN = {k: v for k, v in os.environ.items() if not k.endswith('_API_KEY')}

def run(*args, cwd=None, env=None, user=None):
	"""headgate to its end: (status, stdout, stderr)."""
	done = subprocess.run([os.path.join(BUILD, 'headgate'), *args], capture_output=True, text=True,
		timeout=60, cwd=cwd, env={**CLEAN, **(env or {})}, user=user)
	return done.returncode, done.stdout, done.stderr

def with_file(text, *args, env=None):
	"""headgate with a headgate.yaml of this text, named so."""
	with tempfile.TemporaryDirectory() as folder:
		with open(os.path.join(folder, 'headgate.yaml'), 'wb') as file:
			file.write(text if isinstance(text, bytes) else text.encode())
		return run('-c', 'headgate.yaml', *args, cwd=folder, env=env)

def read(name):
	with open(os.path.join(TOP, name)) as file:
		return file.read()

def options(dump):
	"""path -> (value, where from) of a dump."""
	found, path = {}, []
	for line in dump.splitlines():
		match = re.match(r'( *)(?:# )?"?([\w-]+)"?:(?: (.*?))?(?:  # (\S+))?$', line)
		depth = len(match.group(1)) // 2
		path[depth:] = [match.group(2)]
		if match.group(4):
			found['.'.join(path)] = (match.group(3), match.group(4))
	return found

def indented(text, by):
	return ''.join(' ' * by + line for line in text.splitlines(keepends=True))

def seed():
	"""The seed document's two blocks, verbatim, where they belong."""
	text = read('t/data/seed.yaml')
	at = text.index('http_client:')
	return ('chat:\n  websocket:\n' + indented(text[:at], 4)
		+ 'llm:\n  providers:\n    openai:\n' + indented(text[at:], 6))

SEED_VALUES = {
	'chat.websocket.concurrency.max_connections': '100', 'chat.websocket.concurrency.connection_queue_size': '500',
	'chat.websocket.concurrency.uvicorn.backlog': '2048', 'chat.websocket.concurrency.uvicorn.workers': '1',
	'chat.websocket.concurrency.uvicorn.access_log': 'false',
	'chat.websocket.concurrency.uvicorn.keepalive_timeout': '5s',
	'chat.websocket.concurrency.uvicorn.max_keepalive_requests': '1000',
	'chat.websocket.concurrency.uvicorn.h11_max_incomplete_event_size': '16KiB',
	'chat.websocket.concurrency.uvicorn.h11_max_request_line_size': '8KiB',
	'chat.websocket.concurrency.uvicorn.h11_max_header_size': '32KiB',
	**{'llm.providers.openai.http_client.' + k: v for k, v in {
		'max_connections': '50', 'max_keepalive': '20', 'keepalive_expiry': '30s', 'connect_timeout': '10s',
		'read_timeout': '60s', 'write_timeout': '10s', 'pool_timeout': '5s', 'requests_per_minute': '3500',
		'concurrent_requests': '25', 'max_retries': '3', 'backoff_factor': '0.5'}.items()}}

def the_seed(tap):
	status, out, err = with_file(seed(), '-t')
	tap.is_(status, 0, "the seed's blocks, verbatim: status 0")
	tap.like(out, r'clients +100 at once', '... and the limits')
	tap.like(out, r'(?m)^openai \* +25 +3500 ', "... of the provider, too")
	tap.is_(re.findall('not built yet', err), [], '... none of it is without effect')
	tap.like(err, 'OPENAI_API_KEY is not set: requests to openai go out without a key', '... one that no key is there')
	status, out, err = with_file(seed(), '--dump-config')
	found = options(out)
	given = {path: value for path, (value, place) in found.items() if place != 'default'}
	tap.is_(given, SEED_VALUES, '... every value of it arrives, and nothing else')
	status, out, err = with_file(seed().replace('uvicorn:', 'server:').replace('h11_', ''), '--dump-config')
	given = {path: value for path, (value, place) in options(out).items() if place != 'default'}
	tap.is_(given, SEED_VALUES, '... also as server: and without h11_')

def the_sample(tap):
	text = read('etc/headgate.yaml')
	tap.is_(with_file(text, '-t')[0], 0, 'etc/headgate.yaml: status 0')
	real = re.sub(r'(?m)^( *)active: sim$', r'\1active: openai', text)
	status, out, err = with_file(real, '-t', env={'OPENAI_API_KEY': 'sk-x'})
	tap.is_((status, err), (0, ''), '... and with openai active and a key: not even a warning')
	tap.like(out, r'(?m)^openai \* .* yes  https://api.openai.com/v1$', '... openai it is')
	# Every line "#name: value" is the default: with all of them taken in, only the places change.
	# Not so the ways to a key, which exclude each other, and what depends on the machine.
	every = re.sub(r'(?m)^( *)#(\w+: .*)$', r'\1\2', text)
	every = re.sub(r'(?m)^ *(api_key|api_key_file|workers|run_dir): .*\n', '', every)
	before, after = (options(with_file(t, '--dump-config')[1]) for t in (text, every))
	secret = {'llm.providers.openai.' + name for name in ('api_key', 'api_key_file')}
	local = {'chat.websocket.concurrency.uvicorn.workers', 'run_dir'}
	tap.ok(len(before) > 60 and before.keys() == after.keys(), f'... {len(before)} options in the dump')
	tap.is_({p: v for p, (v, _) in after.items()}, {p: v for p, (v, _) in before.items()},
		'... each "#name: value" is the default')
	tap.is_({p for p, (_, place) in after.items() if place == 'default' and '.sim.' not in p}, secret | local,
		'... and no option lacks its line')

ERRORS = (
	('chat: {websocket: {concurrency: {max_conections: 1}}}',
		'2:34: chat.websocket.concurrency.max_conections: unknown key; nearest: max_connections'),
	('chat: {websocket: {concurrency: {uvicorn: {workers: 30s}}}}',
		"2:53: chat.websocket.concurrency.uvicorn.workers: '30s' is not a whole number; give auto or a whole number, 1 to 64"),
	('chat: {websocket: {port: "8000"}}', "2:26: chat.websocket.port: '8000' is a text in quotes; drop the quotes"),
	('chat: {websocket: {port: 70000}}', "2:26: chat.websocket.port: '70000' is out of range; give a whole number, 0 to 65535"),
	('chat: {websocket: {port: }}', '2:20: chat.websocket.port: has no value; give one, or drop the line'),
	('chat: [1]', '2:7: chat: is a list; give a section: keys indented below it'),
	('chat:\n\twebsocket:', '3:1: a tab cannot indent; use spaces'),
	('chat: {websocket: {host: 0.0.0.0}}', "2:26: chat.websocket.host: '0.0.0.0' can be reached from other machines, "
		'and clients need no key; give 127.0.0.1, name keys in clients.keys, or set clients.allow_anonymous: true'),
	('run_dir: /${NOT_THERE}', '2:10: run_dir: NOT_THERE is not set in the environment; set it, or write $$ for a dollar'),
	('---\n', '2:1: a second document; one file holds one'),
)

def errors(tap):
	for text, want in ERRORS:
		status, out, err = with_file(PROVIDER + text + '\n', '-t')
		tap.is_((status, out, err), (2, '', f'headgate: headgate.yaml:{want}\n'), repr(text))
	status, out, err = with_file(PROVIDER.encode() + b'chat: \xff\n', '-t')
	tap.ok(status == 2 and 'headgate.yaml:2:7: ' in err, 'bytes that are not UTF-8 have a place')
	status, out, err = with_file('', '-t')
	tap.is_((status, err), (2, 'headgate: headgate.yaml: llm.providers: names no provider; give at least one, '
		'for example "openai:"\n'), 'an empty file lacks a provider, nothing else')
	several = 'chat:\n' + ''.join(f'  nonsense{i}: 1\n' for i in range(20)) + 'llm: {active: nobody, providers: {a: , b: }}\n'
	status, out, err = with_file(several, '-t')
	lines = [int(line.split(':')[2]) for line in err.splitlines()]
	tap.is_((status, lines), (2, [*range(2, 22), 22, 22, 22]), 'many errors come at once, in the order of the file')
	for args in (('-t',), ('--dump-config',), ()):
		status, out, err = run('-c', '/nonexistent/x.yaml', *args)
		tap.ok(status == 2 and not out and '/nonexistent/x.yaml' in err and 'No such file' in err,
			f'a missing file ({" ".join(args) or "serving"}): status 2')
	with tempfile.NamedTemporaryFile() as file:
		os.chmod(file.name, 0)
		try:	# root reads everything: be nobody
			status, out, err = run('-t', '-c', file.name, user=65534 if os.geteuid() == 0 else None)
			tap.ok(status == 2 and 'Permission denied' in err, 'an unreadable file: status 2')
		except PermissionError:
			tap.skip('an unreadable file', 'the program is not for everybody')

def dump(tap):
	text = PROVIDER + 'logging: {level: debug}\nchat: {service: {system_prompt: "a $${HOME} \\"b\\"\\n# c"}}\n'
	status, out, err = with_file(text, '--dump-config')
	tap.is_((status, err), (0, ''), '--dump-config: status 0')
	first = options(out)
	tap.is_(first['logging.level'], ('debug', 'headgate.yaml:2'), '... a given value with its place')
	tap.is_(first['chat.websocket.port'], ('8000', 'default'), '... a default as such')
	status, again, err = with_file(out, '--dump-config')
	values = lambda found: {p: v for p, (v, _) in found.items()}
	tap.is_((status, values(options(again))), (0, values(first)), '... and it loads again, the same')
	secret = 'llm: {providers: {openai: {api_key: "${KEY}"}}}\n'
	for option in '-t', '--dump-config':
		status, out, err = with_file(secret, option, env={'KEY': 'sk-hunter2'})
		tap.ok(status == 0 and 'hunter2' not in out + err, f'{option} keeps the secret')
	tap.like(out, r'(?m)^ +# api_key: \*\*\*  # headgate.yaml:1$', '... and says that there is one')

def manual(tap):
	status, out, err = run('--print=options-mdoc')
	tap.ok(status == 0 and len(out) > 1000 and out in read('man/headgate.yaml.5'),
		'man/headgate.yaml.5 has what headgate --print=options-mdoc says')
	try:
		lint = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', os.path.join(TOP, 'man/headgate.yaml.5')],
			capture_output=True, text=True)
		tap.is_((lint.returncode, lint.stdout), (0, ''), '... and mandoc is content')
	except FileNotFoundError:
		tap.skip('mandoc is content', 'no mandoc')

with Tap() as tap:
	for part in (the_seed, the_sample, errors, dump, manual):
		part(tap)
