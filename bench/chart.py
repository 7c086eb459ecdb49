# SPDX-License-Identifier: GPL-2.0-or-later
"""Plots as SVG text.  What the numbers mean, it does not know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 860, 250, 30, 58, 46
_INK, _GRID, _BAR = "#24292f", "#d8dee4", "#4c78a8"
_COLOURS = ("#e45756", "#f2a541", "#54a24b", "#9d755d", "#b279a2", "#72b7b2", "#7f7f7f", "#d67195")


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: a bar as long as `value`, and marks beside it, by what they are."""

    title: str
    value: float
    marks: Mapping[str, float]


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Bars on a logarithmic scale, one below the other; each mark's name has a colour."""
    names = list(dict.fromkeys(name for row in rows for name in row.marks))
    colours = dict(zip(names, _COLOURS * (1 + len(names) // len(_COLOURS)), strict=False))
    every = [number for row in rows for number in (row.value, *row.marks.values())]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    bottom = _TOP + _ROW * len(rows)

    def x(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [_text(12, 20, title, weight="bold"), *_legend(colours)]
    for power in range(low, high + 1):
        at = x(10**power)
        parts.append(_line(at, _TOP, at, bottom, _GRID))
        parts.append(_text(at, bottom + 16, _short(10**power), anchor="middle"))
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number + 10
        parts.append(_text(_LEFT - 8, y + 17, row.title, anchor="end"))
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{x(row.value) - _LEFT:.1f}" height="26" fill="{_BAR}"/>')  # fmt: skip
        parts.append(_text(_LEFT + 6, y + 17, _short(row.value), fill="#ffffff"))
        for name, value in row.marks.items():
            parts.append(_line(x(value), y - 4, x(value), y + 30, colours[name], 4))
    return _svg(bottom + 28, parts)


def lines(title: str, across: str, curves: Mapping[str, Mapping[float, float]]) -> str:
    """A curve each, both axes logarithmic; `across` says what goes from left to right."""
    colours = dict(zip(curves, (_BAR, *_COLOURS), strict=False))
    xs = [x for curve in curves.values() for x in curve]
    ys = [y for curve in curves.values() for y in curve.values()]
    left, right = math.log10(min(xs)), math.log10(max(xs))
    low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    bottom, start = 340, 80

    def at(x: float, y: float) -> tuple[float, float]:
        along = (math.log10(x) - left) / ((right - left) or 1)
        up = (math.log10(y) - low) / ((high - low) or 1)
        return start + along * (_WIDTH - start - 60), bottom - up * (bottom - _TOP)

    parts = [_text(12, 20, title, weight="bold"), *_legend(colours)]
    for power in range(low, high + 1):
        y = at(min(xs), 10**power)[1]
        parts.append(_line(start, y, _WIDTH - 60, y, _GRID))
        parts.append(_text(start - 8, y + 4, _short(10**power), anchor="end"))
    parts += [_text(at(x, 1)[0], bottom + 18, _short(x), anchor="middle") for x in sorted(set(xs))]
    parts.append(_text(_WIDTH / 2, bottom + 36, across, anchor="middle"))
    for name, curve in curves.items():
        points = [at(x, y) for x, y in sorted(curve.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')  # fmt: skip
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colours[name]}"/>' for x, y in points]  # fmt: skip
    return _svg(bottom + 48, parts)


def _legend(colours: Mapping[str, str]) -> list[str]:
    parts, x = [], 12.0
    for name, colour in colours.items():
        parts.append(f'<rect x="{x}" y="32" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, 41, name))
        x += 30 + 7 * len(name)
    return parts


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value / 1e3:.3g} k" if value >= 1e3 else f"{value:.3g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = _INK, weight: str = "normal") -> str:  # fmt: skip
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}">{escape(text)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: int = 1) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _svg(height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join(
        (head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>\n")
    )
