# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client may write into a log blames nobody else and takes no more time than it is long.

Every positive own sample of every stock filter is tried that has something in it which the client
chose: its `user`, or what the sample's `field` names.
"""

from __future__ import annotations

import json
import math
import re
import time
from calendar import timegm
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.filters import LOGS, own_samples, stock
from tests.support import THOROUGH

NOW = timegm((2026, 11, 23, 12, 0, 0))
VICTIM = "203.0.113.199"
NAMES = sorted(path.name for path in LOGS.iterdir() if path.is_file())

# What imitates the rest of a line, of whichever service.
PIECES = [
    VICTIM, f"::ffff:{VICTIM}", "2001:db8:66::1", "victim.example.org", f"[{VICTIM}]", f"({VICTIM})",
    " ", "  ", "\t", "x", "root", "\\n", "\\", "%", "\u2028", "\u00a0", "\ufffd", "\x7f", "\x1b[0m", "é",
    "'", '"', "`", '"\\"', "'\\''", "[", "]", "(", ")", "<", ">", "{", "}", ", ", ": ", "; ", "=", "\x80",
    " from ", f" from {VICTIM}", f" from {VICTIM} port 22", " port 22 ssh2", " ssh2: ", " [preauth]",
    "ruser=", f" rhost={VICTIM}", f" rhost={VICTIM} user=x", " authentication failure; ", " via ",
    f"[client {VICTIM}:1] ", "[error] ", "[remote ", "AH01617: ", "user ", " not found: ", ", referer: ",
    f'", client host "{VICTIM}"', f", client: {VICTIM}, server: x", f', host: "{VICTIM}"', f"rip={VICTIM}, ",
    f"] FAIL LOGIN: Client \"{VICTIM}\"", f"unknown[{VICTIM}]: ", f"@[{VICTIM}]", f"ip=[{VICTIM}]",
    " (serial 1) CA RSA SHA256:x", "Failed password for ", "Invalid user ", "sshd[1]: ", "vsftpd[1]: ",
    "postfix/smtpd[1]: ", "Accepted password for ", ": Too many authentication failures",
    "2026-11-23T08:00:00Z ", "Nov 23 08:00:00 gate ", "x" * 300,
]  # fmt: skip
# What a clumsy regex tries over and over.
CLUMSY = [
    " ", "x", "1.", "a:", "::", '"', "'", "\\", " from ", f" from {VICTIM}", " port 1 ssh2: ",
    '", "', "], [", "] [client ", ": ", " not found: ", " rhost=", " user=", "((", "<>", "a@", "=",
]  # fmt: skip


class Case:
    """A sample, and what becomes of it when the client chooses something else."""

    def __init__(self, name, number, about, line):
        self.id = f"{name}:{number}"
        self.name, self.host, self.line = name, about["host"], line
        self._about = about
        self._field = about.get("field") or about["user"]
        # JSON's own quoting keeps a client's quotes and backslashes from ending its text.
        self._is_json = '{"' in line

    def filter(self):
        about = self._about
        return stock(self.name, uses_now=about.get("is_journal", False), **about.get("options", {}))

    def written(self, text):
        """How the service would write `text` into this line, and the lines before it."""
        for character in self._about.get("without", ""):
            text = text.replace(character, "")
        if self._is_json:
            text = json.dumps(text, ensure_ascii=False)[1:-1]
        return [
            each.replace(self._field, text) for each in (*self._about.get("after", ()), self.line)
        ]

    def blamed(self, filter, text):
        """Whom `filter` blames for the line with `text` in it, which it reads after its others."""
        *before, line = self.written(text)
        for each in before:
            filter.judge(each, NOW)
        failure = filter.judge(line, NOW).failure
        return failure and failure.host

    @property
    def forged(self):
        """The same line as if the victim were to be blamed."""
        return self.line.replace(self.host, VICTIM)

    def tails(self):
        """All cuts of the forged line, from word to word, that hold the victim's address."""
        line = self.forged
        at = line.find(VICTIM)
        if at < 0:
            return
        ends = sorted({each.start() for each in re.finditer(r"\b|(?<=\s)", line)} | {len(line)})
        for begin in (each for each in ends if each <= at):
            for end in (each for each in ends if each >= at + len(VICTIM)):
                yield line[begin:end]


