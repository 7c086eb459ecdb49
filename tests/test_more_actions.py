# SPDX-License-Identifier: GPL-2.0-or-later
"""Each other action that comes with us does what it says: with the real program where there is one here."""

# ruff: noqa: F401, F811 - a fixture is imported, and then the name of parameters
from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from server.action import Action
from server.enforcer import Enforcer
from server.records import Ban, Enforce, ShellCommand
from server.shell import run
from tests.support import ROOT, eventually, unavailable
from tests.test_stock_actions import (
    HOSTILE,
    World,
    a_ban,
    bans,
    conf,
    lifts,
    world,
)

HOSTS = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]


def words(world, command, pattern):
    """What `pattern` finds in what `command` prints, sorted."""
    return sorted(re.findall(pattern, world.tell(command), re.M))


# -- firewalls: how each is called here, and how to see what it holds

BOTH = "iptables -S; ip6tables -S"
ADDRESS = r"([0-9a-f.:]*[.:][0-9a-f.:]*(?:/\d+)?)"
ADDRESSES = r"([0-9a-f.:/]*[.:][0-9a-f.:/,]*)"


class Kind:
    """An action as a test uses it."""

    def __init__(self, action, show, banned, *, built="", needs="", keeps=False, doubles=False):
        self.action = action
        self.show = show
        self._banned = banned
        self._built = built  # what shows that it stands, besides the bans
        self.needs = needs
        self.keeps = keeps  # what an earlier run left behind
        self.doubles = doubles  # a host may have a rule of its own and stand in another

    def banned(self, world):
        return sorted(set(self._hosts(world)))

    def count(self, world):
        return len(self._hosts(world))

    def _hosts(self, world):
        """Who is banned; iptables and firewalld write a host as a network of one."""
        found = words(world, self.show, self._banned)
        hosts = [host for line in found for host in re.sub(r"[][]", "", line).split(",")]
        return [re.sub("/(32|128)$", "", host) for host in hosts]

    def built(self, world):
        return words(world, self.show, self._built) if self._built else []


def in_chain(action, needs="iptables"):
    return Kind(
        action,
        BOTH,
        rf"^-A f2b-sshd -s {ADDRESS} ",
        built="^-A INPUT.* -j f2b-sshd$",
        needs=needs,
    )


def in_set(action, built="^-A INPUT.* --match-set f2b-sshd6? src .*", needs="ipset"):
    return Kind(
        action, f"{BOTH}; ipset save", rf"^add f2b-sshd6? {ADDRESS}", built=built, needs=needs
    )


def direct(action):
    return Kind(
        f'{action}[port="22,6000:6010", firewall_cmd="FIREWALL"]',
        "FIREWALL --direct --get-all-rules",
        rf"^ipv[46] filter f2b-sshd 0 -s {ADDRESSES} ",
        built="^ipv[46] filter INPUT 0 .* -j f2b-sshd$",
        needs="firewalld",
        doubles=True,
    )


KINDS = {
    "iptables": in_chain("iptables[port=22]"),
    "iptables-new": in_chain("iptables-new[port=22]"),
    "iptables-docker": in_chain('iptables[port=22, chain="INPUT,DOCKER-USER"]'),
    "iptables-ipset": in_set('iptables-ipset[port="22,80"]'),
    "iptables-ipset-proto4": in_set("iptables-ipset-proto4[port=22]"),
    "iptables-ipset-proto6": in_set("iptables-ipset-proto6[port=22]"),
    "iptables-ipset-proto6-allports": in_set("iptables-ipset-proto6-allports"),
    "ipset": in_set("ipset", built="^create f2b-sshd6? "),
    "shorewall-ipset-proto6": in_set("shorewall-ipset-proto6", built="^create f2b-sshd6? "),
    "route": Kind("route", "ip -4 route show; ip -6 route show", rf"^blackhole {ADDRESS}", needs="ip"),
    "firewallcmd-multiport": direct("firewallcmd-multiport"),
    "firewallcmd-allports": direct("firewallcmd-allports"),
    "firewallcmd-new": direct("firewallcmd-new"),
    "firewallcmd-ipset": Kind(
        'firewallcmd-ipset[port=22, firewall_cmd="FIREWALL"]',
        "FIREWALL --direct --get-all-rules; ipset save",
        rf"^add f2b-sshd6? {ADDRESS}",
        built="^ipv[46] filter INPUT 0 .* --match-set f2b-sshd6? src",
        needs="firewalld",
    ),
    "firewallcmd-rich-rules": Kind(
        'firewallcmd-rich-rules[port="22,6000:6010", firewall_cmd="FIREWALL"]',
        "FIREWALL --list-rich-rules",
        rf'^rule .*source address="{ADDRESS}" port port="22" .*reject',
        needs="firewalld",
    ),
    "firewallcmd-rich-logging": Kind(
        'firewallcmd-rich-logging[port=22, firewall_cmd="FIREWALL"]',
        "FIREWALL --list-rich-rules",
        rf'^rule .*source address="{ADDRESS}" port port="22" .*log prefix="f2b-sshd" .*reject',
        needs="firewalld",
    ),
    "ufw": Kind(
        'ufw[ufw="UFW"]', "UFW show added", rf"^ufw deny from {ADDRESS} comment", needs="ufw"
    ),
    "ufw-ports": Kind(
        'ufw[destination="any port 22 proto tcp", ufw="UFW"]',
        "UFW show added",
        rf"^ufw deny from {ADDRESS} to any port 22 proto tcp comment",
        needs="ufw",
    ),
    "pf": Kind("pf[port='22,6000:6010']", "pfctl -q dump", rf"^f2b/sshd f2b-sshd {ADDRESS}$",
               built="^f2b/sshd rule block return quick proto .*", needs="pfctl"),
    "pf-allports": Kind("pf[type=allports]", "pfctl -q dump", rf"^f2b/sshd f2b-sshd {ADDRESS}$",
                        built="^f2b/sshd rule block return quick proto .*", needs="pfctl"),
    "npf": Kind("npf", "npfctl table fail2ban list", rf"^{ADDRESS}$", needs="npfctl", keeps=True),
    "bsd-ipfw": Kind("bsd-ipfw[port='22,6000:6010']", "ipfw list; ipfw table 1 list", rf"^{ADDRESS} 0$",
                     built="^[0-9]+ deny tcp .*", needs="ipfw"),
    "ipfw": Kind("ipfw", "ipfw list", rf"from {ADDRESS} to", needs="ipfw"),
    "osx-ipfw": Kind("osx-ipfw[ipfw=ipfw]", "ipfw list", rf"^0[123]\d\d\d .*from {ADDRESS} to", needs="ipfw"),
    "osx-afctl": Kind("osx-afctl[afctl=afctl]", "afctl list", rf"^{ADDRESS}$", needs="afctl", keeps=True),
    "shorewall": Kind("shorewall", "shorewall show dynamic; shorewall6 show dynamic",
                      rf"reject .* {ADDRESS} ", needs="shorewall", keeps=True),
    "hostsdeny": Kind("hostsdeny[file=DIR/deny]", "cat DIR/deny", r"^ALL: (\S+)$", keeps=True),
    "tcp-wrappers": Kind("tcp-wrappers[file=DIR/deny]", "cat DIR/deny", r"^ALL: (\S+)$", keeps=True),
    "nginx-block-map": Kind(
        "nginx-block-map[blck_lst_file=DIR/map, srv_cmd=true, srv_pid=DIR/no]",
        "cat DIR/map",
        rf'^"\\\\{ADDRESS}" 1;$',
    ),
}  # fmt: skip
NAMES = sorted(KINDS)
# Those that make many bans with one command, and can be told so before anything is started.
MANY = [name for name in NAMES if Action("sshd", conf(KINDS[name].action)).has("actionban_many")]


