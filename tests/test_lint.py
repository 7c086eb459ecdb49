# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad regexes each give their finding, good ones none."""

import subprocess
import sys

import pytest

from common.options import JailConf
from server.lint import ERROR, NOTE, WARNING, findings
from server.pattern import Pattern, id_of
from tests.filters import CONFIG, conf_of
from tests.support import ROOT

VICTIM = "203.0.113.66"
STOCK = sorted(
    path.stem for path in (CONFIG / "filter.d").glob("*.conf") if not path.stem.endswith("common")
)


def found(*failregex, **options):
    return findings(JailConf(name="x", failregex=failregex, **options))


def kinds(*failregex, **options):
    return {(one.kind, one.severity) for one in found(*failregex, **options)}


@pytest.mark.parametrize(
    "regex",
    [
        r"^refused login from <ADDR>$",
        r"^\s*refused login of <F-USER>.*</F-USER> from <HOST>(?: port \d+)?\s*$",
        r"^refused login of <F-USER>\S*</F-USER> from <HOST>: .*$",
        r"^refused <ADDR>: .*$",
        r'^refused "<F-USER>(?:[^"\\]|\\.)*</F-USER>" from <ADDR>, agent "[^"]*"$',
        r"^refused login of <F-USER>(?:(?! from ).)*</F-USER> from <ADDR> for .*$",
        r"^(?:refused|rejected) (?:\w+ )*<ADDR>$",
        r"(?:^refused|^rejected) <ADDR>$",
        r"^refused \w++\s*+<ADDR>$",
        r"^refused \S+ \S+ \S+ <ADDR>(?=\s*$)",
    ],
)
def test_a_good_regex_gives_nothing_to_say(regex):
    assert [] == found(regex)


@pytest.mark.parametrize(
    ("regex", "kind", "severity"),
    [
        (r"refused login from <ADDR>$", "open start", WARNING),
        (r"(?:^refused|rejected) login from <ADDR>$", "open start", WARNING),
        (r"^.*refused login from <ADDR>$", "open start", WARNING),
        (r"^(?:.*)refused login from <ADDR>$", "open start", WARNING),
        (r"^refused login from <ADDR>", "open end", NOTE),
        (r"^refused login from <ADDR>(?:$| port)", "open end", NOTE),
        (r"^\S+ <ADDR> \d+$", "no literal", NOTE),
        (r"^refused (?:\w+)*<ADDR>$", "nested repeats", ERROR),
        (r"^refused (?:\w+\s?)*: <ADDR>$", "nested repeats", ERROR),
        (r"^refused (?:\w*)*: <ADDR>$", "nested repeats", ERROR),
        (r"^refused (?:\d{1,3})+: <ADDR>$", "nested repeats", ERROR),
        (r"^refused (?:\s|.)*: <ADDR>$", "nested repeats", ERROR),
        (r"^refused (?:(?:a+|b)*c?)*: <ADDR>$", "nested repeats", ERROR),
        (r"^refused \w+\w*: <ADDR>$", "adjacent repeats", WARNING),
        (r"^refused \d+(?:x)?\w*: <ADDR>$", "adjacent repeats", WARNING),
        (r"^refused (.*)(\S+): <ADDR>$", "adjacent repeats", WARNING),
        (r"^refused \w+\s*[ \t]*: <ADDR>$", "adjacent repeats", NOTE),
    ],
)
def test_each_fault_is_found(regex, kind, severity):
    assert (kind, severity) in kinds(regex)


@pytest.mark.parametrize(
    ("regex", "severity"),
    [
        # the first that looks like a host is taken, and what follows may be anything
        (r"^login of <F-USER>.*?</F-USER> from <ADDR>.*$", ERROR),
        (r"^login of <F-USER>.*?</F-USER> from <ADDR>", ERROR),
        # the last one is taken, and somebody writes what comes behind the real one
        (r"^login of <F-USER>.*</F-USER> from <ADDR> by .*$", WARNING),
        (r"^login of <F-USER>.*</F-USER> from <ADDR>", WARNING),
        (r"^login of .* from <ADDR>, agent <F-AGENT>.*</F-AGENT>$", ERROR),
        (r'^login of "<F-USER>.*?</F-USER>" from <HOST>: .*$', ERROR),
        (r"login from <ADDR>", WARNING),
    ],
)
def test_who_can_have_another_blamed_is_found_with_a_line_that_shows_it(regex, severity):
    host = next(one for one in found(regex) if one.kind == "host")
    pattern = Pattern(regex)

    assert severity == host.severity
    assert VICTIM == id_of(pattern.fields(pattern.search(host.example))).text


def test_a_prefregex_is_looked_at_too_and_its_literal_is_one_of_each_failregex():
    prefix = r"^service: <F-CONTENT>.+</F-CONTENT>$"

    assert [] == found(r"^\S+ <ADDR>$", prefregex=prefix)
    assert [-1] == [one.rule for one in found(r"^\S+ <ADDR>$", prefregex=prefix.removeprefix("^"))]


def test_a_finding_names_its_rule_and_what_to_do():
    (only,) = found(r"^refused <ADDR>$", r"refused login from <ADDR>$")

    assert 1 == only.rule
    assert "^" in only.advice


# Each was looked at: what is found there does no harm, for the reason told.
ACCEPTED = {
    # JSON escapes the quotes of what a client writes
    "nextcloud": {"host"},
    # a look-ahead that takes time with the square of the length of one line, which is bounded
    "3proxy": {"adjacent repeats"},
    # syslog writes a host name first; only without it could a referrer take its place
    "drupal-auth": {"host"},
}


@pytest.mark.parametrize("name", STOCK)
def test_the_stock_filters_have_no_fault_beyond_those_accepted(name):
    faults = {one.kind for one in findings(conf_of(name)) if one.severity != NOTE}

    assert faults <= ACCEPTED.get(name, set())


# -- fail2ban-regex --lint -----------------------------------------------------------------------------


def lint(tmp_path, *words, text=""):
    folder = tmp_path / "filter.d"
    folder.mkdir(exist_ok=True)
    if text:
        (folder / "door.conf").write_text(text)
    command = [sys.executable, ROOT / "fail2ban-regex", "-c", tmp_path, "--lint", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_fail2ban_regex_tells_where_what_and_what_to_do(tmp_path):
    text = "[Definition]\nfailregex = ^good <ADDR>$\n  bad (?:a+)+ from <ADDR>$\n"
    done = lint(tmp_path, "door", text=text)

    assert f"{tmp_path}/filter.d/door.conf:2: failregex 2: error: a repeat inside" in done.stdout
    assert "failregex 2: warning: it is not tied to the start" in done.stdout
    assert "failregex 1" not in done.stdout
    assert 1 == done.returncode


def test_without_a_name_all_filters_are_looked_at(tmp_path):
    done = lint(tmp_path, text="[Definition]\nfailregex = ^refused login from <ADDR>$\n")

    assert (0, "1 filter, nothing found\n") == (done.returncode, done.stdout)


def test_notes_are_no_failure(tmp_path):
    done = lint(tmp_path, "door", text="[Definition]\nfailregex = ^refused login from <ADDR>\n")

    assert "failregex 1: note: it is not tied to the end" in done.stdout
    assert 0 == done.returncode


def test_a_filter_that_is_none_is_said(tmp_path):
    done = lint(tmp_path, "nosuch", "door", text="[Definition]\nfailregex = ^a (<ADDR>$\n")

    assert 1 == done.returncode
    assert "nosuch" in done.stdout and "Unable to compile regular expression" in done.stdout
