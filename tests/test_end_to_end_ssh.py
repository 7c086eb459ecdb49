# SPDX-License-Identifier: GPL-2.0-or-later
"""All the way: a wrong password at a real sshd, and the attacker's next connection fails."""

from __future__ import annotations

import re
import signal

import pytest

from tests.ours import Ours
from tests.support import ROOT, eventually
from tests.world import ATTACKER, TOOLS, USER, World, need_root_and

pytestmark = pytest.mark.root

EVE, EVE_TOO, EVE6, EVE6_TOO = ATTACKER

# What a firewall is made of, as commands that show it; the second takes everything away.
NFT = (["nft list ruleset"], ["nft flush ruleset"])
IPTABLES = (
    ["iptables -S", "ip6tables -S"],
    ["iptables -F", "iptables -X", "ip6tables -F", "ip6tables -X"],
)
FIREWALLS = {
    "nftables": NFT,
    "nftables-allports": NFT,
    "iptables-multiport": IPTABLES,
    "iptables-allports": IPTABLES,
}
EACH_KIND = pytest.mark.parametrize("banaction", ["nftables", "iptables-multiport"])
EACH = pytest.mark.parametrize("banaction", FIREWALLS)

JAIL = """
[sshd]
enabled = true
backend = auto
logpath = {log}
maxretry = 3
bantime = {bantime}
banaction = {banaction}
"""

