#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""make demo: what a newcomer sees first."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

def demo(word):
	# Its own home below the build directory under test: a demo that runs beside the tests is left alone.
	return subprocess.run(['scripts/demo', word], cwd=TOP, capture_output=True, text=True, timeout=120,
		env={**os.environ, 'B': os.path.relpath(BUILD, TOP)})

with Tap() as tap:
	got = demo('start')
	try:
		tap.is_((got.returncode, got.stderr), (0, ''), 'the demo starts')
		tap.like(got.stdout, r'\((\d\d) tokens\)', 'a chat streamed over SSE')
		tap.like(got.stdout, r'"status":\s*"complete"', 'and one over WebSocket')
		tap.like(got.stdout, r'"status":\s*"ok"', 'and /health is ok')
		pages = re.findall(r'^  (http://\S+)  \((chat|live plots)\)$', got.stdout, re.M)
		tap.is_([(name, request(int(url.split(':')[2].split('/')[0]), 'GET', '/' + url.split('/', 3)[3])[0]) for url, name in pages],
			[('chat', 200), ('live plots', 200)], 'and its pages are there')
		for command in re.findall(r'^  (curl -s .*|\S*headgatestat.*)$', got.stdout, re.M):
			tried = subprocess.run(command, shell=True, cwd=TOP, capture_output=True, text=True, timeout=60)
			tap.is_(tried.returncode, 0, f'what it says to try next works: {command.split()[0]}')
	finally:
		stopped = demo('stop')
	tap.like(stopped.stdout, r'stopped headgate .*\nstopped llmsim', 'and the demo stops')
	if got.returncode:
		tap.diag(got.stdout + got.stderr)
