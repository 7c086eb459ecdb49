# SPDX-License-Identifier: GPL-2.0-or-later
"""Logs as real services write them, made up from a seed: the same seed, the same lines.

Each line that fails is one failure for the stock filter of its kind, whatever came before it: each
has a process id of its own, which no other line bears.  The last line always fails, so that who
has found all failures has read all lines.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random

HOSTS = 5000  # addresses that fail
SPAN = 600.0  # seconds of log
_BATCH = 4096

# What nineteen more jails look for on a web server; none of it concerns nginx-botsearch.
OTHER_PROBES = tuple(
    """
    autodiscover owa ecp telerik struts console jsonws geoserver nacos druid seeyon weaver
    zabbix confluence jenkins hudson sonar portainer nexus
    """.split()
)

_TRIED = "root admin test oracle postgres git ubuntu pi deploy backup ftp user mysql nagios".split()
_PEOPLE = "anna ben clara deploy backup".split()
_FIRST_OWN_PID = 1_000_000  # process ids of lines that do not fail are below

Writer = Callable[[Random, int], str]


def address(number: int) -> str:
    """One of the addresses that fail: most of them IPv4, each seventh IPv6."""
    if number % 7 == 0:
        return f"2001:db8:{number % 61 + 1:x}::{number + 1:x}"
    return f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"


def _visitor(chance: Random) -> str:
    number = int(chance.random() * 500)
    return f"2001:db8:ff::{number + 1:x}" if number % 7 == 0 else f"203.0.113.{number % 254 + 1}"


def _one(chance: Random, words: tuple[str, ...] | list[str]) -> str:
    return words[int(chance.random() * len(words))]


def _up_to(chance: Random, limit: int) -> int:
    return int(chance.random() * limit)


def _port(chance: Random) -> int:
    return 1024 + int(chance.random() * 64000)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Lines of several sorts, each as often as its weight says."""

    writers: tuple[Writer, ...]
    bounds: tuple[
        float, ...
    ]  # below which number, drawn from 0 to 1, it is whose turn; not the last

    @classmethod
    def of(cls, *parts: tuple[int, Writer]) -> Mixture:
        *sums, whole = accumulate(weight for weight, _ in parts)
        return cls(tuple(writer for _, writer in parts), tuple(each / whole for each in sums))

    def line(self, chance: Random, number: int) -> str:
        return self.writers[bisect(self.bounds, chance.random())](chance, number)


def _pid(chance: Random) -> int:
    return 300 + _up_to(chance, _FIRST_OWN_PID - 300)


# What stands in an auth.log beside failures: cron, logins that succeed and end, scans that give
# up, logind, sudo, systemd, and the kernel's firewall.
AUTH_BENIGN = Mixture.of(
    (13, lambda c, n: f"CRON[{_pid(c)}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"),
    (13, lambda c, n: f"CRON[{_pid(c)}]: pam_unix(cron:session): session closed for user root"),
    (9, lambda c, n: f"sshd[{_pid(c)}]: Accepted publickey for {_one(c, _PEOPLE)} from {_visitor(c)} port {_port(c)} ssh2: ED25519 SHA256:bq7kXo2vH0yQ4mJt1sW8dUeZrG5nCfLp3aTiYxK9RwE"),
    (9, lambda c, n: f"sshd[{_pid(c)}]: pam_unix(sshd:session): session opened for user {_one(c, _PEOPLE)}(uid=1001) by (uid=0)"),
    (7, lambda c, n: f"sshd[{_pid(c)}]: Received disconnect from {_visitor(c)} port {_port(c)}:11: disconnected by user"),
    (7, lambda c, n: f"sshd[{_pid(c)}]: Disconnected from user {_one(c, _PEOPLE)} {_visitor(c)} port {_port(c)}"),
    (7, lambda c, n: f"sshd[{_pid(c)}]: pam_unix(sshd:session): session closed for user {_one(c, _PEOPLE)}"),
    (4, lambda c, n: f"sshd[{_pid(c)}]: Connection closed by {_visitor(c)} port {_port(c)} [preauth]"),
    (5, lambda c, n: f"systemd-logind[641]: New session {n} of user {_one(c, _PEOPLE)}."),
    (4, lambda c, n: f"systemd-logind[641]: Session {n} logged out. Waiting for processes to exit."),
    (4, lambda c, n: f"systemd-logind[641]: Removed session {n}."),
    (4, lambda c, n: f"systemd[1]: Started session-{n}.scope - Session {n} of User {_one(c, _PEOPLE)}."),
    (4, lambda c, n: f"sudo:     anna : TTY=pts/{_up_to(c, 9)} ; PWD=/home/anna ; USER=root ; COMMAND=/usr/bin/systemctl reload nginx"),
    (2, lambda c, n: "sudo: pam_unix(sudo:session): session opened for user root(uid=0) by anna(uid=1001)"),
    (2, lambda c, n: "sudo: pam_unix(sudo:session): session closed for user root"),
    (6, lambda c, n: f"kernel: [{n}.{_up_to(c, 10**6):06d}] [UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:12:34:56:52:54:00:65:43:21:08:00 SRC={_visitor(c)} DST=192.0.2.1 LEN=44 TOS=0x00 PREC=0x00 TTL=240 ID={_up_to(c, 65536)} PROTO=TCP SPT={_port(c)} DPT={_up_to(c, 1024)} WINDOW=1024 RES=0x00 SYN URGP=0"),
)  # fmt: skip


