# SPDX-License-Identifier: BSD-2-Clause
"""Who used the processors while something was measured: the gateway, its provider and clients, or strangers."""
import os, resource, time

TICK = os.sysconf('SC_CLK_TCK')


def family(pid):
	"""A process and its children."""
	pids = [pid]
	for task in os.listdir(f'/proc/{pid}/task'):
		with open(f'/proc/{pid}/task/{task}/children') as file:
			for child in file.read().split():
				pids += family(int(child))
	return pids


def cpu_s(pids, field=0):
	"""Time on a processor so far, of all threads, as the scheduler counts it; field 1: ready to run, but without one."""
	total = 0
	for pid in pids:
		for task in os.listdir(f'/proc/{pid}/task'):
			with open(f'/proc/{pid}/task/{task}/schedstat') as file:
				total += int(file.read().split()[field])
	return total / 1e9


def machine_s():
	"""Busy time of all cores so far."""
	with open('/proc/stat') as file:
		user, nice, system, _, _, irq, softirq, steal = (int(x) for x in file.readline().split()[1:9])
	return (user + nice + system + irq + softirq + steal) / TICK


def own_s():
	"""This program and the clients that have ended."""
	both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
	return sum(u.ru_utime + u.ru_stime for u in both)


class Watch:
	"""From its making to told(): shares of one core."""
	def __init__(self, gateway_pids, mock_pid, idlers):
		self.gateway, self.mock, self.idlers = gateway_pids, [mock_pid] if mock_pid else [], idlers
		self.began = self.look()

	def look(self):
		return time.monotonic(), cpu_s(self.gateway), cpu_s(self.mock), cpu_s(self.idlers), own_s(), machine_s()

	def told(self):
		took, gateway, mock, idle, own, machine = (b - a for a, b in zip(self.began, self.look()))
		return {'gateway': gateway / took, 'provider and clients': (mock + own) / took,
			'strangers': max(0, machine - gateway - mock - idle - own) / took}
