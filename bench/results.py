# SPDX-License-Identifier: GPL-2.0-or-later
"""What was measured, as it is kept in a file: each value of each round.  It measures nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

OURS = "this"


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity of a case: its values, by who had them (ours, another's, a yardstick's)."""

    case: str
    name: str
    title: str
    unit: str
    goal: float
    earlier: float
    means: str
    values: dict[str, tuple[float, ...]]
    yardsticks: tuple[str, ...]  # those of `values` that are

    def of(self, who: str) -> float:
        """The median."""
        return statistics.median(self.values[who])

    @property
    def others(self) -> tuple[str, ...]:
        """Other implementations that were measured in turn."""
        return tuple(who for who in self.values if who != OURS and who not in self.yardsticks)

    @property
    def is_reached(self) -> bool:
        """Whether the goal is; there must be one."""
        is_rate = "per" in self.unit
        return self.of(OURS) >= self.goal if is_rate else self.of(OURS) <= self.goal


@dataclass(frozen=True, slots=True)
class Results:
    """All of one run: when, where, how; figures, and tables of programs that print their own."""

    date: str
    command: str
    version: str
    rounds: int
    machine: dict[str, str]
    figures: tuple[Figure, ...] = ()
    tables: tuple[tuple[str, str], ...] = ()

    def with_figures(self, more: Iterable[Figure]) -> Results:
        return replace(self, figures=(*self.figures, *more))

    def with_table(self, title: str, text: str) -> Results:
        return replace(self, tables=(*self.tables, (title, text)))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Results:
    """Results as `write` wrote them."""
    found: dict[str, Any] = json.loads(path.read_text())
    figures = tuple(
        Figure(**{
            **each,
            "values": {who: tuple(values) for who, values in each["values"].items()},
            "yardsticks": tuple(each["yardsticks"]),
        })
        for each in found.pop("figures")
    )  # fmt: skip
    tables = tuple((title, text) for title, text in found.pop("tables"))
    return Results(**found, figures=figures, tables=tables)


def number(value: float) -> str:
    """`value` with as many digits as it deserves."""
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"
    return text if "e" not in text else f"{value:.4f}".rstrip("0").rstrip(".") or "0"


def row(figure: Figure) -> str:
    """A row of the table: what, how much, what was wished for, and how it compares."""
    values = figure.values[OURS]
    spread = f"{number(min(values))} to {number(max(values))}" if len(values) > 1 else ""
    goal = f"{number(figure.goal)}{'' if figure.is_reached else ' (missed)'}" if figure.goal else ""
    others = ", ".join(
        f"{number(theirs)} ({who}; {number(figure.of(OURS) / theirs)} × that)"
        if (theirs := figure.of(who))
        else f"0 ({who})"
        for who in figure.others
    )
    ratios = ", ".join(
        f"{number(figure.of(OURS) / figure.of(who))} × {who}" for who in figure.yardsticks
    )
    earlier = number(figure.earlier) if figure.earlier else ""
    cells = (figure.title, figure.unit, f"**{number(figure.of(OURS))}**", spread, goal, earlier, others, ratios)  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| what | unit | median | spread | goal | 1.1, earlier | in turn | of what else this machine does |\n"
    "|---|---|---|---|---|---|---|---|"
)
