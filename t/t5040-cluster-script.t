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
		self.redis, self.limit, self.nodes, self.seq, self.epoch = redis, limit, nodes, 0, ''
		self.key = f'k{id(self)}-{time.monotonic_ns()}'
		self.players = {}

	def player(self, name, **more):
		self.players[name] = player = Player(self, name, **more)
		return player

class Player:
	def __init__(self, play, name, incarnation=None, nodes=None, limit=None, share=0):
		self.play, self.name, self.incarnation = play, name, incarnation or name
		self.nodes, self.limit, self.share = nodes or play.nodes, limit or play.limit, share
		self.call = self.q = self.lease = self.guaranteed = 0
		self.status = None

	def ask(self, hold=0, want=0, sigma=0, rho=0, draining=False, lost=False, memory=False):
		"""sigma: what was leased up to that number has lapsed. rho: promises from that number on stand. lost: the answer never comes."""
		self.call += 1
		said = self.play.redis.command('EVAL', SCRIPT, 1, self.play.key, self.incarnation, self.name, self.call, self.play.epoch, 'e1', 'r1',
			self.nodes, self.share, 5000, int(draining), int(self.q > 0), self.q, sigma, sigma, rho,
			'l', int(memory), self.limit, hold, want)
		parts = [part for part in said.split('\r\n')[1:] if part and part[0] != '$']
		if said[0] == '-':
			raise RuntimeError(said)
		self.status = parts[0]
		if self.status != 'ok':
			return parts
		self.play.epoch, self.play.seq = parts[1], int(parts[2][1:])
		if not lost:
			self.q, (self.again, self.members, _) = self.play.seq, [int(p[1:]) for p in parts[3:6]]
			self.lease, self.target, self.limit_now, self.guaranteed, self.contended, self.mismatch = [int(p[1:]) for p in parts[6:12]]
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

with Tap() as tap, Redis() as redis:
	leaving(tap, redis)
