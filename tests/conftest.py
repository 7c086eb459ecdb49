# SPDX-License-Identifier: GPL-2.0-or-later
"""What is needed to run the tests in several processes, and in any order."""

from __future__ import annotations

import logging
import signal

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or to think it up, says nothing where other programs run, too.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

# Where the tests run in the background of a shell, an interrupt is ignored, by what they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def our_logger():
    """What a test makes of our logger is undone: nobody knows which one comes after it."""
    ours = logging.getLogger("fail2ban")
    before = ours.level, ours.propagate, list(ours.handlers)
    yield
    level, ours.propagate, ours.handlers = before
    ours.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """What a test has logged may be no Unicode, and such text does not go from one process to the other."""
    return _printable((yield))


def _printable(value):
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_printable, value))
    return value
