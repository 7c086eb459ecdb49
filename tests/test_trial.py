# SPDX-License-Identifier: GPL-2.0-or-later
"""However a log is tried, what comes out is what trying each of its lines by itself gives."""

from __future__ import annotations

import functools
import random
import re
from dataclasses import replace

import pytest

import tryout.crew as crew
import tryout.main as program
from bench import logs as made_up
from server.filter import Filter
from server.lines import line_decoder
from tests.filters import LOGS, conf_of, own_samples
from tests.support import ROOT
from tests.test_captured_logs import LOGS as CAPTURED_LOGS
from tryout import report
from tryout.arguments import Arguments
from tryout.crew import Apart, blocks_of, cuts, part_size, work_off
from tryout.job import Counting, Printing
from tryout.subject import Subject
from tryout.tally import MATCHED, DateNames, Tally, judged_lines
from tryout.trial import Trial
from tryout.unpack import PIECE, lines_of, whole_lines

CAPTURED = ROOT / "tests" / "captured-logs"
NOW = 1795953600.0  # 29 November 2026
STOCK = sorted(path.name for path in LOGS.iterdir() if path.is_file())
SHOWN = Arguments(shows_dates=True)


_LAST = []  # what was asked last, and the answer: tests ask for the same many times


def by_itself(conf, data):
    """Each line of `data`, judged without a screen."""
    if not _LAST or _LAST[0] != (conf, data):
        decode = line_decoder(conf.log_encoding)
        lines = ((None, decode(line)) for line in lines_of(data))
        _LAST[:] = (conf, data), list(judged_lines(Filter(conf, has_screen=False), lines, NOW))
    return _LAST[1]


def summary_by_itself(conf, data, given=SHOWN, most_kept=20.0):
    tally = Tally(DateNames(Filter(conf).dates), given.checks_all, most_kept)
    for judged in by_itself(conf, data):
        tally.add(judged)
    return shown(conf, tally, given)


def shown(conf, tally, given=SHOWN):
    return list(report.summary(given, Subject("filter", "x", conf), tally, 0.0, report.Paint()))


def summary(conf, blocks, given=SHOWN, most_kept=20.0):
    job = Counting(conf, NOW, given.checks_all, most_kept)
    for data in blocks:
        job.block(data)
    return shown(conf, job.tally, given)


def printed(conf, blocks, form="row"):
    out = []
    job = Printing(conf, NOW, report.printer(form), out.append)
    for data in blocks:
        job.block(data)
    return out


def printed_by_itself(conf, data, form="row"):
    show = report.printer(form)
    matched = (one for one in by_itself(conf, data) if one.fate == MATCHED)
    return [show(one.line, one.verdict.failure) for one in matched]


def in_blocks(data, size=700):
    """`data` in blocks of whole lines, most of which are short."""
    return list(whole_lines(data[start : start + size] for start in range(0, len(data), size)))


def is_alike(conf, data):
    """Whether all ways to try a log give the same."""
    verbose = replace(SHOWN, verbosity=1)
    first = replace(SHOWN, checks_all=False)
    for blocks in ([data], in_blocks(data)):
        assert summary_by_itself(conf, data) == summary(conf, blocks)
        assert summary_by_itself(conf, data, first) == summary(conf, blocks, first)
        whole = float("inf")
        assert summary_by_itself(conf, data, verbose, whole) == summary(conf, blocks, verbose, whole)  # fmt: skip
        for form in ("row", "msg", "matches"):
            assert printed_by_itself(conf, data, form) == printed(conf, blocks, form)
        trial = Trial(conf)
        each = [(one.line, one.fate, one.verdict.when) for data in blocks for one in trial.in_full(data, NOW)]  # fmt: skip
        assert each == [(one.line, one.fate, one.verdict.when) for one in by_itself(conf, data)]


# -- one process ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STOCK)
def test_samples_give_what_each_line_gives(name):
    runs = {}
    for _, about, line in own_samples(name):
        key = tuple(sorted(about.get("options", {}).items())), about.get("is_journal", False)
        runs.setdefault(key, []).extend([*about.get("after", ()), line])
    for (options, is_journal), lines in runs.items():
        conf = conf_of(name, options, is_journal)
        is_alike(conf, "\n".join([*lines, "# said by nobody", "", "  ", *lines]).encode())


