#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What lease.lua answers, step by step: nodes are played by the test, so each can be late, cut off, or mistaken."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from cluster import *

need_redis()
with open(os.path.join(TOP, 'src/cluster/lease.lua')) as file:
	SCRIPT = file.read()
NONE = -1	# no promise of others is known to stand

class Play:
	"""One limit of all nodes under a key of its own."""
	def __init__(self, redis, limit=10, nodes=2):
		self.redis, self.limit, self.nodes, self.seq, self.epoch = redis, limit, nodes, 0, ''	# as the last answer said
		self.key = f'k{id(self)}-{time.monotonic_ns()}'
		self.players = {}

	def player(self, name, **more):
		self.players[name] = player = Player(self, name, **more)
		return player

class Player:
	def __init__(self, play, name, incarnation=None, nodes=None, limit=None, share=0):
		self.play, self.name, self.incarnation = play, name, incarnation or name
		self.nodes, self.limit, self.share = nodes or play.nodes, limit or play.limit, share
		self.call = self.number = self.q = self.lease = self.guaranteed = 0
		self.status, self.epoch, self.run = None, '', 'r1'

	def ask(self, hold=0, want=0, sigma=0, rho=0, draining=False, lost=False, memory=False):
		"""sigma: what was leased up to that number has lapsed. rho: promises from that number on stand. lost: the answer never comes.
		Who is greeted asks again."""
		answer = self.ask_once(hold, want, sigma, rho, draining, lost, memory)
		return answer if self.status != 'hello' or lost else self.ask_once(hold, want, 0, NONE, draining, lost, memory)

	def ask_once(self, hold=0, want=0, sigma=0, rho=0, draining=False, lost=False, memory=False):
		self.call += 1
		said = self.play.redis.command('EVAL', SCRIPT, 1, self.play.key, self.incarnation, self.name, self.call, self.epoch, f'e{self.call}-{self.name}', self.run,
			self.nodes, self.share, 5000, int(draining), self.number, self.q, sigma, sigma, rho,
			'l', int(memory), self.limit, hold, want, self.guaranteed)
		parts = [part for part in said.split('\r\n')[1:] if part and part[0] != '$']
		if said[0] == '-':
			raise RuntimeError(said)
		self.status = parts[0]
		if self.status == 'hello':
			self.play.epoch, self.play.seq = parts[1], int(parts[2][1:])
			if not lost:
				self.epoch, self.number, self.q = parts[1], self.play.seq, 0
		if self.status != 'ok':
			return parts
		self.play.seq = int(parts[1][1:])
		if not lost:
			self.q, (self.again, self.members, _) = self.play.seq, [int(p[1:]) for p in parts[2:5]]
			self.lease, self.target, self.limit_now, self.guaranteed, self.contended, self.mismatch = [int(p[1:]) for p in parts[5:11]]
		return self.lease

def begin(play, *names, **more):
	"""All know each other, and the time has passed after which a new Redis lends."""
	players = [play.player(name, **more) for name in names]
	for _ in range(2):
		for player in players:
			player.ask(sigma=play.seq, rho=NONE)
	for player in players:
		player.ask(sigma=play.seq)
	return players

def lend_all(a, b):
	a.ask(want=10)
	b.ask()
	return a.ask(hold=a.lease, want=10)

def leaving(tap, redis):
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	b.ask(hold=0, want=3, draining=True)
	tap.is_(b.lease, 3, 'one that drains serves its line still')
	tap.is_(a.ask(want=10), 7, 'nobody else has what it was just given, although it had said that it held nothing')
	b.ask(hold=3, want=0, draining=True)
	b.ask(hold=0, want=0, draining=True)
	tap.is_(b.lease, 0, 'then it has nothing')
	tap.is_(a.ask(hold=7, want=10), 10, 'and the other has all, though it never says so again')
	tap.is_(a.members, 1, 'it has left')

def cut_off(tap, redis):
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	tap.is_(lend_all(a, b), 10, 'all is lent')
	tap.is_(b.ask(hold=5, want=5, rho=NONE), 5, 'a node that was cut off has risen to its share, and keeps it, although others have not lapsed for it')
	tap.is_(a.ask(hold=10, want=10, sigma=0, rho=0), 5, 'what was lent is called back')
	tap.is_(b.ask(hold=7, want=7, rho=NONE), 5, 'it keeps no more than that')

def asked_before(tap, redis):
	"""A request that was sent before its lease lapsed is executed late."""
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	lend_all(a, b)
	b.ask(hold=5, want=5, rho=NONE)
	tap.is_(a.ask(hold=10, want=10), 5, 'a lease that rests upon what was lent is not renewed because others count it still')

def limit_falls(tap, redis):
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	lend_all(a, b)
	a.limit = b.limit = 6
	tap.is_(a.ask(hold=10, want=10), 10, 'a lower limit ends nothing that runs')
	tap.is_(b.ask(want=3), 0, 'others wait for it')
	tap.is_(a.ask(hold=8, want=10), 8, 'what ends is not renewed')
	tap.is_(a.ask(hold=3, want=3), 3, 'until it fits')
	tap.is_(b.ask(want=3), 3, 'then others have theirs')
	tap.is_(a.ask(hold=6, want=6), 3, 'the old limit is forgotten')

