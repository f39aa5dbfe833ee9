#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""permessage-deflate (RFC 7692): what is agreed upon, what is compressed, bombs, memory; real clients."""
import os, shutil, sys, zlib
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from wsraw import *

NODE_MODULES = os.path.join(TOP, 'build/node/node_modules')
OFFER = 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'
BASE = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'
LIMIT = 1 << 20

def pack(data, bits=15, level=6, final=False):
	z = zlib.compressobj(level, zlib.DEFLATED, -bits)
	if final:	# a last block, and the empty one that has to follow it (7.2.3.5)
		return z.compress(data) + z.flush(zlib.Z_FINISH) + b'\0'
	out = z.compress(data) + z.flush(zlib.Z_SYNC_FLUSH)
	assert out.endswith(b'\0\0\xff\xff')
	return out[:-4]

def unpack(data, bits=15):
	return zlib.decompressobj(-bits).decompress(data + b'\0\0\xff\xff')

def words(n):
	return b''.join(b'word%d ' % (i * i % 977) for i in range(n // 6 + 1))[:n]

# ---- the handshake ----

def negotiation(tap, gate):
	for offer, answer in [
			('permessage-deflate', BASE),
			('permessage-deflate; client_max_window_bits', BASE),
			('permessage-deflate; client_max_window_bits=8', BASE),
			('permessage-deflate; client_max_window_bits="10"', BASE),
			('permessage-deflate; server_no_context_takeover; client_no_context_takeover', BASE),
			('permessage-deflate; server_max_window_bits=9', BASE + '; server_max_window_bits=9'),
			('permessage-deflate; server_max_window_bits="15" ; client_max_window_bits=15', BASE + '; server_max_window_bits=15'),
			('Permessage-Deflate;Server_Max_Window_Bits=12', BASE + '; server_max_window_bits=12'),
			# offers that are declined, alone and before one that is not
			('permessage-deflate; server_max_window_bits=8', None),
			('permessage-deflate; server_max_window_bits', None),
			('permessage-deflate; server_max_window_bits=7', None),
			('permessage-deflate; server_max_window_bits=16', None),
			('permessage-deflate; server_max_window_bits=010', None),
			('permessage-deflate; client_max_window_bits=7', None),
			('permessage-deflate; client_max_window_bits=1x', None),
			('permessage-deflate; server_no_context_takeover=1', None),
			('permessage-deflate; client_no_context_takeover; client_no_context_takeover', None),
			('permessage-deflate; mode=42', None),
			('x-webkit-deflate-frame, permessage-bzip2', None),
			('permessage-deflate; mode=42, permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10, permessage-deflate', BASE + '; server_max_window_bits=10')]:
		with Raw(gate.port, '/echo', f'Sec-WebSocket-Extensions: {offer}') as c:
			tap.is_((c.status, c.headers.get('sec-websocket-extensions')), (101, answer), f'{offer}: {"taken" if answer else "declined"}')
	with Raw(gate.port, '/echo', 'Sec-WebSocket-Extensions: foo', 'Sec-WebSocket-Extensions: permessage-deflate') as c:
		tap.is_(c.headers.get('sec-websocket-extensions'), BASE, 'offers in several fields')
	for offer in ['permessage-deflate; =', 'permessage-deflate; client_max_window_bits=', 'permessage-deflate;', 'permessage-deflate client_max_window_bits', '"permessage-deflate"',
			'permessage-deflate; client_max_window_bits="10', 'permessage-deflate; a=b; c="\0"'.replace('\0', ' ')]:
		with Raw(gate.port, '/echo', f'Sec-WebSocket-Extensions: {offer}') as c:
			tap.is_(c.status, 400, f'{offer}: malformed, 400')

# ---- messages ----

def messages(tap, gate):
	before = gate.stat()
	with Raw(gate.port, '/echo', OFFER) as c:
		def ask(payload, opcode=TEXT, packed=None):
			c.send(frame(opcode, pack(payload) if packed is None else packed, rsv=4))
			fin, rsv, back, data = c.frame()
			return fin and back == opcode and (unpack(data) if rsv == 4 else data) == payload, rsv
		good = [ask(words(n)) for n in (0, 1, 5, 1000, 1023)]
		tap.is_(good, [(True, 0)] * 5, 'short messages come back as they are, not compressed')
		good = [ask(words(n)) for n in (1024, 5000, 65536, 128 << 10)]
		tap.is_(good, [(True, 4)] * 4, 'long ones compressed, each for itself')
		tap.is_(ask(words(LIMIT)), (True, 0), 'above 128 KiB: not compressed')
		tap.is_(ask(os.urandom(5000), BINARY), (True, 0), 'what does not become shorter: not compressed')
		tap.is_(ask(b'hello' * 300, BINARY), (True, 4), 'a binary message')
		c.send(frame(TEXT, 'plain'))
		tap.is_(c.message(), (TEXT, b'plain'), 'a message that is not compressed, in between')
		tap.is_(ask(b'Hello', packed=pack(b'Hello', level=0)), (True, 0), 'a stored block')
		tap.is_(ask(b'Hello', packed=b'\xf2\x48\xcd\xc9\xc9\x07\x00'), (True, 0), "the RFC's example")
		tap.is_(ask(b'Hello', packed=b'\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00'), (True, 0), "the RFC's example of two blocks")
		tap.is_(ask(b'Hello', packed=b'\xf3\x48\xcd\xc9\xc9\x07\x00\x00'), (True, 0), "the RFC's example of a last block")
		long = words(50000)
		tap.is_(ask(long + b'x', packed=pack(long, final=True)[:-1] + pack(b'x')), (True, 4), 'a block after a last block')
		tap.is_(ask(b'', packed=b'\0'), (True, 0), "the RFC's empty message")
		packed = pack(long)
		cut = [packed[i:i + 701] for i in range(0, len(packed), 701)]
		c.send(frame(TEXT, cut[0], fin=False, rsv=4))
		for i, part in enumerate(cut[1:]):
			c.send(frame(PING, str(i)), frame(CONT, part, fin=i == len(cut) - 2))
		pongs = [c.message() for _ in cut[1:]]
		fin, rsv, opcode, data = c.frame()
		tap.ok(pongs == [(PONG, str(i).encode()) for i in range(len(cut) - 1)] and (rsv, unpack(data)) == (4, long),
			f'{len(cut)} fragments, pings between them')
		c.chop(frame(TEXT, pack(b'byte by byte'), rsv=4))
		tap.is_(c.message(), (TEXT, b'byte by byte'), 'byte by byte')
		c.send(close(1000))
		tap.is_(c.closed(), 1000, 'closed')
	with Raw(gate.port, '/echo', 'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9') as c:
		far = os.urandom(3000)
		text = far + words(5000) + far	# what repeats is too far away for this window
		c.send(frame(BINARY, pack(text), rsv=4))
		fin, rsv, opcode, data = c.frame()
		tap.is_((rsv, unpack(data, 9)), (4, text), 'window of 9 bits: kept to')
	after = gate.stat()
	grown = lambda name: after['statistics'][name] - before['statistics'][name]
	tap.ok(grown('headgate_websocket_messages_inflated_total') >= 17 and grown('headgate_websocket_messages_deflated_total') >= 7 and
		grown('headgate_websocket_deflate_saved_bytes_total') > 100000, 'and counted')

def faults(tap, gate):
	text = words(3000)
	for name, offer, sent, code in [
			('RSV1 without an agreement', None, frame(TEXT, pack(b'x'), rsv=4), 1002),
			('RSV1 on a continuation', OFFER, frame(TEXT, pack(b'x'), rsv=4, fin=False) + frame(CONT, b'x', rsv=4), 1002),
			('RSV1 on a ping', OFFER, frame(PING, b'', rsv=4), 1002),
			('RSV1 on a close', OFFER, frame(CLOSE, b'', rsv=4), 1002),
			('RSV2', OFFER, frame(TEXT, b'x', rsv=2), 1002),
			('RSV1 and RSV3', OFFER, frame(TEXT, b'x', rsv=5), 1002),
			('bytes that are no deflate data', OFFER, frame(BINARY, b'\xff' * 20, rsv=4), 1007),
			('the same, the message not whole', OFFER, frame(BINARY, b'\xff' * 20, rsv=4, fin=False), 1007),
			('a message cut short', OFFER, frame(TEXT, pack(text)[:-20], rsv=4), 1007),
			('one without its last byte', OFFER, frame(TEXT, pack(b'Hello')[:-1], rsv=4), 1007),
			('a window beyond the message', OFFER, frame(BINARY, pack(text + text, 15)[2000:], rsv=4), 1007),
			('bad UTF-8 inside', OFFER, frame(TEXT, pack(b'abc\xff'), rsv=4), 1007),
			('half a character at the end', OFFER, frame(TEXT, pack(b'abc\xe2\x82'), rsv=4), 1007),
			('nothing at all', OFFER, frame(TEXT, b'', rsv=4), 1007),
			('a thousand last blocks', OFFER, frame(TEXT, b'\3\0' * 2000 + b'\0', rsv=4), 1007)]:
		with Raw(gate.port, '/echo', *([offer] if offer else [])) as c:
			c.send(sent)
			tap.is_(c.closed(), code, f'{name}: {code}')
	z = zlib.compressobj(6, zlib.DEFLATED, -15)
	with Raw(gate.port, '/echo', OFFER) as c:
		c.send(frame(TEXT, z.compress(b'abc\xff' * 1000) + z.flush(zlib.Z_SYNC_FLUSH), fin=False, rsv=4))
		tap.is_(c.closed(), 1007, 'bad UTF-8 is refused before the message is whole')

def bombs(tap, gate):
	peak = lambda pid: int(re.search(r'VmHWM:\s+(\d+)', open(f'/proc/{pid}/status').read()).group(1)) >> 10
	pids = list(gate.workers().values())
	before = max(map(peak, pids))
	bomb = pack(b'*' * (200 << 20), level=9)
	for name, sent in [(f'{len(bomb)} bytes that inflate to 200 MiB', frame(TEXT, bomb, rsv=4)),
			('the same in fragments', b''.join(frame(CONT if i else TEXT, bomb[i:i + 1000], fin=False, rsv=0 if i else 4) for i in range(0, 20000, 1000))),
			('one byte more than max_message_size', frame(TEXT, pack(b'*' * (LIMIT + 1)), rsv=4)),
			('empty blocks without end', frame(BINARY, b'\0\0\0\xff\xff' * 250000, rsv=4))]:
		with Raw(gate.port, '/echo', OFFER) as c:
			try:
				c.send(sent)
			except (BrokenPipeError, ConnectionResetError):
				pass
			tap.is_(c.closed(), 1009, f'{name}: 1009')
	with Raw(gate.port, '/echo', OFFER) as c:
		c.send(frame(TEXT, pack(b'*' * LIMIT), rsv=4))
		tap.is_(len(c.frame()[3]), LIMIT, 'exactly max_message_size is served')
		# many small frames, each of which inflates to a megabyte: others are served meanwhile
		c.send(b''.join([frame(TEXT, pack(b'*' * LIMIT), rsv=4)] * 8))
		status = request(gate.port, 'GET', '/health')[0]
		tap.is_((status, [len(c.frame()[3]) for _ in range(8)]), (200, [LIMIT] * 8), 'eight such messages at once, and a request meanwhile')
	grown = max(map(peak, pids)) - before
	if SANITIZED:
		tap.skip('memory', 'AddressSanitizer keeps what is freed')
	else:
		tap.at_most(grown, 24, 'MiB that a worker grew at its peak')

# ---- idle sockets ----

def idle(tap, gate, n=400):
	def pss():
		return sum(int(re.search(r'Pss:\s+(\d+)', open(f'/proc/{pid}/smaps_rollup').read()).group(1)) for pid in gate.workers().values())
	def open_all(n, *offer):
		sockets, payload = [], words(4000)
		for _ in range(n):
			c = Raw(gate.port, '/echo', *offer)
			c.send(frame(TEXT, pack(payload) if offer else payload, rsv=4 if offer else 0))
			assert c.frame()[2] == TEXT
			sockets.append(c)
		return sockets
	held, kb = open_all(20, OFFER) + open_all(20), []	# what is made once is there now
	for offer in [(), (OFFER,)]:
		before = pss()
		held += open_all(n, *offer)
		kb.append((pss() - before) / n)
	tap.diag(f'{n} idle sockets that have exchanged a message: {kb[0]:.2f} kB each without, {kb[1]:.2f} kB with compression')
	if SANITIZED:
		tap.skip('memory of idle sockets', 'AddressSanitizer keeps what is freed')
	else:
		tap.ok(0.2 < kb[0] and kb[1] < kb[0] + 1, 'an idle socket keeps nothing for compression')
	for c in held:
		c.socket.close()

# ---- real clients ----

async def python_client(tap, gate):
	import websockets
	text, small = words(20000).decode(), 'tok'
	async with websockets.connect(f'ws://127.0.0.1:{gate.port}/echo', compression='deflate', max_size=None) as ws:
		tap.is_([e.name for e in ws.extensions], ['permessage-deflate'], 'python websockets: agreed')
		good = []
		for message in [text, small, '', text.encode() * 5, os.urandom(3000), text]:
			await ws.send(message)
			good.append(await ws.recv() == message)
		tap.is_(good, [True] * 6, 'python websockets: messages come back')
	async with websockets.connect(f'ws://127.0.0.1:{gate.port}/ws/chat', compression='deflate') as ws:
		await ws_ask(ws, 'words ' * 2000)
		messages, answer = await ws_answer(ws)
		tap.ok(messages[-1]['status'] == 'complete' and answer, 'python websockets: a chat with a compressed request')

NPM = r'''
const WebSocket = require(process.env.NODE_MODULES + '/ws');
const ws = new WebSocket(process.env.URL, { perMessageDeflate: { threshold: 0, clientMaxWindowBits: 10, serverMaxWindowBits: 11 } });
const sent = ['', 'tok', 'word '.repeat(5000), Buffer.from('word '.repeat(9999)), 'x'.repeat(100000)];
let i = 0;
ws.on('open', () => { console.log('extensions', ws.extensions); ws.send(sent[0]); });
ws.on('message', (data, binary) => {
	if (binary !== Buffer.isBuffer(sent[i]) || !data.equals(Buffer.from(sent[i]))) { console.log('wrong', i); process.exit(1); }
	if (++i == sent.length) { console.log('all came back'); ws.close(1000); } else ws.send(sent[i]);
});
ws.on('close', code => { console.log('closed', code); process.exit(0); });
ws.on('error', e => { console.log('error', e.message); process.exit(1); });
'''

def npm_client(tap, gate):
	node = shutil.which('node')
	if not node or not os.path.isdir(os.path.join(NODE_MODULES, 'ws')):
		tap.skip('npm ws', 'make node-clients installs it')
		return
	done = subprocess.run([node, '-e', NPM], capture_output=True, text=True, timeout=60,
		env={**os.environ, 'NODE_MODULES': NODE_MODULES, 'URL': f'ws://127.0.0.1:{gate.port}/echo'})
	tap.like(done.stdout, r'extensions permessage-deflate\nall came back\nclosed 1000', 'npm ws: agreed, messages come back')
	tap.diag(done.stderr)

with Tap() as tap, Sim('--rate', '0') as sim:
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', concurrency={'max_connections': 2000}) as gate:
		idle(tap, gate)
		negotiation(tap, gate)
		messages(tap, gate)
		faults(tap, gate)
		bombs(tap, gate)
		asyncio.run(python_client(tap, gate))
		npm_client(tap, gate)
	with Gate(sim, tap, workers=1, echo_endpoint='/echo', chat={'compression': False}) as gate:
		with Raw(gate.port, '/echo', OFFER) as c:
			c.send(frame(TEXT, words(5000)))
			tap.is_((c.headers.get('sec-websocket-extensions'), c.frame()), (None, (True, 0, TEXT, words(5000))), 'compression: false: nothing is agreed')
