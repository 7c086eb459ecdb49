# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of the tests of actions: what comes with us, and a network in which its commands run."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.actionconf import read_action
from client.include import Library
from client.ini import Value
from common.errors import Where
from common.options import ActionConf
from server.enforcer import Note
from server.records import Ban, Enforce, Lift, ShellCommand
from server.shell import run
from tests.support import ROOT, unavailable

# Ids that are no address.
HOSTILE = [
    "1 }; flush ruleset; add table x; #",
    "-F",
    "x; iptables -F",
    "$(reboot)",
    "a\nALL: ALL",
    "",
]


# What an attacker may write into a log.
EVIL = (
    "Failed for \"; touch pwned; ' $(touch pwned) `touch pwned`\n.\n~!touch pwned\nBcc: x@example.org\n"
    "--Abuse-0\n\x1b[2J\x07bell \\n %s ✓"
)


def conf(text, jail="sshd"):
    """The action `text` of jail.conf, as the client sends it."""
    library = Library(ROOT / "config")
    action = read_action(library, Value(text, Where("jail.conf")), jail)
    properties = action.commands[1][-1] if len(action.commands) > 1 else []
    return ActionConf(action.name, dict(map(tuple, properties)))


def a_ban(host, **more):
    return Ban("sshd", host, 1700000000.0, 600, **more)


def bans(*hosts):
    return [Enforce(a_ban(host)) for host in hosts]


def lifts(*hosts):
    return [Lift(a_ban(host)) for host in hosts]


class World:
    """A network of its own, in which the commands of actions run."""

    def __init__(self, name=None):
        self._name = name
        self.notes = []
        self.scripts = []

    def run(self, command, **more):
        self.scripts.append(command.script)
        if self._name is None:
            return run(command)
        # The namespace is the thread's, and what it starts inherits it.
        with ThreadPoolExecutor(1, initializer=self._enter) as inside:
            return inside.submit(run, command, **more).result()

    def _enter(self):
        with Path("/var/run/netns", self._name).open() as namespace:
            assert 0 == ctypes.CDLL(None).setns(namespace.fileno(), 0)

    def drive(self, steps):
        """Run the steps; what they note is kept."""
        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(step, Note):
                self.notes.append(step.text)
            else:
                answer = self.run(step)

    def tell(self, *words):
        return self.run(ShellCommand(" ".join(words)), output_limit=1 << 24).stdout


@contextmanager
def a_network(what):
    """The name of a network namespace that is there for a while."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        unavailable("needs root and ip")
    name = f"f2b-{what}-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False).returncode != 0:
        unavailable("no network namespaces here")
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def world():
    with a_network("test") as name:
        yield World(name)


def a_program(directory, name, text):
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)
    (directory / name).chmod(0o755)
    return directory / name


def real(program):
    if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        unavailable(f"there is no {program}")
