# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for every action that tells a firewall."""

# ruff: noqa: F401, F811 - a fixture is imported, and then the name of parameters
from __future__ import annotations

import re

import pytest

from server.action import Action
from tests.firewalls import HOSTS, KINDS, NAMES, firewalld, stage, ufw
from tests.network import HOSTILE, a_ban, bans, conf, lifts, world

# Those that make many bans with one command, and can be told so before anything is started.
MANY = [name for name in NAMES if Action("sshd", conf(KINDS[name].action)).has("actionban_many")]


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