def _culprit(chance: Random) -> str:
    return address(int(chance.random() * HOSTS))


def _own_pid(number: int) -> int:
    return _FIRST_OWN_PID + number % 3_000_000  # the kernel's own limit is 2**22


AUTH_FAILING = Mixture.of(
    (45, lambda c, n: f"sshd[{_own_pid(n)}]: Failed password for root from {_culprit(c)} port {_port(c)} ssh2"),
    (30, lambda c, n: f"sshd[{_own_pid(n)}]: Failed password for invalid user {_one(c, _TRIED)} from {_culprit(c)} port {_port(c)} ssh2"),
    (15, lambda c, n: f"sshd[{_own_pid(n)}]: Invalid user {_one(c, _TRIED)} from {_culprit(c)} port {_port(c)}"),
    (5, lambda c, n: f"sshd[{_own_pid(n)}]: User {_one(c, _TRIED)} from {_culprit(c)} not allowed because not listed in AllowUsers"),
    (5, lambda c, n: f"sshd[{_own_pid(n)}]: error: maximum authentication attempts exceeded for root from {_culprit(c)} port {_port(c)} ssh2 [preauth]"),
)  # fmt: skip

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
)
_PAGES = ("/", "/index.html", "/blog/2026/a-title", "/static/app.3f2a.js", "/img/logo.png", "/api/items?page=2", "/search?q=shoes")  # fmt: skip
_MISSING = ("/favicon.ico", "/robots.txt", "/apple-touch-icon.png", "/blog/2019/moved", "/img/old.gif")  # fmt: skip
_PROBES = ("/wp-login.php", "/phpMyAdmin/index.php", "/cgi-bin/luci", "/roundcube/index.php", "/pma/", "/.env", "/xmlrpc.php", "/shop/phpmyadmin/")  # fmt: skip
_LATER = "\0"  # where the date comes


def _request(chance: Random, host: str, path: str, status: int, referrer: str = "-") -> str:
    method = "POST" if chance.random() < 0.1 else "GET"
    size = 0 if status == 304 else 150 + _up_to(chance, 40_000)
    return f'{host} - - [{_LATER}] "{method} {path} HTTP/1.1" {status} {size} "{referrer}" "{_one(chance, _AGENTS)}"'


ACCESS_BENIGN = Mixture.of(
    (60, lambda c, n: _request(c, _visitor(c), _one(c, _PAGES), 200, "https://www.example.com/")),
    (14, lambda c, n: _request(c, _visitor(c), f"/products/{_up_to(c, 10**5)}", 200)),
    (10, lambda c, n: _request(c, _visitor(c), _one(c, _PAGES), 304)),
    (5, lambda c, n: _request(c, _visitor(c), "/shop", 301)),
    (9, lambda c, n: _request(c, _visitor(c), _one(c, _MISSING), 404)),
    (2, lambda c, n: _request(c, _visitor(c), "/api/cart", 500)),
)
ACCESS_FAILING = Mixture.of((1, lambda c, n: _request(c, _culprit(c), _one(c, _PROBES), 404)))


