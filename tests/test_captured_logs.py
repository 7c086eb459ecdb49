# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole logs that daemons wrote while they were attacked: who is blamed, and who is not.

tests/captured-logs/README.md says what is in them and which lines tell of a failure.  Several of
these may belong to one attempt; sshd's `Failed password` and what PAM says of it are the example.
"""

from __future__ import annotations

import re
from calendar import timegm
from functools import cache

import pytest

from server.filter import Filter
from server.records import JournalBlock, LogBlock, Position
from tests.filters import conf_of
from tests.support import ROOT

CAPTURED = ROOT / "tests" / "captured-logs"
AFTER = timegm((2026, 11, 22, 12, 0, 0))
NEVER_CONNECTED = "192.0.2.199"
LEGITIMATE = {"192.0.2.202", "2001:db8:2::2"}

# File, filter, its options.
LOGS = [
    ("sshd.log", "sshd", {}),
    ("sshd.log", "sshd", {"mode": "aggressive"}),
    ("sshd-traditional-dates.log", "sshd", {}),
    ("sshd-traditional-dates.log", "sshd", {"mode": "aggressive"}),
    ("sshd-journal-short-iso.log", "sshd", {}),
    ("sshd-journal-export.log", "sshd", {"logtype": "journal"}),
    ("vsftpd.log", "vsftpd", {}),
    ("apache-auth.log", "apache-auth", {}),
    ("nginx-http-auth.log", "nginx-http-auth", {}),
    ("postfix.log", "postfix", {"mode": "auth"}),
    ("exim4.log", "exim", {}),
    ("dovecot.log", "dovecot", {}),
    ("proftpd.log", "proftpd", {}),
    ("mariadb.log", "mysqld-auth", {}),
    ("mariadb.log", "mariadb", {}),
    ("named-refused.log", "named-refused", {}),
]

# Where the daemon writes the address, if not behind whatever name was made up.
PLACES = {
    "proftpd": r".*? proftpd\[\d+\] 127\.0\.1\.1 \((?:\S+?)\[(.+?)\]\): USER ",
    "named-refused": r".*? client @0x\w+ (.+?)#\d+ \(",
    "mysqld-auth": r".*'@'(.+?)'(?: \(using password: YES\))?$",
    "apache-auth": r".*?\[client (.+?):\d+\]",
    "nginx-http-auth": r".*? user \"[^:]*\"(?:: password mismatch| was not found in [^,]*), client: (.+?), server: ",
    "postfix": r".*?: warning: unknown\[(.+?)\]: SASL ",
    "exim": r".*? failed for \(client\.example\.com\) \[(.+?)\]: 535 ",
    "dovecot": r".*, rip=(.+?), lip=",
}

# What only says once more what another line of the connection was counted for, or (`publickey`,
# `Connection closed`) is none in mode normal.
ONLY_HELPS = re.compile(
    r"pam_unix\(sshd:auth\): authentication failure;|PAM \d more authentication failure"
    r"|PAM service\(sshd\) ignoring max retries|Disconnecting \w+ user .* Too many"
    r"|Connection (closed|reset) by|Unable to negotiate|kex_exchange|banner exchange"
)
# In mode aggressive all lines of a connection that end it count.
ALSO_HELPS_THEN = re.compile(
    r"pam_unix\(sshd:auth\): authentication failure;|PAM \d more authentication failure"
    r"|PAM service\(sshd\) ignoring max retries|Disconnecting \w+ user .* Too many"
    r"|kex_exchange|Connection (closed|reset) by [\d.]+ port \d+$"
)


@cache
def read(name):
    """(line number, moment or None, text) of each line or entry of a log."""
    lines = (CAPTURED / name).read_text("utf-8").splitlines()
    if not name.endswith("-export.log"):
        return [(number, None, line) for number, line in enumerate(lines, 1)]
    found, entry = [], {}
    for number, line in enumerate([*lines, ""], 1):
        if line:
            key, _, value = line.partition("=")
            entry[key] = value
            if key == "MESSAGE":
                entry["number"] = number
        elif entry:
            text = f"{entry['_HOSTNAME']} {entry['SYSLOG_IDENTIFIER']}[{entry['SYSLOG_PID']}]: "
            when = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            found.append((entry["number"], when, text + entry["MESSAGE"]))
            entry = {}
    return found


@cache
def told_of(name):
    """The numbers of the lines that tell of a failure, and of a login, by the README."""
    text = (CAPTURED / "README.md").read_text("utf-8")
    part = text.split(f"**{name}**", 1)[1].split("\n**", 1)[0]
    return [
        numbers(found[1]) if (found := re.search(rf"^{what}: ([\d, -]+)\.$", part, re.M)) else set()
        for what in ("Failure lines", "Successful logins")
    ]


def numbers(text):
    """`3-5, 9` are 3, 4, 5 and 9."""
    pairs = [each.split("-") for each in text.split(", ")]
    return {number for pair in pairs for number in range(int(pair[0]), int(pair[-1]) + 1)}


def failures(name, filter_name, options):
    """What failed, by the number of the line that made it known."""
    filter = Filter(conf_of(filter_name, tuple(sorted(options.items()))))
    found = {}
    for number, when, line in read(name):
        failure = filter.judge(line, AFTER, when).failure
        if failure is not None:
            found[number] = failure
    return found


@pytest.mark.parametrize(("name", "filter", "options"), LOGS)
def test_only_lines_that_tell_of_a_failure_count(name, filter, options):
    told, logins = told_of(name)
    found = set(failures(name, filter, options))

    assert found
    assert not found & logins
    # The address of a refused handshake stands in the line after it.
    texts = {number: text for number, _, text in read(name)}
    stray = {number for number in found - told if "Connection " not in texts[number]}
    assert not stray, [texts[number] for number in stray]


@pytest.mark.parametrize(("name", "filter", "options"), LOGS)
def test_every_line_that_tells_of_a_failure_counts_or_helps(name, filter, options):
    told, _ = told_of(name)
    found = set(failures(name, filter, options))
    helps = ALSO_HELPS_THEN if options.get("mode") == "aggressive" else ONLY_HELPS
    left = [text for number, _, text in read(name) if number in told - found]

    assert [] == [text for text in left if not helps.search(text)]


@pytest.mark.parametrize(("name", "filter", "options"), LOGS)
def test_nobody_is_blamed_who_did_nothing(name, filter, options):
    blamed = [failure.host for failure in failures(name, filter, options).values()]

    assert NEVER_CONNECTED not in blamed
    assert not [host for host in blamed if host.startswith("192.0.2.1") and len(host) < 10]
    mistakes = sum(host in LEGITIMATE for host in blamed)
    # With a password mistyped and the connection given up, mode aggressive sees two.
    assert mistakes <= (2 if options.get("mode") == "aggressive" else 1)


@pytest.mark.parametrize(("name", "filter", "options"), LOGS)
def test_the_blamed_address_is_where_the_daemon_writes_it(name, filter, options):
    """Behind whatever name was made up, or before it."""
    for failure in failures(name, filter, options).values():
        line = failure.lines[-1]
        if filter in PLACES:
            assert re.match(PLACES[filter], line)[1] == failure.host
        elif " user " in line or "FAIL LOGIN" in line:
            assert re.findall(r"192\.0\.2\.\d+|2001:db8:\d::\w+", line)[-1] == failure.host


def test_every_attacker_is_blamed():
    attackers = {
        "sshd.log": {f"192.0.2.{n}" for n in range(21, 67) if n != 29 and n != 42} | {"2001:db8:1::c"},
        "sshd-traditional-dates.log": {"192.0.2.11", "2001:db8:1::b"},
        "sshd-journal-short-iso.log": {"192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14", "2001:db8:1::b"},
        "sshd-journal-export.log": {"192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14", "2001:db8:1::b"},
        "vsftpd.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 36)},
        "apache-auth.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 44)},
        "nginx-http-auth.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 44)},
        "postfix.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 36)},
        "exim4.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 36)},
        "dovecot.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 36)},
        "proftpd.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 36)},
        "mariadb.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 36)},
        "named-refused.log": {"192.0.2.11", "2001:db8:1::c"} | {f"192.0.2.{n}" for n in range(20, 36)},
    }  # fmt: skip
    for name, wanted in attackers.items():
        options = {"mode": "aggressive"} if name.startswith("sshd") else {}
        if name == "postfix.log":
            options["mode"] = "auth"
        if "export" in name:
            options["logtype"] = "journal"
        filter = next(filter for log, filter, _ in LOGS if log == name)
        blamed = {failure.host for failure in failures(name, filter, options).values()}

        assert wanted - blamed == set(), name
        assert blamed - wanted <= LEGITIMATE, name


def test_the_journal_and_its_text_tell_the_same():
    """sshd-journal-short-iso.log and sshd-journal-export.log are the same entries."""
    text = failures("sshd-journal-short-iso.log", "sshd", {}).values()
    entries = failures("sshd-journal-export.log", "sshd", {"logtype": "journal"}).values()

    assert [each.host for each in text] == [each.host for each in entries]
    # syslog(3) took the second before the journal had the entry.
    assert all(0 <= b.when - a.when < 2 for a, b in zip(text, entries, strict=True))


@pytest.mark.parametrize(("name", "filter", "options"), LOGS)
def test_a_block_gives_what_its_lines_give(name, filter, options):
    one_by_one = list(failures(name, filter, options).values())
    if name.endswith("-export.log"):
        block = JournalBlock("systemd", tuple((when, text) for _, when, text in read(name)), "")
    else:
        data = (CAPTURED / name).read_bytes()
        block = LogBlock(name, data, Position(1, 2, 0), Position(1, 2, len(data)))
    at_once = Filter(conf_of(filter, tuple(sorted(options.items())))).failures(block, AFTER)

    assert [(each.host, each.when, each.lines) for each in at_once] == [
        (each.host, each.when, each.lines) for each in one_by_one
    ]
    if isinstance(block, LogBlock):
        for each in at_once:
            rest = block.data[each.offset :].decode("utf-8")
            assert rest.startswith(each.lines[-1] + "\n")
