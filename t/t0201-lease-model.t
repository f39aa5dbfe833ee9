#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The model of leases (t/model/lease.pml): spin proves that the sum stays below the limit, and finds every mutation.
HEADGATE_MODEL=large: with longer times and more of what may happen (many minutes, up to 16 GB)."""
import os, re, shutil, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'model', 'lease.pml')
LARGE = os.environ.get('HEADGATE_MODEL') == 'large'

# Sizes that are searched to the end (all states, no hashing): what each of them adds.
PROOFS = [
	('requests are executed late, replies are lost', ''),
	('Redis loses its data', '-DLOSSES=1 -DLATE=0'),
	('a node leaves', '-DLEAVES -DLATE=0'),
]
if LARGE:
	PROOFS = [
		('a promise that holds longer', '-DW=4'),
		('a lease that is renewed before it ends', '-DV=2 -DS=3 -DW=5 -DLATE=0'),
		('an agent is stopped before it stores a reply', '-DSLOW'),
		('a node is killed, requests are executed late', '-DKILLS=1'),
		('Redis loses its data, requests are executed late', '-DLOSSES=1'),
		('a node leaves, requests are executed late', '-DLEAVES'),
		('guaranteed shares are configured anew, requests are executed late', '-DSHARES'),
		('Redis loses its data twice', '-DLOSSES=2 -DLATE=0'),
		('Redis loses its data and a node is killed', '-DLOSSES=1 -DKILLS=1 -DPROMPT -DLATE=0'),
	]
# What must be able to happen: a model in which nothing does proves nothing.
POSSIBLE = [
	('the share of the other node is lent', '-DNEVER_LENT'),
	('lent again, by Redis with a new epoch', '-DNEVER_LENT_AGAIN -DLOSSES=1 -DLATE=0'),
	('a node without Redis falls to its share', '-DNEVER_FALLEN'),
	('a node that had lent its share rises to it', '-DNEVER_RISEN'),
	('a lease is called back while it is used', '-DNEVER_CALLED_BACK'),
]
# Each breaks one rule of the protocol.
MUTATIONS = [
	('SIGMA_AT_ONCE', ''),                          # lapsed leases are given away without waiting
	('SIGMA_AFTER_V', ''),                          # or before what ran under them has ended
	('WITHOUT_RHO', ''),                            # promises hold for ever
	('RHO_AFTER_V', ''),                            # or are relied upon for too long
	('WITHOUT_CALL_NUMBERS', ''),                   # an old request undoes a later one
	('NO_FALL', ''),                                # a lapsed lease is used on
	('RISE_AT_ONCE', ''),                           # the share is taken back before its borrower has lost it
	('LEASE_ABOVE_HOLD', ''),                       # what was said to be held is less than what will be used
	('HOLD_FOR_EVER', ''),                          # what runs is renewed although a promise ended
	('RECORD_WHAT_IS_GRANTED', ''),                 # a reply that may be lost counts as received
	('LAPSED_IS_NOTHING', '-DW=4'),                 # who lost his lease still has his share
	('GROW_IN_A_NEW_EPOCH', '-DLOSSES=1 -DLATE=0'), # what was granted before the loss is forgotten at once
	('GREETED_HAS_PROMISED', '-DLOSSES=1 -DLATE=0'), # a node that is new in an epoch counts as one that has promised something
	('LEFT_IS_GRANTED', '-DLEAVES -DLATE=0'),       # who has left gets a lease with the same reply
	('LEFT_KEEPS_SHARE', '-DLEAVES -DLATE=0'),      # who has left rises to his share
	('SHARES_AT_ONCE', '-DSHARES -DLATE=0'),        # a share is given away before its owner knows
	('WITHOUT_ROW', '-DKILLS=1 -DLATE=0'),          # what the workers of a dead master have is forgotten
	('ROW_LAPSES_AS_BEFORE', '-DKILLS=1 -DLATE=0'), # or counts no longer than its last request tells, although they may have risen
]
if LARGE:
	MUTATIONS += [
		('DEAD_KEEP_WHAT_IS_ABOVE', '-DKILLS=1 -DLATE=0'), # they keep what was called back
	]

def search(flags, optimise):
	"""All that the verifier says of the model with these switches."""
	with tempfile.TemporaryDirectory(prefix='headgate-model-') as d:
		def run(*command):
			return subprocess.run(command, cwd=d, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
		shutil.copy(MODEL, d)
		for command in (['spin', *flags.split(), '-a', 'lease.pml'],
				['cc', optimise, '-w', '-DSAFETY', f'-DMEMLIM={16000 if LARGE else 3500}', '-o', 'pan', 'pan.c']):
			done = run(*command)
			if done.returncode:
				return done.stdout
		return run('./pan', '-E', f'-m{20000000 if LARGE else 600000}', f'-w{26 if LARGE else 21}').stdout

def tap(number, good, text, output):
	print(f'{"ok" if good else "not ok"} {number} - {text}', flush=True)
	if not good:
		print(''.join(f'# {line}\n' for line in output.splitlines()[-20:]), end='', flush=True)
	return good

def check_proof(number, text, flags, out):
	whole = 'errors: 0' in out and not re.search(r'not completed|bound|too small|out of memory', out)
	found = re.search(r'(\d+) states, stored', out)
	states = f'{int(found[1]):,}' if found else 'no'
	return tap(number, whole, f'{text} ({flags or "as it is"}): {states} states, no error', out)

def check_found(number, text, out):
	return tap(number, 'pan:1: assertion violated' in out, text, out)

def main():
	if not shutil.which('spin') or not shutil.which('cc'):
		print('1..0 # SKIP spin is not installed')
		return 0
	print(f'1..{len(PROOFS) + len(POSSIBLE) + len(MUTATIONS)}', flush=True)
	# A proof that needs much memory runs alone.
	with ThreadPoolExecutor(1 if LARGE else 2) as pool:
		proofs = pool.map(lambda row: search(row[1], '-O2' if LARGE else '-O1'), PROOFS)
		possible = pool.map(lambda row: search(row[1], '-O0'), POSSIBLE)
		mutations = pool.map(lambda row: search(f'-DMUTATE_{row[0]} {row[1]}', '-O1' if 'LOSSES' in row[1] else '-O0'), MUTATIONS)
		number, good = 0, True
		for (text, flags), out in zip(PROOFS, proofs):
			number += 1
			good &= check_proof(number, text, flags, out)
		for (text, _), out in zip(POSSIBLE, possible):
			number += 1
			good &= check_found(number, f'this can happen: {text}', out)
		for (name, _), out in zip(MUTATIONS, mutations):
			number += 1
			good &= check_found(number, f'this is found out: {name}', out)
	return 0 if good else 1

sys.exit(main())
