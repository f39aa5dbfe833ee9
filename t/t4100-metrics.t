#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""/metrics: Prometheus takes it, the seed's four key metrics are right, totals never run backwards, and
it answers when everything is full."""
import os, shutil, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from headgate import *

def scrape(gate):
	status, headers, body = request(gate.port, 'GET', '/metrics')
	assert status == 200, status
	return headers, body.decode()

def samples(text):
	"""{'name{labels}': value}"""
	return {line.rsplit(' ', 1)[0]: float(line.rsplit(' ', 1)[1]) for line in text.splitlines() if line[0] != '#'}

def read(gate):
	return samples(scrape(gate)[1])

def check_form(tap, gate):
	headers, text = scrape(gate)
	tap.is_(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8', 'the content type of the text format')
	if shutil.which('promtool'):
		done = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True, text=True)
		tap.is_((done.returncode, done.stdout + done.stderr), (0, ''), 'promtool check metrics has nothing to say')
	else:
		tap.skip('promtool check metrics', 'promtool is not installed (package prometheus)')
	families, seen = [], samples(text)
	for line in text.splitlines():
		name = line.split()[2] if line[0] == '#' else re.match(r'\w+', line).group()
		name = next((f for f in families[-1:] if name in (f + '_bucket', f + '_sum', f + '_count')), name)
		if families[-1:] != [name]:
			families.append(name)
	tap.is_(sorted(families), sorted(set(families)), 'all lines of a name stand together')
	tap.is_(len(seen), sum(line[0] != '#' for line in text.splitlines()), 'no sample comes twice')
	buckets = [(k, v) for k, v in seen.items() if k.startswith('headgate_provider_queue_wait_seconds_bucket')]
	tap.ok(all(a[1] <= b[1] for a, b in zip(buckets, buckets[1:])), 'buckets are cumulative')
	tap.is_(buckets[-1][1], seen['headgate_provider_queue_wait_seconds_count{provider="sim"}'], 'the last one counts all')
	tap.is_(request(gate.port, 'HEAD', '/metrics')[2], b'', 'HEAD has no body')
	tap.is_(request(gate.port, 'POST', '/metrics', {})[0], 405, 'POST is refused')

async def by_convention(tap, gate, events):
	"""What OpenTelemetry has names for has them, after one stream of three tokens."""
	seen = read(gate)
	def of(name, kind='', side='client'):
		return seen[f'gen_ai_{side}_{name}{{gen_ai_operation_name="chat",{kind}gen_ai_provider_name="sim",gen_ai_request_model="sim-1"}}']
	tap.is_([of(f'operation_{what}_seconds_count') for what in ('duration', 'time_to_first_chunk', 'time_per_output_chunk')], [1, 1, events - 1],
		'gen_ai_client_operation_*: times by provider and model')
	tap.is_([of(f'{what}_seconds_count', side='server') for what in ('request_duration', 'time_to_first_token', 'time_per_output_token')], [1, 1, 1],
		'gen_ai_server_*: as the client sees them')
	tap.is_([of('token_usage_sum', 'gen_ai_token_type="output",'), of('token_usage_count', 'gen_ai_token_type="output",')], [3, 1],
		'gen_ai_client_token_usage: how many tokens a request took')
	tap.ok(of('token_usage_sum', 'gen_ai_token_type="input",') > 0, 'and how many its prompt had')
	await asyncio.gather(*(stream_chat(gate.port, '[[sim:tokens=10,rate=20]]') for _ in range(2)))
	seen = read(gate)
	waited = of('request_duration_seconds_sum', side='server') - of('operation_duration_seconds_sum')
	in_line = seen['headgate_model_queue_wait_seconds_sum{provider="sim",model="sim-1"}']
	tap.ok(in_line > 0.3 and 0.9 < waited / in_line < 1.1, f'clients see that one waits for the other, 0.5 s or so ({waited:.3f} s, in line {in_line:.3f} s)')

def pending(tap, gate):
	"""Connections that are not admitted: one truth, in /metrics and /health."""
	silent = [socket.create_connection(('127.0.0.1', gate.port)) for _ in range(3)]
	tap.ok(wait_until(lambda: read(gate)['headgate_pending_connections'] == 4), 'pending: three that say nothing, and the one that asks')
	tap.ok(wait_until(lambda: gate.health()['pending']['active'] == 4), '... /health says the same')
	for s in silent:
		s.close()

async def key_metrics(tap, gate):
	"""Two places, both taken; one permit: the second request waits."""
	count, short = (f'headgate_provider_queue_wait_seconds_{what}' for what in ('count{provider="sim"}', 'bucket{provider="sim",le="0.2048"}'))
	waited = read(gate)
	streams = [await Stream().open(gate.port, chat_body('[[sim:tokens=1000,rate=50]]')) for _ in range(2)]
	seen = {}
	def full():
		seen.update(read(gate))
		return seen['headgate_active_connections'] == 2 and seen['headgate_provider_queued_requests{provider="sim"}'] == 1 \
			and seen['headgate_provider_pool_utilization_ratio{provider="sim"}'] > 0
	tap.ok(wait_until(full), 'the house is full, a request waits, and /metrics answers')
	tap.is_(seen['headgate_max_connections'], 2, 'active connections against max_connections')
	tap.is_(seen['headgate_provider_pool_utilization_ratio{provider="sim"}'], 0.25, 'pool utilisation: 1 of 4')
	rejected = 'headgate_rejections_total{reason="max_connections"}'
	before = seen[rejected]
	for n in range(3):
		s = await stream_chat(gate.port)
		assert s.status == 503, s.status
	ws = await ws_connect(gate.port)
	await ws.wait_closed()
	tap.is_(read(gate)[rejected] - before, 4, 'rejections by reason: three streams and a WebSocket')
	await asyncio.to_thread(request, gate.port, 'POST', '/v1/chat/completions', '{"messages":')
	tap.is_(read(gate)['headgate_rejections_total{reason="invalid_json"}'], 1, 'and one for its JSON')
	await asyncio.sleep(0.3)	# this long at least the second one waits
	heads = [asyncio.create_task(s.head()) for s in streams]
	served, _ = await asyncio.wait(heads, return_when=asyncio.FIRST_COMPLETED)
	first = heads.index(served.pop())
	streams[first].close()
	await heads[1 - first]
	seen = read(gate)
	tap.is_(seen[count] - waited[count], 2, 'queue wait: both requests')
	tap.ok(seen['headgate_provider_queue_wait_seconds_sum{provider="sim"}'] > 0.3, 'and how long they waited')
	tap.is_(seen[short] - waited[short], 1, 'one of them not, one long')
	tap.is_([seen[f'headgate_provider_concurrent_requests{{provider="sim"}}'], seen['headgate_provider_circuit_open{provider="sim"}'],
		seen['headgate_workers']], [1, 0, 2], 'limits, circuit, workers')
	streams[1 - first].close()

def after_a_death(tap, gate):
	counters = lambda seen: {k: v for k, v in seen.items() if re.search(r'_total|_bucket|_count|_sum', k)}
	before = counters(read(gate))
	victim = gate.workers()[0]
	os.kill(victim, signal.SIGKILL)
	steps = 0
	worst = []
	def again():
		nonlocal steps, before
		try:
			now = counters(read(gate))
		except (OSError, http.client.HTTPException):
			return False	# it was the dead one's connection
		worst.extend(k for k in before if now[k] < before[k])
		before, steps = now, steps + 1
		return steps > 50 and now.get('headgate_worker_starts_total{worker="0"}') == 2
	# the sample of a slot that is empty for a moment is missing, which is no step back
	before.pop('headgate_worker_starts_total{worker="0"}')
	tap.ok(wait_until(again, every=0.001), 'a killed worker is replaced, and counted')
	tap.is_(before['headgate_worker_deaths_total'], 1, 'as a death')
	tap.is_(worst, [], f'no total ran backwards in {steps} scrapes')

with Tap() as tap, Sim('--tokens', 3, '--rate', 0) as sim, Gate(sim, tap, workers=2, concurrency={'max_connections': 2},
		http_client={'concurrent_requests': 1, 'max_connections': 4}) as gate:
	check_form(tap, gate)
	asyncio.run(stream_chat(gate.port))
	seen = read(gate)
	events = seen['headgate_provider_events_total{provider="sim"}']
	tap.ok(events > 3, 'events of a stream are counted')
	tap.is_(seen['headgate_provider_inter_token_seconds_count{provider="sim"}'], events - 1, 'and the times between them')
	asyncio.run(by_convention(tap, gate, events))
	pending(tap, gate)
	asyncio.run(key_metrics(tap, gate))
	gate.settle()
	after_a_death(tap, gate)
