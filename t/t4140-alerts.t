#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Alert rules and dashboard: what they ask for is there, and the alerts come when they should."""
import os, shutil, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

RULES, BOARD = (os.path.join(TOP, 'etc', path) for path in ('prometheus/headgate.rules.yml', 'grafana/headgate.json'))

def unknown(text, known):
	names = set(re.findall(r'\bheadgate_\w+', text))
	return [n for n in sorted(names) if n not in known and re.sub(r'_(bucket|sum|count)$', '', n) not in known]

with Tap() as tap:
	doc = subprocess.run([os.path.join(BUILD, 'headgatestat'), '--doc'], capture_output=True, text=True).stdout
	known = set(re.findall(r'\.It Cm (\w+)', doc))
	with open(RULES) as file:
		rules = file.read()
	tap.is_(unknown(rules, known), [], 'the rules ask for what there is')
	tap.ok({'headgate_active_connections', 'headgate_provider_circuit_open', 'headgate_worker_deaths_total'} <= set(re.findall(r'\bheadgate_\w+', rules)),
		'limits, circuits and deaths among them')
	with open(BOARD) as file:
		board = json.load(file)
	tap.is_(unknown(json.dumps(board), known), [], 'so does the dashboard')
	tap.is_(len({p['id'] for p in board['panels']}), len(board['panels']), 'whose panels have numbers of their own')
	cells = [(p['gridPos']['x'] + dx, p['gridPos']['y'] + dy) for p in board['panels'] for dx in range(p['gridPos']['w']) for dy in range(p['gridPos']['h'])]
	tap.is_((len(cells), max(x for x, _ in cells) < 24), (len(set(cells)), True), 'and do not overlap')
	if shutil.which('promtool'):
		for command in ('check', 'rules', 'headgate.rules.yml'), ('test', 'rules', 'headgate.rules.test.yml'):
			done = subprocess.run(['promtool', *command], cwd=os.path.dirname(RULES), capture_output=True, text=True)
			tap.is_((done.returncode, 'SUCCESS' in done.stdout), (0, True), ' '.join(('promtool', *command)))
			if done.returncode:
				tap.diag(done.stdout + done.stderr)
	else:
		tap.skip('promtool check and test rules', 'promtool is not installed (package prometheus)')
