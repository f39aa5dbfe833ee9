# SPDX-License-Identifier: BSD-2-Clause
"""The plots of doc/performance.md, as SVG that is readable on light and on dark ground.

Figures are {work: {gateway: {column: number}}}, as bench/run measures them.
"""
import math

STYLE = '''<style>
svg { --ground: #ffffff; --ink: #1f2328; --faint: #656d76; --grid: #d8dee4; }
@media (prefers-color-scheme: dark) { svg { --ground: #0d1117; --ink: #e6edf3; --faint: #9198a1; --grid: #30363d; } }
.ground { fill: var(--ground); } text { fill: var(--ink); } .faint { fill: var(--faint); } .grid { stroke: var(--grid); }
.ring { fill: var(--ground); }
</style>'''
COLOURS = {'direct': '#8a919a', 'floor': '#8a919a', 'nginx': '#2f9e58', 'haproxy': '#3b86d1', 'headgate': '#e8702a', 'python': '#9d6fd0',
	'headgate-2': '#e8702a', 'headgate-4': '#e8702a'}
DASHES = {'floor': '2 3', 'headgate-2': '7 4', 'headgate-4': '2 4'}
LEFT, WIDTH, ROW = 110, 860, 17


def short(x):
	return f'{x:,.0f}' if x >= 100 else f'{x:.1f}'


class Picture:
	def __init__(self, height, title):
		self.rows = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">', STYLE,
			f'<rect class="ground" width="{WIDTH}" height="{height}"/>']
		self.text(16, 24, title, 'start', 'font-weight="bold" font-size="14"')

	def text(self, x, y, words, anchor='start', more=''):
		self.rows.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{words}</text>')

	def line(self, x1, y1, x2, y2, more):
		self.rows.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>')

	def dot(self, x, y, colour, ring=False):
		look = f'class="ring" stroke="{colour}" stroke-width="2"' if ring else f'fill="{colour}"'
		self.rows.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {look}/>')

	def write(self, path):
		with open(path, 'w') as file:
			file.write('\n'.join(self.rows) + '\n</svg>\n')


def logarithmic(least, most, left, width):
	"""Place of a value on an axis of whole decades, and the decades."""
	low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
	high = max(high, low + 1)
	return (lambda v: left + (math.log10(v) - low) / (high - low) * width), [10.0 ** d for d in range(low, high + 1)]


def groups(figures, works, wanted):
	"""[(what the work is called, [(gateway, its columns)])] of those that were measured and have what is wanted."""
	found = []
	for work, title in works.items():
		rows = [(g, c) for g, c in figures.get(work, {}).items() if all(c.get(w) for w in wanted)]
		if rows:
			found.append((title, rows))
	return found


def height_of(found):
	return 60 + sum(30 + ROW * len(rows) for _, rows in found)


def bars(path, title, figures, works, column):
	"""A bar for each gateway, works one below the other."""
	found = groups(figures, works, [column])
	if not found:
		return False
	picture, y = Picture(height_of(found), title), 48
	most = max(c[column] for _, rows in found for _, c in rows)
	for name, rows in found:
		picture.text(16, y, name, 'start', 'class="faint"')
		for gateway, columns in rows:
			y += ROW
			long = columns[column] / most * (WIDTH - LEFT - 90)
			picture.text(LEFT - 8, y + 4, gateway, 'end', 'font-weight="bold"' if gateway.startswith('headgate') else '')
			picture.rows.append(f'<rect x="{LEFT}" y="{y - 6}" width="{max(long, 1):.1f}" height="12" rx="2" fill="{COLOURS[gateway]}"/>')
			picture.text(LEFT + long + 6, y + 4, short(columns[column]))
		y += 30
	picture.write(path)
	return True


def latencies(path, title, figures, works):
	"""p50 (a disc) and p99 (a ring) on one logarithmic axis."""
	found = groups(figures, works, ['p50 us', 'p99 us'])
	if not found:
		return False
	picture, y = Picture(height_of(found) + 20, title), 48
	values = [c[k] for _, rows in found for _, c in rows for k in ('p50 us', 'p99 us')]
	x, decades = logarithmic(min(values), max(values), LEFT, WIDTH - LEFT - 60)
	bottom = height_of(found) - 12
	for d in decades:
		picture.line(x(d), 40, x(d), bottom, 'class="grid"')
		picture.text(x(d), bottom + 16, f'{d / 1e6:g} s' if d >= 1e6 else f'{d / 1000:g} ms' if d >= 1000 else f'{d:g} us', 'middle', 'class="faint"')
	for name, rows in found:
		picture.text(16, y, name, 'start', 'class="faint"')
		for gateway, columns in rows:
			y += ROW
			a, b = x(columns['p50 us']), x(columns['p99 us'])
			picture.text(LEFT - 8, y + 4, gateway, 'end', 'font-weight="bold"' if gateway.startswith('headgate') else '')
			picture.line(a, y, b, y, f'stroke="{COLOURS[gateway]}" stroke-width="2"')
			picture.dot(a, y, COLOURS[gateway])
			picture.dot(b, y, COLOURS[gateway], True)
		y += 30
	picture.write(path)
	return True


def flatness(path, title, rows, columns):
	"""Cost by number of streams: a line for each gateway. rows: {gateway: {column: cost}}; columns: {column: streams}."""
	rows = {g: [(n, c[k]) for k, n in columns.items() if c.get(k)] for g, c in rows.items()}
	rows = {g: points for g, points in rows.items() if points}
	if not rows:
		return False
	left, top, width, height = 60, 50, WIDTH - 200, 290
	picture = Picture(top + height + 50, title)
	x, _ = logarithmic(1, 10000, left, width)
	most = max(v for points in rows.values() for _, v in points)
	step = 10 ** math.floor(math.log10(most))
	step = next(s for s in (step / 5, step / 2, step, step * 2) if most / s <= 8)
	top_value = math.ceil(most / step) * step
	y = lambda v: top + height - v / top_value * height
	for i in range(round(top_value / step) + 1):
		picture.line(left, y(i * step), left + width, y(i * step), 'class="grid"')
		picture.text(left - 8, y(i * step) + 4, f'{i * step:g}', 'end', 'class="faint"')
	for n in columns.values():
		picture.line(x(n), top + height, x(n), top + height + 5, 'class="grid"')
		picture.text(x(n), top + height + 20, f'{n:,}', 'middle', 'class="faint"')
	picture.text(left + width, top + height + 38, 'streams', 'end', 'class="faint"')
	names = []
	for gateway, points in rows.items():
		colour, dash = COLOURS[gateway], DASHES.get(gateway)
		way = ' '.join(f'{x(n):.1f},{y(v):.1f}' for n, v in points)
		more = f'stroke-dasharray="{dash}"' if dash else ''
		picture.rows.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2" {more}/>')
		for n, v in points:
			picture.dot(x(n), y(v), colour, gateway == 'floor')
		names.append([y(points[-1][1]), gateway, x(points[-1][0]), colour])
	names.sort()
	for before, this in zip(names, names[1:]):	# names keep off each other
		this[0] = max(this[0], before[0] + 15)
	for at, gateway, end, colour in names:
		name = gateway.replace('-2', ', 2 workers').replace('-4', ', 4 workers')
		picture.text(end + 12, at + 4, name, 'start', 'font-weight="bold"' if gateway.startswith('headgate') else '')
	picture.write(path)
	return True
