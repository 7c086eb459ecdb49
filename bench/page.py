# SPDX-License-Identifier: GPL-2.0-or-later
"""doc/performance.md and its plots, out of a file of results; it measures nothing.

python -m bench.page FILE [DIRECTORY]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import chart
from bench.cases import LINES
from bench.results import HEAD, OURS, Figure, Results, read, row
from bench.servers import ROOT

_INTRODUCTION = """\
# How fast it is

Made by `make bench-doc`; whoever changes what is measured runs it again.  `make bench` measures and
writes nothing here.  With `AGAINST=DIR`, another implementation's programs in DIR are measured in turn.
"""
_LINES = """\
## A line's cost

A running server with one jail, held to one core, into whose log all lines are written at once: they are
read, matched, dated, counted, `Found` is logged, and the state is stored.  What is given is the number of lines
for each second of CPU that the server used, and how that compares with what else was measured in the same round:

- our filter alone: the same lines, block by block, without a server, a log of its own, or a store;
- `re` loop: a plain loop in Python that counts failures of each host by one regex, without dates;
- `grep -cE` of strings that stand in lines that fail, and `wc -l`: no implementation can be faster.

The last line of a log always fails, and a case counts only if all failures, and no more, were found (by another
implementation, up to a hundredth more).
"1.1, earlier" is fail2ban 1.1.2 on another machine with two cores, Python 3.11; "in turn" is what was
measured here beside ours, and how many times that ours is: goals and "earlier" are those of another machine, this
ratio is not.  Logs are made up from a seed, in the mixture that services write.  They have 300,000 to 4,000,000
lines, so that what a filter does once, with its first lines, counts for little: it takes a tenth of a second.
"""
_MANNERS = """\
## Bans, start, rest

"Line written to ban command started" includes the start of the shell and of `date`, which says when; the
yardstick is that alone.  The logs of idle jails do not change.
"""
_SIZES = """\
## Logs of any size

CPU for each line, by the number of lines in the log: that it does not grow is what is to be shown.
"""


def page(results: Results) -> str:
    """The page, in Markdown."""
    growing = [each for each in results.figures if each.case.startswith("growing")]
    of_lines = [each for each in results.figures if "per" in each.unit and each not in growing]
    rest = [each for each in results.figures if each not in growing and each not in of_lines]
    parts = [
        _INTRODUCTION,
        _machine(results),
        _LINES,
        _table(of_lines),
        "![Lines per CPU-second](performance-lines.svg)\n",
        _SIZES,
        _table(growing),
        "![CPU for each line, by size of the log](performance-sizes.svg)\n" if growing else "",
        _MANNERS,
        _table(rest),
        *(f"- {each.title}: {each.means}.\n" for each in results.figures if each.means),
        *(f"## {title}\n\n{text}" for title, text in results.tables),
    ]
    return "\n".join(part for part in parts if part)


def _table(figures: list[Figure]) -> str:
    return "\n".join((HEAD, *map(row, figures))) + "\n" if figures else ""


def _machine(results: Results) -> str:
    facts = "\n".join(f"- {key}: {value}" for key, value in results.machine.items())
    return (
        f"Measured on {results.date}, version {results.version}, median of {results.rounds} "
        f"rounds, by\n\n    {results.command}\n\n{facts}\n"
    )


def plots(results: Results) -> dict[str, str]:
    """SVG by file name."""
    bars = [
        chart.Bar(each.case, each.of(OURS), _marks(each))
        for each in results.figures
        if each.unit == LINES
    ]
    curves: dict[str, dict[float, float]] = {}
    for each in results.figures:
        if each.case.startswith("growing"):
            title = each.title.rpartition(", ")[0]
            for who in (OURS, *each.others):
                label = title if who == OURS else f"{title} ({who})"
                curves.setdefault(label, {})[float(each.name)] = each.of(who)
    found = {}
    if bars:
        found["performance-lines.svg"] = chart.bars("Lines per CPU-second (bar: this)", bars)
    if curves:
        found["performance-sizes.svg"] = chart.lines("µs of CPU for each line", "lines in the log", curves)  # fmt: skip
    return found


def _marks(figure: Figure) -> dict[str, float]:
    marks = {who.replace("`", ""): figure.of(who) for who in (*figure.others, *figure.yardsticks)}
    wished = {"goal": figure.goal, "fail2ban 1.1, earlier": figure.earlier}
    return {**{name: value for name, value in wished.items() if value}, **marks}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description="Write the page.")
    parser.add_argument("results", type=Path)
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT / "doc")
    given = parser.parse_args()
    results = read(given.results)
    (given.directory / "performance.md").write_text(page(results))
    for name, text in plots(results).items():
        (given.directory / name).write_text(text)


if __name__ == "__main__":
    main()
