# SPDX-License-Identifier: GPL-2.0-or-later
"""What pytest needs to run the tests in several processes."""

from __future__ import annotations

import pytest


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
