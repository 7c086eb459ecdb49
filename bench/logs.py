# SPDX-License-Identifier: GPL-2.0-or-later
"""Logs as real services write them, made up from a seed: the same seed, the same lines."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HOSTS = 5000  # addresses that fail

_USERS = ("root", "admin", "test", "oracle", "postgres", "git", "ubuntu", "pi", "deploy", "backup")
_PATHS = ("/", "/index.html", "/blog/2026/a-title", "/static/app.js", "/img/logo.png", "/api/items")
_PROBES = ("/wp-login.php", "/phpMyAdmin/index.php", "/cgi-bin/test.cgi", "/admin/phpmyadmin/")


def address(number: int) -> str:
    """One of the addresses that fail: most of them IPv4, each seventh IPv6."""
    if number % 7 == 0:
        return f"2001:db8:{number % 61:x}::{number + 1:x}"
    return f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"


def auth_log(chance: random.Random, is_failure: bool, number: int) -> str:
    """A line of sshd and its neighbours, as syslog has it; without the date."""
    if is_failure:
        host, port = address(chance.randrange(HOSTS)), chance.randrange(1024, 65536)
        return (
            f"web sshd[{1_000_000 + number % 3_000_000}]: Failed password for "
            f"{chance.choice(_USERS)} from {host} port {port} ssh2"
        )
    pid, user = chance.randrange(300, 900_000), chance.choice(_USERS)
    return chance.choice(
        (
            f"web CRON[{pid}]: pam_unix(cron:session): session opened for user {user}(uid=0) by (uid=0)",
            f"web sshd[{pid}]: Accepted publickey for {user} from 10.0.0.7 port 50022 ssh2: ED25519 SHA256:x",
            f"web sshd[{pid}]: pam_unix(sshd:session): session closed for user {user}",
            f"web sudo[{pid}]: {user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/id",
            f"web systemd[1]: Started Session {number} of User {user}.",
            f"web kernel: [{number}.123456] eth0: link becomes ready",
        )
    )


def access_log(chance: random.Random, is_failure: bool, number: int) -> str:
    """A line of nginx's combined access log; the date stands in its brackets."""
    host = address(chance.randrange(HOSTS))
    path = chance.choice(_PROBES if is_failure else _PATHS)
    status = 404 if is_failure else 200
    return f'{host} - - [%s] "GET {path} HTTP/1.1" {status} {number % 5000} "-" "Mozilla/5.0"'


def app_log(chance: random.Random, is_failure: bool, number: int) -> str:
    """A line of an application's log with ISO 8601 dates; without the date."""
    if is_failure:
        host = address(chance.randrange(HOSTS))
        return f"WARN  [http-{number % 32}] c.e.AuthService - login failed user={number % 97} ip={host} reason=password"
    return f"INFO  [http-{number % 32}] c.e.OrderService - order {number} took {number % 700} ms"


KINDS: dict[str, Callable[[random.Random, bool, int], str]] = {
    "auth": auth_log,
    "access": access_log,
    "app": app_log,
}


def _dated(kind: str, text: str, moment: float) -> str:
    match kind:
        case "auth":
            return time.strftime("%b %e %H:%M:%S ", time.gmtime(moment)) + text
        case "access":
            return text % time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(moment))
        case _:
            return time.strftime("%Y-%m-%dT%H:%M:%S.123+0000 ", time.gmtime(moment)) + text


def lines(
    kind: str, count: int, share: float, seed: int = 1, end: float | None = None
) -> Iterator[str]:
    """`count` lines of which `share` (0 to 1) are failures, the last one always; 10 minutes of log."""
    chance = random.Random(f"{kind} {count} {share} {seed}")
    begin = (time.time() if end is None else end) - 600
    for number in range(count):
        is_failure = number == count - 1 or chance.random() < share
        text = KINDS[kind](chance, is_failure, number)
        yield _dated(kind, text, begin + 600 * number / count) + "\n"


def write(path: Path, kind: str, count: int, share: float, seed: int = 1) -> int:
    """Write such a log; return how many failures it has."""
    marks = {"auth": "Failed password", "access": '" 404 ', "app": "login failed"}
    failures = 0
    with path.open("w") as log:
        for line in lines(kind, count, share, seed):
            failures += marks[kind] in line
            log.write(line)
    return failures
