# SPDX-License-Identifier: GPL-2.0-or-later
"""The actions that come with us do what they say, with the real programs."""

# ruff: noqa: F401, F811 - a fixture is imported, and then the name of parameters
from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.action import Action
from server.enforcer import Enforcer
from tests.network import HOSTILE, World, a_ban, bans, conf, lifts, world

FIREWALLS = ["nftables", "nftables-multiport", "nftables-allports", "iptables", "iptables-multiport", "iptables-allports"]  # fmt: skip


class Firewall:
    """What a firewall holds, whichever it is."""

    def __init__(self, world, action):
        self.world = world
        self.is_nft = action.startswith("nft")

    def banned(self):
        if self.is_nft:
            told = json.loads(self.world.tell("nft -j list sets"))["nftables"]
            sets = [entry["set"] for entry in told if "set" in entry]
            return sorted(
                e if isinstance(e, str) else e["prefix"]["addr"]
                for s in sets
                for e in s.get("elem", [])
            )
        return sorted(
            line.split()[3].partition("/")[0]
            for line in self.rules()
            if line.startswith("-A f2b-sshd") and " -s " in line
        )

    def rules(self):
        if self.is_nft:
            return [
                line.strip()
                for line in self.world.tell("nft list ruleset").splitlines()
                if "saddr" in line
            ]
        return self.world.tell("iptables -S 2>/dev/null; ip6tables -S 2>/dev/null").splitlines()

    def entrances(self):
        """The rules that send packets to where the bans are."""
        return (
            self.rules()
            if self.is_nft
            else [line for line in self.rules() if "-j f2b-sshd" in line]
        )

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


@pytest.mark.root
@pytest.mark.parametrize("action", FIREWALLS)
def test_bans_that_come_together_are_made_and_lifted_together(world, action):
    firewall = Firewall(world, action)
    enforcer = Enforcer("sshd", (conf(f'{action}[port="22"]'),))
    hosts = [f"10.0.{i // 250}.{i % 250}" for i in range(1500)] + [
        f"2001:db8::{i:x}" for i in range(1, 500)
    ]

    world.drive(enforcer.carry_out(bans(*hosts)))
    assert sorted(hosts) == firewall.banned()
    world.drive(enforcer.carry_out(lifts(*hosts[:1000])))
    assert sorted(hosts[1000:]) == firewall.banned()

    assert 30 > len(world.scripts)
    assert [] == world.notes
    world.drive(enforcer.stop())
    assert firewall.is_clean()


@pytest.mark.root
@pytest.mark.parametrize("action", ["nftables", "iptables"])
def test_many_jails_may_start_ban_and_stop_at_once(world, action):
    firewall = Firewall(world, action)
    jails = [Enforcer(f"jail{i}", (conf(action, f"jail{i}"),)) for i in range(6)]

    def together(task):
        with ThreadPoolExecutor(len(jails)) as pool:
            list(pool.map(lambda enforcer: world.drive(task(enforcer)), jails))

    together(lambda enforcer: enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))
    many = [f"192.0.2.{number}" for number in range(10, 50)]
    together(lambda enforcer: enforcer.carry_out(bans(*many)))
    together(lambda enforcer: enforcer.carry_out(lifts(*many[:20])))
    held = [
        sum(host in line for line in firewall.rules()) for host in (f" {many[0]}/", f" {many[-1]}/")
    ]
    entrances = [line for line in firewall.rules() if "saddr" in line or "-j f2b-" in line]
    together(Enforcer.stop)

    assert 2 * len(jails) == len(entrances)
    assert firewall.is_nft or [0, len(jails)] == held
    assert [] == world.notes
    assert firewall.is_clean()


# Listens on a port, and comes to it from another address of this host; says whether it got through.
KNOCK = """
import socket, sys
source, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind = socket.AF_INET6 if ":" in source else socket.AF_INET
with socket.socket(kind) as listener, socket.socket(kind) as caller:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((target, port))
    listener.listen()
    caller.bind((source, 0))
    caller.settimeout(0.5)  # one and the same kernel answers at once, if at all
    try:
        caller.connect((target, port))
        print("open")
    except OSError:
        print("closed")
"""


def knocks(world, source, target, port):
    command = f"python3 -c '{KNOCK}' {source} {target} {port}"
    return world.tell(command).strip()


