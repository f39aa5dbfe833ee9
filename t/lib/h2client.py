# SPDX-License-Identifier: BSD-2-Clause
"""An HTTP/2 client over python3-h2 that also sends what no sane client sends.

	c = H2(gate.port); sid = c.get('/v1/models'); c.run(lambda: sid in c.done); c.body[sid]
"""
import json, select, socket, struct, time

try:
	import h2.config, h2.connection, h2.events, h2.settings
	MISSING = None
except ImportError:
	MISSING = 'python3-h2 is not installed'

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
NO_ERROR, PROTOCOL_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 8, 11


def frame(kind, flags, stream, payload=b''):
	return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload


class H2:
	"""One connection; answers are collected by stream."""
	def __init__(self, port, window=None, sock=None, rcvbuf=None):
		self.sock = sock or socket.socket()
		if not sock:
			if rcvbuf:
				self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
			self.sock.connect(('127.0.0.1', port))
		self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding='utf-8',
			validate_outbound_headers=False, normalize_outbound_headers=False))
		# after GOAWAY h2 would take nothing more; we want to see running streams end
		process = self.h2.state_machine.process_input
		self.h2.state_machine.process_input = lambda what: [] if what == h2.connection.ConnectionInputs.RECV_GOAWAY else process(what)
		if window is not None:
			self.h2.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
		self.h2.initiate_connection()
		self.h2.increment_flow_control_window((1 << 30))
		self.head, self.body, self.parts, self.done, self.reset, self.informed = {}, {}, {}, set(), {}, set()
		self.goaways, self.pongs, self.closed, self.hold = [], 0, False, set()
		self.settings = {}
		self.flush()

	def flush(self):
		try:
			self.sock.sendall(self.h2.data_to_send())
		except OSError:
			self.closed = True

	def send(self, data):
		"""Bytes that h2 knows nothing of."""
		try:
			self.sock.sendall(data)
		except OSError:
			self.closed = True

	def ask(self, method, path, body=None, headers=(), end=True, host='test'):
		sid = self.h2.get_next_available_stream_id()
		fields = [(':method', method), (':scheme', 'http'), (':path', path)] + ([(':authority', host)] if host else [])
		self.h2.send_headers(sid, fields + list(headers), end_stream=end and body is None)
		self.flush()
		if body is not None:
			self.upload(sid, body, end)
		return sid

	def upload(self, sid, body, end=True):
		while body and not self.closed and sid not in self.reset:
			n = min(len(body), self.h2.local_flow_control_window(sid), self.h2.max_outbound_frame_size)
			if n:
				self.h2.send_data(sid, body[:n])
				body = body[n:]
				self.flush()
			self.poll(0 if n else 1)
		if end and sid not in self.reset and sid not in self.done:
			self.h2.end_stream(sid)
			self.flush()

	def get(self, path='/v1/models', **more):
		return self.ask('GET', path, **more)

	def chat(self, body, **more):
		return self.ask('POST', '/v1/chat/completions', json.dumps(body).encode(), [('content-type', 'application/json')], **more)

	def poll(self, seconds=0.05):
		"""Takes what is there; False: nothing came."""
		if self.closed or not select.select([self.sock], [], [], seconds)[0]:
			return False
		try:
			data = self.sock.recv(1 << 16)
		except OSError:
			data = b''
		if not data:
			self.closed = True
			return False
		for event in self.h2.receive_data(data):
			self.on(event)
		self.flush()
		return True

	def on(self, e):
		E = h2.events
		if isinstance(e, E.ResponseReceived):
			self.head[e.stream_id] = dict(e.headers)
		elif isinstance(e, E.InformationalResponseReceived):
			self.informed.add(e.stream_id)
		elif isinstance(e, E.DataReceived):
			self.body[e.stream_id] = self.body.get(e.stream_id, b'') + e.data
			self.parts[e.stream_id] = self.parts.get(e.stream_id, 0) + 1
			if e.stream_id not in self.hold and e.flow_controlled_length:
				self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
		elif isinstance(e, E.StreamEnded):
			self.done.add(e.stream_id)
		elif isinstance(e, E.StreamReset):
			self.reset[e.stream_id] = e.error_code
		elif isinstance(e, E.ConnectionTerminated):
			self.goaways.append((e.last_stream_id, int(e.error_code)))
		elif isinstance(e, (E.PingAckReceived, E.PingReceived)):
			self.pongs += 1
		elif isinstance(e, E.RemoteSettingsChanged):
			self.settings.update({int(k): v.new_value for k, v in e.changed_settings.items()})

	def run(self, until, seconds=15):
		end = time.monotonic() + seconds
		while not until() and not self.closed and time.monotonic() < end:
			self.poll()
		return until()

	def run_to_close(self, seconds=15):
		self.run(lambda: False, seconds)
		return self.closed

	def status(self, sid, seconds=15):
		self.run(lambda: sid in self.done or sid in self.reset, seconds)
		return int(self.head[sid][':status']) if sid in self.head else None

	def text(self, sid):
		"""The tokens of a streamed chat."""
		out = ''
		for line in self.body.get(sid, b'').decode().splitlines():
			if line.startswith('data: {'):
				for choice in json.loads(line[6:]).get('choices', []):
					out += choice['delta'].get('content') or ''
		return out

	def cancel(self, sid):
		self.h2.reset_stream(sid, CANCEL)
		self.flush()

	def close(self):
		self.sock.close()
