#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Another binary takes over (USR2): no connection is refused, no stream cut, limits hold over both."""
import os, struct, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

SHAPE = dict(workers=2, concurrency={'max_connections': 500}, server={'drain_timeout': 10},
	http_client={'concurrent_requests': 100, 'max_connections': 100})

def master(gate):
	"""The pid in the pid file."""
	try:
		with open(os.path.join(gate.run_dir, 'headgate.pid')) as file:
			return int(file.read())
	except (OSError, ValueError):
		return 0

def end(tap, gate):
	"""The last master is a grandchild: tell it, and see that it goes."""
	gate.stopped = True
	last = master(gate)
	gate.settle()
	tap.is_(say(gate, 'stop')[0], 0, '-s stop reaches the last one')
	tap.ok(wait_until(lambda: not alive(last)), '... which leaves')
	tap.is_(os.listdir(gate.run_dir), [], '... and nothing is left in the run directory')
	gate.end(signal.SIGKILL)

async def under_load(tap, sim, gate):
	"""Two upgrades while streams run and clients come."""
	knocking = Knocking(gate.port)
	streams = [asyncio.create_task(stream_chat(gate.port, '[[sim:tokens=250,rate=50]]')) for _ in range(30)]
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 30)
	first = master(gate)
	status, text = await asyncio.to_thread(say, gate, 'upgrade')
	second = master(gate)
	tap.is_((status, second not in (0, first), text), (0, True, f'headgate: upgrade: pid {second} serves\n'), '-s upgrade: another pid serves')
	health = await asyncio.to_thread(gate.health)
	tap.is_((health['status'], health['providers']['sim']['in_flight'], health['connections']['active']), ('ok', 30, 30),
		'the new one knows of the streams of the old one: it works with the same segment')
	tap.ok(alive(first), 'the old one drains')
	tap.is_(len([w for w in health['workers'] if w['state'] == 'draining']), 2, '... its workers, too')
	tap.is_(await asyncio.to_thread(say, gate, 'reload'), (0, 'headgate: reload: new workers were asked for\n'), 'the new one reloads meanwhile')
	await asyncio.to_thread(wait_until, lambda: gate.health()['generation'] == 3)
	os.kill(second, signal.SIGUSR2)
	tap.ok(await asyncio.to_thread(gate.wait_line, 'upgrade: not now: .*the old master still drains'), 'a further upgrade has to wait')
	ends = await asyncio.gather(*streams)
	tap.is_([s.events[-1] == '[DONE]' and s.text() == sim_text(250) for s in ends].count(True), 30, '30 streams of before are whole, to the byte')
	tap.ok(await asyncio.to_thread(wait_until, lambda: not alive(first)), 'the old one leaves')
	gate.child.wait()
	tap.is_(gate.child.returncode, 0, '... with status 0')
	tap.ok(await asyncio.to_thread(gate.wait_line, 'upgrade: the old master has left'), '... and the new one knows')
	tap.is_((await asyncio.to_thread(say, gate, 'upgrade'))[0], 0, 'then it is upgraded itself')
	tap.ok(master(gate) not in (first, second), '... by a third one')
	told = await asyncio.to_thread(knocking.end)
	tap.is_((knocking.lost, knocking.refused), ([], 0), f'a client that comes once a millisecond sees no error: {told}')
	tap.ok(await asyncio.to_thread(wait_until, lambda: not alive(second)), 'the second one leaves')

async def limits_hold(tap, sim, gate):
	load = Load(gate.port)
	async def upgrade():
		while load.complete < 40:
			await asyncio.sleep(0.01)
		tap.is_((await asyncio.to_thread(say, gate, 'upgrade'))[0], 0, 'an upgrade under load')
		before = load.complete
		while load.complete < before + 150:
			await asyncio.sleep(0.01)
	stuck = await load.run(60, upgrade)
	tap.at_most(sim.most_in_flight(), 20, 'the simulator never saw more than 20 in flight, over both')
	tap.is_((load.wrong, load.cut, load.refused, stuck), (0, 0, 0, 0), f'nobody was cut, refused or stuck ({load.complete} complete)')

