# SPDX-License-Identifier: GPL-2.0-or-later
"""The actions that come with us do what they say, with the real programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading

import pytest

from client.actionconf import read_action
from client.include import Library
from client.ini import Value
from common.errors import Where
from common.options import ActionConf
from server.enforcer import Enforcer, Note
from server.records import Ban, Enforce, Lift, ShellCommand
from server.shell import run
from tests.support import ROOT, unavailable

FIREWALLS = ["nftables", "nftables-multiport", "nftables-allports", "iptables", "iptables-multiport", "iptables-allports"]  # fmt: skip


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

    def run(self, command):
        self.scripts.append(command.script)
        if self._name is None:
            return run(command)
        # The namespace is the thread's, and what it starts inherits it.
        answer = []
        thread = threading.Thread(target=lambda: answer.append(self._run_inside(command)))
        thread.start()
        thread.join()
        return answer[0]

    def _run_inside(self, command):
        with open(f"/var/run/netns/{self._name}") as namespace:
            os.setns(namespace.fileno(), os.CLONE_NEWNET) if hasattr(os, "setns") else setns(namespace.fileno())
        return run(command)

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
        result = self.run(ShellCommand(" ".join(words)))
        return result.stdout


def setns(descriptor):
    import ctypes

    assert 0 == ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000)


@pytest.fixture
def world():
    if os.geteuid() != 0 or not shutil.which("ip"):
        unavailable("needs root and ip")
    name = f"f2b-test-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False).returncode != 0:
        unavailable("no network namespaces here")
    try:
        yield World(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


class Firewall:
    """What a firewall holds, whichever it is."""

    def __init__(self, world, action):
        self.world = world
        self.is_nft = action.startswith("nft")

    def banned(self):
        if self.is_nft:
            told = json.loads(self.world.tell("nft -j list sets"))["nftables"]
            sets = [entry["set"] for entry in told if "set" in entry]
            return sorted(e if isinstance(e, str) else e["prefix"]["addr"] for s in sets for e in s.get("elem", []))
        return sorted(
            line.split()[3].partition("/")[0]
            for line in self.rules()
            if line.startswith("-A f2b-sshd") and " -s " in line
        )

    def rules(self):
        if self.is_nft:
            return [line.strip() for line in self.world.tell("nft list ruleset").splitlines() if "saddr" in line]
        return self.world.tell("iptables -S 2>/dev/null; ip6tables -S 2>/dev/null").splitlines()

    def entrances(self):
        """The rules that send packets to where the bans are."""
        return self.rules() if self.is_nft else [line for line in self.rules() if "-j f2b-sshd" in line]

    def is_clean(self):
        if self.is_nft:
            return "" == self.world.tell("nft list ruleset").strip()
        return not [line for line in self.rules() if not line.startswith("-P")]


@pytest.mark.root
@pytest.mark.parametrize("action", FIREWALLS)
def test_a_firewall_bans_lifts_flushes_and_leaves_nothing_behind(world, action):
    firewall = Firewall(world, action)
    enforcer = Enforcer("sshd", (conf(f'{action}[port="22"]'),))

    world.drive(enforcer.start())
    assert firewall.is_clean()
    world.drive(enforcer.carry_out(bans("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2")))
    assert ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] == firewall.banned()
    world.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))
    assert 4 == len(firewall.banned())
    world.drive(enforcer.carry_out(lifts("192.0.2.1", "2001:db8::1")))
    assert ["192.0.2.2", "2001:db8::2"] == firewall.banned()
    assert 2 == len(firewall.entrances())
    world.drive(enforcer.carry_out([*bans("192.0.2.3"), *lifts("192.0.2.2", "192.0.2.3")]))
    assert ["2001:db8::2"] == firewall.banned()
    world.drive(enforcer.stop())

    assert firewall.is_clean()
    assert [] == world.notes
    assert () == enforcer.problems
