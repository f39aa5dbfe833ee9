# SPDX-License-Identifier: BSD-2-Clause
"""Plots of benchmarks, as SVG."""

class Picture:
	"""Lines of an SVG, with one pair of axes at a time."""
	def __init__(self, width, height):
		self.rows = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
			f'<rect width="{width}" height="{height}" fill="#fff"/>']

	def axes(self, left, top, width, height, x_most, y_most, x_step, y_step, title, x_name, y_name):
		self.x = lambda v: left + v / x_most * width
		self.y = lambda v: top + height - v / y_most * height
		for v in range(0, int(y_most) + 1, y_step):
			self.line(left, self.y(v), left + width, self.y(v), '#ddd')
			self.text(left - 6, self.y(v) + 4, v, 'end')
		for v in range(0, int(x_most) + 1, x_step):
			self.line(self.x(v), top + height, self.x(v), top + height + 4, '#888')
			self.text(self.x(v), top + height + 18, v, 'middle')
		self.text(left, top - 10, title, 'start', 'font-weight="bold"')
		self.text(left + width, top + height + 34, x_name, 'end')
		self.text(left + width, top - 10, y_name, 'end', 'fill="#555"')

	def line(self, x1, y1, x2, y2, colour, more=''):
		self.rows.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>')

	def text(self, x, y, words, anchor, more=''):
		self.rows.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{words}</text>')

	def curve(self, points, colour):
		path = ' '.join(f'{self.x(x):.1f},{self.y(y):.1f}' for x, y in points)
		self.rows.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')

	def bar(self, x, y, colour, width):
		self.rows.append(f'<rect x="{self.x(x) - width / 2:.1f}" y="{self.y(y):.1f}" width="{width:.1f}" '
			f'height="{max(0, self.y(0) - self.y(y)):.1f}" fill="{colour}"/>')

	def write(self, path):
		with open(path, 'w') as file:
			file.write('\n'.join(self.rows) + '\n</svg>\n')
