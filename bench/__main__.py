# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure, and print a table in Markdown; see `--help`."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import lines, machine, manners
from bench.cases import Case, Surroundings, Values
from bench.results import HEAD, OURS, Figure, Results, row
from bench.servers import ROOT, Implementation
from common.version import VERSION

CASES = (*lines.CASES, *manners.CASES)
# Programs beside this one that print a table of their own, by what it is about.
PROGRAMS = {"memory": "Memory of a host that is being counted", "bans": "From the verdict to the firewall"}  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="How fast fail2ban is: each figure beside what the machine can do in the same run.",
        epilog="A round measures a case once for each implementation, in turn; what is printed is "
        "the median.  `python -m bench.page FILE` makes doc/performance.md of a file of results.",
    )
    parser.add_argument("--only", metavar="WORD", action="append", default=[],
                        help="only cases whose name contains WORD; may be given more than once")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the cases, and measure nothing")
    parser.add_argument("--repeat", metavar="N", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--scale", metavar="X", type=float, default=1.0,
                        help="logs of X times as many lines as usual")  # fmt: skip
    parser.add_argument("--full", action="store_true",
                        help="logs of 10,000,000 lines, too (3 GB of disk, many minutes)")  # fmt: skip
    parser.add_argument("--against", metavar="DIR", type=Path, action="append", default=[],
                        help="measure in turn the fail2ban-server, fail2ban-client and fail2ban-regex of DIR, "
                        "with the same configuration and logs")  # fmt: skip
    parser.add_argument("--config", metavar="DIR", type=Path, default=ROOT / "config",
                        help="the stock configuration to use (default: ours)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the values of each round in FILE")  # fmt: skip
    parser.add_argument("--place", metavar="DIR", help="where logs and servers have their files")
    return parser


def measured(
    case: Case, who: list[Implementation], around: Surroundings, rounds: int
) -> list[Figure]:
    """The figures of `case`."""
    trial = case.prepare(around)
    values: dict[str, dict[str, list[float]]] = {}
    yardsticks: dict[str, None] = {}
    for _ in range(rounds):
        for each in who:
            _add(values, each.label, trial.measured(each))
        for name, found in trial.yardsticks().items():
            for yardstick, value in found.items():
                yardsticks[yardstick] = None
                _add(values, yardstick, {name: value})
    return [
        Figure(
            case.name, name, quantity.title, quantity.unit, quantity.goal, quantity.earlier, quantity.means,
            {whose: tuple(all) for whose, all in values[name].items()},
            tuple(each for each in yardsticks if each in values[name]),
        )
        for name, quantity in case.quantities.items()
        if name in values
    ]  # fmt: skip


def _add(values: dict[str, dict[str, list[float]]], who: str, found: Values) -> None:
    for name, value in found.items():
        values.setdefault(name, {}).setdefault(who, []).append(value)


def tables(words: list[str]) -> Iterator[tuple[str, str]]:
    """What the programs beside this one print."""
    for name, title in PROGRAMS.items():
        if (ROOT / "bench" / f"{name}.py").exists() and _is_wanted(name, words):
            done = subprocess.run(
                [sys.executable, "-m", f"bench.{name}"],
                cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                yield title, done.stdout
            else:
                print(f"bench.{name} failed ({done.returncode})", file=sys.stderr)


def _is_wanted(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def main() -> int:
    given = arguments().parse_args()
    wanted = [case for case in CASES if _is_wanted(case.name, given.only)]
    if given.list:
        for case in wanted:
            print(f"{case.name:14}", "; ".join(each.title for each in case.quantities.values()))
        for name, title in PROGRAMS.items():
            print(f"{name:14}", title)
        return 0
    who = [Implementation(OURS, ROOT), *(Implementation(each.name, each.resolve()) for each in given.against)]  # fmt: skip
    results = Results(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        version=_version(),
        rounds=given.repeat,
        machine=machine.description(),
    )
    print(HEAD, flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fail2ban-bench-", dir=given.place) as name:
        around = Surroundings(Path(name), given.config.resolve(), given.scale, given.full)
        for case in wanted:
            try:
                figures = measured(case, who, around, given.repeat)
            except (AssertionError, OSError, RuntimeError) as error:
                print(f"{case.name} failed: {error}", file=sys.stderr)
                failed += 1
                continue
            results = results.with_figures(figures)
            print("\n".join(map(row, figures)), flush=True)
    for title, text in tables(given.only):
        results = results.with_table(title, text)
        print(f"\n{title}\n\n{text}", flush=True)
    if given.json:
        results.write(given.json)
    return 1 if failed else 0


def _version() -> str:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return f"{VERSION} ({commit})" if commit else VERSION


if __name__ == "__main__":
    sys.exit(main())
