#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A browser's WebSockets: compressed, with a subprotocol, over the page's own HTTP/2 connection."""
import os, ssl, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from browser import *
from tls import authority

if not CHROMIUM:
	skip_all('chromium is not installed')

JS = r"""
(async () => {
	const long = 'word '.repeat(20000), sent = ['hello', long, new Uint8Array(3000)], got = [];
	const ws = new WebSocket('wss://' + location.host + '/echo', ['x', 'chat.v1']);
	ws.binaryType = 'arraybuffer';
	ws.onopen = () => sent.forEach(m => ws.send(m));
	ws.onmessage = e => { got.push(e.data); if (got.length == sent.length) ws.close(3000, 'bye'); };
	const end = await new Promise(done => { ws.onclose = done; });
	return { hop: performance.getEntriesByType('navigation')[0].nextHopProtocol, extensions: ws.extensions, protocol: ws.protocol,
		same: got[0] === 'hello' && got[1] === long && got[2].byteLength === 3000, code: end.code, clean: end.wasClean };
})()"""

async def by_browser(tap, gate):
	async with Browser('--ignore-certificate-errors') as browser:
		page = await browser.open(f'https://localhost:{gate.port}/health')
		seen = await page.run(JS)
		tap.is_(seen, {'hop': 'h2', 'extensions': 'permessage-deflate; server_no_context_takeover; client_no_context_takeover',
			'protocol': 'chat.v1', 'same': True, 'code': 3000, 'clean': True}, 'messages come back, compression and subprotocol are agreed upon')
	peers = {re.search(r'127\.0\.0\.1:\d+', line).group() for line in gate.grep(r'access: .* GET /(health|echo) ')}
	tap.is_(len(peers), 1, 'the page and its WebSocket share one connection (RFC 8441)')

with Tap() as tap, Sim('--rate', '0') as sim, authority() as ca:
	cert, key = ca.certificate('localhost', 'DNS:localhost,IP:127.0.0.1')
	os.chmod(key, 0o600)
	with Gate(sim, tap, workers=2, echo_endpoint='/echo', access_log=True, tls=ssl.create_default_context(cafile=ca.pem),
			chat={'tls': {'certificate': cert, 'key': key}, 'subprotocols': ['chat.v1']}) as gate:
		asyncio.run(by_browser(tap, gate))