def shares_change(tap, redis):
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	tap.is_([a.guaranteed, b.guaranteed], [5, 5], 'each of two has the half')
	c = play.player('c', nodes=3)
	c.ask(want=10)
	tap.is_(c.guaranteed, 0, 'a third one: nothing is guaranteed to it before the others have parted with some')
	a.ask(lost=True)
	c.ask(want=10)
	tap.is_([a.guaranteed, c.guaranteed], [5, 0], 'an answer that was lost has taken nothing from its share')
	a.ask()
	c.ask(want=10)
	tap.is_([a.guaranteed, c.guaranteed], [3, 0], 'an answer that it has may be lost still, for what is known here')
	a.ask()
	c.ask(want=10)
	tap.is_([a.guaranteed, c.guaranteed], [3, 2], 'it says that it had it: now the rest is free')
	for _ in range(2):
		b.ask()
	c.ask(want=10)
	tap.is_([p.guaranteed for p in (a, b, c)], [3, 3, 3], 'at last all have the same')

def begins_anew(tap, redis):
	"""A master is killed and started again: the workers of the dead one live on for a moment."""
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	tap.is_(a.ask(want=10, sigma=play.seq, rho=NONE), 5, 'a node is cut off: another one leaves it its share, to which it rises')
	again = play.player('b', incarnation='b2')
	again.ask(want=10, rho=NONE)
	tap.is_((again.lease, again.guaranteed), (0, 0), 'it is killed and begins anew: its share may still be in use by workers of its dead master')
	tap.is_(a.ask(hold=5, want=10, rho=NONE), 5, 'nobody else has it either')
	taken_over = again.q
	again.ask(want=10, sigma=taken_over - 1, rho=NONE)
	tap.is_((again.lease, again.guaranteed), (0, 0), 'until the time of a lease has passed since then')
	again.ask(want=10, sigma=taken_over, rho=NONE)
	tap.is_((again.lease, again.guaranteed), (5, 5), 'then it has its share')
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	lend_all(a, b)
	again = play.player('b', incarnation='b2')
	again.ask(want=10)
	tap.is_(a.ask(hold=10, want=10), 10, 'what it had lent before it was killed is not called back, as its promise stands')

def from_the_dead(tap, redis):
	"""Requests that lay in a socket are executed when their process is long dead."""
	play = Play(redis)
	first, second = play.player('b', incarnation='b1'), play.player('b', incarnation='b2')
	greeted = play.player('b', incarnation='b3')
	greeted.ask_once(want=5)
	a, b = begin(play, 'a', 'b')
	before = b.ask(want=3)
	first.ask_once(want=5)
	tap.is_((first.status, b.ask(hold=3, want=3), b.status), ('hello', before, 'ok'), 'a first request does not take the name from who has it')
	greeted.ask_once(want=5)
	tap.is_((greeted.status, b.ask(hold=3, want=3), b.status), ('superseded', before, 'ok'), 'nor a second one')
	tap.is_((a.ask(), a.members)[1], 2, 'and there are as many members as before')
	second.ask(want=5)
	b.ask()
	tap.is_((second.status, b.status), ('ok', 'superseded'), 'who begins later has it')

def not_seen(tap, redis):
	for nodes, share, lease in ((3, 0, 7), (3, 0.1, 9), (4, 0.1, 8), (2, 0.3, 10)):
		play = Play(redis, nodes=nodes)
		a, b = begin(play, 'a', 'b', share=share)
		tap.is_(lend_all(a, b), lease, f'{nodes - 2} of {nodes} names were never seen, the share is {share}: {10 - lease} of 10 are kept for them')

def server_is_another(tap, redis):
	play = Play(redis)
	a, b = begin(play, 'a', 'b')
	lend_all(a, b)
	before = play.epoch
	a.run = 'r2'
	tap.is_(a.ask(hold=10, want=10), 5, 'a server that has become another one knows nothing of leases before')
	epoch = play.epoch
	tap.ok(epoch != before, 'it is another epoch')
	try:
		b.ask()
		tap.ok(False, 'who has not heard of it is told')
	except RuntimeError as error:
		tap.like(str(error), '^-RUN', 'who has not heard of it is told')
	a.ask(hold=5, want=5)
	tap.is_(play.epoch, epoch, 'and does not begin another epoch')
	b.run = 'r2'
	b.ask()
	tap.is_(play.epoch, epoch, 'it joins the one that there is')

def crowd(tap, redis):
	"""More members than Redis can serve at this lease_ttl."""
	play = Play(redis, nodes=300)
	play.key = 'headgate'
	run = ':'.join(re.search(rf'{name}:(\w+)', redis.command('INFO', section)).group(1)
		for section, name in (('server', 'run_id'), ('replication', 'master_replid')))
	for n in range(270):
		player = play.player(f'n{n}')
		player.run = run
		player.ask()
	with Sim() as sim, Node(tap, redis, sim, 'a', 300, ttl='5s', http_client={'concurrent_requests': 600}) as node:
		line = node.wait_line(r'cluster: 271 nodes with 2 limits ask Redis for more than a quarter of its time; give cluster.lease_ttl (\d+)s or more')
		tap.ok(line and int(line[1]) > 5, 'a lease_ttl that is too short for so many nodes is said, and which one would do')

with Tap() as tap, Redis() as redis:
	leaving(tap, redis)
	cut_off(tap, redis)
	asked_before(tap, redis)
	limit_falls(tap, redis)
	shares_change(tap, redis)
	begins_anew(tap, redis)
	from_the_dead(tap, redis)
	not_seen(tap, redis)
	server_is_another(tap, redis)
	crowd(tap, redis)
