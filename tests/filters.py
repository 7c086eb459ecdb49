# SPDX-License-Identifier: GPL-2.0-or-later
"""The words for tests of filters: a stock filter, lines, and what came of them."""

from __future__ import annotations

import ipaddress
import json
import os
import time
from contextlib import contextmanager
from functools import cache

from client import stream
from common.options import JailConf
from server.filter import Filter
from tests.support import ROOT

CONFIG = ROOT / "config"
LOGS = ROOT / "tests" / "logs"


@cache
def conf_of(name, options=(), uses_now=False):
    """The part of a jail's configuration that the stock filter `name` with `options` makes."""
    arguments = ",".join(f'{key}="{value}"' for key, value in options)
    text = f"{name}[{arguments}]" if arguments else name
    filter_conf = stream.read_one_filter(CONFIG, text)
    assert not filter_conf.problems, filter_conf.problems
    given = {key: value.text for key, value in filter_conf.options.items()}
    return JailConf(
        name=name,
        prefregex=given.get("prefregex", ""),
        failregex=rows(given.get("failregex", "")),
        ignoreregex=rows(given.get("ignoreregex", "")),
        max_lines=int(given.get("maxlines", 1)),
        date_pattern="{NONE}" if uses_now else given.get("datepattern") or None,
        log_encoding="utf-8",
    )


def stock(name, uses_now=False, **options):
    """A new instance of the stock filter `name`."""
    return Filter(conf_of(name, tuple(sorted(options.items())), uses_now))


def a_filter(*failregex, **options):
    """A filter that has just these failregexes; `{NONE}` unless another datepattern is given."""
    options.setdefault("date_pattern", "{NONE}")
    return Filter(JailConf(name="test", failregex=failregex, **options))


def rows(text):
    """The lines of a list in a configuration file."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def same_host(one, other):
    """Whether two ids are the same; addresses are compared by value."""
    return _value(one) == _value(other)


def _value(text):
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return getattr(address, "ipv4_mapped", None) or address


@contextmanager
def zone(posix):
    """Let the process live in the time zone `posix`."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = posix
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def own_samples(name):
    """Our own sample lines for the filter `name`: (line number, annotation, log line).

    In tests/logs/NAME a log line follows the line `# {...}` that says in JSON what it means:
    `host` (missing: no failure), `options` of the filter, `user`, `is_injection`, `is_journal`,
    `after`, lines that the same instance has read before, `field`, what else than the user the client
    chose, and `without`, characters that the service never writes there.
    """
    about = None
    for number, line in enumerate((LOGS / name).read_text("utf-8").splitlines(), 1):
        if line.startswith("# {"):
            about = json.loads(line[2:])
        elif about is not None and line:
            yield number, about, line
            about = None
