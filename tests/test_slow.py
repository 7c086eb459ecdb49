# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules that are tried on every line are told, with the reason."""

from __future__ import annotations

import pytest

from common.options import JailConf
from server.slow import WHOLE, slow_rules
from tests.filters import CONFIG, conf_of

STOCK = sorted(
    path.stem for path in (CONFIG / "filter.d").glob("*.conf") if not path.stem.endswith("common")
)


def slow(*failregex, **options):
    return slow_rules(JailConf(name="x", failregex=failregex, log_encoding="utf-8", **options))


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        (r"^\S+ <ADDR> \d+$", "no text of 3 characters"),
        (r"^(?:refused )?<ADDR>$", "'refused ', stands in a part that may be missing"),
        (r"^(?:refused|\w+) <ADDR>$", "only in alternatives, such as 'refused'"),
        (
            rf"^(?:{'|'.join(f'{chr(97 + n % 26)}{chr(97 + n // 26)}xyz' for n in range(300))}) <ADDR>$",
            "these are too many",
        ),
        (r'^<ADDR> "GET \S+ HTTP/1\.1"$', "stands in nearly every line"),
    ],
)
def test_the_reason_is_told(regex, reason):
    (one,) = slow(r"^refused login from <ADDR>$", regex)

    assert (one.rule, one.rule_name) == (1, "failregex 2")
    assert reason in one.what and one.advice


def test_a_date_that_may_stand_anywhere_splits_texts():
    assert [] == slow(r"^door <ADDR>$")
    (one,) = slow(r"^door <ADDR>$", date_pattern=r"\[%H:%M\]")

    assert "amid its text" in one.what


@pytest.mark.parametrize(
    ("options", "kind"), [({"max_lines": 3}, "maxlines"), ({"encoding": "utf-16"}, "encoding")]
)
def test_what_makes_all_rules_slow_is_told_once(options, kind):
    encoding = options.pop("encoding", "utf-8")
    conf = JailConf(name="x", failregex=("^refused <ADDR>$",) * 2, log_encoding=encoding, **options)

    assert [(WHOLE, kind)] == [(one.rule, one.kind) for one in slow_rules(conf)]


def test_what_a_prefregex_needs_each_failregex_does():
    assert [] == slow(r"^\S+ <ADDR>$", prefregex="^service: <F-CONTENT>.+</F-CONTENT>$")


@pytest.mark.parametrize("name", STOCK)
def test_the_stock_filters_are_quick(name):
    assert [] == slow_rules(conf_of(name))
