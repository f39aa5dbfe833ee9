#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""TLS: files that are wrong are told, clients of both versions and protocols are served, sessions are resumed at any
worker, certificates of clients, and what comes to the port that is no TLS."""
import os, shutil, ssl, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
import h2client

if not shutil.which('openssl'):
	skip_all('openssl is not installed')

DIR = tempfile.mkdtemp(prefix='tls-')
at = lambda name: os.path.join(DIR, name)

def openssl(*args, text=None):
	return subprocess.run(['openssl', *args], cwd=DIR, input=text, capture_output=True, text=True, timeout=30)

def authority(name):
	openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', f'/CN={name}',
		'-keyout', f'{name}.key', '-out', f'{name}.pem', '-addext', 'basicConstraints=critical,CA:TRUE')

def certificate(name, ca, days=30, key=('ec', '-pkeyopt', 'ec_paramgen_curve:P-256')):
	openssl('req', '-newkey', *key, '-nodes', '-subj', f'/CN={name}', '-keyout', f'{name}.key', '-out', f'{name}.csr')
	with open(at('ext'), 'w') as file:
		file.write('subjectAltName=DNS:localhost,IP:127.0.0.1\n')
	openssl('x509', '-req', '-in', f'{name}.csr', '-CA', f'{ca}.pem', '-CAkey', f'{ca}.key', '-CAcreateserial', '-days', str(days),
		'-extfile', 'ext', '-out', f'{name}.pem')
	os.chmod(at(f'{name}.key'), 0o600)

def client(version=None, alpn=None, cert=None, ca='ca'):
	context = ssl.create_default_context(cafile=at(f'{ca}.pem'))
	if version:
		context.minimum_version = context.maximum_version = version
	if alpn:
		context.set_alpn_protocols(alpn)
	if cert:
		context.load_cert_chain(at(f'{cert}.pem'), at(f'{cert}.key'))
	return context

def connect(port, context, session=None, **more):
	return context.wrap_socket(socket.create_connection(('127.0.0.1', port), timeout=20), server_hostname='localhost', session=session, **more)

def ask(s, path='/v1/models', more=b''):
	s.sendall(b'GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n' % (path.encode(), more))
	head, _, body = s.recv(65536).partition(b'\r\n\r\n')
	return int(head.split()[1])

def section(**rows):
	return {'tls': {'certificate': at('server.pem'), 'key': at('server.key'), **rows}}

def statistic(gate, name):
	return gate.stat()['statistics'][name]

def wrong_files(tap, sim):
	certificate('other', 'ca')
	certificate('weak', 'ca', key=('rsa:1024',))
	openssl('pkey', '-in', 'server.key', '-aes256', '-passout', 'pass:secret', '-out', 'locked.key')
	os.chmod(at('locked.key'), 0o600)
	with open(at('empty.pem'), 'w') as file:
		file.write('no certificate\n')
	with open(at('broken.pem'), 'w') as file:
		file.write(open(at('server.pem')).read() + '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
	def check(name, rows, *patterns):
		path = at('t.yaml')
		with open(path, 'w') as file:
			file.write(config_text(sim, run_dir=at('run'), chat={'tls': {key: at(value) if '.' in value else value for key, value in rows.items()}}))
		done = subprocess.run([os.path.join(BUILD, 'headgate'), '-t', '-c', path], capture_output=True, text=True, timeout=30)
		tap.is_(done.returncode, 0 if patterns[0].startswith('warning') else 2, f'{name}: status of -t')
		for pattern in patterns:
			tap.like(done.stderr, r't\.yaml:\d+:\d+: chat\.websocket\.tls\.' + pattern.removeprefix('warning '), f'{name}: told')
	good = {'certificate': 'server.pem', 'key': 'server.key'}
	check('no such file', {**good, 'certificate': 'none.pem'}, r"certificate: '.*none.pem' cannot be read: No such file or directory; ")
	check('a directory', {**good, 'key': '.'}, r"key: '.*' cannot be read: not a regular file; ")
	check('no certificate in it', {**good, 'certificate': 'empty.pem'}, r"certificate: '.*' has no certificate that can be read: no start line; ")
	check('a broken chain', {**good, 'certificate': 'broken.pem'}, r"certificate: '.*' has a further certificate that cannot be read: ")
	check('no key in it', {**good, 'key': 'empty.pem'}, r"key: '.*' has no private key that can be read; ")
	check('the key of another', {**good, 'key': 'other.key'}, r"key: '.*' does not belong to the certificate: key values mismatch; ")
	check('a key with a passphrase', {**good, 'key': 'locked.key'}, r"key: '.*' is encrypted; ")
	check('a key too short', {'certificate': 'weak.pem', 'key': 'weak.key'}, r"certificate: '.*' cannot be used: ee key too small; ")
	check('no key', {'certificate': 'server.pem'}, r'key: is missing; ')
	check('no certificate', {'key': 'server.key'}, r'certificate: is missing; ')
	check('authorities that are none', {**good, 'client_ca': 'empty.pem'}, r"client_ca: '.*' has no certificate in it; ")
	check('TLS 1.1', {**good, 'min_version': '1.1'}, r'min_version: .*1\.1.* is not a version of TLS; give 1\.2 or 1\.3')
	os.chmod(at('other.key'), 0o644)
	check('a key that everybody may read', {'certificate': 'other.pem', 'key': 'other.key'}, r'warning key: everybody on this machine may read it; ')
	os.chmod(at('other.key'), 0o600)
	certificate('old', 'ca', days=-1)
	check('a certificate of yesterday', {'certificate': 'old.pem', 'key': 'old.key'}, r'warning certificate: .* has expired; ')

def clients(tap, gate, sim):
	def curl(*args, path='/v1/models'):
		done = subprocess.run(['curl', '-s', '--cacert', at('ca.pem'), '-w', '\n%{http_version} %{http_code}', *args,
			f'https://localhost:{gate.port}{path}'], capture_output=True, text=True, timeout=30)
		return done.stdout.rpartition('\n')[2]
	tap.is_(curl('--http1.1'), '1.1 200', 'curl: HTTP/1.1')
	tap.is_(curl(), '2 200', 'curl: HTTP/2 by ALPN')
	tap.is_(curl('--tls-max', '1.2'), '2 200', 'with TLS 1.2')
	for version, name in (ssl.TLSVersion.TLSv1_2, 'TLSv1.2'), (ssl.TLSVersion.TLSv1_3, 'TLSv1.3'):
		with connect(gate.port, client(version)) as s:
			tap.is_((s.version(), ask(s), ask(s)), (name, 200, 200), f'{name}: two requests on a connection')
			tap.ok('GCM' in s.cipher()[0] or 'CHACHA' in s.cipher()[0], f'{name}: {s.cipher()[0]}')
	old = openssl('s_client', '-connect', f'127.0.0.1:{gate.port}', '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0', text='')
	tap.ok('Cipher is (NONE)' in old.stdout, 'TLS 1.1 is refused')
	try:
		connect(gate.port, client(alpn=['spdy/1'])).close()
		tap.ok(False, 'a protocol that nobody speaks')
	except ssl.SSLError as error:
		tap.like(str(error), '(?i)no.application.protocol', 'a client that speaks neither: alert no_application_protocol')
	asked = json.dumps(chat_body('[[sim:tokens=200,rate=1000]]'))
	for protocol in '--http1.1', '--http2':
		done = subprocess.run(['curl', '-sN', protocol, '--cacert', at('ca.pem'), '-H', 'content-type: application/json', '-d', asked,
			f'https://localhost:{gate.port}/v1/chat/completions'], capture_output=True, text=True, timeout=30)
		events = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith('data: {')]
		text = ''.join(c['delta'].get('content') or '' for e in events for c in e.get('choices', []))
		tap.is_(text, sim_text(200), f'a stream of tokens, {protocol[2:]}')
	status, _, body = request(gate.port, 'POST', '/v1/chat/completions', chat_body('x' * 3000000, stream=False, max_tokens=1), tls=gate.tls)
	tap.is_(status, 200, 'a body of 3 MB')
	with connect(gate.port, client()) as s:
		s.sendall(b'GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Pad: ' + b'x' * 40000 + b'\r\n\r\n')
		tap.like(s.recv(4096).decode(), r'^HTTP/1.1 431 ', 'a head too large: 431')
	with connect(gate.port, client(), suppress_ragged_eofs=False) as s:
		s.sendall(b'POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' % (len(asked), asked.encode()))
		got = b''
		while (part := s.recv(65536)):
			got += part
		tap.ok(got.rstrip().endswith(b'data: [DONE]'), 'HTTP/1.0: the end of a stream is a close_notify')
	if h2client.MISSING:
		tap.skip('HTTP/2 streams over TLS', h2client.MISSING)
	else:
		c = h2client.H2(gate.port, sock=connect(gate.port, client(alpn=['h2'])))
		c.sock.settimeout(0.2)
		ids = [c.chat(chat_body(f'[[sim:tokens={50 + n},rate=500]]')) for n in range(10)]
		end = time.monotonic() + 15
		while not c.done >= set(ids) and time.monotonic() < end:
			try:
				data = c.sock.recv(65536)
			except TimeoutError:
				continue
			for event in c.h2.receive_data(data):
				c.on(event)
			c.flush()
		tap.is_([c.text(sid) for sid in ids], [sim_text(50 + n) for n in range(10)], '10 streams at once over HTTP/2')
		c.close()

async def websocket(tap, gate):
	import websockets
	ws = await websockets.connect(f'wss://localhost:{gate.port}/ws/chat', host='127.0.0.1', ssl=client(), ping_interval=None)
	for n in range(3):
		await ws_ask(ws, f'[[sim:tokens={100 + n},rate=1000]]', f'r{n}')
	got = {}
	while len(got) < 3:
		message = json.loads(await asyncio.wait_for(ws.recv(), 20))
		got.setdefault('text', {}).setdefault(message['request_id'], '')
		if message['status'] == 'chunk' and message['chunk'].get('type') == 'text':
			got['text'][message['request_id']] += message['chunk']['data']
		if message['status'] in ('complete', 'error'):
			got.setdefault('done', []).append(message['status'])
			if len(got['done']) == 3:
				break
	tap.is_(got['text'], {f'r{n}': sim_text(100 + n) for n in range(3)}, 'three chats at once on a WebSocket over TLS')
	await ws.close()
	tap.is_(ws.close_code, 1000, 'which is closed with 1000')

def resumption(tap, gate):
	for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
		context = client(version)
		with connect(gate.port, context) as s:
			ask(s)	# tickets of TLS 1.3 come with the first bytes
			session = s.session
			tap.ok(not s.session_reused and session.has_ticket, f'{version.name}: a first session has a ticket')
		before, reused = statistic(gate, 'headgate_tls_resumed_total'), 0
		for _ in range(24):
			with connect(gate.port, context, session) as s:
				reused += s.session_reused and ask(s) == 200
				session = s.session
		tap.is_(reused, 24, f'{version.name}: resumed 24 times of 24, at {len(gate.workers())} workers')
		tap.is_(statistic(gate, 'headgate_tls_resumed_total'), before + 24, f'{version.name}: and counted')

def no_tls(tap, sim):
	with Gate(sim, tap, workers=1, chat=section(), tls=client(), server={'header_timeout': '1s'}, http_client={'concurrent_requests': 50},
			streaming={'client_stall_timeout': '1s'}) as gate:
		half, silent = [socket.create_connection(('127.0.0.1', gate.port)) for _ in range(2)]
		half.sendall(b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc')
		answer = raw(gate.port, b'GET /health HTTP/1.1\r\nHost: a\r\n\r\n').decode()
		tap.like(answer, r'(?s)^HTTP/1.1 400 .*\r\nConnection: close.*this port speaks TLS only: ask for https://', 'plain HTTP: 400 that says so')
		tap.like(raw(gate.port, h2client.PREFACE if not h2client.MISSING else b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n').decode(), r'^HTTP/1.1 400 ', 'plain HTTP/2: the same')
		failed = statistic(gate, 'headgate_tls_failed_total')
		tap.is_(raw(gate.port, b'\x16\x03\x01\x00\x04abcd')[:1], b'\x15', 'garbage in a record: an alert')
		tap.is_(statistic(gate, 'headgate_tls_failed_total'), failed + 1, 'counted')
		tap.ok(gate.wait_line(r'TLS handshake failed: '), 'and logged')
		for name, s in ('half a handshake', half), ('silence', silent):
			s.settimeout(10)
			tap.is_(s.recv(1), b'', f'{name}: closed after header_timeout')
			s.close()
		# a client that does not read: its stream is paused, then cut
		slow = socket.socket()
		slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
		slow.connect(('127.0.0.1', gate.port))
		slow = client().wrap_socket(slow, server_hostname='localhost')
		body = json.dumps(chat_body('[[sim:tokens=32768,rate=0]]')).encode()
		slow.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
		tap.ok(wait_until(lambda: gate.health()['failures'].get('client_stalled') == 1), 'a client that reads nothing is cut off after client_stall_timeout')
		tap.ok(gate.stat()['providers']['sim']['statistics']['headgate_provider_pauses_total'] >= 1, 'its provider was paused before')
		slow.close()

def client_certificates(tap, sim):
	authority('people')
	certificate('alice', 'people')
	certificate('mallory', 'ca')
	def outcome(gate, cert):
		try:
			with connect(gate.port, client(cert=cert)) as s:
				return ask(s)
		except (ssl.SSLError, ConnectionError, IndexError):
			return 'refused'
	with Gate(sim, tap, workers=1, chat=section(client_ca=at('people.pem')), tls=client(cert='alice')) as gate:
		tap.is_([outcome(gate, cert) for cert in ('alice', None, 'mallory')], [200, 'refused', 'refused'], 'client_ca: only who shows a certificate of it is served')
		with connect(gate.port, (context := client(ssl.TLSVersion.TLSv1_2, cert='alice'))) as s:
			session = s.session
		with connect(gate.port, context, session) as s:
			tap.is_((ask(s), s.session_reused), (200, True), 'and may resume')
	with Gate(sim, tap, workers=1, chat=section(client_ca=at('people.pem'), client_required=False, min_version='1.3'), tls=client()) as gate:
		tap.is_([outcome(gate, cert) for cert in ('alice', None, 'mallory')], [200, 200, 'refused'], 'client_required: false: none is fine, a wrong one is not')
		try:
			connect(gate.port, client(ssl.TLSVersion.TLSv1_2)).close()
			tap.ok(False, 'min_version 1.3')
		except ssl.SSLError as error:
			tap.like(str(error), '(?i)protocol.version', 'min_version: 1.3: TLS 1.2 is refused')

def reload(tap, sim):
	for name in 'pem', 'key':
		shutil.copy(at(f'server.{name}'), at(f'live.{name}'))
	with Gate(sim, tap, workers=2, chat={'tls': {'certificate': at('live.pem'), 'key': at('live.key')}}, tls=client(), allowed='nothing was changed') as gate:
		with connect(gate.port, client()) as s:
			first, status = s.getpeercert()['serialNumber'], ask(s)
		certificate('live', 'ca')
		gate.child.send_signal(signal.SIGHUP)
		def serial():
			with connect(gate.port, client()) as s:
				return s.getpeercert()['serialNumber']
		second = wait_until(lambda: (now := serial()) != first and now)
		tap.ok(status == 200 and second, 'a renewed certificate is shown after HUP')
		wait_until(lambda: [w['state'] for w in gate.health()['workers']] == ['ready'] * 2)	# those of before show the old one to the last who came to them
		with open(at('live.key'), 'w') as file:
			file.write('no key\n')
		gate.child.send_signal(signal.SIGHUP)
		tap.ok(gate.wait_line(r'live\.key. has no private key'), 'one that cannot be used is told')
		tap.is_(serial(), second, 'and changes nothing')

with Tap() as tap, Sim('--text', 'tokens') as sim:
	authority('ca')
	certificate('server', 'ca')
	wrong_files(tap, sim)
	with Gate(sim, tap, workers=4, chat=section(), tls=client(), access_log=True) as gate:
		tap.ok(gate.wait_line(r'listening on https://127\.0\.0\.1:'), 'the ready line says https')
		clients(tap, gate, sim)
		asyncio.run(websocket(tap, gate))
		resumption(tap, gate)
		tap.ok(statistic(gate, 'headgate_tls_handshakes_total') > 50, 'handshakes are counted')
	no_tls(tap, sim)
	client_certificates(tap, sim)
	reload(tap, sim)
	shutil.rmtree(DIR)
