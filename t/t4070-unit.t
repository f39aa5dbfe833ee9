#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The systemd units, as far as they can be looked at without systemd running: nothing in them is unknown to it, and they
are as closed as the manual says."""
import os, shutil, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

if not shutil.which('systemd-analyze'):
	skip_all('no systemd-analyze (Debian: systemd)')

def unit(name, folder):
	"""The unit as it is installed, but for where the program is."""
	with open(os.path.join(TOP, 'etc/systemd', name)) as file:
		text = file.read()
	for word, path in (('@sbindir@', BUILD), ('@sysconfdir@', '/etc'), ('@defaultdir@', '/etc/default')):
		text = text.replace(word, path)
	path = os.path.join(folder, name)
	with open(path, 'w') as file:
		file.write(re.sub('(?m)^Documentation=.*\n', '', text))	# the pages may not be installed
	return path

def analyze(*args):
	done = subprocess.run(['systemd-analyze', '--no-pager', *args], capture_output=True, text=True, timeout=60)
	return done.returncode, done.stdout + done.stderr

with Tap() as tap, tempfile.TemporaryDirectory() as folder:
	paths = [unit(name, folder) for name in ('headgate.service', 'headgate.socket')]
	for path in paths:
		status, text = analyze('verify', path)
		about_us = [line for line in text.splitlines() if 'headgate' in line]
		tap.is_((status, about_us), (0, []), f'verify: {os.path.basename(path)}')
	status, text = analyze('security', '--offline=true', paths[0])
	rate = re.search(r'Overall exposure level for headgate.service: (\d+\.\d+)', text)
	tap.is_((status, bool(rate)), (0, True), 'security: it is rated')
	with open(os.path.join(TOP, 'man/headgate.8')) as file:
		said = re.search(r'exposure level is (\d+\.\d+)', file.read()).group(1)
	tap.diag(f'exposure level {rate.group(1)}')
	# other versions of systemd look at more, or less
	tap.ok(float(rate.group(1)) <= float(said) + 0.3, f'... {rate.group(1)}, and the manual says {said}')
