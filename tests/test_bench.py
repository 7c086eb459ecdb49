# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks measure with must be right; how fast anything is, no test says."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench import inside, journal, lines, logs
from bench.cases import Surroundings
from bench.page import page, plots
from bench.results import OURS, Figure, Results, read
from bench.servers import ROOT
from tests.support import unavailable

SUBJECTS = (lines.SOME_SSH, lines.MOSTLY_SSH, lines.PROBES, lines.ALL_PROBES, lines.LOGINS, lines.AMONG_TWENTY)  # fmt: skip


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda one: f"{one.kind} {one.share}")
def test_each_line_that_fails_is_one_failure_of_the_filter_and_no_other_line_is(subject, tmp_path):
    log = logs.write(tmp_path / "log", subject.kind, 1500, subject.share)
    around = Surroundings(tmp_path, ROOT / "config", 1.0, False)

    assert log.failures == inside.feed(inside.a_filter(subject, around), log.path)


def test_the_same_seed_gives_the_same_log():
    once = list(logs.lines("auth", 50, 0.5, seed=3, end=1e9))

    assert once == list(logs.lines("auth", 50, 0.5, seed=3, end=1e9))
    assert once != list(logs.lines("auth", 50, 0.5, seed=4, end=1e9))


def figure(case: str, name: str, unit: str, value: float) -> Figure:
    values = {OURS: (value, value), "`wc -l`": (10 * value,)}
    return Figure(case, name, f"a log, {name}", unit, value / 2, 0, "", values, ("`wc -l`",))


def results() -> Results:
    found = Results("2026-01-02", "python -m bench", "2", 2, {"kernel": "Linux"})
    return found.with_figures([
        figure("auth-10", "lines", "lines per CPU-second", 200_000),
        figure("growing-10", "1000", "µs of CPU a line", 3),
        figure("growing-10", "10000", "µs of CPU a line", 3),
    ]).with_table("Memory", "| host | bytes |")  # fmt: skip


def test_results_are_read_as_they_were_written(tmp_path: Path):
    results().write(tmp_path / "results.json")

    assert results() == read(tmp_path / "results.json")


def test_the_page_has_each_figure_and_its_ratio_and_the_plots_are_xml():
    text, drawn = page(results()), plots(results())

    assert "**200,000**" in text and "0.1 × `wc -l`" in text and "| host | bytes |" in text
    for name, svg in drawn.items():
        assert f"({name})" in text
        ElementTree.fromstring(svg)


def test_a_journal_holds_what_sshd_says_in_a_log(tmp_path):
    if not journal.is_here():
        unavailable("no journal can be written or read here")

    found = journal.write(tmp_path / "x.journal", 3000, 0.1)

    assert 100 < found.failures < found.entries / 3 < 1000
    assert journal.cpu_of_loop(found, lines.SOME_SSH.regex) > 0  # it has seen them all
