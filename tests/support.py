# SPDX-License-Identifier: GPL-2.0-or-later
"""The words that tests are written in."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
IS_CI = os.environ.get("CI") == "true"
# How many times as many examples some tests try; `make soak` asks for more.
THOROUGH = int(os.environ.get("THOROUGH", "1"))


def need(path):
    """`path`, if it is there; else the test is skipped, or fails where nothing may be skipped."""
    if not Path(path).exists():
        unavailable(f"{path} is not here")
    return Path(path)


def unavailable(reason):
    """Skip the running test for `reason`; in CI a skipped test is a failure."""
    if IS_CI:
        pytest.fail(reason)
    pytest.skip(reason)


# How much longer all takes where other programs keep the machine busy.
BUSY = 5


def eventually(condition, seconds=10.0, what="it"):
    """Wait until `condition()` is true and return that; fail after `seconds`, or more where all is slow."""
    deadline = time.monotonic() + BUSY * seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {BUSY * seconds} s"
        time.sleep(0.01)
    return answer


@contextmanager
def at_home_in(zone):
    """This process in another time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


# -- the words of the core -------------------------------------------------------------------------

EVE = "192.0.2.66"
BOB = "2001:db8::b0b"
NOON = 1_800_000_000.0


def a_jail(**options):
    """A jail named ssh; failures and moments count from `NOON`."""
    from common.options import JailConf
    from server.jail import Jail

    help = options.pop("help", None)
    return Jail(JailConf("ssh", is_started=True, **options), help)


def failures(host, at, **more):
    """Failures of `host`, so many seconds after `NOON`."""
    from server.records import Failure

    return [Failure(host, NOON + second, (f"{host} failed at {second}",), **more) for second in at]


def after(jail, happened):
    """The orders that `jail` gives while `happened`, each failure judged when it happens."""
    from server.records import Enforce, Lift, Prolong

    said = [one for failure in happened for one in jail.on_failure(failure, failure.when)]
    return [one for one in said if isinstance(one, (Enforce, Lift, Prolong))]


def a_configuration(tmp_path):
    """A configuration directory with one jail, `door`, that is right; its socket is in `tmp_path`."""
    directory = tmp_path / "conf"
    for name, text in {
        "fail2ban.conf": f"[Definition]\nlogtarget = STDERR\nsocket = {tmp_path}/f2b.sock\n",
        "jail.conf": "[door]\nenabled = true\nfilter = door\naction = wall\nlogpath = /dev/null\n",
        "filter.d/door.conf": "[Definition]\nfailregex = ^knock refused for <HOST>$\n",
        "action.d/wall.conf": "[Definition]\nactionban = wall add <ip>\n",
    }.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return directory
