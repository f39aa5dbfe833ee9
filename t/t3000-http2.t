#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""HTTP/2 with prior knowledge: the same answers as over HTTP/1.1, streams that do not hinder each other, limits,
floods, and a farewell that cuts nobody off."""
import os, shutil, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from h2client import *

if MISSING:
	skip_all(MISSING)

def curl(gate, path, *args):
	"""(status line's version, status, body) by curl."""
	done = subprocess.run(['curl', '-s', '--http2-prior-knowledge', '-w', '\n%{http_version} %{http_code}', *args,
		f'http://127.0.0.1:{gate.port}{path}'], capture_output=True, text=True, timeout=30)
	body, _, facts = done.stdout.rpartition('\n')
	version, status = facts.split()
	return version, int(status), body

def in_flight(gate):
	return gate.health()['providers']['sim']['in_flight']

def statistic(gate, name):
	return gate.stat()['statistics'][name]

def by_nghttp(tap, gate):
	"""Several requests at once, and one with a body, by nghttp2's own client."""
	if not shutil.which('nghttp'):
		tap.skip('nghttp', 'nghttp2-client is not installed')
		return
	url = f'http://127.0.0.1:{gate.port}'
	def nghttp(*args):
		done = subprocess.run(['nghttp', '-v', *args], capture_output=True, text=True, timeout=60)
		return done.returncode, done.stdout
	status, got = nghttp('-n', '-m', '10', url + '/v1/models')
	tap.is_((status, len(re.findall(r':status: 200', got))), (0, 10), 'nghttp: ten requests on one connection')
	with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
		json.dump(chat_body('[[sim:tokens=20]]'), file)
		file.flush()
		status, got = nghttp('-d', file.name, '-H', 'content-type: application/json', url + '/v1/chat/completions')
	tap.ok(status == 0 and 'content-type: text/event-stream' in got and 'data: [DONE]' in got, 'nghttp: an SSE stream')

def one_host(tap, gate, sim):
	"""Ordinary requests by clients of all kinds."""
	version, status, body = curl(gate, '/v1/models')
	tap.is_((version, status), ('2', 200), 'curl: HTTP/2, 200')
	tap.is_(body, request(gate.port, 'GET', '/v1/models')[2].decode(), 'the body is that of HTTP/1.1')
	version, status, body = curl(gate, '/v1/models', '-I')
	tap.ok(status == 200 and 'content-length: 87' in body, 'HEAD: the head of GET and no body')
	tap.is_(curl(gate, '/nothing')[1], 404, '404')
	tap.is_(curl(gate, '/v1/models', '-X', 'DELETE')[1], 405, '405')
	tap.is_(curl(gate, '/ws/chat')[1], 426, 'WebSocket is not spoken over HTTP/2: 426')
	version, status, body = curl(gate, '/v1/models', '-i', '-X', 'OPTIONS')
	tap.ok(status == 204 and '\nallow: GET' in body, 'OPTIONS')
	version, status, body = curl(gate, '/v1/chat/completions', '-N', '-H', 'content-type: application/json', '-d', json.dumps(chat_body('[[sim:tokens=20]]')))
	tap.ok(status == 200 and body.count('data: ') == 23 and body.rstrip().endswith('[DONE]'), 'an SSE stream by curl')
	version, status, body = curl(gate, '/v1/chat/completions', '-H', 'content-type: application/json', '-d', json.dumps(chat_body('[[sim:tokens=20]]', stream=False)))
	tap.is_(json.loads(body)['choices'][0]['message']['content'], sim_text(20), 'JSON by curl')
	by_nghttp(tap, gate)
	if not shutil.which('h2load'):
		tap.skip('h2load', 'nghttp2-client is not installed')
		return
	done = subprocess.run(['h2load', '-n', '2000', '-c', '8', '-m', '20', f'http://127.0.0.1:{gate.port}/v1/models'], capture_output=True, text=True, timeout=60)
	tap.like(done.stdout, r'2000 succeeded, 0 failed, 0 errored, 0 timeout', 'h2load: 2000 requests, 8 connections, 20 at once on each')

def streams(tap, gate, sim):
	c = H2(gate.port)
	ids = [c.chat(chat_body(f'[[sim:tokens={20 + n},rate=25]]')) for n in range(20)]
	tap.ok(c.run(lambda: c.done >= set(ids)), '20 streams on one connection end')
	tap.is_([c.text(sid) for sid in ids], [sim_text(20 + n) for n in range(20)], 'each has its own tokens, all of them, in order')
	tap.ok(all(c.parts[sid] > 10 for sid in ids), 'and had them one by one')
	tap.is_(c.head[ids[0]]['content-type'], 'text/event-stream', 'the head of a stream')
	tap.ok('connection' not in c.head[ids[0]] and 'transfer-encoding' not in c.head[ids[0]], 'says nothing of HTTP/1.1')
	big = c.chat(chat_body('x' * 3000000, stream=False, max_tokens=1))
	tap.is_(c.status(big, 30), 200, 'a request of 3 MB (windows are opened)')
	given = c.get(headers=[('x-request-id', 'mine-1')])
	tap.ok(c.status(given) == 200 and c.head[given]['x-request-id'] == 'mine-1', 'X-Request-Id is kept')
	head = c.ask('HEAD', '/v1/models')
	tap.ok(c.status(head) == 200 and head not in c.body, 'HEAD')
	waits = c.ask('POST', '/v1/chat/completions', None, [('content-type', 'application/json'), ('expect', '100-continue')], end=False)
	tap.ok(c.run(lambda: waits in c.informed), 'Expect: 100-continue is answered 100')
	c.upload(waits, json.dumps(chat_body('[[sim:tokens=1]]')).encode())
	tap.is_(c.status(waits), 200, 'and the request then served')
	c.close()

def cancelled(tap, gate, sim):
	c = H2(gate.port)
	before = sim.stats()['client_gone']
	ids = [c.chat(chat_body('[[sim:tokens=100000,rate=50]]')) for _ in range(4)]
	tap.ok(c.run(lambda: all(sid in c.body for sid in ids)), '4 endless streams run')
	c.cancel(ids[0])
	c.run(lambda: sim.stats()['client_gone'] == before + 1)
	tap.is_((sim.stats()['client_gone'], in_flight(gate)), (before + 1, 3), 'RST_STREAM ends the one upstream, and its permit is free')
	c.close()
	tap.ok(wait_until(lambda: sim.stats()['client_gone'] == before + 4 and in_flight(gate) == 0), 'a connection that goes ends the others')

def slow(tap, sim):
	"""Who does not open the window of one stream hinders nobody, not even his other streams."""
	with Gate(sim, tap, workers=1, http_client={'concurrent_requests': 100}, streaming={'client_stall_timeout': '1s'}) as gate:
		c = H2(gate.port)
		stuck = [c.ask('POST', '/v1/chat/completions', None, [('content-type', 'application/json')], end=False) for _ in range(3)]
		c.hold |= set(stuck)
		for sid in stuck:
			c.upload(sid, json.dumps(chat_body('[[sim:tokens=32768,rate=0]]')).encode())
		tap.ok(c.run(lambda: all(len(c.body.get(sid, b'')) == 65535 for sid in stuck)), '3 streams of 8 MB, each held at its window')
		ids = [c.chat(chat_body('[[sim:tokens=50,rate=200]]')) for _ in range(5)]
		tap.ok(c.run(lambda: c.done >= set(ids)), '5 others on the same connection end meanwhile')
		tap.is_([c.text(sid) for sid in ids], [sim_text(50)] * 5, 'whole')
		tap.ok(gate.stat()['providers']['sim']['statistics']['headgate_provider_pauses_total'] >= 3, 'the providers of the three were paused')
		tap.ok(c.run(lambda: all(sid in c.reset for sid in stuck)), 'client_stall_timeout resets them')
		tap.is_([c.reset.get(sid) for sid in stuck], [CANCEL] * 3, 'with CANCEL')
		tap.is_((gate.health()['failures'].get('client_stalled'), in_flight(gate)), (3, 0), 'they are counted, their permits free')
		late = c.chat(chat_body('[[sim:tokens=5]]'))
		tap.is_((c.status(late), c.text(late)), (200, sim_text(5)), 'the connection goes on')
		c.hold.clear()
		resumed = c.ask('POST', '/v1/chat/completions', None, [('content-type', 'application/json')], end=False)
		c.hold.add(resumed)
		c.upload(resumed, json.dumps(chat_body('[[sim:tokens=4096,rate=0]]')).encode())
		c.run(lambda: len(c.body.get(resumed, b'')) == 65535)
		c.hold.clear()
		c.h2.increment_flow_control_window(1 << 30, resumed)
		c.flush()
		tap.ok(c.status(resumed) == 200 and c.text(resumed) == sim_text(4096), 'a window that opens late: the stream resumes, and is whole')
		c.close()
		# a socket that is not read at all
		s = H2(gate.port, window=1 << 24, rcvbuf=4096)
		for _ in range(4):
			s.chat(chat_body('[[sim:tokens=32768,rate=0]]'))
		tap.ok(wait_until(lambda: in_flight(gate) == 4), '4 streams on a socket that nobody reads')
		tap.ok(wait_until(lambda: in_flight(gate) == 0), 'are cut off')
		tap.is_(gate.health()['failures'].get('client_stalled'), 7, 'as client_stalled')
		s.close()

def limits(tap, sim):
	with Gate(sim, tap, workers=1, server={'h11_max_header_size': 4096, 'h11_max_request_line_size': 512, 'max_body_size': 100000,
			'header_timeout': '1s', 'h2_max_concurrent_streams': 10, 'keepalive_timeout': '1s'}) as gate:
		late, unfinished, silent, half = H2(gate.port), H2(gate.port), H2(gate.port), socket.create_connection(('127.0.0.1', gate.port))
		body = late.ask('POST', '/v1/chat/completions', None, end=False)
		unfinished.run(lambda: 3 in unfinished.settings)	# and its acknowledgement is out: it may not stand in the middle of a block
		unfinished.send(frame(HEADERS, 0, 1, b'\x82'))
		half.sendall(PREFACE[:10])
		half.settimeout(8)
		c = H2(gate.port)
		refused = lambda status, name, **more: tap.is_(c.status(c.ask(**{'method': 'GET', 'path': '/v1/models', **more})), status, name)
		refused(431, 'a head over h11_max_header_size: 431', headers=[('x', 'y' * 5000)])
		refused(431, '200 fields: 431', headers=[(f'x{n}', '') for n in range(200)])
		refused(414, 'a target over h11_max_request_line_size: 414', path='/' + 'x' * 600)
		refused(417, 'an expectation that nobody knows: 417', headers=[('expect', 'miracles')])
		refused(400, 'an authority that is none: 400', host='user@test')
		refused(400, 'a Host field that contradicts :authority: 400', headers=[('host', 'other')])
		refused(200, 'the same host twice is fine', headers=[('host', 'test')])
		refused(400, 'a path with a fragment: 400', path='/v1/models#x')
		tap.is_(c.settings.get(3), 10, 'h2_max_concurrent_streams is announced')
		tap.is_(c.settings.get(6), 4096, 'so is h11_max_header_size')
		declared = c.ask('POST', '/v1/chat/completions', None, [('content-length', '200000')], end=False)
		tap.is_(c.status(declared), 413, 'a body that is declared too large: 413 at once')
		grown = c.ask('POST', '/v1/chat/completions', None, end=False)
		c.upload(grown, b'x' * 100001, end=False)
		tap.is_(c.status(grown), 413, 'a body that grows too large: 413')
		tap.ok(c.run(lambda: c.reset.get(grown) == NO_ERROR and c.reset.get(declared) == NO_ERROR), 'what is left of it is reset with NO_ERROR a little later')
		tap.is_(late.status(body), 408, 'a body that does not come within header_timeout: 408')
		tap.like(half.recv(4096).decode(), r'^HTTP/1.1 408 ', 'half a preface: 408')
		tap.ok(unfinished.run_to_close(8) and unfinished.goaways == [(1, ENHANCE_YOUR_CALM)], f'a header block that does not end within header_timeout: GOAWAY (got {unfinished.goaways})')
		tap.ok(silent.run_to_close(8) and [error for _, error in silent.goaways] == [NO_ERROR], 'a connection that asks for nothing is closed after header_timeout')
		tap.is_(c.status(c.get()), 200, 'the connection goes on after all of that')
		tap.ok(c.run_to_close(8), 'without streams it is closed after keepalive_timeout')
		tap.is_([error for _, error in c.goaways], [NO_ERROR], 'by a GOAWAY without an error')
	with Gate(sim, tap, workers=1, server={'max_keepalive_requests': 5}) as gate:
		c = H2(gate.port)
		run = c.chat(chat_body('[[sim:tokens=30,rate=50]]'))
		ids = [c.get() for _ in range(4)]
		tap.ok(c.run_to_close(), 'after max_keepalive_requests the connection is closed')
		tap.is_([(last, error) for last, error in c.goaways], [(2**31 - 1, NO_ERROR), (9, NO_ERROR)], 'after a notice, and a GOAWAY with the last stream')
		tap.ok(c.text(run) == sim_text(30) and c.done == {run, *ids}, 'and all of them served')

def flood(tap, gate, name, what, send):
	"""Sends until GOAWAY; the daemon serves others meanwhile."""
	floods = statistic(gate, 'headgate_http2_floods_total')
	c = H2(gate.port)
	c.run(lambda: 3 in c.settings)
	for n in range(20000):
		send(c, n)
		if c.closed or c.goaways:
			break
		if n % 50 == 0:
			c.poll(0)
	c.run_to_close(5)
	tap.is_([error for _, error in c.goaways], [ENHANCE_YOUR_CALM], f'{name}: GOAWAY ENHANCE_YOUR_CALM')
	tap.ok(c.closed, f'{name}: and closed')
	tap.is_(statistic(gate, 'headgate_http2_floods_total'), floods + 1, f'{name}: counted')
	tap.is_(request(gate.port, 'GET', '/v1/models')[0], 200, f'{name}: others are served')
	c.close()

def floods(tap, sim):
	with Gate(sim, tap, workers=1, http_client={'concurrent_requests': 100}, streaming={'client_stall_timeout': '500ms'},
			server={'h2_max_concurrent_streams': 100}) as gate:
		opened = statistic(gate, 'headgate_requests_total')
		def rapid_reset(c, n):
			sid = c.h2.get_next_available_stream_id()
			c.h2.send_headers(sid, [(':method', 'POST'), (':scheme', 'http'), (':path', '/v1/chat/completions'), (':authority', 'a')])
			c.h2.reset_stream(sid)
			c.flush()
		flood(tap, gate, 'rapid reset', 'streams opened and reset', rapid_reset)
		tap.at_most(sim.stats().get('requests', 0), 0, 'no request of it reached the provider')
		flood(tap, gate, 'pings', 'control', lambda c, n: c.send(frame(PING, 0, 0, b'12345678')))
		flood(tap, gate, 'settings', 'control', lambda c, n: c.send(frame(SETTINGS, 0, 0)))
		flood(tap, gate, 'priorities', 'control', lambda c, n: c.send(frame(PRIORITY, 0, 1, b'\0\0\0\0\1')))
		flood(tap, gate, 'window updates', 'control', lambda c, n: c.send(frame(WINDOW_UPDATE, 0, 0, b'\0\0\0\1')))
		def empty_data(c, n):
			if not n:
				c.sid = c.ask('POST', '/v1/chat/completions', end=False)
			c.send(frame(DATA, 0, c.sid))
		flood(tap, gate, 'empty DATA', 'empty', empty_data)
		flood(tap, gate, 'CONTINUATION', 'CONTINUATION', lambda c, n: c.send(frame(CONTINUATION if n else HEADERS, 0, 1, b'\x00\x01x\x01y')))
		flood(tap, gate, 'empty CONTINUATION', 'CONTINUATION', lambda c, n: c.send(frame(CONTINUATION if n else HEADERS, 0, 1)))
		def unread(c, n):
			if n == 0:
				c.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
				c.flush()
			if n < 40:
				c.chat(chat_body('[[sim:tokens=4096,rate=0]]'))
			else:
				c.poll(0.05)
		flood(tap, gate, 'answers that nobody takes', 'answers', unread)
		tap.ok(wait_until(lambda: in_flight(gate) == 0), 'their permits came back')
		tap.ok(len(gate.grep(r'HTTP/2 connection closed: too many')) >= 1, 'the log says so')
		c = H2(gate.port)
		c.send(frame(GOAWAY, 0, 0, b'\0' * 8))
		tap.ok(c.run_to_close(3), 'a client that says GOAWAY is let go')

def broken(tap, gate):
	"""A few rules of RFC 9113 that a proxy stumbles over; the rest is h2spec's."""
	for name, data, error in [
			('DATA on stream 0', frame(DATA, 0, 0, b'x'), PROTOCOL_ERROR),
			('DATA on a stream that is not open', frame(DATA, 0, 7, b'x'), PROTOCOL_ERROR),
			('an even stream', frame(HEADERS, 5, 2, b'\x82\x86\x84\x41\x01a'), PROTOCOL_ERROR),
			('PUSH_PROMISE from a client', frame(PUSH_PROMISE, 4, 1, b'\0\0\0\2\x82'), PROTOCOL_ERROR),
			('a frame of 16385 bytes', frame(DATA, 0, 1, b'x' * 16385), 6),
			('a window update of 0', frame(WINDOW_UPDATE, 0, 0, b'\0\0\0\0'), PROTOCOL_ERROR),
			('a window over 2^31-1', frame(WINDOW_UPDATE, 0, 0, b'\x7f\xff\xff\xff'), 3),
			('a header block that is no HPACK', frame(HEADERS, 5, 1, b'\xff\xff\xff\xff\xff\xff'), 9),
			('streams in the wrong order', frame(HEADERS, 5, 5, b'\x82\x86\x84\x41\x01a') + frame(HEADERS, 5, 3, b'\x82\x86\x84\x41\x01a'), PROTOCOL_ERROR)]:
		c = H2(gate.port)
		c.run(lambda: 3 in c.settings)
		c.send(data)
		tap.ok(c.run_to_close(5) and [e for _, e in c.goaways] == [error], f'{name}: GOAWAY {error} (got {c.goaways})')
	c = H2(gate.port)
	for name, headers in [
			('a name in capitals', [('X-A', 'b')]), ('Connection', [('connection', 'close')]), ('Transfer-Encoding', [('transfer-encoding', 'chunked')]),
			('TE: gzip', [('te', 'gzip')]), ('a pseudo field behind', [('x', 'y'), (':path', '/')]), ('an unknown pseudo field', [(':x', 'y')]),
			('a line end in a value', [('x', 'a\r\nb: c')]), ('a NUL in a value', [('x', 'a\0b')]), ('a colon in a name', [('x:y', 'z')])]:
		sid = c.get(headers=headers)
		c.run(lambda: sid in c.done or sid in c.reset)
		tap.is_(c.reset.get(sid), PROTOCOL_ERROR, f'{name}: RST_STREAM PROTOCOL_ERROR')
	sid = c.ask('POST', '/v1/chat/completions', b'four', [('content-length', '5')])
	c.run(lambda: sid in c.done or sid in c.reset)
	tap.is_(c.reset.get(sid), PROTOCOL_ERROR, 'a body that is not as long as declared: RST_STREAM PROTOCOL_ERROR')
	tap.is_(c.status(c.get()), 200, 'the connection goes on')
	c.close()
	c = H2(gate.port)
	c.run(lambda: 3 in c.settings)
	c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
	sid = c.h2.get_next_available_stream_id()
	c.h2.send_headers(sid, [(':method', 'GET'), (':scheme', 'http'), (':path', '/v1/models'), (':authority', 'test')], end_stream=True)
	block = c.h2.data_to_send()[9:]
	for byte in frame(HEADERS, 1, sid, block[:5]) + frame(CONTINUATION, 4, sid, block[5:]):
		c.send(bytes([byte]))
		time.sleep(0.001)
	tap.is_(c.status(sid), 200, 'a header block in two frames that come byte by byte')
	c.close()
	tap.like(raw(gate.port, b'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n').decode(), r'^HTTP/1.1 505 ', 'what is almost the preface is HTTP/1.1: 505')

def drain(tap, sim):
	with Gate(sim, tap, workers=1) as gate:
		c, idle = H2(gate.port), H2(gate.port)
		run = c.chat(chat_body('[[sim:tokens=60,rate=50]]'))
		c.run(lambda: run in c.body)
		idle.run(lambda: 3 in idle.settings)
		gate.child.send_signal(signal.SIGQUIT)
		c.run(lambda: c.goaways)
		tap.is_(c.goaways, [(2**31 - 1, NO_ERROR)], 'drain: a notice first')
		late = c.get()
		tap.ok(c.run_to_close(), 'then the connection is closed, when its streams are over')
		tap.is_(c.goaways[-1], (late if late in c.done else run, NO_ERROR), 'a GOAWAY names the last stream')
		tap.is_(c.text(run), sim_text(60), 'the one that ran is whole')
		tap.ok(idle.run_to_close() and idle.goaways[-1] == (0, NO_ERROR), 'an idle connection goes at once')
		gate.stopped = True
		tap.is_(gate.child.wait(20), 0, 'headgate left with status 0')

with Tap() as tap, Sim('--text', 'tokens') as sim:
	with Gate(sim, tap, workers=2, access_log=True) as gate:
		one_host(tap, gate, sim)
		streams(tap, gate, sim)
		cancelled(tap, gate, sim)
		broken(tap, gate)
		tap.ok(statistic(gate, 'headgate_http2_connections_total') > 10, 'HTTP/2 connections are counted')
		tap.ok(statistic(gate, 'headgate_http2_errors_total') >= 9, 'and those that broke the rules')
	slow(tap, sim)
	limits(tap, sim)
	sim.reset()
	floods(tap, sim)
	drain(tap, sim)