def bad_binary(tap, sim, gate):
	"""A new one that cannot start changes nothing."""
	with open(gate.conf_path) as file:
		good = file.read()
	with open(gate.conf_path, 'w') as file:
		file.write(good + 'nonsense: 1\n')
	pid, workers = master(gate), gate.workers()
	os.kill(pid, signal.SIGUSR2)
	tap.ok(gate.wait_line(r'upgrade: the new binary \(pid \d+\) ended before it served \(exit code 2\); we go on'), 'a bad file: the old one goes on, and says why')
	tap.ok(gate.wait_line(r'headgate\.yaml:\d+:\d+: .*nonsense'), '... with the reason of the new one')
	tap.is_((master(gate), gate.workers()), (pid, workers), '... with the same pid and workers')
	with open(gate.conf_path, 'w') as file:
		file.write(good)
	tap.is_(say(gate, 'reload')[0], 0, '... which reloads as before')
	tap.ok(wait_until(lambda: len(gate.workers()) == 2 and gate.workers() != workers), '... with new workers in the slots that it had lent')

def called_off(tap, sim, gate):
	"""Told to stop while the new binary is not ready yet: both go."""
	gate.child.send_signal(signal.SIGUSR2)
	gate.wait_line('upgrade: starting')
	gate.child.send_signal(signal.SIGTERM)
	tap.is_(gate.child.wait(20), 0, 'TERM between USR2 and ready: it stops')
	ours = lambda: [pid for pid in os.listdir('/proc') if pid.isdigit() and gate.conf_path.encode() in cmdline(pid)]
	tap.ok(wait_until(lambda: not ours()), '... and so does the new binary')
	tap.is_(os.listdir(gate.run_dir), [], '... and nothing is left in the run directory')
	gate.stopped = True

def cmdline(pid):
	try:
		with open(f'/proc/{pid}/cmdline', 'rb') as file:
			return file.read()
	except OSError:
		return b''

async def other_layout(tap, sim, gate):
	"""A segment of another build: a new one, and a warning."""
	stream = asyncio.create_task(stream_chat(gate.port, '[[sim:tokens=100,rate=50]]'))
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 1)
	with open(os.path.join(gate.run_dir, 'segment'), 'r+b') as file:
		file.seek(16)
		value = struct.unpack('<Q', file.read(8))[0]
		file.seek(16)
		file.write(struct.pack('<Q', value ^ 1))
	tap.is_((await asyncio.to_thread(say, gate, 'upgrade'))[0], 0, 'another layout: it is upgraded as well')
	tap.ok(gate.wait_line(r'a new segment is made: .*another layout'), '... with a new segment and a warning')
	health = await asyncio.to_thread(gate.health)
	tap.is_((health['status'], health['providers']['sim']['in_flight']), ('ok', 0), '... which knows nothing of before')
	s = await stream
	tap.is_((s.events[-1], s.text()), ('[DONE]', sim_text(100)), '... but streams of before are whole')

async def deaths(tap, sim, gate):
	"""The old master and a worker of it are killed while they drain: what they held comes back."""
	streams = [asyncio.create_task(stream_chat(gate.port, '[[sim:tokens=150,rate=50]]')) for _ in range(20)]
	await asyncio.to_thread(wait_until, lambda: gate.health()['providers']['sim']['in_flight'] == 20)
	first, old = master(gate), gate.workers()
	tap.is_((await asyncio.to_thread(say, gate, 'upgrade'))[0], 0, 'an upgrade')
	os.kill(first, signal.SIGKILL)
	gate.child.wait()
	held = gate.stat()['workers'][0]['streams']
	os.kill(old[0], signal.SIGKILL)
	ends = await asyncio.gather(*streams, return_exceptions=True)
	whole = sum(not isinstance(s, Exception) and bool(s.events) and s.events[-1] == '[DONE]' and s.text() == sim_text(150) for s in ends)
	tap.is_((held > 0, whole), (True, 20 - held), f'master and worker of before are killed: only its {held} streams are cut')
	gone = lambda: (h := gate.health()) and len(h['workers']) == 2 and h['providers']['sim']['in_flight'] == 0
	tap.ok(await asyncio.to_thread(wait_until, gone), '... and what they held comes back')
	tap.is_((await asyncio.to_thread(say, gate, 'reload'))[0], 0, '... so that their slots are free again')

with Tap() as tap:
	for part, allowed, more in ((under_load, None, {}), (limits_hold, None, {'http_client': {'concurrent_requests': 20, 'max_connections': 100}}),
			(bad_binary, 'upgrade: the new binary', {}), (called_off, None, {}), (other_layout, None, {}), (deaths, None, {})):
		with Sim('--text', 'tokens', '--tokens', 20, '--rate', 400) as sim, Gate(sim, tap, allowed=allowed, **{**SHAPE, **more}) as gate:
			if asyncio.iscoroutinefunction(part):
				asyncio.run(part(tap, sim, gate))
			else:
				part(tap, sim, gate)
			if not gate.stopped:
				end(tap, gate)
