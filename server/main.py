# SPDX-License-Identifier: GPL-2.0-or-later
"""The server as a program: put together, run until somebody stops it, taken apart.

The only module of the server that knows them all.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from common.errors import CommandError, Fail2banError
from common.logs import Log
from common.options import DAEMON_OPTIONS, DaemonConf
from common.version import VERSION
from server.control import Control
from server.daemon import PidFile, detached
from server.reader import LogReader
from server.resolver import Resolver
from server.server import Backend, Server
from server.shell import run as run_command
from server.store import Store
from server.transmitter import Transmitter
from server.worker import World

log = logging.getLogger("fail2ban.server")

# Until a configuration says otherwise.  With these `fail2ban-server -f` prints nothing.
_AT_FIRST = DaemonConf(log_level="NOTICE")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says; None where it says nothing."""

    socket: str
    pidfile: str | None = None
    is_foreground: bool = True
    is_forced: bool = False
    loglevel: str | None = None
    logtarget: str | None = None
    syslogsocket: str | None = None
    dbfile: str | None = None


def run(settings: Settings, stream: Sequence[Any] = ()) -> int:
    """Run the server until it is stopped; the exit status, 255 where it could not start.

    `stream` are the commands to begin with.
    """
    ...
