#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The pages for people, in a browser: / talks, shows the place in line, stops, comes back; /status draws what
happens. Where they are served, and to whom."""
import hashlib, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from browser import *

def admin_of(gate):
	return int(gate.wait_line(r'live statistics at http://127\.0\.0\.1:(\d+)/status$').group(1))

def where_they_are(tap, sim):
	with Gate(sim, tap, workers=2) as gate:
		tap.is_([request(gate.port, 'GET', path)[0] for path in ('/', '/status', '/status/events', '/metrics')], [404, 404, 404, 200],
			'without options: no pages, and /metrics')
	with Gate(sim, tap, workers=2, page=True, extra='admin: {listen: "127.0.0.1:0"}\n', chat={'endpoint': '/a&"b'}) as gate:
		admin = admin_of(gate)
		paths = '/', '/status', '/status/x', '/metrics', '/health', '/v1/models'
		tap.is_([request(gate.port, 'GET', path)[0] for path in paths], [200, 404, 404, 404, 200, 200], 'the main address has the chat page')
		tap.is_([request(admin, 'GET', path)[0] for path in paths], [200, 200, 404, 200, 200, 404], 'admin.listen has the live page and the numbers')
		tap.is_(request(admin, 'POST', '/v1/chat/completions', chat_body())[0], 404, 'and nothing to ask')
		status, headers, body = request(gate.port, 'GET', '/')
		tap.is_(headers['content-type'], 'text/html; charset=utf-8', 'a page')
		tap.like(headers['content-security-policy'], r"^default-src 'none'; style-src 'sha256-[^']*'; script-src 'sha256-[^' ]*'; connect-src 'self'", 'that may load nothing')
		tap.ok(b'data-endpoint="/a&#38;&#34;b"' in body, 'and knows where the chat is')
		tap.is_(request(admin, 'HEAD', '/status')[2], b'', 'HEAD has no body')

async def watchers(tap, gate, admin):
	"""Sixteen on the one worker; the next is refused; who leaves makes room."""
	async def watch():
		s = Stream()
		s.reader, s.writer = await asyncio.open_connection('127.0.0.1', admin)
		s.writer.write(b'GET /status/events HTTP/1.1\r\nHost: x\r\n\r\n')
		await s.head()
		return s
	watching = [await watch() for _ in range(16)]
	tap.is_([s.status for s in watching], [200] * 16, 'sixteen watchers of a worker')
	one = await watch()
	tap.is_((one.status, one.headers['retry-after']), (503, '5'), 'the next one is refused')
	tap.is_(gate.health()['active_connections'], 0, 'they take no place')
	events = []
	async def read(s):
		async for part in s.body():
			events.append(json.loads(part.decode().split('data: ')[1]))
			if len(events) >= 2:
				return
	await asyncio.wait_for(read(watching[0]), 20)
	tap.ok(events[1]['uptime'] > events[0]['uptime'] and events[0]['providers'][0]['name'] == 'sim', 'an event a second')
	for s in watching:
		s.close()
	async def room():
		s = await watch()
		s.close()
		return s.status == 200
	for _ in range(200):
		if await room():
			break
		await asyncio.sleep(0.02)
	tap.ok(await room(), 'who left made room')

async def chat(tap, gate, page):
	tap.is_(await page.until('document.querySelector("#state").textContent == "connected"'), True, 'chat: connected')
	tap.is_(await page.run('document.activeElement.id'), 'text', 'the message has the focus')
	await page.type('hello there')
	await page.key('Enter')
	tap.ok(await page.until('document.querySelector(".turn.model.going .text").textContent.length > 0'), 'tokens appear while the answer goes on')
	tap.ok(await page.until('!document.querySelector(".going")'), 'and the answer completes')
	tap.is_(await page.run('document.querySelector(".turn.model .text").textContent'), sim_text(20), 'to the letter')
	tap.is_(await page.run('document.querySelector("#said").textContent'), '20 tokens', 'which is told to who cannot see it')

	holder = await Stream().open(gate.port, chat_body('[[sim:tokens=1000,rate=20]]'))
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 1)
	behind = await Stream().open(gate.port, chat_body())
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['queued'] == 1)
	await page.type('who waits')
	await page.key('Enter')
	tap.like(str(await page.until('document.querySelector(".note.wait")?.textContent')), r'^(Number 2 in line|Next in line)', 'the place in line')
	await page.key('Escape')
	tap.is_(await page.until('!document.querySelector(".going") && document.querySelector(".turn:last-child .note").textContent'), 'Stopped.', 'Esc stops it')
	holder.close()
	behind.close()
	await page.type('[[sim:500]]')
	await page.key('Enter')
	tap.like(str(await page.until('document.querySelector(".note.bad")?.textContent')), 'status 500', 'a failure is told')
	tap.is_(await page.run('document.querySelector(".turn:last-child button").textContent'), 'Try again', 'with a way to try again')

async def reconnect(tap, gate, page):
	victim = next(pid for slot, pid in gate.workers().items())
	os.kill(victim, signal.SIGKILL)
	tap.like(str(await page.until('document.querySelector("#state").dataset.is == "closed" && document.querySelector("#state").textContent')),
		r'^no connection, again in \d+ s', 'a lost connection is told, with the time to the next try')
	tap.ok(await page.until('document.querySelector("#state").textContent == "connected"', 30), 'and made again')
	await page.type('are you back')
	await page.key('Enter')
	tap.ok(await page.until(f'[...document.querySelectorAll(".turn.model .text")].at(-1).textContent == "{sim_text(20)}"'), 'it works again')

async def status(tap, gate, page):
	tap.ok(await page.until('document.querySelector("#state").textContent == "ok"'), 'status: ok')
	holders = [await Stream().open(gate.port, chat_body('[[sim:tokens=1000,rate=20]]')) for _ in range(3)]
	tap.ok(await page.until('document.querySelector("#t-conn").textContent == "3 of 3"'), 'connections of max_connections')
	tap.ok(await page.until('document.querySelector("#t-line").textContent == "2"'), 'requests in line')
	tap.is_(await page.until('document.querySelector("#state").textContent == "full"'), True, 'full')
	for _ in range(4):
		await stream_chat(gate.port)
	tap.ok(await page.until('[...document.querySelectorAll("#why tr")].some(r => r.textContent == "max_connections4")'), 'why clients were turned away')
	tap.ok(await page.until('[...document.querySelectorAll("canvas")].every(c => (c.getAttribute("aria-label") || "").length > 20)'), 'plots are described in words')
	tap.ok(await page.run('''[...document.querySelectorAll("canvas")].every(c => {
		const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		return c.width > 100 && d.some((v, i) => i % 4 == 3 && v); })'''), 'and drawn')
	tap.is_(await page.run('document.querySelectorAll("#work tr").length'), 1, 'a row for the worker')
	for s in holders:
		s.close()
	tap.ok(await page.until('document.querySelector("#t-conn").textContent == "0 of 3"'), 'and empty again')
	for width in 1200, 390:
		await page.look(width, 800, mobile=width < 500)
		tap.ok(await page.run('document.documentElement.scrollWidth <= innerWidth'), f'nothing sticks out at {width} pixels')

async def in_the_browser(tap, gate, admin):
	async with Browser() as browser:
		page = await browser.open(f'http://127.0.0.1:{gate.port}/')
		await chat(tap, gate, page)
		await page.look(390, 800, mobile=True)
		tap.ok(await page.run('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out on a phone')
		tap.is_(page.errors, [], 'chat: the browser has nothing to complain of')
		await reconnect(tap, gate, page)
		await page.close()
		tap.ok(await asyncio.to_thread(wait_until, lambda: (h := gate.health()) and h['active_connections'] == 0), 'a window that closes gives its place back')
		other = await browser.open(f'http://127.0.0.1:{admin}/status')
		await status(tap, gate, other)
		tap.is_(other.errors, [], 'status: the browser has nothing to complain of')

async def far_from_the_limit(tap, gate):
	"""A limit that is far above what is drawn is not drawn, for nobody could say where it is."""
	async with Browser() as browser:
		page = await browser.open(f'http://127.0.0.1:{admin_of(gate)}/status')
		await page.until('document.querySelector("#t-conn").textContent == "0 of 1000"')
		rows = lambda first, n: page.run(f'''(c => {{
			const r = c.width / c.clientWidth;
			return c.getContext("2d").getImageData(50 * r, {first} * r, c.width - 50 * r, {n} * r).data.some((v, i) => i % 4 == 3 && v); }})
			(document.querySelector("canvas"))''')
		tap.ok(await page.until('past.filter(Boolean).length > 2'), 'status: a limit of 1,000 and nobody there')
		tap.is_((await rows(0, 7), await rows(8, 2)), (False, True), '... nothing is drawn above the plot')

async def with_keys(tap, gate):
	async with Browser() as browser:
		page = await browser.open(f'http://127.0.0.1:{gate.port}/')
		tap.ok(await page.until('!document.querySelector("#key-form").hidden'), 'where a key is needed, it is asked for')
		await page.type('sk-not-this-one')
		await page.key('Enter')
		tap.is_(await page.until('document.querySelector("#state").textContent == "this key is not known"'), True, 'a wrong one is told')
		await page.run('document.querySelector("#key").value = ""')
		await page.type('sk-browser-1')
		await page.key('Enter')
		tap.ok(await page.until('document.querySelector("#state").textContent == "connected"'), 'the right one lets in')

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 60) as sim:
	where_they_are(tap, sim)
	with Gate(sim, tap, workers=1, page=True, concurrency={'max_connections': 3}, http_client={'concurrent_requests': 1, 'max_retries': 0},
			extra='admin: {listen: 0}\n') as gate:
		admin = admin_of(gate)
		asyncio.run(watchers(tap, gate, admin))
		if CHROMIUM:
			asyncio.run(in_the_browser(tap, gate, admin))
		else:
			tap.skip('the pages in a browser', 'chromium is not installed')
	if CHROMIUM:
		with Gate(sim, tap, workers=1, extra='admin: {listen: 0}\n') as gate:
			asyncio.run(far_from_the_limit(tap, gate))
		with Gate(sim, tap, workers=1, page=True, extra='clients: {keys: [{name: anna, key_sha256: ' + hashlib.sha256(b'sk-browser-1').hexdigest() + '}]}\n') as gate:
			asyncio.run(with_keys(tap, gate))
