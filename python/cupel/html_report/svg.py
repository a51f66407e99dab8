"""Small pieces of SVG: a frame with axes, marks of methods. Colours are classes, so that the page's
style sheet chooses them for light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from .text import visible

COLOURS = 8  # series classes in the style sheet; more methods repeat them with other marks


@dataclass
class Frame:
    """A plot area in the units of its SVG, and the way from values to them."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_y: bool = False

    def x(self, value: float) -> float:
        """Where a value stands, from the left."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Where a value stands, from the top; one beyond the range stands at its end."""
        low, high = self.y_range
        value = min(max(value, low), high)
        share = (
            math.log(value / low) / math.log(high / low)
            if self.log_y
            else (value - low) / (high - low)
        )
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def axes(
        self,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_label: str,
    ) -> list[str]:
        """Grid lines, tick labels and the label of the x axis."""
        right, floor = self.width - self.right, self.height - self.bottom
        parts = []
        for value, text in y_ticks:
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{self.left} {y:.1f}H{right}"/>')
            parts.append(
                f'<text class="tick" x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
            )
        for value, text in x_ticks:
            x = self.x(value)
            parts.append(f'<path class="axis" d="M{x:.1f} {floor}v4"/>')
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{escape(text)}</text>'
            )
        parts.append(f'<path class="axis" d="M{self.left} {floor}H{right}"/>')
        middle = (self.left + right) / 2
        parts.append(
            f'<text class="tick" x="{middle:.1f}" y="{self.height - 4}" text-anchor="middle">{escape(x_label)}</text>'
        )
        return parts

    def line(self, points: Sequence[tuple[float, float]], css: str) -> str:
        """A line through points."""
        if len(points) < 2:
            return ""
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return f'<path class="{css}" d="M{path}"/>'

    def band(self, points: Sequence[tuple[float, float, float]], css: str) -> str:
        """The area between low and high."""
        if len(points) < 2:
            return ""
        there = [f"{self.x(x):.1f} {self.y(low):.1f}" for x, low, _ in points]
        back = [f"{self.x(x):.1f} {self.y(high):.1f}" for x, _, high in reversed(points)]
        return f'<path class="{css}" d="M{"L".join(there + back)}Z"/>'


def wrap(width: int, height: int, label: str, parts: Sequence[str]) -> Markup:
    """The SVG element, which scales with its box."""
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(visible(label))}">'
        f"{''.join(parts)}</svg>"
    )


def mark(index: int, x: float, y: float, title: str = "", css: str = "mark") -> str:
    """The mark of series `index`: its shape as well as its colour tells which."""
    shape = SHAPES[index % len(SHAPES)](x, y, 4.2)
    title = f"<title>{escape(visible(title))}</title>" if title else ""
    return f'<g class="{css} s{index % COLOURS}">{shape}{title}</g>'


def _polygon(points: Sequence[tuple[float, float]]) -> str:
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}Z"/>'


def _circle(x: float, y: float, r: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r * 0.9:.1f}"/>'


def _square(x: float, y: float, r: float) -> str:
    a = r * 0.85
    return _polygon([(x - a, y - a), (x + a, y - a), (x + a, y + a), (x - a, y + a)])


def _triangle(x: float, y: float, r: float) -> str:
    return _polygon([(x, y - r * 1.1), (x + r, y + r * 0.8), (x - r, y + r * 0.8)])


def _diamond(x: float, y: float, r: float) -> str:
    a = r * 1.2
    return _polygon([(x, y - a), (x + a, y), (x, y + a), (x - a, y)])


def _upside(x: float, y: float, r: float) -> str:
    return _polygon([(x, y + r * 1.1), (x + r, y - r * 0.8), (x - r, y - r * 0.8)])


SHAPES: tuple[Callable[[float, float, float], str], ...] = (
    _circle, _square, _triangle, _diamond, _upside,
)  # fmt: skip


def legend_mark(index: int) -> Markup:
    """A mark with a bit of its line, for a legend."""
    line = f'<path class="line s{index % COLOURS}" d="M0 7H26"/>'
    return Markup(f'<svg class="key" viewBox="0 0 26 14">{line}{mark(index, 13, 7)}</svg>')


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within a range."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * s for s in (1, 2, 2.5, 5, 10) if span / (power * s) <= most)
    first = math.ceil(low / step - 1e-9)
    return [
        round((first + i) * step, 10) for i in range(int((high - first * step) / step + 1e-9) + 1)
    ]


def log_ticks(high: float) -> list[float]:
    """Ratios from 1 to `high`, about five of them."""
    if high <= 1.3:
        return ticks(1, high, 5)
    for steps in ((1, 1.2, 1.5, 2, 3, 5), (1, 2, 5), (1,)):
        found = [s * 10**e for e in range(0, 16) for s in steps if s * 10**e <= high * 1.001]
        if len(found) <= 7:
            return found
    return found[:: math.ceil(len(found) / 6)]
