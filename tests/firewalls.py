# SPDX-License-Identifier: GPL-2.0-or-later
"""Every action for a firewall: how a test calls it, and how it sees what the firewall holds."""

from __future__ import annotations

import os
import re
import shutil
import sys

import pytest

from server.enforcer import Enforcer
from tests.firewalld import a_firewalld
from tests.network import a_program, conf, real

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
def place(l): return int(l.split()[1]) if l[0] == "R" else 0
last = max(map(place, state), default=0)
def do(words):
    global state, last
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
    elif words == ["list"]: [print(l[2:]) for l in sorted(state, key=place) if l[0] == "R"]
    elif words[0] == "add":
        rule = words[1:]
        number = int(rule.pop(0)) if rule[0].isdigit() else last + 100
        last = max(last, number)
        state.append(f"R {number:05} " + " ".join(rule))
    elif words[0] == "delete":
        left = [l for l in state if not l.startswith(f"R {words[1]} ")]
        if len(left) == len(state) and not quiet: fail("ipfw: rule not found", 71)
        state = left
    else: fail("usage", 64)
if words[quiet:] == ["/dev/stdin"]:
    try:
        for line in sys.stdin: do(line.split())
    finally: save()  # what came before a mistake is done
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
STAND_IN = """#!{python} -IS
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
def stage(tmp_path, monkeypatch, request):
    """Make a scene in which what a kind needs is there; firewall-cmd is the program itself if `is_whole`."""

    def make(kind, is_whole=False):
        means = {"DIR": str(tmp_path)}
        if kind.needs == "firewalld":
            running = request.getfixturevalue("firewalld")
            means["FIREWALL"] = running.command if is_whole else running.quick
            return Scene(running.cleared(), means)
        if kind.needs == "ufw":
            means["UFW"] = request.getfixturevalue("ufw")
        elif kind.needs in STAND_INS:
            names = ["shorewall", "shorewall6"] if kind.needs == "shorewall" else [kind.needs]
            for name in names:
                text = STAND_IN.format(python=sys.executable, body=STAND_INS[kind.needs])
                a_program(tmp_path / "bin", name, text)
            monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        elif kind.needs:
            real(kind.needs)
        return Scene(request.getfixturevalue("world"), means)

    return make


@pytest.fixture(scope="module")
def firewalld(tmp_path_factory):
    """One firewalld for all tests of a file: to start it takes longer than most of them."""
    with a_firewalld(tmp_path_factory.mktemp("firewalld")) as running:
        yield running


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