# A stand-in says what it was told to hold, and ends with the statuses of the real one.
STAND_INS = {
    "pfctl": r"""
given, names = words, {}
while given and given[0].startswith("-"):
    flag = given.pop(0)
    names[flag] = "" if flag == "-q" else given.pop(0)
if given == ["dump"]:
    for line in state: print(line)
    sys.exit()
anchor, table = names["-a"], names.get("-t")
here = f"{anchor} {table} "
def rules(): return [l for l in state if l.startswith(f"{anchor} rule ")]
if names.get("-f") == "-" and not table:
    text = sys.stdin.read().splitlines()
    assert text[0] == "table <f2b-sshd> persist", text
    assert re.fullmatch(r"block return quick proto \{ [a-z ]+ \} from <f2b-sshd> to any( port \{ [\w: ]+ \})?", text[1]), text
    state = [l for l in state if l not in rules()] + [f"{anchor} rule {text[1]}", f"{anchor} table"]
elif names.get("-s") == "rules":
    for line in rules(): print(line.split(" rule ")[1])
elif names.get("-F") == "rules":
    state = [l for l in state if l not in rules()]
else:
    verb = names.pop("-T")
    if f"{anchor} table" not in state:
        fail("pfctl: Table does not exist.", 1)
    hosts = given + (sys.stdin.read().split() if names.get("-f") == "-" else [])
    if any(".300" in host for host in hosts): fail("pfctl: cannot parse it", 1)
    if verb == "add": state += [here + h for h in hosts if here + h not in state]
    elif verb == "delete": state = [l for l in state if l not in [here + h for h in hosts]]
    else:
        assert verb in ("flush", "kill"), verb
        state = [l for l in state if not l.startswith(here) and (verb, l) != ("kill", f"{anchor} table")]
""",
    "npfctl": r"""
assert words[:2] == ["table", "fail2ban"], words
verb, host = words[2], (words + [""])[3]
if verb == "list": [print(l) for l in state]
elif verb == "test": sys.exit(0 if host in state else 1)
elif verb == "add": state = state + [host] if host not in state else fail("npfctl: table: File exists", 1)
elif verb == "rem": state = [l for l in state if l != host] if host in state else fail("npfctl: no such", 1)
else: fail("usage", 1)
""",
    "ipfw": r"""
quiet = words[0] == "-q"
def do(words):
    global state
    if ".300" in " ".join(words): fail("ipfw: hostname unknown", 68)
    if words[0] == "table":
        name, verb = words[1:3]
        rest = words[3:]
        if verb == "create":
            assert rest == ["type", "addr"], rest
            if "T" in state: fail("ipfw: Table creation failed: File exists", 71)
            state.append("T")
        elif verb == "list": [print(l[2:]) for l in state if l.startswith("A ")]
        elif verb == "flush": state = [l for l in state if not l.startswith("A ")]
        else:
            [host] = rest
            line = f"A {host} 0"
            if (line in state) == (verb == "add"):
                if not quiet: fail("ipfw: record exists or not found", 71)
            else: state = state + [line] if verb == "add" else [l for l in state if l != line]
    elif words == ["list"]: [print(l[2:]) for l in state if l.startswith("R ")]
    elif words[0] == "add":
        rule = words[1:]
        used = [int(l.split()[1]) for l in state if l.startswith("R ")]
        number = int(rule.pop(0)) if rule[0].isdigit() else max(used, default=0) + 100
        state.append(f"R {number:05} " + " ".join(rule))
        state.sort(key=lambda l: l.split()[:2])
    elif words[0] == "delete":
        if not any(l.startswith(f"R {words[1]} ") for l in state):
            if not quiet: fail("ipfw: rule not found", 71)
        state = [l for l in state if not l.startswith(f"R {words[1]} ")]
    else: fail("usage", 64)
if words[quiet:] == ["/dev/stdin"]:
    for line in sys.stdin:
        do(line.split())
        save()
else: do(words[quiet:])
""",
    "afctl": r"""
if words == ["list"]: [print(l) for l in state]
elif words[0] == "-a":
    assert words[2:] == ["-t", "525600"], words
    state = [l for l in state if l != words[1]] + [words[1]]
else:
    assert words[0] == "-r", words
    state = [l for l in state if l != words[1]]
""",
    "shorewall": r"""
if words == ["show", "dynamic"]: [print(l) for l in state]
elif words[0] in ("drop", "reject", "logdrop", "logreject"):
    for host in words[1:]:
        if ".300" in host:
            print(f"host/network '{host}' not found", file=sys.stderr)
            break
        line = f"   0  0 {words[0]} all -- * * {host} 0.0.0.0/0"
        state = [l for l in state if f" {host} " not in l] + [line]
        print(host, "Dropped" if "drop" in words[0] else "Rejected")
elif words[0] == "allow":
    for host in words[1:]:
        if not any(f" {host} " in l for l in state):
            print(f"WARNING: {host} already allowed", file=sys.stderr)
        state = [l for l in state if f" {host} " not in l]
else: fail("usage", 1)
""",
}  # fmt: skip
STAND_IN = """#!{python}
import os, re, sys
words, file = sys.argv[1:], sys.argv[0] + ".state"
state = open(file).read().splitlines() if os.path.exists(file) else []
def fail(text, status):
    print(text, file=sys.stderr)
    sys.exit(status)
before = list(state)
def save():
    open(file, "w").write("".join(l + chr(10) for l in state))
{body}
if state != before: save()  # one who only reads may end after one who writes
"""


def a_program(directory, name, text):
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)
    (directory / name).chmod(0o755)
    return directory / name


def real(program):
    if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        unavailable(f"there is no {program}")


class Scene:
    """A world, and what the words FIREWALL, UFW and DIR mean in it."""

    def __init__(self, world, means):
        self.world, self._means = world, means

    def __getattr__(self, name):
        return getattr(self.world, name)

    def meant(self, text):
        for word, meaning in self._means.items():
            text = text.replace(word, meaning)
        return text

    def tell(self, *given):
        return self.world.tell(*map(self.meant, given))

    def enforcer(self, kind, jail="sshd"):
        return Enforcer(jail, (conf(self.meant(kind.action), jail),))


@pytest.fixture
def stage(world, tmp_path, monkeypatch, request):
    """Make a scene in which what a kind needs is there."""

    def make(kind):
        means = {"DIR": str(tmp_path)}
        if kind.needs == "firewalld":
            means["FIREWALL"] = request.getfixturevalue("firewalld")
        elif kind.needs == "ufw":
            means["UFW"] = request.getfixturevalue("ufw")
        elif kind.needs in STAND_INS:
            names = ["shorewall", "shorewall6"] if kind.needs == "shorewall" else [kind.needs]
            for name in names:
                text = STAND_IN.format(python=sys.executable, body=STAND_INS[kind.needs])
                a_program(tmp_path / "bin", name, text)
            monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        elif kind.needs:
            real(kind.needs)
        return Scene(world, means)

    return make


BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/></policy></busconfig>
"""


@pytest.fixture
def firewalld(world, tmp_path):
    """firewalld, in a network and on a bus of its own; how firewall-cmd is called there."""
    for program in ("firewalld", "firewall-cmd", "dbus-daemon"):
        real(program)
    path = tmp_path / "bus"
    (tmp_path / "bus.conf").write_text(BUS.format(path=path))
    settings = tmp_path / "firewalld"
    shutil.copytree("/etc/firewalld", settings)
    command = f"env DBUS_SYSTEM_BUS_ADDRESS=unix:path={path} firewall-cmd"
    bus = subprocess.Popen(["dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork"])
    try:
        eventually(path.exists, what="the bus")
        network = world.tell("ip netns identify $$").strip()
        server = subprocess.Popen(
            ["ip", "netns", "exec", network, "firewalld", "--nofork", "--nopid",
             f"--system-config={settings}", f"--log-file={tmp_path}/firewalld.log"],
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={path}"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            eventually(
                lambda: "running" in world.tell(f"{command} --state"), 20, "the start of firewalld"
            )
            yield command
        finally:
            server.terminate()
            server.wait(20)
    finally:
        bus.terminate()
        bus.wait(10)


@pytest.fixture
def ufw(tmp_path):
    """ufw with files of its own, and not enabled: it keeps its rules, and loads none."""
    real("ufw")
    root = tmp_path / "ufw-root"
    for folder in ("etc/default", "run", "usr/share"):
        (root / folder).mkdir(parents=True)
    shutil.copytree("/etc/ufw", root / "etc/ufw")
    shutil.copy("/etc/default/ufw", root / "etc/default/ufw")
    shutil.copytree("/usr/share/ufw", root / "usr/share/ufw")
    shutil.copytree("/lib/ufw", root / "lib/ufw")
    for name in ("user.rules", "user6.rules"):
        shutil.copy(f"/usr/share/ufw/iptables/{name}", root / "etc/ufw" / name)
    return f"ufw --rootdir={root} --datadir={root}"


# -- firewalls: what holds for all of them


@pytest.mark.root
@pytest.mark.parametrize("name", NAMES)
def test_an_action_bans_and_lifts_each_as_often_as_you_like(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    alone = Action("sshd", conf(scene.meant(kind.action)))
    counts = []

    scene.drive(enforcer.start())
    for _ in range(2):
        scene.drive(enforcer.carry_out(bans(*HOSTS)))
        assert HOSTS == kind.banned(scene)
        counts.append(kind.count(scene))
    assert counts[0] == counts[1] or kind.doubles
    for _ in range(2):
        for host in ("192.0.2.1", "2001:db8::1"):
            assert scene.run(alone.unban(a_ban(host))).is_success
        assert ["192.0.2.2", "2001:db8::2"] == kind.banned(scene)
    scene.drive(enforcer.carry_out(lifts(*HOSTS)))
    assert [] == kind.banned(scene)
    scene.drive(enforcer.carry_out(bans(*HOSTS)))
    scene.drive(enforcer.stop())

    assert [] == kind.banned(scene)
    assert [] == kind.built(scene)
    assert [] == scene.notes
    assert () == enforcer.problems


# The others of firewalld's differ only in a rule, and firewalld takes its time.
@pytest.mark.root
@pytest.mark.parametrize("name", [n for n in NAMES if not re.search("cmd.*(new|allp|log)", n)])
def test_what_a_crash_left_does_no_harm(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    killed = scene.enforcer(kind)
    scene.drive(killed.start())
    scene.drive(killed.carry_out(bans(*HOSTS, "192.0.2.9")))
    built = kind.built(scene)

    enforcer = scene.enforcer(kind)
    scene.drive(enforcer.start())
    scene.drive(enforcer.carry_out(bans(*HOSTS)))
    assert [] == scene.notes
    scene.drive(enforcer.look())

    assert HOSTS == [host for host in kind.banned(scene) if not kind.keeps or host in HOSTS]
    assert built == kind.built(scene)
    assert () == enforcer.problems
    scene.drive(enforcer.stop())
    assert ["192.0.2.9"] * kind.keeps == kind.banned(scene)


@pytest.mark.root
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("nginx", "fire"))])
def test_an_id_that_is_no_address_is_refused(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    for text in HOSTILE:
        scene.drive(enforcer.carry_out(bans(text)))
        assert "not an address" in enforcer.problems[0]

    assert [] == kind.banned(scene)


@pytest.mark.root
@pytest.mark.parametrize(
    "name",
    ["iptables-ipset", "ipset", "firewallcmd-ipset", "firewallcmd-multiport", "iptables-docker"],
)
def test_what_somebody_took_away_is_built_again_with_all_bans(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    scene.drive(enforcer.start())
    scene.drive(enforcer.carry_out(bans(*HOSTS)))
    built = kind.built(scene)
    if kind.needs == "firewalld":
        scene.tell("FIREWALL --reload")
    else:
        scene.tell("iptables -F; iptables -X; ip6tables -F; ip6tables -X")
        scene.tell("ipset destroy f2b-sshd; ipset destroy f2b-sshd6")

    scene.drive(enforcer.carry_out(bans("192.0.2.3", "2001:db8::3")))

    assert sorted([*HOSTS, "192.0.2.3", "2001:db8::3"]) == kind.banned(scene)
    assert built == kind.built(scene)
    assert () == enforcer.problems


def test_what_takes_one_address_a_call_is_known():
    assert ["nginx-block-map", "npf", "osx-afctl", "ufw", "ufw-ports"] == sorted({*NAMES} - {*MANY})


# firewalld takes 20 ms and more for a rich rule, whoever asks.
@pytest.mark.root
@pytest.mark.parametrize("name", [name for name in MANY if "rich" not in name])
def test_many_bans_are_made_and_lifted_with_few_commands(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    hosts = [f"10.0.{i // 250}.{i % 250}" for i in range(1500)]
    hosts += [f"2001:db8:1111:2222:3333:4444:5555:{i:x}" for i in range(0x1001, 0x11F4)]

    scene.drive(enforcer.start())
    scene.drive(enforcer.carry_out(bans(*hosts)))
    assert sorted(hosts) == kind.banned(scene)
    scene.drive(enforcer.carry_out(lifts(*hosts[:1000])))
    assert sorted(hosts[1000:]) == kind.banned(scene)

    assert 30 > len(scene.scripts)
    assert [] == scene.notes
    scene.drive(enforcer.stop())


def at_once(scene, kind, key, hosts):
    """Have the command `key` of the action done for many, whatever is banned already."""
    action = Action("sshd", conf(scene.meant(kind.action)))
    for is_six in (False, True):
        family = [a_ban(host) for host in hosts if (":" in host) == is_six]
        for _, command in action.for_many(key, family):
            result = scene.run(command)
            assert result.is_success, result


@pytest.mark.root
@pytest.mark.parametrize("name", MANY)
def test_a_command_for_many_does_no_harm_where_all_or_some_of_it_is_done(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    scene.drive(enforcer.start())
    scene.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))
    counts = []
    for _ in range(2):
        at_once(scene, kind, "actionban_many", HOSTS)
        assert HOSTS == kind.banned(scene)
        counts.append(kind.count(scene))
    for _ in range(2):
        at_once(scene, kind, "actionunban_many", ["192.0.2.1", "192.0.2.7", "2001:db8::1"])
        assert ["192.0.2.2", "2001:db8::2"] == kind.banned(scene)

    assert counts[0] == counts[1]
    scene.drive(enforcer.stop())
    assert [] == scene.notes


@pytest.mark.root
@pytest.mark.parametrize("name", [name for name in NAMES if name != "osx-afctl"])
def test_networks_are_banned_and_lifted_and_hosts_in_them_are_others(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    networks = ["192.0.2.0/24", "198.51.100.128/25", "2001:db8::/64", "2001:db8:1::/56"]
    scene.drive(enforcer.start())
    scene.drive(enforcer.carry_out(bans(networks[0], networks[2])))
    scene.drive(enforcer.carry_out(bans(*networks)))
    scene.drive(enforcer.carry_out(bans(*HOSTS[:1], *HOSTS[2:3])))
    assert sorted([*networks, "192.0.2.1", "2001:db8::1"]) == kind.banned(scene)

    scene.drive(enforcer.carry_out(lifts("192.0.2.1", *networks[1:])))
    assert ["192.0.2.0/24", "2001:db8::1"] == kind.banned(scene)
    scene.drive(enforcer.carry_out(lifts(networks[0])))
    scene.drive(enforcer.carry_out(lifts("2001:db8::1")))
    assert [] == kind.banned(scene)
    scene.drive(enforcer.stop())
    assert [] == scene.notes


# The others take all that looks like an address.
REFUSE = "bsd-ipfw firewallcmd-multiport firewallcmd-rich-rules ipfw ipset iptables osx-ipfw pf route shorewall"


@pytest.mark.root
@pytest.mark.parametrize("name", REFUSE.split())
def test_an_address_that_a_tool_refuses_costs_no_other_its_ban(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    hosts = [f"192.0.2.{number}" for number in range(1, 8)]
    scene.drive(enforcer.start())
    scene.drive(enforcer.carry_out(bans(*hosts[:4], "192.0.2.300", *hosts[4:])))

    assert hosts == kind.banned(scene)
    assert "actionban of 192.0.2.300" in "".join(scene.notes)
    scene.drive(enforcer.carry_out(lifts(*hosts)))
    assert [] == kind.banned(scene)
    scene.drive(enforcer.stop())


@pytest.mark.root
@pytest.mark.parametrize(
    "name", ["iptables-ipset", "firewallcmd-ipset", "firewallcmd-multiport", "pf"]
)
def test_a_reload_with_other_ports_exchanges_only_the_rule(stage, name):
    kind = KINDS[name]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    scene.drive(enforcer.start())
    scene.drive(enforcer.carry_out(bans(*HOSTS)))
    built = len(kind.built(scene))
    scene.scripts.clear()

    other = re.sub(r"port=(\"[^\"]*\"|'[^']*'|\d+)", "port=2222", scene.meant(kind.action))
    for _ in range(2):
        scene.drive(enforcer.change((conf(other),), [a_ban(host) for host in HOSTS]))

    assert 2 >= len(scene.scripts)
    assert built == len([rule for rule in kind.built(scene) if "2222" in rule])
    assert HOSTS == kind.banned(scene)
    assert [] == scene.notes


# -- single ones


@pytest.mark.root
def test_networks_are_banned_in_a_set(world):
    real("ipset")
    enforcer = Enforcer("sshd", (conf("iptables-ipset[port=22]"),))
    world.drive(enforcer.carry_out(bans("192.0.2.0/24", "2001:db8::/64")))

    assert ["192.0.2.0/24", "2001:db8::/64"] == words(world, "ipset save", r"^add \S+ (\S+)")
    world.drive(enforcer.stop())
    assert "" == world.tell("ipset save")


@pytest.mark.root
def test_a_set_of_another_type_that_was_left_is_replaced(world):
    real("ipset")
    old = Enforcer("sshd", (conf('iptables-ipset[port=22, ipset_type="hash:ip"]'),))
    world.drive(old.carry_out(bans(*HOSTS)))
    enforcer = Enforcer("sshd", (conf("iptables-ipset[port=22]"),))
    world.drive(enforcer.carry_out(bans("192.0.2.0/24")))

    assert ["192.0.2.0/24"] == words(world, "ipset save f2b-sshd", r"^add \S+ (\S+)")
    assert () == enforcer.problems
    assert [] == world.notes


@pytest.mark.root
def test_a_set_that_a_rule_of_somebody_names_stays_but_is_empty(world):
    real("ipset")
    enforcer = Enforcer("sshd", (conf("ipset"),))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans("192.0.2.1", "192.0.2.2")))
    world.tell("iptables -A INPUT -m set --match-set f2b-sshd src -j DROP")
    world.drive(enforcer.stop())

    assert [] == words(world, "ipset save", "^add .*")
    assert 1 == len(words(world, "ipset save", "^create f2b-sshd .*"))
    assert [] == world.notes


@pytest.mark.root
def test_two_jails_may_ban_one_host_with_routes(world):
    jails = [Enforcer(name, (conf("route", name),)) for name in ("sshd", "web")]
    for enforcer in jails:
        world.drive(enforcer.carry_out(bans(*HOSTS)))
    world.tell("ip route add blackhole 198.51.100.7")
    world.drive(jails[0].stop())

    assert HOSTS == words(world, KINDS["route"].show, rf"^blackhole {ADDRESS} .*metric \d\d+")
    world.drive(jails[1].stop())
    assert ["198.51.100.7"] == words(world, KINDS["route"].show, rf"^blackhole {ADDRESS}")


@pytest.mark.root
@pytest.mark.parametrize(
    ("tool", "block"),
    [
        ("iptables", "DROP"),
        ("iptables", "DROP -m comment --comment banned"),
        ("iptables-legacy", "DROP"),
        ("env iptables", "REJECT"),  # beside which stands no program that reads rules
    ],
)
def test_iptables_lifts_many_and_leaves_what_somebody_else_put_there(world, tool, block):
    real(tool.split()[-1])
    text = f'iptables[port=22, iptables="{tool} -w", blocktype="{block}"]'
    enforcer = Enforcer("sshd", (conf(text),))
    hosts = [f"192.0.2.{number}" for number in range(1, 9)]
    world.drive(enforcer.carry_out(bans(*hosts)))
    world.tell(f"{tool} -A f2b-sshd -s 192.0.2.1 -j ACCEPT")
    world.tell(f"{tool} -A f2b-sshd -p icmp -j RETURN")

    world.drive(enforcer.carry_out(lifts(*hosts[:6])))
    rules = words(world, f"{tool} -S f2b-sshd", r"^-A f2b-sshd (.*)$")

    verdict = block.split()[0]
    assert 4 == len(rules)
    assert {"-s 192.0.2.1/32 -j ACCEPT", "-p icmp -j RETURN"} <= set(rules)
    assert ["192.0.2.7/32", "192.0.2.8/32"] == [r.split()[1] for r in rules if verdict in r]
    assert [] == world.notes


@pytest.mark.root
def test_new_connections_only_are_looked_at(world):
    world.drive(Enforcer("sshd", (conf("iptables-new[port=22]"),)).carry_out(bans("192.0.2.1")))

    assert 1 == len(words(world, "iptables -S", r"--dport 22 .*--ctstate NEW -j f2b-sshd$"))


@pytest.mark.root
@pytest.mark.parametrize("action", ["iptables", "iptables-ipset"])
def test_a_chain_of_docker_is_used_as_soon_as_it_is_there(world, action):
    enforcer = Enforcer("sshd", (conf(f'{action}[type=allports, chain="INPUT,DOCKER-USER"]'),))
    world.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))
    assert [] == words(world, BOTH, "^-A DOCKER-USER .*")
    assert () == enforcer.problems

    world.tell("iptables -N DOCKER-USER")
    world.drive(enforcer.carry_out(bans("192.0.2.2")))
    world.drive(enforcer.carry_out(bans("2001:db8::2")))
    assert 1 == len(words(world, BOTH, "^-A DOCKER-USER .*f2b-sshd.*"))
    assert 2 == len(words(world, BOTH, "^-A INPUT .*f2b-sshd.*"))
    assert () == enforcer.problems
    world.drive(enforcer.stop())
    assert [] == words(world, BOTH, "^-A .*")


@pytest.mark.root
def test_iptables_with_no_chain_that_exists_is_a_problem(world):
    enforcer = Enforcer("sshd", (conf('iptables[chain="DOCKER-USER,DOCKER"]'),))
    world.drive(enforcer.carry_out(bans("192.0.2.1")))

    assert "there is no chain of DOCKER-USER,DOCKER" in enforcer.problems[0]


@pytest.mark.root
def test_nftables_hangs_a_rule_on_each_hook_that_chains_are_named_after(world):
    real("nft")
    enforcer = Enforcer("sshd", (conf('nftables[type=allports, chain="INPUT,DOCKER-USER"]'),))
    world.drive(enforcer.carry_out(bans(*HOSTS)))

    assert ["forward", "input"] == words(world, "nft list ruleset", r"hook (\w+)")
    assert 4 == len(words(world, "nft list ruleset", r"saddr @addr6?-set-sshd"))
    world.drive(enforcer.stop())
    assert "" == world.tell("nft list ruleset")
    assert [] == world.notes


@pytest.mark.root
@pytest.mark.parametrize(
    ("action", "options"),
    [("nftables", ""), ("nftables", ", set_options='flags interval;'"), ("iptables", "")],
)
def test_to_lift_what_is_not_there_is_no_error_but_no_program_is(world, action, options):
    enforcer = Enforcer("sshd", (conf(f"{action}[port=22{options}]"),))
    world.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))
    alone = Action("sshd", conf(f"{action}[port=22{options}]"))

    for host in ("192.0.2.1", "192.0.2.1", "192.0.2.7", "2001:db8::1", "2001:db8::1"):
        assert world.run(alone.unban(a_ban(host))).is_success
    missing = conf(f"{action}[{action}=no-such-program]")
    assert 127 == world.run(Action("sshd", missing).unban(a_ban("192.0.2.1"))).status


@pytest.mark.root
def test_a_direct_rule_of_many_loses_only_who_is_lifted(stage):
    kind = KINDS["firewallcmd-multiport"]
    scene = stage(kind)
    enforcer = scene.enforcer(kind)
    hosts = [f"192.0.2.{number}" for number in range(1, 7)]
    scene.drive(enforcer.carry_out(bans(*hosts)))
    scene.tell("FIREWALL --direct --add-rule ipv4 filter f2b-sshd 0 -p icmp -j RETURN")
    scene.drive(enforcer.carry_out(lifts(hosts[0])))
    scene.drive(enforcer.carry_out(lifts(*hosts[2:4])))

    assert ["192.0.2.2", "192.0.2.5", "192.0.2.6"] == kind.banned(scene)
    in_kernel = words(scene, "iptables -S f2b-sshd", r"-s (\S+)/32 ")
    assert ["192.0.2.2", "192.0.2.5", "192.0.2.6"] == in_kernel
    assert 1 == len(words(scene, "iptables -S f2b-sshd", "icmp.* RETURN"))
    assert [] == scene.notes


@pytest.mark.root
def test_a_rich_rule_that_firewalld_refuses_beside_others_is_told(stage):
    kind = KINDS["firewallcmd-rich-rules"]
    scene = stage(kind)
    enforcer = Enforcer("sshd", (conf(scene.meant(kind.action).replace("6010", "66010")),))
    scene.drive(enforcer.carry_out(bans("192.0.2.1")))

    assert "INVALID_PORT" in enforcer.problems[0]


@pytest.mark.root
def test_ufw_puts_a_ban_before_all_other_rules(stage, tmp_path):
    kind = KINDS["ufw"]
    scene = stage(kind)
    scene.tell("UFW allow 22/tcp")
    scene.drive(scene.enforcer(kind).carry_out(bans("192.0.2.1", "2001:db8::1")))

    for name, host in (("user", "192.0.2.1"), ("user6", "2001:db8::1")):
        text = (tmp_path / f"ufw-root/etc/ufw/{name}.rules").read_text()
        assert [host, "22"] == [
            host if host in rule else "22" for rule in re.findall("^### tuple.*", text, re.M)
        ]


def test_log_only_runs_nothing():
    world, enforcer = World(), Enforcer("sshd", (conf("log-only"),))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out([*bans("192.0.2.1", "$(reboot)"), *lifts("192.0.2.1")]))
    world.drive(enforcer.stop())

    assert [] == world.scripts
    assert [] == world.notes


# -- nginx

NGINX = """
daemon off; pid {0}/pid; error_log {0}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;
    uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;
    map $http_x_who $is_blocked {{ include {0}/blocked.map; }}
    server {{ listen 127.0.0.1:{1}; if ($is_blocked) {{ return 403; }} return 200 welcome; }}
}}
"""
IDS = [
    "Bob",
    "192.0.2.1",
    "~.*",
    "default",
    "hostnames",
    'a"b',
    "a\\",
    "$host",
    "a;b}",
    "#x",
    "include",
]


@pytest.fixture
def nginx(tmp_path):
    """nginx at work: its directory, its port, and the action."""
    real("nginx")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(NGINX.format(tmp_path, port))
    (tmp_path / "blocked.map").touch()
    command = f"nginx -p {tmp_path} -c {tmp_path}/nginx.conf"
    server = subprocess.Popen(command.split(), stderr=subprocess.DEVNULL)
    action = f'nginx-block-map[blck_lst_file={tmp_path}/blocked.map, srv_cmd="{command}", srv_pid={tmp_path}/pid]'
    try:
        eventually(lambda: answers(port, "nobody") == 200, what="the start of nginx")
        yield port, Enforcer("sshd", (conf(action),)), tmp_path / "blocked.map"
    finally:
        server.terminate()
        server.wait(10)


def answers(port, who):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"X-Who": who})
    try:
        with urllib.request.urlopen(request, timeout=5) as page:
            return page.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_nginx_blocks_who_is_in_its_map_and_nobody_else(nginx):
    port, enforcer, file = nginx
    world = World()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans("Bob", "192.0.2.1")))

    # While nginx reloads, the old process answers, too.
    eventually(lambda: answers(port, "Bob") == 403)
    eventually(lambda: answers(port, "192.0.2.1") == 403)
    assert 200 == answers(port, "192.0.2.2")
    world.drive(enforcer.carry_out(lifts("Bob")))
    eventually(lambda: answers(port, "Bob") == 200)
    world.drive(enforcer.stop())
    eventually(lambda: answers(port, "192.0.2.1") == 200)
    assert "" == file.read_text()
    assert [] == world.notes


def test_no_id_means_more_to_nginx_than_itself(nginx):
    port, enforcer, file = nginx
    world = World()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans(*IDS, "a\nb", "`id`", "$(touch pwned)")))
    assert [] == world.notes
    assert len(IDS) + 3 == len(file.read_text().splitlines())

    for who in (*IDS, "ab", "`id`", "$(touch pwned)"):
        eventually(lambda who=who: answers(port, who) == 403, what=f"the block of {who}")
    assert 200 == answers(port, "anybody")
    world.drive(enforcer.carry_out(lifts(*IDS, "a\nb", "`id`", "$(touch pwned)")))
    assert "" == file.read_text()


def test_nginx_never_keeps_a_map_that_it_does_not_take(nginx):
    port, enforcer, file = nginx
    world = World()
    world.drive(enforcer.carry_out(bans("Bob")))
    before = file.read_text()
    world.drive(enforcer.carry_out(bans("x" * 4000)))

    assert before == file.read_text()
    assert "nginx does not take it" in enforcer.problems[0]
    assert "f2b" not in " ".join(path.name for path in file.parent.iterdir())


# -- mail

EVIL = (
    "Failed for \"; touch pwned; ' $(touch pwned) `touch pwned`\n.\n~!touch pwned\nBcc: x@example.org\n"
    "--Abuse-0\n\x1b[2J\x07bell \\n %s ✓"
)
SENDMAILS = [path.stem for path in sorted((ROOT / "config/action.d").glob("sendmail*.conf")) if path.stem != "sendmail-common"]  # fmt: skip


@pytest.fixture
def post(tmp_path):
    """A sendmail, a mail, a whois and a dig that write down what they are given."""
    a_program(
        tmp_path / "bin",
        "sendmail",
        f'#!/bin/sh\nfor x; do printf "<%s>" "$x"; done >>{tmp_path}/to; echo >>{tmp_path}/to\n'
        f"{{ cat; printf '\\001'; }} >>{tmp_path}/sent\n",
    )
    contacts = '"abuse@example.net,-oQ/tmp@example.net" "second@example.net" "x;y@example.net"'
    a_program(
        tmp_path / "bin", "dig", f"#!/bin/sh\necho \"$*\" >>{tmp_path}/asked\necho '{contacts}'\n"
    )
    a_program(tmp_path / "bin", "whois", '#!/bin/sh\necho "answer for $*"\n')
    return tmp_path


def sent(post):
    text = (post / "sent").read_bytes() if (post / "sent").exists() else b""
    return [message_from_bytes(each, policy=policy.default) for each in text.split(b"\1")[:-1]]


def receivers(post):
    return (post / "to").read_text().splitlines()


def mailing(action, post, more=""):
    tools = f"whois={post}/bin/whois, dig={post}/bin/dig"
    if "mailcmd" not in more:
        options = (
            "-oi -f '<sender>' $(echo '<dest>' | tr ',' ' ')" if "sendmail" in action else "-oi"
        )
        more += f', mailcmd="{post}/bin/sendmail {options}"'
    return Enforcer("sshd", (conf(f"{action}[{tools}, sender=f2b@example.com{more}]"),))


@pytest.mark.parametrize("action", [name for name in SENDMAILS if "buffered" not in name])
def test_sendmail_tells_of_start_ban_and_stop(post, action):
    world, enforcer = World(), mailing(action, post, ', dest="me@example.com,you@example.com"')
    world.drive(enforcer.start())
    world.drive(
        enforcer.carry_out([Enforce(a_ban("2001:db8::1", failures=5, matches=("one", "two")))])
    )
    world.drive(enforcer.stop())

    host = os.uname().nodename
    mails = sent(post)
    assert [
        f"[Fail2Ban] sshd: started on {host}",
        f"[Fail2Ban] sshd: banned 2001:db8::1 on {host}",
        f"[Fail2Ban] sshd: stopped on {host}",
    ] == [mail["Subject"] for mail in mails]
    assert ["<-oi><-f><f2b@example.com><me@example.com><you@example.com>"] * 3 == receivers(post)
    assert "Fail2Ban <f2b@example.com>" == mails[1]["From"]
    assert mails[1]["Date"].datetime.timestamp() == pytest.approx(time.time(), abs=60)
    text = mails[1].get_content()
    assert "2001:db8::1 has just been banned by the jail sshd after 5 attempts." in text
    assert ("answer for 2001:db8::1" in text) == ("whois" in action)
    assert ("one\ntwo\n" in text) == (action.endswith(("lines", "matches")))
    assert [] == world.notes


@pytest.mark.parametrize("action", ["sendmail-whois-lines", "sendmail-whois-ipmatches", "complain", "xarf-login-attack"])  # fmt: skip
def test_what_an_attacker_writes_is_nothing_but_text_in_a_mail(post, action):
    enforcer = mailing(action, post)
    ban = a_ban("192.0.2.1", failures=5, matches=(EVIL, "second line"))
    World().drive(enforcer.carry_out([Enforce(ban)]))

    assert () == enforcer.problems
    *_, mail = sent(post)
    assert "Bcc" not in mail
    text = mail.as_bytes().decode()
    assert "\n ~!touch pwned\n" in text
    assert "\n.\n" not in text
    assert "\n .\n" in text
    assert "\x1b" not in text
    inside = [part.get_content() for part in mail.walk() if not part.is_multipart()][-1]
    assert "\"; touch pwned; ' $(touch pwned) `touch pwned`" in inside
    assert "second line\n" in inside
    assert "[2Jbell \\n %s ✓" in inside
    assert not (post / "pwned").exists()
    assert not (ROOT / "pwned").exists()


def test_a_subject_is_one_line(post):
    World().drive(mailing("sendmail", post).carry_out(bans("Bob\nBcc: x@example.org\n\nHi")))

    [mail] = sent(post)[-1:]
    assert "sshd: banned BobBcc: x@example.orgHi on" in mail["Subject"]
    assert "Bcc" not in mail


@pytest.mark.parametrize("action", [*SENDMAILS, "mail-buffered", "complain", "xarf-login-attack"])
def test_nobody_gets_mail_for_bans_of_an_earlier_run(post, action):
    enforcer = mailing(action, post, f", tmpfile={post}/waiting")
    World().drive(enforcer.carry_out([Enforce(a_ban("192.0.2.1"), restored=True)]))

    assert not [mail for mail in sent(post) if "192.0.2.1" in mail.as_string()]
    assert () == enforcer.problems


@pytest.mark.parametrize("action", ["sendmail-buffered", "mail-buffered"])
def test_bans_wait_until_they_are_worth_a_mail_and_none_is_lost(post, action):
    more = f', lines=3, dest=me@example.com, tmpfile="{post}/waiting"'
    if action == "mail-buffered":
        more += f', mailcmd="{post}/bin/sendmail -s"'
    world, enforcer = World(), mailing(action, post, more)
    world.drive(enforcer.start())
    told = []
    for number in range(1, 6):
        world.drive(enforcer.carry_out(bans(f"192.0.2.{number}")))
        told.append(len(sent(post)))
    world.drive(enforcer.stop())

    assert [0, 0, 1, 1, 1] == told
    texts = [mail.as_string() for mail in sent(post)]
    assert [[1, 2, 3], [4, 5]] == [
        [n for n in range(1, 6) if f"192.0.2.{n} " in text] for text in texts
    ]
    assert "" == (post / "waiting").read_text()
    assert [] == world.notes


@pytest.mark.parametrize(
    ("action", "wanted"),
    [("complain", "<-oi><abuse@example.net><second@example.net>"),
     ("xarf-login-attack", "<-oi><abuse@example.net><second@example.net>")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("host", "asked"), [("192.0.2.1", "1.2.0.192."), ("2001:db8::1", "1.0.0.0.")]
)
def test_a_complaint_goes_to_who_answers_for_the_address_and_to_nothing_that_is_no_address(
    post, action, wanted, host, asked
):
    world, enforcer = World(), mailing(action, post)
    world.drive(enforcer.carry_out([Enforce(a_ban(host, matches=("a line",)))]))

    assert [wanted] == receivers(post)
    asked_for = (post / "asked").read_text()
    assert asked_for.startswith(asked)
    assert asked_for.endswith(".abuse-contacts.abusix.zone\n")
    assert [] == world.notes


def test_nobody_to_complain_to_is_no_error(post):
    a_program(post / "bin", "dig", "#!/bin/sh\nexit 0\n")
    for action in ("complain", "xarf-login-attack"):
        enforcer = mailing(action, post)
        World().drive(enforcer.carry_out(bans("192.0.2.1")))
        assert () == enforcer.problems

    assert [] == sent(post)


def test_an_xarf_report_can_be_read_by_a_program(post):
    enforcer = mailing("xarf-login-attack", post, ", service=sshd, port=22")
    ban = a_ban("2001:db8::1", failures=7, matches=("--Abuse-1--", "two"))
    World().drive(enforcer.carry_out([Enforce(ban)]))

    [mail] = sent(post)
    first, report, log = mail.iter_parts()
    assert "PLAIN" == mail["X-XARF"]
    assert "2001:db8::1" in first.get_content()
    facts = dict(re.findall(r"^([\w-]+): (.*)$", report.get_content(), re.M))
    assert ("login-attack", "sshd", "ipv6", "2001:db8::1", "22", "7") == tuple(
        facts[key]
        for key in ("Report-Type", "Service", "Source-Type", "Source", "Port", "Occurrences")
    )
    assert "--Abuse-1--\ntwo\n" in log.get_content()


def test_apprise_gets_title_and_text(post):
    tool = a_program(
        post / "bin", "apprise", f'#!/bin/sh\nprintf "<%s>" "$@" >>{post}/told\ncat >>{post}/told\n'
    )
    action = conf(f'apprise[apprise={tool}, config=/c, args="--tag a", more=<lines_part>]')
    enforcer = Enforcer("sshd", (action,))
    World().drive(enforcer.carry_out([Enforce(a_ban("192.0.2.1", failures=3, matches=(EVIL,)))]))

    told = (post / "told").read_text()
    assert told.startswith("<--config></c><--title><[Fail2Ban] sshd><--tag><a>The jail sshd on ")
    assert "The host 192.0.2.1 has been banned by the jail sshd on" in told
    assert "$(touch pwned)" in told
    assert () == enforcer.problems


# -- services of the web


class Service:
    """A web service that notes what it is asked, and answers with what `answer` gives."""

    def __init__(self):
        self.requests = []
        self.answer = lambda request: (200, "{}")
        service = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                request = (self.command, self.path, self.headers, self.rfile.read(length).decode())
                service.requests.append(request)
                status, text = service.answer(request)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self):
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def forms(self):
        return [{key: value[0] for key, value in parse_qs(r[3]).items()} for r in self.requests]


@pytest.fixture
def service():
    real("curl")
    made = Service()
    yield made
    made.close()


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text('t0p-s3cret"\\\n')
    return file


WEB = {
    "webhook": 'webhook[url="{url}/hook", token=@{secret}]',
    "abuseipdb": 'abuseipdb[abuseipdb_url="{url}/report", abuseipdb_apikey=@{secret}, abuseipdb_category="18,22"]',
    "blocklist_de": 'blocklist_de[blocklist_url="{url}/r", apikey=@{secret}, email=me@example.com, service=ssh]',
    "cloudflare": 'cloudflare[cfapi="{url}/v4", cfuser=me@example.com, cftoken=@{secret}]',
    "cloudflare-token": 'cloudflare-token[cfapi="{url}/v4", cfzone=z1, cftoken=@{secret}]',
}


def web(action, service, secret):
    return conf(WEB[action].format(url=service.url, secret=secret))


def test_a_webhook_gets_what_happened_as_json(service, secret):
    world, enforcer = World(), Enforcer("sshd", (web("webhook", service, secret),))
    world.drive(enforcer.start())
    world.drive(
        enforcer.carry_out([Enforce(a_ban("192.0.2.1", failures=5, matches=(EVIL, "two")))])
    )
    world.drive(enforcer.carry_out(bans('Bob "x" \\ $(id)')))
    world.drive(enforcer.carry_out(lifts("192.0.2.1")))

    assert [] == world.notes
    told = [json.loads(request[3]) for request in service.requests]
    assert ["ban", "ban", "unban"] == [each["event"] for each in told]
    assert ("sshd", "192.0.2.1", 5, 1700000000, 600) == tuple(
        told[0][key] for key in ("jail", "ip", "failures", "time", "bantime")
    )
    clean = EVIL.replace("\x1b", "").replace("\x07", "")
    assert clean + "\ntwo" == told[0]["matches"]
    assert 'Bob "x" \\ $(id)' == told[1]["id"]
    assert 'Bearer t0p-s3cret"\\' == service.requests[0][2]["Authorization"]
    assert "application/json" == service.requests[0][2]["Content-Type"]


def test_a_webhook_stays_valid_json_when_much_is_to_be_told(service, secret):
    enforcer = Enforcer("sshd", (web("webhook", service, secret),))
    lines = tuple('"\\✓é' * 200 for _ in range(40))
    for number in range(4):  # wherever the text is cut off
        World().drive(
            enforcer.carry_out([Enforce(a_ban("192.0.2.1", matches=("x" * number, *lines)))])
        )

    assert () == enforcer.problems
    assert all(6000 < len(json.loads(r[3])["matches"].encode()) <= 8000 for r in service.requests)


def test_a_webhook_tells_of_start_and_stop_if_asked(service, secret):
    action = conf(f'webhook[url="{service.url}", tell_start=1, header="X-Kind: {{a}}"]')
    world, enforcer = World(), Enforcer("sshd", (action,))
    world.drive(enforcer.start())
    world.drive(enforcer.stop())

    assert ["start", "stop"] == [json.loads(request[3])["event"] for request in service.requests]
    assert "{a}" == service.requests[0][2]["X-Kind"]


@pytest.mark.parametrize("action", sorted(WEB))
@pytest.mark.parametrize("failure", ["refused", "no service", "no key"])
def test_a_service_that_fails_is_told_and_nobody_learns_the_key(service, secret, action, failure):
    enforcer = Enforcer("sshd", (web(action, service, secret),))
    service.answer = lambda request: (403, "Go away")
    if failure == "no service":
        service.close()
    if failure == "no key":
        secret.unlink()
    world = World()
    world.drive(enforcer.carry_out(bans("192.0.2.1")))

    [problem] = enforcer.problems
    assert {
        "refused": "answered 403: Go away",
        "no service": "curl: (7)",
        "no key": "No such file",
    }[failure] in problem
    assert "s3cret" not in "".join(world.notes) + "".join(world.scripts)


@pytest.mark.parametrize("action", sorted(WEB))
def test_no_secret_stands_among_the_arguments_of_a_program(service, secret, tmp_path, action):
    curl = a_program(
        tmp_path / "bin",
        "curl",
        f'#!/bin/sh\nps ax -ww -o args >>{tmp_path}/ps\nexec {shutil.which("curl")} "$@"\n',
    )
    text = WEB[action].format(url=service.url, secret=secret)[:-1] + f', curl="{curl} -sS"]'
    enforcer = Enforcer("sshd", (conf(text),))
    World().drive(enforcer.carry_out(bans("192.0.2.1")))

    assert () == enforcer.problems
    assert "curl" in (tmp_path / "ps").read_text()
    assert "s3cret" not in (tmp_path / "ps").read_text()
    [_, _, headers, body] = service.requests[0]
    assert "s3cret" in str(headers) + body


def test_abuseipdb_gets_a_report_that_it_takes(service, secret):
    enforcer = Enforcer("sshd", (web("abuseipdb", service, secret),))
    long = Enforce(a_ban("2001:db8::1", matches=("é" * 900,)))
    World().drive(enforcer.carry_out([Enforce(a_ban("192.0.2.1", matches=(EVIL,))), long]))

    assert () == enforcer.problems
    first, second = service.forms()
    assert ("192.0.2.1", "18,22") == (first["ip"], first["categories"])
    assert EVIL.replace("\x1b", "").replace("\x07", "") == first["comment"]
    assert "key" not in first and 't0p-s3cret"\\' == service.requests[0][2]["Key"]
    assert ("2001:db8::1", "é" * 499) == (second["ip"], second["comment"].rstrip("�")[:499])
    assert 1000 >= len(second["comment"].encode())


def test_who_was_reported_to_abuseipdb_a_moment_ago_is_no_problem(service, secret):
    service.answer = lambda request: (429, '{"errors": []}')
    enforcer = Enforcer("sshd", (web("abuseipdb", service, secret),))
    World().drive(enforcer.carry_out(bans("192.0.2.1")))

    assert () == enforcer.problems


def test_a_comment_of_ones_own_keeps_the_log_at_home(service, secret):
    action = conf(
        f'abuseipdb[abuseipdb_url="{service.url}", abuseipdb_apikey=k, abuseipdb_comment="too many"]'
    )
    World().drive(
        Enforcer("sshd", (action,)).carry_out([Enforce(a_ban("192.0.2.1", matches=(EVIL,)))])
    )

    assert "too many" == service.forms()[0]["comment"]


def test_blocklist_de_gets_address_service_and_log(service, secret):
    enforcer = Enforcer("sshd", (web("blocklist_de", service, secret),))
    World().drive(enforcer.carry_out([Enforce(a_ban("2001:db8::1", matches=(EVIL,)))]))

    [form] = service.forms()
    clean = EVIL.replace("\x1b", "").replace("\x07", "")
    wanted = {"server": "me@example.com", "apikey": 't0p-s3cret"\\', "service": "ssh",
              "ip": "2001:db8::1", "logs": clean, "format": "text"}  # fmt: skip
    assert wanted == form


class Cloudflare:
    """What a service answers that keeps access rules as Cloudflare does."""

    def __init__(self, root):
        self.rules, self._root = {}, root

    def __call__(self, request):
        verb, path, _, body = request
        url = urlsplit(path)
        if verb == "DELETE":
            found = self.rules.pop(url.path.removeprefix(f"{self._root}/"), None)
            return (404, "{}") if found is None else (200, '{"success": true}')
        assert self._root == url.path
        if verb == "GET":
            asked = {key: value[0] for key, value in parse_qs(url.query).items()}
            found = [
                {"id": id, **rule}
                for id, rule in self.rules.items()
                if rule["mode"] == asked["mode"] and rule["notes"] == asked["notes"]
                and rule["configuration"] == {"target": asked["configuration.target"], "value": asked["configuration.value"]}
            ]  # fmt: skip
            return 200, json.dumps({"result": found, "success": True}, indent=1)
        rule = json.loads(body)
        if any(rule["configuration"] == other["configuration"] for other in self.rules.values()):
            error = {"code": 10009, "message": "firewallaccessrules.api.duplicate_of_existing"}
            return 400, json.dumps({"success": False, "errors": [error]})
        self.rules[f"{len(self.rules) + 1:032x}"] = rule
        return 200, '{"success": true}'


@pytest.mark.parametrize("action", ["cloudflare", "cloudflare-token"])
def test_cloudflare_has_one_rule_for_each_host_and_none_after(service, secret, action):
    root = "/v4/user" if action == "cloudflare" else "/v4/zones/z1"
    service.answer = rules = Cloudflare(f"{root}/firewall/access_rules/rules")
    world, enforcer = World(), Enforcer("sshd", (web(action, service, secret),))
    hosts = ["192.0.2.1", "2001:db8::1", "192.0.2.0/24"]
    for _ in range(2):
        world.drive(enforcer.carry_out(bans(*hosts)))
    assert [("ip", hosts[0]), ("ip6", hosts[1]), ("ip_range", hosts[2])] == [
        (rule["configuration"]["target"], rule["configuration"]["value"])
        for rule in rules.rules.values()
    ]
    alone = Action("sshd", web(action, service, secret))
    for _ in range(2):
        assert world.run(alone.unban(a_ban("2001:db8::1"))).is_success
    assert 2 == len(rules.rules)
    world.drive(enforcer.stop())

    assert {} == rules.rules
    assert [] == world.notes
    headers = service.requests[0][2]
    if action == "cloudflare":
        assert ("me@example.com", 't0p-s3cret"\\') == (
            headers["X-Auth-Email"],
            headers["X-Auth-Key"],
        )
    else:
        assert 'Bearer t0p-s3cret"\\' == headers["Authorization"]


# -- all


ALL = sorted(path.stem for path in (ROOT / "config/action.d").glob("*.conf") if not path.stem.endswith("common") and path.stem != "address")  # fmt: skip


@pytest.mark.parametrize("action", ALL)
def test_no_tag_is_left_in_a_command_and_the_shell_can_read_it(action):
    made = Action("sshd", conf(action))
    ban = Ban("sshd", "2001:db8::1", 1700000000.0, 600, ("x",))
    commands = [getattr(made, name)(family) for name in ("start", "stop", "check", "flush", "reload")
                for family in ("inet4", "inet6")] + [made.ban(ban), made.unban(ban)]  # fmt: skip
    for key in ("actionban_many", "actionunban_many"):
        commands += [command for _, command in made.for_many(key, [ban, ban])]
    for command in filter(None, commands):
        assert not re.findall(r"<(?!f2b-|fail2ban>)[a-z_][\w.-]*>", command.script)
        checked = subprocess.run(["sh", "-n", "-c", command.script], capture_output=True, text=True)
        assert "" == checked.stderr
        assert run(ShellCommand(f"sh -n <<'NO-END'\n{command.script}\nNO-END")).is_success


@pytest.mark.parametrize("action", ALL)
def test_an_action_says_what_it_is_and_how_it_is_used(action):
    head = (ROOT / "config/action.d" / f"{action}.conf").read_text().partition("[")[0]

    assert head.startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n# ")


CHOICES = {
    "action_": ["nftables"],
    "action_mw": ["nftables", "sendmail-whois"],
    "action_mwl": ["nftables", "sendmail-whois-lines"],
    "action_xarf": ["nftables", "xarf-login-attack"],
    "action_cf_mwl": ["cloudflare", "sendmail-whois-lines"],
    "action_blocklist_de": ["blocklist_de"],
    "action_abuseipdb": ["abuseipdb"],
}
LOCAL = """[DEFAULT]
cfemail = me@example.com
cfapikey = @/k
blocklist_de_apikey = @/k
[sshd]
enabled = true
backend = polling
logpath = /dev/null
action = %({})s
"""


@pytest.mark.parametrize("choice", CHOICES)
def test_jail_conf_names_the_actions_that_people_choose_from(tmp_path, choice):
    shutil.copytree(ROOT / "config", tmp_path / "conf")
    (tmp_path / "conf/jail.local").write_text(LOCAL.format(choice))
    client = [sys.executable, ROOT / "fail2ban-client", "-c", tmp_path / "conf", "-d"]
    done = subprocess.run(client, capture_output=True, text=True)

    assert CHOICES[choice] == re.findall(r"'addaction', '([^']*)'", done.stdout)
    assert "%(" not in "".join(
        re.findall(r"\['(?:sender|dest|apikey|agent|port)', .*?\]", done.stdout)
    )
    assert 0 == done.returncode
    assert "" == done.stderr
