#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Token counts of streams: always asked for, counted, and shown only to who asked."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

def usage_chunks(stream):
	"""Positions, from the end, of the chunks without choices."""
	events = [json.loads(event) for event in stream.events if event != '[DONE]']
	return [at - len(events) for at, event in enumerate(events) if event['choices'] == []]

def tokens(gate):
	return gate.stat()['providers']['sim']['statistics']['headgate_provider_completion_tokens_total']

def ask(gate, **more):
	return asyncio.run(stream_chat(gate.port, **more))

def told(tap, gate, name, want, counted, **more):
	before = tokens(gate)
	s = ask(gate, **more)
	tap.is_((s.text(), s.events[-1]), (sim_text(20), '[DONE]'), f'{name}: the stream is whole')
	tap.is_(usage_chunks(s), want, f'{name}: chunks without choices')
	tap.is_(wait_until(lambda: tokens(gate) - before == counted) or tokens(gate) - before, True, f'{name}: {counted} tokens are counted')

INCLUDE = {'stream_options': {'include_usage': True}}

with Tap() as tap, Sim('--text', 'tokens', '--tokens', 20, '--rate', 1000) as sim:
	with Gate(sim, tap, workers=1) as gate:
		told(tap, gate, 'not asked for', [], 20)
		told(tap, gate, 'asked for', [-1], 20, **INCLUDE)
		told(tap, gate, 'refused', [], 20, stream_options={'include_usage': False})
		told(tap, gate, 'a provider that never tells', [], 0, text='[[sim:no_usage]]')
	with Gate(sim, tap, workers=1, provider={'stream_usage': False}) as gate:
		told(tap, gate, 'switched off: not asked for', [], 0)
		told(tap, gate, 'switched off: asked for', [-1], 20, **INCLUDE)
		told(tap, gate, 'switched off: what comes unasked for stays', [-1], 20, text='[[sim:usage_empty_choices]]')