@pytest.mark.parametrize(("log", "name", "options"), [one for one in CAPTURED_LOGS if "export" not in one[0]])  # fmt: skip
def test_captured_logs_give_what_each_line_gives(log, name, options):
    is_alike(conf_of(name, tuple(options.items())), (CAPTURED / log).read_bytes())


ODD = [
    b"",
    b"\n\n",
    b"# a comment\n",
    b"\0\0# a comment after a hole\n",
    b"2026-11-22 10:00:00 door: knock of eve refused for 192.0.2.66\r\n",
    b"2026-11-22 10:00:00 door: knock of \xc3\xa9ve refused for 192.0.2.67\n",
    b"2026-11-22 10:00:00 door: knock of \xe2\x82 refused for 192.0.2.68\n\xe2\n",
    b"2026-02-31 10:00:00 door: knock of eve refused for 192.0.2.69\n",
    b"door: knock of dateless refused for 192.0.2.70\n",
    b"Nov 22 10:00:00 door: something else\n",
    b"2026-11-22 10:00:00 " + b"x" * 70_000 + b"\n",
    b"2026-11-22 10:00:00 " + b"y" * (PIECE + 5) + b"\n",
]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "shift_jis", "utf-16"])
@pytest.mark.parametrize("max_lines", [1, 2])
def test_odd_lines_give_what_each_line_gives(encoding, max_lines):
    regex = r"^\s*door: knock of <F-USER>\S+</F-USER> refused for <HOST>$"
    conf = replace(
        conf_of("sshd"), prefregex="", failregex=(regex, r"<HOST>$"), ignoreregex=("eve",)
    )
    conf = replace(conf, log_encoding=encoding, max_lines=max_lines)
    chance = random.Random(3)
    for _ in range(1):
        is_alike(conf, b"".join(chance.choices(ODD, k=40)))


def test_a_line_without_a_date_has_that_of_the_line_before():
    conf = replace(conf_of("nginx-botsearch"), failregex=("^lost <HOST>$",), ignoreregex=())
    date = '192.0.2.1 - - [29/Nov/2026:11:59:%d +0000] "GET / HTTP/1.1" 200 1\n'
    lines = [date % 40, "lost 192.0.2.2\n", date % 50, f"# {date % 55}", "lost 192.0.2.3\n"]
    data = "".join(lines).encode()

    is_alike(conf, data)
    assert [NOW - 20, NOW - 10] == [
        one.verdict.when for one in by_itself(conf, data) if one.fate == MATCHED
    ]


KINDS = {"sshd": "auth", "nginx-botsearch": "access"}


@functools.cache
def generated(name, share, count):
    """A made-up log of so many lines for the filter `name`."""
    found = made_up.lines(KINDS[name], count, share, seed=5, end=NOW - 1000)
    return "".join(line for line, _ in found).encode()


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("name", sorted(KINDS))
def test_generated_logs_give_what_each_line_gives(name, share):
    is_alike(conf_of(name), generated(name, share, 2000))


def test_lines_set_aside_are_known_behind_a_long_line_and_a_hole():
    sshd = (CAPTURED / "sshd.log").read_bytes().splitlines(keepends=True)
    odd = (b"\0" * 50 + b"# a hole\n", b"x" * 70_000 + b"\n")
    lines = [each for line in sshd[:400] for each in (line, random.Random(line).choice(odd))]
    conf = conf_of("sshd")

    by_line = printed_by_itself(conf, b"".join(lines))
    assert by_line and by_line == printed(conf, in_blocks(b"".join(lines)))


# -- several processes ---------------------------------------------------------------------------------


def shared(job, path, size=60_000, workers=3):
    """Have the log at `path` worked off by `job` and others, in parts."""
    told = []
    with path.open("rb") as file:
        places = cuts(file.fileno(), 0, path.stat().st_size, size)
        assert len(places) > 4
        work_off(job, file.fileno(), places, workers, lambda size, lines: told.append(size))
        assert sum(told) == places[-1]
        for data in blocks_of(file.fileno(), places[-1], 1 << 40):
            job.block(data)


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("name", sorted(KINDS))
def test_several_processes_count_what_one_does(tmp_path, name, share):
    """In sshd's log the lines of a connection depend on each other, wherever it was cut."""
    data = generated(name, share, 6000).replace(b"\n", b"\n# a comment\n", 50) + b"the end"
    log = tmp_path / "log"
    log.write_bytes(data)
    conf = conf_of(name)
    job = Counting(conf, NOW, True, 20)

    shared(job, log)

    assert shown(conf, job.tally) == summary(conf, [data])