def _other_probe(chance: Random, number: int) -> str:
    return _request(chance, _culprit(chance), f"/{_one(chance, OTHER_PROBES)}/x{number}", 404)


# A tenth as many probes of other sorts as there are for nginx-botsearch, if those are 1 %.
ACCESS_BUSY = Mixture.of((999, ACCESS_BENIGN.line), (1, _other_probe))

APP_BENIGN = Mixture.of(
    (3, lambda c, n: f"INFO  [http-{_up_to(c, 64)}] c.e.shop.AuthService - login succeeded user={_one(c, _PEOPLE)} ip={_visitor(c)} session={c.getrandbits(64):016x} took={_up_to(c, 900)}ms"),
    (3, lambda c, n: f"INFO  [http-{_up_to(c, 64)}] c.e.shop.OrderService - order {n} of customer {_up_to(c, 10**5)} accepted, {_up_to(c, 9)} items"),
    (2, lambda c, n: f"DEBUG [pool-2-thread-{_up_to(c, 16)}] c.e.shop.db.Pool - connection {n} given back, active={_up_to(c, 50)} idle={_up_to(c, 50)}"),
    (1, lambda c, n: f"WARN  [scheduler-{_up_to(c, 4)}] c.e.shop.Jobs - reindex took {500 + _up_to(c, 5000)} ms, more than 500"),
)  # fmt: skip
APP_FAILING = Mixture.of(
    (1, lambda c, n: f"WARN  [http-{_up_to(c, 64)}] c.e.shop.AuthService - login failed user={_one(c, _TRIED)} ip={_culprit(c)} reason=password"),
)  # fmt: skip


@lru_cache(maxsize=1)  # the next line most often has the same second
def _second(second: int, style: str) -> str:
    return time.strftime(style, time.gmtime(second))


def _syslog_line(text: str, moment: float) -> str:
    return f"{_second(int(moment), '%b %e %H:%M:%S')} web {text}"


def _access_line(text: str, moment: float) -> str:
    return text.replace(_LATER, _second(int(moment), "%d/%b/%Y:%H:%M:%S +0000"), 1)


def _app_line(text: str, moment: float) -> str:
    second = _second(int(moment), "%Y-%m-%dT%H:%M:%S")
    return f"{second}.{int(moment % 1 * 1000):03d}Z {text}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of log: its lines that are nobody's fault, those that are, and its dates."""

    benign: Mixture
    failing: Mixture
    dated: Callable[[str, float], str]


KINDS = {
    "auth": Kind(AUTH_BENIGN, AUTH_FAILING, _syslog_line),
    "access": Kind(ACCESS_BENIGN, ACCESS_FAILING, _access_line),
    "busy-access": Kind(ACCESS_BUSY, ACCESS_FAILING, _access_line),
    "app": Kind(APP_BENIGN, APP_FAILING, _app_line),
}


@dataclass(frozen=True, slots=True)
class Log:
    """A log that was written: how many lines, how many that fail; of the other probes, how many."""

    path: Path
    lines: int
    failures: int
    others: Counter[str]


def lines(
    kind: str, count: int, share: float, seed: int = 1, end: float | None = None
) -> Iterator[tuple[str, bool]]:
    """`count` lines, of which `share` (0 to 1) fail, each with whether it does; 10 minutes of log."""
    sort, chance = KINDS[kind], Random(f"{kind} {count} {share} {seed}")
    begin = (time.time() if end is None else end) - SPAN
    for number in range(count):
        is_failure = number == count - 1 or chance.random() < share
        mixture = sort.failing if is_failure else sort.benign
        moment = begin + SPAN * number / count
        yield sort.dated(mixture.line(chance, number), moment) + "\n", is_failure


def write(path: Path, kind: str, count: int, share: float, seed: int = 1) -> Log:
    """Write such a log to `path`."""
    failures, others = 0, Counter[str]()
    marks = [(f" /{word}/x", word) for word in OTHER_PROBES] if kind == "busy-access" else []
    batch: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for line, is_failure in lines(kind, count, share, seed):
            failures += is_failure
            others.update(word for mark, word in marks if mark in line)
            batch.append(line)
            if len(batch) == _BATCH:
                file.write("".join(batch))
                batch.clear()
        file.write("".join(batch))
    return Log(path, count, failures, others)