@cache
def cases(name):
    return [
        Case(name, number, about, line)
        for number, about, line in own_samples(name)
        if about.get("host")
        and not about.get("is_injection")
        and any(
            (about.get("field") or about.get("user") or "\n") in each
            for each in (line, *about.get("after", ()))
        )
    ]


CASES = [pytest.param(case, id=case.id) for name in NAMES for case in cases(name)]


@pytest.mark.parametrize("case", CASES)
def test_an_imitation_of_the_line_in_the_line_blames_nobody_else(case):
    filter = case.filter()

    for tail in case.tails():
        for text in (tail, f"x{tail}"):
            blamed = case.blamed(filter, text)
            assert blamed in (None, case.host), case.written(text)[-1]


def cuts(name):
    """Pieces of all lines of the filter `name`, forged."""
    lines = [case.forged for case in cases(name)]
    place = st.floats(0, 1)
    return st.builds(
        lambda line, one, two: line[int(one * len(line)) : int(one * len(line)) + int(two * 80)],
        st.sampled_from(lines), place, place,
    )  # fmt: skip


@cache
def hostile(name):
    text = st.text(
        st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=5
    )
    return st.lists(st.one_of(st.sampled_from(PIECES), cuts(name), text), max_size=10).map("".join)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=10 * THOROUGH, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nothing_that_a_client_may_write_blames_somebody_else(case, data):
    text = data.draw(hostile(case.name))

    assert case.blamed(case.filter(), text) in (None, case.host)


# -- what it costs

CLEARLY = 0.001  # seconds of CPU: less says nothing about how work grows


def work(filter, case, piece, length, times=1):
    """CPU seconds for the line with `piece` over and over up to `length`, at best."""
    *_, line = case.written(piece * (length // len(piece)))
    spent = []
    for _ in range(times):
        begin = time.process_time()
        filter.judge(line, NOW)
        spent.append(time.process_time() - begin)
    return min(spent)


LONGER = 4  # times, and the square of it would be 16: so far off is no measurement
MOST = 8


def growth(filter, case, piece, length):
    """How many times the work it is if the line gets `LONGER`; the least of some tries."""
    ratio = math.inf
    for times in (1, 3, 5, 9):
        one = work(filter, case, piece, length, times)
        if one < CLEARLY:
            return 0.0
        ratio = min(ratio, work(filter, case, piece, LONGER * length, times) / one)
        if ratio <= MOST or one > 100 * CLEARLY:  # so much is no accident
            break
    return ratio


def repeats(case):
    """What may stand in a line over and over: what a clumsy regex trips on, and its own words."""
    words = re.findall(r"\S+\s*", case.line)
    return [*CLUMSY, *("".join(words[at : at + 3]) for at in range(2, len(words), 4))]


@pytest.mark.parametrize("case", CASES)
def test_work_grows_with_a_line_and_no_faster(case):
    """A line four times as long is four times the work; it would be 16 times where work grows with
    the square.  What takes less CPU time than is `CLEARLY` work, even if the line has thousands of
    characters, is not judged: the test compares a machine with itself and fails on no slow one.
    """
    filter = case.filter()

    for piece in repeats(case):
        # a short line first, for the sake of what takes minutes for a long one
        is_heavy = work(filter, case, piece, 1000) >= CLEARLY
        ratio = growth(filter, case, piece, 1000 if is_heavy else 8000)
        assert ratio <= MOST, f"{LONGER} times as many {piece!r} are {ratio:.1f} times the work"
