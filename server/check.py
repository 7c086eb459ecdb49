# SPDX-License-Identifier: GPL-2.0-or-later
"""`fail2ban-server --check`: what the server has to say of a configuration, without being started.

A stream of commands comes in as JSON, the findings go out as JSON; `fail2ban-client -t` asks so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
from dataclasses import asdict

from server.inspection import inspect
from server.plugins import check
from server.shell import base_environment


def main() -> int:
    """Read the stream, print the findings; 0, whatever they are."""
    stream = json.load(sys.stdin)
    logging.getLogger("fail2ban").addHandler(logging.NullHandler())  # findings say it all
    path = base_environment()["PATH"]
    with contextlib.redirect_stdout(sys.stderr):  # code of others may print
        findings = inspect(stream, lambda name: shutil.which(name, path=path) is not None, check)
    json.dump([asdict(finding) for finding in findings], sys.stdout)
    return 0