@pytest.mark.root
@pytest.mark.parametrize("action", FIREWALLS)
def test_who_is_banned_does_not_get_in_and_others_do(world, action):
    world.tell(
        "ip link set lo up; ip addr add 2001:db8::1/128 dev lo; ip addr add 2001:db8::2/128 dev lo"
    )
    enforcer = Enforcer("sshd", (conf(f'{action}[port="2222"]'),))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans("127.0.0.2", "2001:db8::2")))

    assert "closed" == knocks(world, "127.0.0.2", "127.0.0.1", 2222)
    assert "open" == knocks(world, "127.0.0.3", "127.0.0.1", 2222)
    assert "closed" == knocks(world, "2001:db8::2", "2001:db8::1", 2222)
    assert "open" == knocks(world, "2001:db8::1", "2001:db8::1", 2222)
    assert ("closed" if "allports" in action else "open") == knocks(
        world, "127.0.0.2", "127.0.0.1", 2223
    )
    world.drive(enforcer.carry_out(lifts("127.0.0.2")))
    assert "open" == knocks(world, "127.0.0.2", "127.0.0.1", 2222)


@pytest.mark.root
@pytest.mark.parametrize("action", FIREWALLS)
def test_what_a_crash_left_is_adopted_and_not_built_twice(world, action):
    firewall = Firewall(world, action)
    killed = Enforcer("sshd", (conf(f'{action}[port="22"]'),))
    world.drive(killed.carry_out(bans("192.0.2.1", "192.0.2.9", "2001:db8::1")))

    enforcer = Enforcer("sshd", (conf(f'{action}[port="22,80"]'),))
    world.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))
    assert [] == world.notes
    world.drive(enforcer.look())

    assert ["192.0.2.1", "2001:db8::1"] == firewall.banned()
    assert 2 == len(firewall.entrances())
    world.drive(enforcer.stop())
    assert firewall.is_clean()


@pytest.mark.root
@pytest.mark.parametrize("action", FIREWALLS)
def test_a_firewall_that_somebody_flushed_is_repaired_with_all_its_bans(world, action):
    firewall = Firewall(world, action)
    enforcer = Enforcer("sshd", (conf(f'{action}[port="22"]'),))
    world.drive(enforcer.carry_out(bans("192.0.2.1", "192.0.2.2", "2001:db8::1")))
    for tool in ("iptables", "ip6tables"):
        world.tell("nft flush ruleset" if firewall.is_nft else f"{tool} -F; {tool} -X")

    world.drive(enforcer.carry_out(bans("192.0.2.3", "2001:db8::2")))

    assert [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
        "2001:db8::1",
        "2001:db8::2",
    ] == firewall.banned()
    assert 2 == len(firewall.entrances())
    assert () == enforcer.problems
    assert any("actioncheck failed" in note for note in world.notes)


@pytest.mark.root
@pytest.mark.parametrize("action", ["nftables", "iptables"])
def test_a_reload_with_other_ports_keeps_the_bans_where_they_are(world, action):
    firewall = Firewall(world, action)
    enforcer = Enforcer("sshd", (conf(f'{action}[port="22"]'),))
    world.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))
    world.scripts.clear()

    world.drive(enforcer.change((conf(f'{action}[port="80"]'),), [a_ban("192.0.2.1")]))
    assert 2 == len(world.scripts)

    assert ["192.0.2.1", "2001:db8::1"] == firewall.banned()
    assert 2 == len([rule for rule in firewall.entrances() if "80" in rule])
    assert 2 == len(firewall.entrances())
    assert [] == world.notes


@pytest.mark.root
@pytest.mark.parametrize("action", ["nftables", "iptables"])
def test_a_reload_with_another_block_type_bans_anew(world, action):
    firewall = Firewall(world, action)
    enforcer = Enforcer("sshd", (conf(f'{action}[port="22"]'),))
    world.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1")))

    block = "drop" if firewall.is_nft else "DROP"
    world.drive(enforcer.change((conf(f'{action}[port="22", blocktype={block}]'),), []))

    assert ["192.0.2.1", "2001:db8::1"] == firewall.banned()
    assert 2 == len([rule for rule in firewall.rules() if rule.endswith(block)])
    world.drive(enforcer.stop())
    assert firewall.is_clean()


