# SPDX-License-Identifier: GPL-2.0-or-later
"""What one firewall has and others have not: sets, routes, chains of Docker, rules of many."""

# ruff: noqa: F401, F811 - a fixture is imported, and then the name of parameters
from __future__ import annotations

import re

import pytest

from server.action import Action
from server.enforcer import Enforcer
from tests.firewalls import ADDRESS, BOTH, HOSTS, KINDS, firewalld, stage, ufw, words
from tests.network import a_ban, bans, conf, lifts, real, world


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
    scene = stage(kind, is_whole=True)
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
    scene = stage(kind, is_whole=True)
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
