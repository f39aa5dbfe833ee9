#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The same by artillery's own WebSocket client, with t/load/websocket-load-test.yml."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
import shutil

artillery = shutil.which('artillery')
if not artillery:
	skip_all('artillery is not installed (npm install -g artillery)')
with Tap() as tap, Sim('--rate', '0') as sim, \
		Gate(sim, tap, workers=4, concurrency={'max_connections': 100}) as gate:
	child = Process([artillery, 'run', '--target', f'ws://127.0.0.1:{gate.port}/ws/chat',
		os.path.join(TOP, 't/load/websocket-load-test.yml')], env={**os.environ, 'ARTILLERY_DISABLE_TELEMETRY': 'true'})
	full = wait_until(lambda: gate.health()['rejections'].get('max_connections', 0) >= 200, 120)
	tap.is_(gate.health()['active_connections'], 100, 'exactly 100 of 300 are admitted')
	tap.ok(full, '200 are refused')
	child.child.wait(120)
	tap.like('\n'.join(child.lines), r'vusers\.created: \.+ 300', 'artillery opened 300')
	tap.is_(gate.health()['rejections']['max_connections'], 200, 'and no more than 200 were refused')