PORTS = [
    ("nftables", 'port="ssh,http,6000:6010"', ["tcp dport { 22, 80, 6000-6010 }"]),
    ("nftables", 'port="0:65535", protocol=udp', ["udp dport 0-65535"]),
    ("nftables", 'port=53, protocol="tcp,udp"', ["meta l4proto { tcp, udp } th dport 53"]),
    ("nftables", "port=53, protocol=all", ["meta l4proto { tcp, udp, dccp, sctp } th dport 53"]),
    ("nftables", "type=allports", ["meta l4proto tcp ip"]),
    ("nftables", "type=allports, protocol=all", ["ip saddr @addr-set-sshd reject"]),
    ("nftables", 'blocktype="reject with icmpx admin-prohibited"', ["reject with icmpx admin-prohibited"]),
    ("iptables", "name=sshd, port=22, protocol=tcp", ["-p tcp -m tcp --dport 22"]),
    ("iptables", "port=ssh", ["-p tcp -m tcp --dport 22"]),
    ("iptables", "port=6000:6010", ["-p tcp -m tcp --dport 6000:6010"]),
    ("iptables", 'port="ssh,http,6000:6010"', ["-p tcp -m multiport --dports 22,80,6000:6010"]),
    ("iptables", 'port=53, protocol="tcp,udp"', ["-p tcp -m tcp --dport 53", "-p udp -m udp --dport 53"]),
    ("iptables", "port=53, protocol=all", ["-p tcp -m tcp --dport 53", "-p udp -m udp --dport 53"]),
    ("iptables-allports", "", ["-A INPUT -p tcp -j"]),
    ("iptables-allports", "protocol=all", ["-A INPUT -j"]),
    ("iptables-multiport", "port=22", ["--dport 22"]),
    ("iptables", 'port=22, chain="INPUT,FORWARD"', ["-A INPUT", "-A FORWARD"]),
]  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize(("action", "arguments", "wanted"), PORTS)
def test_ports_and_protocols_are_closed_as_people_write_them(world, action, arguments, wanted):
    firewall = Firewall(world, action)
    enforcer = Enforcer("sshd", (conf(f"{action}[{arguments}]"),))
    world.drive(enforcer.carry_out(bans("192.0.2.1")))
    world.drive(enforcer.carry_out(bans("192.0.2.2")))

    entrances = firewall.entrances()
    assert len(wanted) == len(entrances)
    for text in wanted:
        assert any(text in rule for rule in entrances), entrances
    world.drive(enforcer.stop())
    assert firewall.is_clean()
    assert [] == world.notes


@pytest.mark.root
def test_the_nftables_table_stays_while_another_jail_or_person_uses_it(world):
    jails = [Enforcer(name, (conf("nftables", name),)) for name in ("sshd", "sshd-2", "web")]
    for enforcer in jails:
        world.drive(enforcer.carry_out(bans("192.0.2.1")))
    world.tell("nft add rule inet f2b-table f2b-chain tcp dport 9 drop")
    firewall = Firewall(world, "nftables")

    left = []
    for enforcer in jails:
        world.drive(enforcer.stop())
        left.append(len(firewall.rules()))

    assert [2, 1, 0] == left
    assert "tcp dport 9 drop" in world.tell("nft list ruleset")
    assert [] == world.notes


@pytest.mark.root
def test_networks_are_banned_by_nftables_in_a_set_of_their_own(world):
    firewall = Firewall(world, "nftables")
    enforcer = Enforcer("sshd", (conf("nftables[port=22]"),))

    world.drive(enforcer.carry_out(bans("192.0.2.1", "192.0.2.2", "2001:db8::1")))
    assert 2 == len(firewall.entrances())
    world.drive(enforcer.carry_out(bans("192.0.2.0/24", "2001:db8::/64")))
    world.drive(enforcer.carry_out(bans("198.51.100.0/24", "203.0.113.128/25", "203.0.113.1")))

    assert 4 == len(firewall.entrances())
    listed = world.run(Action("sshd", conf("nftables[port=22]")).listing("inet4")).stdout
    wanted = "192.0.2.0/24 192.0.2.1 192.0.2.2 198.51.100.0/24 203.0.113.1 203.0.113.128/25"
    assert wanted.split() == sorted(line.split()[0] for line in listed.splitlines())

    world.drive(enforcer.carry_out(lifts("192.0.2.1", "192.0.2.2", "2001:db8::1")))
    world.drive(enforcer.carry_out(lifts("198.51.100.0/24", "203.0.113.128/25", "203.0.113.1")))
    assert ["192.0.2.0", "2001:db8::"] == firewall.banned()
    world.drive(enforcer.carry_out(lifts("192.0.2.0/24")))
    assert ["2001:db8::"] == firewall.banned()
    world.drive(enforcer.stop())
    assert firewall.is_clean()
    assert () == enforcer.problems


@pytest.mark.root
@pytest.mark.parametrize("action", ["nftables", "iptables"])
def test_an_id_that_is_no_address_is_refused_before_the_firewall_reads_it(world, action):
    firewall = Firewall(world, action)
    enforcer = Enforcer("sshd", (conf(action),))
    world.drive(enforcer.carry_out(bans("192.0.2.1")))
    for text in HOSTILE:
        world.drive(enforcer.carry_out(bans(text)))
        assert "not an address" in enforcer.problems[0]

    assert ["192.0.2.1"] == firewall.banned()
    assert "table inet x" not in world.tell("nft list ruleset")
    assert all("\n" not in note for note in world.notes)


