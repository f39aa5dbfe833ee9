#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The model of the gate (t/model/gate.pml): spin proves it, and finds every mutation of it."""
import os, re, shutil, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'model', 'gate.pml')

# Sizes that are searched to the end (all states, no hashing): what each of them adds.
PROOFS = [
	('a death anywhere, and a successor', '-DMAXCRASH=1 -DAGAIN=1'),
	('both workers may die', '-DMAXCRASH=2'),
	('two tickets of a worker in line', '-DMAXCRASH=1 -DROUNDS=2 -DTICKETS=2'),
	('a second ticket that is better than the first', '-DROUNDS=2 -DTICKETS=2 -DBETTER'),
	('gate_try() and a limit that grows', '-DMAXCRASH=1 -DTRY -DNEWLIMIT=2'),
	('a limit that shrinks', '-DMAXCRASH=1 -DLIMIT=2 -DNEWLIMIT=1'),
	('a limit of nothing, for a while', '-DMAXCRASH=1 -DLIMIT=0 -DNEWLIMIT=1'),
]
# Each breaks one rule of the gate.
MUTATIONS = [
	('NO_SECOND_LOOK', ''),
	('ARRIVE_WITHOUT_DISPATCH', ''),
	('RELEASE_WITHOUT_DISPATCH', ''),
	('KEEP_LATE_GRANT', ''),
	('USED_BEFORE_HELD', ''),
	('LIMIT_WITHOUT_DISPATCH', '-DLIMIT=0 -DNEWLIMIT=1'),
	('AUDIT_WITHOUT_GRANTED', '-DMAXCRASH=1'),
	('AUDIT_READS_ONCE', '-DMAXCRASH=1'),
	('AUDIT_IN_A_STEP', '-DMAXCRASH=1'),
	('AUDIT_WITHOUT_DISPATCH', '-DMAXCRASH=1'),
	('AUDIT_WITHOUT_WAKE', '-DMAXCRASH=1'),
]

def search(flags, optimise):
	"""All that the verifier says of the model with these switches."""
	with tempfile.TemporaryDirectory(prefix='headgate-model-') as d:
		def run(*command):
			return subprocess.run(command, cwd=d, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
		shutil.copy(MODEL, d)
		for command in (['spin', *flags.split(), '-a', 'gate.pml'],
				['cc', optimise, '-w', '-DSAFETY', '-DMEMLIM=3500', '-o', 'pan', 'pan.c']):
			done = run(*command)
			if done.returncode:
				return done.stdout
		return run('./pan', '-m200000', '-w24').stdout

def tap(number, good, text, output):
	print(f'{"ok" if good else "not ok"} {number} - {text}', flush=True)
	if not good:
		print(''.join(f'# {line}\n' for line in output.splitlines()[-20:]), end='', flush=True)
	return good

def check(n, out):
	"""Report on run number n, from 0."""
	if n < len(PROOFS):
		text, flags = PROOFS[n]
		whole = 'errors: 0' in out and not re.search(r'not completed|bound|too small', out)
		found = re.search(r'(\d+) states, stored', out)
		states = f'{int(found[1]):,}' if found else 'no'
		return tap(n + 1, whole, f'{text} ({flags}): {states} states, no error', out)
	caught = re.search(r'pan:1: (assertion violated|invalid end state)', out)
	return tap(n + 1, bool(caught), f'this is found out: {MUTATIONS[n - len(PROOFS)][0]}' +
		(f' ({caught[1]})' if caught else ''), out)

def main():
	if not shutil.which('spin') or not shutil.which('cc'):
		print('1..0 # SKIP spin is not installed')
		return 0
	print(f'1..{len(PROOFS) + len(MUTATIONS)}', flush=True)
	runs = [(flags, '-O2') for _, flags in PROOFS] + [(f'-DMUTATE_{m} {flags}', '-O0') for m, flags in MUTATIONS]
	with ThreadPoolExecutor(2) as pool:
		outputs = pool.map(lambda run: search(*run), runs)
		good = all([check(n, out) for n, out in enumerate(outputs)])
	return 0 if good else 1

sys.exit(main())