def test_several_processes_see_connections_across_the_cuts(tmp_path):
    text = (CAPTURED / "sshd.log").read_bytes()
    log = tmp_path / "log"
    log.write_bytes(text * 40)
    conf = conf_of("sshd")
    job = Counting(conf, NOW, True, 20)

    shared(job, log, size=len(text) * 3 + 1000)

    assert shown(conf, job.tally) == summary(conf, [log.read_bytes()])


def test_several_processes_print_what_one_does(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(generated("nginx-botsearch", 0.3, 6000))
    conf = conf_of("nginx-botsearch")
    out = []
    job = Printing(conf, NOW, report.printer("row"), out.append)

    shared(job, log)

    assert out == printed(conf, [log.read_bytes()])


def test_where_dates_change_amid_a_log_its_parts_do_not_fit_together(tmp_path):
    """What a line without a date borrows may stand far before the part that it is in."""
    log = tmp_path / "log"
    line = b"door: no date here and nothing else of interest\n"
    log.write_bytes(b"2026-11-22 10:00:00 door: the only date\n" + line * 8000)
    job = Counting(conf_of("sshd"), NOW, True, 20)

    with pytest.raises(Apart):
        shared(job, log)


@pytest.mark.parametrize("words", [[], ["-o", "row"], ["-o", "ip"]])
@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("fits", [True, False])
def test_the_program_prints_the_same_with_one_process_and_with_many(tmp_path, monkeypatch, capsys, words, name, fits):  # fmt: skip
    log = tmp_path / "log"
    log.write_bytes(generated(name, 0.1, 6000))
    monkeypatch.setattr(program.time, "time", lambda: NOW)
    monkeypatch.setattr(program, "_STARTED", 1000)
    monkeypatch.setattr(program, "_PROBE", 1000)
    monkeypatch.setattr(program, "part_size", lambda left, rate, workers: 50_000)
    ways = []
    for size in (1, 3):
        monkeypatch.setattr(program, "crew_size", lambda size=size: size)
        if size > 1 and not fits:
            monkeypatch.setattr(crew, "WARM_UP", 0)
        assert (
            program.main([*words, "-e", "utf-8", "-c", str(ROOT / "config"), str(log), name]) == 0
        )
        ways.append(re.sub(r"processed in [\d.]+", "", capsys.readouterr().out))

    assert ways[0] == ways[1] and len(ways[0]) > 1000


def test_parts_are_cut_behind_line_ends(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo is longer\n\nthree" + b"x" * 100_000 + b"\nfour\nand a rest")
    with log.open("rb") as file:
        end = log.stat().st_size
        places = cuts(file.fileno(), 0, end, 2)
        data = log.read_bytes()

        assert [data[a:b] for a, b in zip(places, places[1:], strict=False)][:2] == [b"one\n", b"two is longer\n"]  # fmt: skip
        assert data[places[-1] :] == b"and a rest"
        assert all(data[place - 1 : place] == b"\n" for place in places[1:])


@pytest.mark.parametrize(
    ("left", "rate", "workers", "is_worth_it"),
    [
        (1 << 30, 1e7, 2, True),
        (1 << 30, 1e7, 1, False),
        (1 << 20, 1e4, 8, False),
        (16 << 20, 1e9, 2, False),
    ],  # fmt: skip
)
def test_others_help_only_where_that_pays(left, rate, workers, is_worth_it):
    assert (part_size(left, rate, workers) > 0) == is_worth_it


def test_a_process_that_dies_is_noticed(tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.write_bytes(generated("sshd", 0.01, 6000))
    job = Counting(conf_of("sshd"), NOW, True, 20)
    monkeypatch.setattr(Counting, "part", lambda self, blocks: 1 / 0)

    with pytest.raises(Apart):
        shared(job, log)


def test_a_rule_that_one_process_sets_aside_is_tried_by_one_process(tmp_path):
    """The others cannot know of it."""
    log = tmp_path / "log"
    log.write_bytes(generated("sshd", 0.01, 6000))
    job = Counting(conf_of("sshd"), NOW, True, 20)
    watched = job.trial.filter.rules[0].watched

    def settle():
        watched.problem = "takes more than 0.5 s for one line"

    with pytest.raises(Apart), log.open("rb") as file:
        places = cuts(file.fileno(), 0, log.stat().st_size, 50_000)
        work_off(job, file.fileno(), places, 3, lambda size, lines: None, settle)