def test_a_missing_program_is_named():
    world = World()
    enforcer = Enforcer("sshd", (conf("nftables[nftables=nft-of-another-world]"),))

    world.drive(enforcer.carry_out(bans("192.0.2.1")))

    assert "Is nft-of-another-world installed" in enforcer.problems[0]


# -- hosts.deny


def deny(tmp_path, more=""):
    return Enforcer("sshd", (conf(f"hostsdeny[file={tmp_path}/hosts.deny{more}]"),))


def test_hosts_deny_gets_a_line_for_each_host_and_keeps_all_others(tmp_path):
    file = tmp_path / "hosts.deny"
    file.write_text("# mine\nALL: 192.0.2.10")
    file.chmod(0o640)
    world, enforcer = World(), deny(tmp_path)

    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans("192.0.2.1", "2001:db8::1", "2001:db8::/64", "192.0.2.1")))
    lines = [
        "# mine",
        "ALL: 192.0.2.10",
        "ALL: 192.0.2.1",
        "ALL: [2001:db8::1]",
        "ALL: [2001:db8::]/64",
    ]
    assert lines[:2] == file.read_text().splitlines()[:2]
    assert sorted(lines) == sorted(file.read_text().splitlines())
    world.drive(enforcer.carry_out(lifts("192.0.2.1")))
    world.drive(enforcer.stop())

    assert "# mine\nALL: 192.0.2.10\n" == file.read_text()
    assert 0o640 == file.stat().st_mode & 0o777
    assert [file] == list(tmp_path.iterdir())
    assert [] == world.notes


def test_hosts_deny_names_the_services_that_are_closed(tmp_path):
    world, enforcer = World(), deny(tmp_path, ", daemon_list='sshd, in.ftpd'")

    world.drive(enforcer.carry_out(bans("192.0.2.1")))

    assert "sshd, in.ftpd: 192.0.2.1\n" == (tmp_path / "hosts.deny").read_text()


def test_hosts_deny_becomes_empty_with_its_last_line(tmp_path):
    world, enforcer = World(), deny(tmp_path)
    world.drive(enforcer.carry_out([*bans("192.0.2.1"), *lifts("192.0.2.1")]))

    assert "" == (tmp_path / "hosts.deny").read_text()
    assert [] == world.notes


def test_hosts_deny_is_what_a_link_points_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "hosts.deny").symlink_to("real/deny")
    World().drive(deny(tmp_path).carry_out(bans("192.0.2.1")))

    assert (tmp_path / "hosts.deny").is_symlink()
    assert "ALL: 192.0.2.1\n" == (tmp_path / "real" / "deny").read_text()


def test_no_line_of_hosts_deny_is_lost_when_many_jails_write_at_once(tmp_path):
    def work(number):
        hosts = [f"192.0.2.{number * 10 + i}" for i in range(8)]
        World().drive(deny(tmp_path).carry_out([*bans(*hosts), *lifts(*hosts[4:])]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    wanted = {f"ALL: 192.0.2.{number * 10 + i}" for number in range(4) for i in range(4)}
    lines = (tmp_path / "hosts.deny").read_text().splitlines()
    assert sorted(wanted) == sorted(lines)


def test_hosts_deny_takes_nothing_but_addresses(tmp_path):
    world, enforcer = World(), deny(tmp_path)
    for text in HOSTILE:
        world.drive(enforcer.carry_out(bans(text)))
        assert "not an address" in enforcer.problems[0]

    assert [] == list(tmp_path.iterdir())


# -- small ones


def test_dummy_writes_down_what_it_would_do(tmp_path):
    world, enforcer = World(), Enforcer("sshd", (conf(f"dummy[target={tmp_path}/d]"),))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out([*bans("192.0.2.1", "a $(b) 'c\""), *lifts("192.0.2.1")]))
    world.drive(enforcer.stop())

    wanted = [
        "sshd: started",
        "sshd: +192.0.2.1",
        "sshd: +a $(b) 'c\"",
        "sshd: -192.0.2.1",
        "sshd: -*",
        "sshd: stopped",
    ]
    assert wanted == (tmp_path / "d").read_text().splitlines()


def test_foo_keeps_a_list_of_who_is_banned(tmp_path):
    world, enforcer = World(), Enforcer("sshd", (conf(f"foo[list={tmp_path}/foo]"),))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out([*bans("192.0.2.1", "192.0.2.2", "Bob"), *lifts("192.0.2.1")]))
    assert "192.0.2.2\nBob\n" == (tmp_path / "foo").read_text()

    (tmp_path / "foo").unlink()
    world.drive(enforcer.carry_out(bans("192.0.2.3")))
    assert "192.0.2.2\nBob\n192.0.2.3\n" == (tmp_path / "foo").read_text()
    world.drive(enforcer.stop())
    assert [] == list(tmp_path.iterdir())
