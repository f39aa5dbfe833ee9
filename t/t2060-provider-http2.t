#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Providers over TLS: certificates are checked."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *
from tls import *

need_nghttpx()

class At:
	"""A provider's place, for a configuration."""
	def __init__(self, url):
		self.url = url

def ask(gate):
	"""(status, code of the error or None, text) of one JSON chat."""
	status, _, body = request(gate.port, 'POST', '/v1/chat/completions', chat_body(stream=False))
	answer = json.loads(body)
	return status, answer.get('error', {}).get('code'), answer['choices'][0]['message']['content'] if status == 200 else None

def certificates(tap, ca, sim):
	refused = (502, 'provider_tls_failed', None)
	once = {'max_retries': 0}
	with Terminator(ca, sim) as front:
		with Gate(front, tap, workers=1, provider={'ca_file': ca.pem}) as gate:
			tap.is_(ask(gate), (200, None, sim_text(10)), 'an authority of our own in ca_file: its provider is asked')
		with Gate(front, tap, workers=1, http_client=once) as gate:
			tap.is_(ask(gate), refused, 'without it the provider is refused')
		with Gate(At(front.url.replace('127.0.0.1', 'localhost')), tap, workers=1, provider={'ca_file': ca.pem}, http_client=once) as gate:
			tap.is_(ask(gate), refused, 'and so is one under another name than that in its certificate')
		with authority() as other, Gate(front, tap, workers=1, provider={'ca_file': other.pem}, http_client=once) as gate:
			tap.is_(ask(gate), refused, 'and one of another authority')
	tap.is_(len(sim.events('request')), 1, 'no refused provider saw a request')

with Tap() as tap, authority() as ca, Sim('--text', 'tokens', '--tokens', 10, '--rate', 200) as sim:
	certificates(tap, ca, sim)
