#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The manual says all there is to say: statistics, options of the command line, signals, exit codes."""
import glob, os, shutil, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

def page(name):
	with open(os.path.join(TOP, 'man', name)) as file:
		return file.read()

def source(pattern):
	return ''.join(open(path).read() for path in sorted(glob.glob(os.path.join(TOP, 'src', pattern))))

def output(program, *args):
	done = subprocess.run([os.path.join(BUILD, program), *args], capture_output=True, text=True)
	assert done.returncode == 0, done
	return done.stdout

def missing(words, text):
	return [word for word in words if not re.search(r'(?<![\w-])' + re.escape(word) + r'(?![\w-])', text)]

with Tap() as tap:
	stats = output('headgatestat', '--doc')
	tap.ok(stats.count('.It Cm headgate_') > 50, 'headgatestat --doc tells of the statistics')
	tap.ok(stats in page('headgate-stats.7'), 'headgate-stats(7) has what headgatestat --doc says')
	for program, name in ('headgate', 'headgate.8'), ('headgatestat', 'headgatestat.1'), ('llmsim', 'llmsim.1'):
		usage, text = output(program, '--help'), page(name)
		words = sorted(set(re.findall(r'--([a-z][\w-]+)', usage)))
		tap.ok(len(words) >= 4, f'{program} --help tells of {len(words)} options')
		tap.is_(missing(['-' + word for word in words], text), [], f'{name} has them all')
	signals = sorted(set(re.findall(r'\bhad\(SIG([A-Z0-9]+)\)', source('master/*.c'))) - {'CHLD'})
	tap.ok(len(signals) >= 4, 'the master handles ' + ' '.join(signals))
	tap.is_([s for s in signals if not re.search(r'(?m)^\.It .*\b(SIG)?' + s + r'\b', page('headgate.8'))], [],
		'headgate(8) has them all')
	for pattern, name, extra in ('main.c', 'headgate.8', ['0', '1']), ('tools/headgatestat/*.c', 'headgatestat.1', ['0', '1']):
		codes = extra + re.findall(r'#define EXIT_\w+ (\d+)', source(pattern))
		section = page(name).split('.Sh EXIT STATUS')[1].split('.Sh ')[0]
		tap.is_([c for c in codes if f'.It {c}\n' not in section], [], f'{name} has the exit codes {codes}')
	pages = sorted(glob.glob(os.path.join(TOP, 'man', '*.[1-8]')))
	for path in pages:
		for ref in set(re.findall(r'(?m)^\.Xr ([\w.-]+ \d)', open(path).read())):
			own = ref.startswith(('headgate', 'llmsim'))
			if own and os.path.join(TOP, 'man', ref.replace(' ', '.')) not in pages:
				tap.ok(False, f'{os.path.basename(path)} refers to {ref}, which there is not')
	if shutil.which('mandoc'):
		lint = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', *pages], capture_output=True, text=True)
		tap.is_((lint.returncode, lint.stdout), (0, ''), f'mandoc is content with {len(pages)} pages')
	else:
		tap.skip('mandoc is content', 'mandoc is not installed')