# Rules of somebody else, which are none of our business.
ELSEWHERE = [
    "nft add table inet elsewhere",
    "nft add chain inet elsewhere guard",
    "nft add rule inet elsewhere guard tcp dport 25 drop",
    "iptables -A INPUT -p tcp --dport 25 -j DROP",
    "ip6tables -A INPUT -p tcp --dport 25 -j DROP",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    need_root_and(*TOOLS, "nft", "iptables", "ip6tables")
    world = World(tmp_path_factory.mktemp("world"))
    try:
        yield world.begin()
    finally:
        world.end()


@pytest.fixture
def guard(world, tmp_path):
    """A function that starts a server of ours on the world's server, with the stock configuration."""
    ours = Ours(tmp_path, world.server.prefix)
    world.clear_logs()

    def guard(banaction, bantime=600, log=world.auth_log):
        jail = JAIL.format(log=log, banaction=banaction, bantime=bantime)
        return ours.configured(jail, stock=ROOT / "config").start()

    try:
        yield guard
        ours.finish()
    finally:
        if ours.process and ours.process.poll() is None:
            ours.process.kill()
            ours.process.wait()
        forget(world)


def forget(world):
    for command in (*NFT[1], *IPTABLES[1]):
        world.server.run(*command.split())


def firewall(world, banaction):
    """The whole firewall as text, without the counts of packets and the time that bans have left."""
    shows, _ = FIREWALLS[banaction]
    text = "".join(world.server.run(*show.split()).stdout for show in shows)
    return re.sub(r" expires \w+", "", text)


def is_shut_out(world, source):
    return lambda: not world.may_attack(source)


def is_let_in(world, source):
    return lambda: world.may_attack(source)


def shut_out(world, source):
    """Attack from `source` until that is over."""
    world.attack_until(is_shut_out(world, source), source, 3)


def test_without_a_server_of_ours_the_attacker_goes_on_and_on(world):
    world.attack(EVE, 5)

    assert world.may_attack(EVE)
    assert world.may_work()


@pytest.mark.parametrize(
    ("banaction", "source", "other"),
    [
        ("nftables", EVE, EVE_TOO),
        ("nftables", EVE6, EVE6_TOO),
        ("nftables-allports", EVE6, EVE6_TOO),
        ("iptables-multiport", EVE, EVE_TOO),
        ("iptables-multiport", EVE6, EVE6_TOO),
        ("iptables-allports", EVE, EVE_TOO),
    ],
)
def test_after_maxretry_wrong_logins_the_attacker_cannot_connect_and_the_user_can(
    world, guard, banaction, source, other
):
    ours = guard(banaction)

    world.attack(source, 2)
    eventually(lambda: "2" == ours.status("sshd")["Total failed"], 5, "two failures")
    assert world.may_attack(source)

    world.attack_until(is_shut_out(world, source), source, 1)
    assert world.may_attack(other)
    assert world.may_work()
    assert {source} == ours.banned("sshd")
    assert f"[sshd] Ban {source}" in ours.logged


@EACH_KIND
def test_when_bantime_is_over_the_attacker_connects_again(world, guard, banaction):
    ours = guard(banaction, bantime=2)

    for source in (EVE, EVE6):
        shut_out(world, source)

    for source in (EVE, EVE6):
        eventually(is_let_in(world, source), 6, "the end of the ban")
        eventually(lambda source=source: f"[sshd] Unban {source}" in ours.logged, 5, "a word of it")
    assert set() == ours.banned("sshd")


@EACH_KIND
def test_after_unbanip_the_attacker_connects_again(world, guard, banaction):
    ours = guard(banaction)
    for source in (EVE, EVE6):
        shut_out(world, source)

    assert "2" == ours.says("set", "sshd", "unbanip", EVE, EVE6)

    for source in (EVE, EVE6):
        eventually(is_let_in(world, source), 5, "the end of the ban")
    shut_out(world, EVE)


@EACH
def test_after_stop_the_firewall_is_as_it_was_before(world, guard, banaction):
    for rule in ELSEWHERE:
        world.server.run(*rule.split())
    before = firewall(world, banaction)
    ours = guard(banaction)
    ours.says("set", "sshd", "banip", EVE, EVE6, "192.0.2.128/25")
    for source in (EVE, EVE6):
        eventually(is_shut_out(world, source), 5, "a ban")
    assert before != firewall(world, banaction)

    assert "Shutdown successful" == ours.says("stop")
    ours.process.wait(60)

    assert before == firewall(world, banaction)
    assert world.may_attack(EVE) and world.may_attack(EVE6)


@EACH_KIND
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_new_server_goes_on_with_the_bans_of_the_old_one(world, guard, banaction, how):
    ours = guard(banaction)
    shut_out(world, EVE)
    ours.says("set", "sshd", "banip", EVE6)
    eventually(is_shut_out(world, EVE6), 5, "a ban")

    ours.end(how)
    ours.start()

    for source in (EVE, EVE6):
        eventually(is_shut_out(world, source), 5, "the ban of before")
    assert {EVE, EVE6} == ours.banned("sshd")
    assert "2" == ours.says("set", "sshd", "unbanip", EVE, EVE6)
    for source in (EVE, EVE6):
        eventually(is_let_in(world, source), 5, "the end of the ban")


@EACH_KIND
def test_what_somebody_took_out_of_the_firewall_is_put_back_with_the_next_ban(
    world, guard, banaction
):
    guard(banaction)
    shut_out(world, EVE)
    forget(world)
    assert world.may_attack(EVE)

    shut_out(world, EVE_TOO)

    eventually(is_shut_out(world, EVE), 5, "the ban of before")


@EACH_KIND
def test_a_reload_lets_nobody_in(world, guard, banaction):
    ours = guard(banaction)
    shut_out(world, EVE)
    before = firewall(world, banaction)

    assert "OK" == ours.says("reload")

    assert before == firewall(world, banaction)
    assert not world.may_attack(EVE)


def test_logs_with_iso_dates_and_rotation_do_as_well(world, guard):
    ours = guard("nftables", log=world.iso_log)
    world.attack(EVE, 2)

    world.rotate()

    world.attack_until(is_shut_out(world, EVE), EVE, 1)
    assert {EVE} == ours.banned("sshd")
    assert world.may_work()


def test_a_user_name_does_not_get_somebody_else_banned(world, guard):
    ours = guard("nftables")
    honest = USER[0]
    names = (f"root from {honest}", f"x from {honest} port 22 ssh2", f"a\nFailed for {honest}")

    world.attack_until(lambda: EVE in ours.banned("sshd"), EVE, 3, users=names)

    assert {EVE} == ours.banned("sshd")
    assert world.may_work()


def test_keys_that_do_not_fit_count_for_nothing_once_one_does(world, guard):
    ours = guard("nftables")

    for _ in range(4):
        assert world.login(world.user, USER[0], method="publickey", keys=("wrong_key", "user_key"))
    eventually(lambda: world.auth_log.read_text().count("Failed publickey") >= 4, 5, "a log of it")
    shut_out(world, EVE)

    assert {EVE} == ours.banned("sshd")
    assert world.may_work()
