#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""headgatestat: what it says of a headgate at work, of one that is gone, and of what is no segment."""
import os, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

STAT = os.path.join(BUILD, 'headgatestat')

def stat(*args, env=None):
	done = subprocess.run([STAT, *args], capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})
	return done.returncode, done.stdout, done.stderr

async def at_work(tap, sim, gate):
	"""Three requests in flight of two: one waits."""
	streams = [await Stream().open(gate.port, chat_body('[[sim:tokens=1000,rate=20]]')) for _ in range(3)]
	wait_until(lambda: (p := gate.stat()['providers']['sim']['permits'])['used'] == 2 and p['waiting'] == 1)
	seen = gate.stat()
	permits = seen['providers']['sim']['permits']
	tap.is_([permits['used'], permits['limit'], permits['waiting']], [2, 2, 1], 'json: permits in use, limit, waiting')
	tap.is_(seen['providers']['sim']['requests_per_minute']['limit'], 500, 'json: requests_per_minute')
	tap.is_(seen['books'], {'balance': True, 'text': ''}, 'json: the books balance')
	tap.is_(seen['gates'][0]['limit'], 7, 'json: places')
	tap.is_([w['slot'] for w in seen['workers']], list(range(len(seen['workers']))), 'json: workers by slot')
	tap.is_(sum(w['state'] == 'ready' for w in seen['workers']), 2, 'json: two of them are ready')
	tap.is_(seen['master'], {'pid': gate.pid, 'alive': True}, 'json: the master')
	status, out, _ = stat('-r', gate.run_dir)
	tap.is_(status, 0, 'the table')
	tap.ok(re.search(r'(?m)^sim +2/2 +1 +\d+\.\d{3}s +\d+\.\d{3}s +\d+/500 +2/50 +0 +0/20$', out), 'a line for the provider')
	tap.ok(re.search(r'(?m)^places +\d+/7 ', out), 'a line for the places')
	tap.is_(len(re.findall(r'(?m)^\d+ +\d+ ready ', out)), 2, 'a line for each worker')
	tap.ok('headgate_provider_attempts_total{provider="sim"}' in out, 'counters that moved')
	tap.ok('ending="bad_request"' not in out, 'and none that did not')
	status, out, _ = stat('-a', env={'HEADGATE_RUN_DIR': gate.run_dir})
	tap.ok('ending="bad_request"' in out, '-a shows them; the run directory comes from the environment')
	status, out, _ = stat('--check', '-f', os.path.join(gate.run_dir, 'segment'))
	tap.is_(status, 0, '--check while requests run')
	tap.ok(re.match(r"books balance: .* 2 of 2 \(2 held, 0 granted\)", out), f'it names the sums: {out.strip()}')
	for s in streams:
		s.close()

with Tap() as tap:
	with Sim() as sim, Gate(sim, tap, workers=2, concurrency={'max_connections': 7},
			http_client={'concurrent_requests': 2, 'requests_per_minute': 500}) as gate:
		asyncio.run(at_work(tap, sim, gate))
		gate.settle()
		with open(os.path.join(gate.run_dir, 'segment'), 'rb') as file:
			image = file.read()
	status, out, err = stat('-r', gate.run_dir)
	tap.is_(status, 2, 'exit status 2 when headgate is gone')
	tap.ok('No such file' in err, err.strip())
	with tempfile.TemporaryDirectory(prefix='headgate-') as d:
		path = os.path.join(d, 'segment')
		def of(image):
			with open(path, 'wb') as file:
				file.write(image)
			return stat('-f', path, '--check')
		# Byte offsets as in doc/shm-layout.md: layout_hash 16; gates_at 56, and `used` is a gate's first word.
		tap.is_(of(image)[0], 0, 'what it left behind can still be read')
		tap.is_(of(image[:16] + b'12345678' + image[24:])[0], 2, 'another layout is refused')
		tap.is_(of(image[:100])[0], 2, 'so is half a header')
		tap.is_(of(b'')[0], 2, 'and an empty file')
		at = int.from_bytes(image[56:64], 'little')
		status, out, _ = of(image[:at] + (3).to_bytes(8, 'little') + image[at + 8:])
		tap.is_(status, 1, '--check: exit status 1 when a permit is lost')
		tap.ok(out.startswith('books do not balance: gate ') and '3 of 7 are in use' in out, out.strip())
	tap.is_(stat('--version')[0], 0, '--version')
	tap.is_(stat('--help')[0], 0, '--help')
	tap.is_(stat('--nonsense')[0], 2, 'an unknown option')
	tap.is_(stat('too', 'many')[0], 2, 'an unexpected argument')
