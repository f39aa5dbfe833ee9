#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""npm's openai over HTTP/2 and TLS: chat completions and responses, streamed and not, errors, aborts; on few connections."""
import os, shutil, ssl, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from tls import authority

if not shutil.which('openssl'):
	skip_all('openssl is not installed')

def connections(gate):
	s = gate.stat()['statistics']
	return s['headgate_http2_connections_total'], s['headgate_http2_errors_total'] + s['headgate_http2_floods_total']

with authority() as ca, Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 500) as sim:
	cert, key = ca.certificate('front', 'IP:127.0.0.1')
	os.chmod(key, 0o600)
	with Gate(sim, tap, workers=2, tls=ssl.create_default_context(cafile=ca.pem), access_log=True, http_client={'max_retries': 0},
			chat={'tls': {'certificate': cert, 'key': key}}) as gate:
		for script, checks in (('openai.mjs', 12), ('responses.mjs', 12)):
			before = gate.stat()['statistics']['headgate_requests_total'], connections(gate)[0]
			if not by_node(tap, gate, script, 'openai', checks, env={'CA_FILE': ca.pem}):
				continue
			requests = gate.stat()['statistics']['headgate_requests_total'] - before[0]
			tap.ok(0 < connections(gate)[0] - before[1] < requests / 2, f'{script}: {requests} requests over HTTP/2, on {connections(gate)[0] - before[1]} connections')
		tap.is_(connections(gate)[1], 0, 'nobody broke the rules of HTTP/2')
