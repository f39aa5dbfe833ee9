# SPDX-License-Identifier: BSD-2-Clause
"""A headless Chromium, driven over its own debugging protocol.

	async with Browser() as browser:
		page = await browser.open('http://127.0.0.1:8000/')
		await page.until('document.title != ""')
"""
import asyncio, base64, json, os, shutil, signal, subprocess, tempfile, time

CHROMIUM = shutil.which('chromium')


class Page:
	def __init__(self, browser, target, session):
		self.browser, self.target, self.session, self.errors = browser, target, session, []

	async def send(self, method, **params):
		return await self.browser.send(method, params, self.session)

	async def goto(self, url):
		await self.send('Page.navigate', url=url)
		await self.until('document.readyState == "complete"')

	async def run(self, expression):
		"""The value of an expression, or of the promise that it is."""
		done = await self.send('Runtime.evaluate', expression=expression, awaitPromise=True, returnByValue=True)
		if 'exceptionDetails' in done:
			raise RuntimeError(f'{expression}: {done["exceptionDetails"]}')
		return done['result'].get('value')

	async def until(self, expression, seconds=15):
		"""Polls until it is true; its last value."""
		end = time.monotonic() + seconds
		while True:
			try:
				value = await self.run(expression)
			except RuntimeError:	# it changes pages
				value = None
			if value or time.monotonic() > end:
				return value
			await asyncio.sleep(0.05)

	async def key(self, key, text=None):
		codes = {'Enter': 13, 'Escape': 27, 'Tab': 9}
		extra = {'windowsVirtualKeyCode': codes[key], 'key': key, 'code': key} if key in codes else {'key': key}
		if key == 'Enter':
			extra['text'] = '\r'
		await self.send('Input.dispatchKeyEvent', type='keyDown', **extra)
		await self.send('Input.dispatchKeyEvent', type='keyUp', **{k: v for k, v in extra.items() if k != 'text'})

	async def type(self, text):
		await self.send('Input.insertText', text=text)

	async def look(self, width, height, scheme='light', mobile=False):
		await self.send('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=mobile)
		await self.send('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])

	async def close(self):
		await self.browser.send('Target.closeTarget', {'targetId': self.target})

	async def screenshot(self, path):
		with open(path, 'wb') as file:
			file.write(base64.b64decode((await self.send('Page.captureScreenshot', format='png'))['data']))


class Browser:
	def __init__(self, *args):
		self.args = args	# of Chromium, further ones

	async def __aenter__(self):
		import websockets
		self.dir = tempfile.mkdtemp(prefix='headgate-chromium-')
		self.child = subprocess.Popen([CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
			'--no-first-run', '--disable-background-networking', '--disable-component-update', '--no-proxy-server', '--remote-debugging-port=0',
			f'--user-data-dir={self.dir}', *self.args, 'about:blank'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
			stderr=subprocess.DEVNULL, env={**os.environ, 'HOME': self.dir}, start_new_session=True)
		path, end = os.path.join(self.dir, 'DevToolsActivePort'), time.monotonic() + 30
		while not (os.path.exists(path) and len(open(path).read().split('\n')) > 1):
			if time.monotonic() > end or self.child.poll() is not None:
				raise RuntimeError('chromium did not start')
			await asyncio.sleep(0.05)
		port, where = open(path).read().split('\n')[:2]
		self.socket = await websockets.connect(f'ws://127.0.0.1:{port}{where}', max_size=None, ping_interval=None)
		self.number, self.waiting, self.pages = 0, {}, {}
		self.reader = asyncio.create_task(self._read())
		return self

	async def __aexit__(self, *_):
		self.reader.cancel()
		try:
			os.killpg(self.child.pid, signal.SIGKILL)	# its own session: only what we started
		except ProcessLookupError:
			pass
		self.child.wait()
		shutil.rmtree(self.dir, ignore_errors=True)

	async def _read(self):
		async for text in self.socket:
			message = json.loads(text)
			if 'id' in message:
				self.waiting.pop(message['id']).set_result(message)
				continue
			page = self.pages.get(message.get('sessionId'))
			if page and message['method'] == 'Runtime.exceptionThrown':
				page.errors.append(message['params']['exceptionDetails'].get('exception', {}).get('description', 'exception'))
			if page and message['method'] == 'Log.entryAdded' and message['params']['entry']['level'] == 'error':
				page.errors.append(message['params']['entry']['text'])

	async def send(self, method, params, session=None):
		self.number += 1
		done = self.waiting[self.number] = asyncio.get_running_loop().create_future()
		await self.socket.send(json.dumps({'id': self.number, 'method': method, 'params': params, **({'sessionId': session} if session else {})}))
		answer = await asyncio.wait_for(done, 30)
		if 'error' in answer:
			raise RuntimeError(f'{method}: {answer["error"]}')
		return answer['result']

	async def open(self, url):
		target = await self.send('Target.createTarget', {'url': 'about:blank'})
		session = (await self.send('Target.attachToTarget', {'targetId': target['targetId'], 'flatten': True}))['sessionId']
		page = self.pages[session] = Page(self, target['targetId'], session)
		for domain in 'Page', 'Runtime', 'Log':
			await page.send(domain + '.enable')
		await page.goto(url)
		return page
