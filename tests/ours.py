# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of the tests that run the whole program: a server of ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from client.connection import Connection
from client.present import present
from common.commands import parse_for_client
from common.errors import Fail2banError
from tests.support import ROOT, eventually

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin"])


def run(*command, check=True, seconds=120, **more):
    """Run `command` to its end; what it printed is in `stdout` and `stderr`, as text."""
    more = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL} | more
    done = subprocess.run([str(word) for word in command], timeout=seconds, **more)
    assert not check or done.returncode == 0, f"{command} gave {done.returncode}: {done.stderr}"
    return done


def ended(process, how=signal.SIGTERM, seconds=60):
    """End `process`, softly if it listens; its exit status."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


DOOR = r"""
[Definition]
failregex = ^\s*door: wrong key by <HOST>\s*$
"""

# What an action does to a firewall, this one writes down.
NOTE = """
[Definition]
actionstart = echo "start <name>" >>"<notes>"
actionstop = echo "stop <name>" >>"<notes>"
actionban = echo "ban <ip>" >>"<notes>"
actionunban = echo "unban <ip>" >>"<notes>"
[Init]
notes = /dev/null
"""

FAIL2BAN_CONF = """
[Definition]
loglevel = INFO
logtarget = {folder}/fail2ban.log
socket = {folder}/f2b.sock
pidfile = {folder}/f2b.pid
dbfile = {folder}/f2b.sqlite3
"""


class Ours:
    """A server of ours with everything of its own in `folder`: configuration, log, socket, database.

    `prefix` is what the server runs under, such as `ip netns exec NAME`.
    """

    def __init__(self, folder, prefix=()):
        self.folder = Path(folder)
        self.prefix = tuple(prefix)
        self.conf = self.folder / "etc"
        self.socket = self.folder / "f2b.sock"
        self.pidfile = self.folder / "f2b.pid"
        self.log = self.folder / "fail2ban.log"
        self.notes = self.folder / "notes"
        self.process = None
        self._printed = []

    def write(self, name, text):
        """Make `name` a file of the configuration."""
        path = self.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def configured(self, jails, stock=None):
        """With `jails` in its jail.local, upon a configuration of its own or the one in `stock`."""
        if stock:
            shutil.copytree(stock, self.conf)
        else:
            self.write("filter.d/door.conf", DOOR)
            self.write("action.d/note.conf", NOTE)
        self.write("fail2ban.local", FAIL2BAN_CONF.format(folder=self.folder))
        if not stock:
            self.write("fail2ban.conf", "[Definition]\n")
            self.write(
                "jail.conf",
                "[DEFAULT]\nfilter = door\nbackend = auto\nmaxretry = 3\n"
                f'action = note[name=%(__name__)s, notes="{self.notes}"]\n',
            )
        self.write("jail.local", jails)
        return self

    def command(self, program, *words):
        """What has to be typed for `words` to be a command of `program` here."""
        here = ("-c", self.conf, "-s", self.socket, "-p", self.pidfile)
        return [str(word) for word in (sys.executable, ROOT / program, *here, *words)]

    def begin(self, *words, **more):
        """Start the server in the foreground, and do not wait."""
        out = self.folder / f"printed-{len(self._printed)}"
        self._printed.append(out)
        with out.open("wb") as printed:
            self.process = subprocess.Popen(
                [*self.prefix, *self.command("fail2ban-server", "-f", *words)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={**os.environ, "PATH": PATH},
                **more,
            )
        return self

    def start(self, *words):
        """Start the server in the foreground, and wait until it is ready."""
        self.begin(*(words or ("start",)))
        eventually(self.is_ready, 20, "a server that is ready")
        return self

    def is_ready(self):
        assert self.process.poll() is None, f"it ended: {self.printed}{self.logged}"
        try:
            return "pong" in self.says("ping")
        except Fail2banError:  # nobody listens yet
            return False

    def client(self, *words, check=True, **more):
        """Have the client do `words`; what it printed, which is never a traceback."""
        done = run(*self.command("fail2ban-client", *words), check=False, **more)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def says(self, *words):
        """What the client prints on `words`; what it only hands on is asked without its start."""
        words = [str(word) for word in words]
        if words == ["stop"] or parse_for_client(words):
            return self.client(*words).stdout.removesuffix("\n")
        with Connection(str(self.socket), 120) as link:
            return present(words, link.ask(words))

    def banned(self, jail):
        return set(self.says("get", jail, "banip").split())

    def status(self, jail):
        """The status of `jail`, what stands before each colon to what stands after it."""
        lines = [line.split(":\t") for line in self.says("status", jail).splitlines()]
        return {line[0].strip(" |`-"): line[1] for line in lines if len(line) == 2}

    @property
    def printed(self):
        return "".join(path.read_text("utf-8", "replace") for path in self._printed)

    @property
    def logged(self):
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    @property
    def noted(self):
        return self.notes.read_text("utf-8").splitlines() if self.notes.exists() else []

    def end(self, how=signal.SIGTERM):
        """End the server, and have its exit status."""
        return ended(self.process, how)

    @property
    def pid(self):
        """The process id that stands in the pid file, None where there is no such file."""
        return int(self.pidfile.read_text()) if self.pidfile.exists() else None

    def finish(self):
        """End whatever runs; complain of tracebacks."""
        try:
            if self.process:
                self.end()
            if pid := self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                eventually(lambda: not is_alive(pid), 15, "the end of the server")
        finally:
            for process in (self.process.pid if self.process else None, self.pid):
                if process and is_alive(process) and self._is_ours(process):
                    os.kill(process, signal.SIGKILL)
        assert "Traceback" not in self.printed + self.logged, self.printed + self.logged

    def _is_ours(self, pid):
        return str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


def is_alive(pid):
    """Whether a process of that id runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def fail(log, host, times=1):
    """Have `host` fail at the door that logs into `log`, that many times from now on."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    with Path(log).open("a", encoding="utf-8") as lines:
        lines.write(f"{now} door: wrong key by {host}\n" * times)
