#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""make demo-cluster: what is seen of three headgates that share a limit."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from cluster import *

need_redis()
LIMIT, LOOKS = 25, 5

def demo(word):
	# Its own home below the build directory under test: a demo that runs beside the tests is left alone.
	return subprocess.run(['scripts/demo-cluster', word], cwd=TOP, capture_output=True, text=True, timeout=120,
		env={**os.environ, 'B': os.path.relpath(BUILD, TOP), 'LOOKS': str(LOOKS)})

def bars(line):
	"""In use and leased, of each node."""
	return [(bar.count('#'), len(bar)) for bar in re.findall(r'[abc] ([#-]*)', line)]

with Tap() as tap:
	got = demo('start')
	try:
		tap.is_((got.returncode, got.stderr), (0, ''), 'the demo starts')
		scenes = [scene.splitlines()[1:1 + LOOKS] for scene in got.stdout.split('clients at a : b : c = ')[1:]]
		tap.is_([len(scene) for scene in scenes], [LOOKS] * 4, 'clients move four times, and each time there are some lines')
		used = [[[use for use, _ in bars(line)] for line in scene] for scene in scenes]
		tap.diag(str(used))
		has_most = lambda lines, node: any(use[node] > LIMIT // 2 for use in lines)
		tap.ok(has_most(used[0], 0), 'first a uses most of the limit')
		tap.ok(has_most(used[1], 1), 'then b, when the clients have moved there')
		tap.ok(any(min(use) >= LIMIT // 5 for use in used[2]), 'then all have their share')
		tap.ok(has_most(used[3], 2), 'then c, which is alone')
		most = re.search(r'The provider never saw more than (\d+) requests at once; the limit is 25', got.stdout)
		tap.ok(most and LIMIT // 2 < int(most[1]) <= LIMIT, f'and never more than the limit ({most and most[1]})')
		for command in re.findall(r'curl -s \S+|\S+headgatestat -r \S+', got.stdout):
			tried = subprocess.run(command, shell=True, cwd=TOP, capture_output=True, text=True, timeout=60)
			tap.is_(tried.returncode, 0, f'what it says to try next works: {command.split()[0]}')
			tap.like(tried.stdout, 'sharing', 'and tells of the cluster')
	finally:
		stopped = demo('stop')
	for name in ('headgate-a', 'headgate-b', 'headgate-c', 'llmsim', 'redis-server'):
		tap.like(stopped.stdout, f'stopped {name} ', f'{name} is stopped')
	if got.returncode:
		tap.diag(got.stdout + got.stderr)
