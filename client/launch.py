# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be known and done before there is a server: places, configuration, a new process.

Used by fail2ban-client to start the server, and by fail2ban-server to start itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from common import units
from common.cli import Choices
from common.errors import CommandError, ConfigError
from common.paths import Places, places

if TYPE_CHECKING:
    from client.stream import DaemonSettings, Reading

FAILED = 255
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
SERVER = "fail2ban-server"
CHECK = "--check"  # what makes it look at a configuration and end; not for people
_PATIENCE = 30.0  # seconds that a server may take to come up or to end


def say(level: str, text: str) -> None:
    """A line on stderr, in the form of the log's."""
    now = time.time()
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    head = f"{date},{int(now % 1 * 1000):03d} {'fail2ban':<24}[{os.getpid()}]: {level:<7}"
    with contextlib.suppress(OSError):
        print(head, text, file=sys.stderr, flush=True)


def default_places() -> Places:
    """Where things are for this program and this user."""
    return places(ROOT, os.path.isdir, os.geteuid() == 0)


def patience(choices: Choices) -> float:
    """How many seconds to wait for a server; CommandError where --timeout says no time."""
    if choices.timeout is None:
        return _PATIENCE
    try:
        return units.seconds(choices.timeout)
    except ValueError as error:
        raise CommandError(f"--timeout {choices.timeout} {error}") from None


def made_absolute(choices: Choices) -> Choices:
    """`choices` as they hold in any working directory: a daemon's is /."""
    found: dict[str, str] = {}
    for name in ("confdir", "socket", "pidfile"):
        if given := getattr(choices, name):
            found[name] = os.path.abspath(given)
    for name in ("logtarget", "dbfile"):
        if "/" in (given := getattr(choices, name) or ""):
            found[name] = os.path.abspath(given)
    return replace(choices, **found)  # type: ignore[arg-type]


def configuration(choices: Choices, jail: str | None = None) -> Reading:
    """The configuration, or that of one jail; what is wrong with it is said on stderr."""
    from client.stream import read  # a `status` needs none of it

    ours = default_places()
    reading = read(choices.confdir or ours.confdir, jail=jail, auto=ours.auto)
    for problem in reading.problems:
        if problem.level == "error" or choices.verbosity >= 0:
            say(problem.level.upper(), str(problem))
    return reading


def daemon_settings(choices: Choices) -> DaemonSettings:
    """What fail2ban.conf says of the daemon, or the defaults, if it cannot be read."""
    from client.stream import DaemonSettings, read_daemon

    ours = default_places()
    try:
        return read_daemon(choices.confdir or ours.confdir, auto=ours.auto)
    except (ConfigError, OSError) as error:
        say("WARNING", str(error))
        return DaemonSettings(socket=ours.socket, pidfile=ours.pidfile)


def server_command(choices: Choices, *options: str) -> list[str]:
    """How to run the server with what `choices` pass on to it."""
    given = made_absolute(choices)
    words = [sys.executable, _server_script(), *options]
    for name, switch in _PASSED_ON.items():
        if value := getattr(given, name):
            words += [switch, value]
    words += ["-x"] * given.is_forced + ["-v"] * given.verbosity
    return words


_PASSED_ON = {
    "confdir": "-c",
    "socket": "-s",
    "pidfile": "-p",
    "pname": "--pname",
    "loglevel": "--loglevel",
    "logtarget": "--logtarget",
    "syslogsocket": "--syslogsocket",
    "dbfile": "--dbfile",
    "timeout": "--timeout",
}


def _server_script() -> str:
    """The server that came with this client."""
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), SERVER)
    return beside if os.path.exists(beside) else os.path.join(ROOT, SERVER)


def launch(choices: Choices) -> bool:
    """Start a server in the background that waits for its configuration; False if it could not."""
    import subprocess

    command = server_command(choices, "--async", "-b")
    try:
        return subprocess.run(command, timeout=patience(choices), check=False).returncode == 0
    except subprocess.TimeoutExpired:
        say("ERROR", f"The server did not start within {patience(choices):g} s")
    except OSError as error:
        say("ERROR", f"The server cannot be run: {error}")
    return False


def server_check(choices: Choices, commands: Sequence[Any]) -> list[dict[str, str]]:
    """What the server's own code finds wrong with `commands`, without being started."""
    import json
    import subprocess

    try:
        done = subprocess.run(
            [sys.executable, _server_script(), CHECK],
            input=json.dumps(list(commands)),
            capture_output=True,
            text=True,
            timeout=max(patience(choices), _PATIENCE),
            check=False,
        )
        findings: list[dict[str, str]] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        say("WARNING", f"The server could not be asked what it finds wrong: {error}")
        return []
    return findings


def become_server(choices: Choices) -> NoReturn:
    """Go on as a server in the foreground."""
    command = server_command(choices, "-f")
    os.execv(command[0], [*command, "start"])


def is_gone(process: int, seconds: float) -> bool:
    """Whether `process` ends within `seconds`."""
    if process in (0, os.getpid()):  # the kernel shows none from another container
        return True
    until = time.monotonic() + seconds
    while _is_alive(process):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123  (pathlib loads slowly)
            # one that has ended and that nobody has asked about yet is a zombie
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False


# fail2ban-server


@dataclass(frozen=True, slots=True)
class Start:
    """With what to start a server: the fields of its `Settings`, and the commands to begin with."""

    settings: Mapping[str, Any]
    stream: Sequence[Any] = ()


def is_server_start(choices: Choices) -> bool:
    """Whether fail2ban-server shall be a server with `choices`, and not act as the client."""
    if choices.asks_for or choices.dump or choices.is_test or choices.is_interactive:
        return False
    if choices.duration is not None:
        return False
    return choices.words in ((), ("start",))


def prepare(choices: Choices) -> Start | None:
    """What the server starts with; None if the configuration does not allow it.

    Without `start`, or with --async, it begins empty, and a client sends the configuration.
    """
    choices = made_absolute(choices)
    stream: Sequence[Any] = ()
    if choices.is_async or not choices.words:
        daemon = daemon_settings(choices)
    else:
        from client.stream import exit_status

        reading = configuration(choices)
        if exit_status(reading, "dump"):
            return None
        daemon, stream = reading.daemon, reading.sent
    _name_process(choices.pname or SERVER)
    settings = {
        "socket": choices.socket or daemon.socket,
        "pidfile": choices.pidfile or daemon.pidfile,
        "is_foreground": bool(choices.is_foreground),
        "is_forced": choices.is_forced,
        "loglevel": choices.loglevel or _VERBOSE.get(min(choices.verbosity, max(_VERBOSE))),
        "logtarget": choices.logtarget,
        "syslogsocket": choices.syslogsocket,
        "dbfile": choices.dbfile,
    }
    return Start(settings, stream)


# What -vv and more mean for the server.
_VERBOSE = {2: "DEBUG", 3: "TRACEDEBUG", 4: "HEAVYDEBUG"}


def _name_process(name: str) -> None:
    with contextlib.suppress(OSError):  # other systems have no such file
        fd = os.open("/proc/self/comm", os.O_WRONLY)
        try:
            os.write(fd, os.fsencode(name)[:15])
        finally:
            os.close(fd)
