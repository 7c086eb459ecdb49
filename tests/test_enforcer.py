# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders become commands: in order, once each, and again where something broke."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.options import ActionConf
from server.enforcer import Enforcer, Note
from server.records import Ban, Enforce, Lift, Prolong, Result

FOUR, SIX = "192.0.2.{}", "2001:db8::{}"


def conf(name="wall", **more):
    """An action that says what it does; `without` leaves commands out."""
    without = more.pop("without", ())
    properties = {
        "actionstart": "start <name>",
        "actionstop": "stop <name>",
        "actionban": "ban <name> <ip> <restored>",
        "actionunban": "unban <name> <ip>",
        "name": name,
    }
    properties |= {key.replace("__", "?family="): value for key, value in more.items()}
    return ActionConf(name, {key: v for key, v in properties.items() if key not in without})


def by_family(**more):
    return conf(
        actionstart="start <f>",
        actionstop="stop <f>",
        actionflush="flush <f>",
        f="4",
        f__inet6="6",
        **more,
    )


def a_ban(host="192.0.2.1", seconds=600.0, **more):
    return Ban("sshd", host, 1000.0, seconds, **more)


def enforce(*hosts, restored=False):
    return [Enforce(a_ban(host), restored) for host in hosts]


def lift(*hosts):
    return [Lift(a_ban(host)) for host in hosts]


class World:
    """Runs commands by saying how each ends: 0, unless `ends` has a status, or some, for it."""

    def __init__(self, **ends):
        self.ends = ends
        self.ran = []
        self.notes = []

    def drive(self, steps):
        """The commands that the steps ran, with their values put in."""
        before, answer = len(self.ran), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                return self.ran[before:]
            answer = None
            if isinstance(step, Note):
                self.notes.append(step)
            else:
                answer = self.run(step)

    def run(self, command):
        text = command.script
        for name, value in command.environment.items():
            text = text.replace(f'"${name}"', value)
        self.ran.append(text)
        status = self.ends.get(text.split()[0], 0)
        if isinstance(status, list):
            status = status.pop(0) if status else 0
        if isinstance(status, Result):
            return replace(status, command=command)
        return Result(command, status, "", "no" if status else "")

    @property
    def errors(self):
        return [note.text for note in self.notes if note.level >= logging.ERROR]


def an_enforcer(*confs):
    return Enforcer("sshd", confs or (conf(),))


# -- when all goes well


def test_an_action_starts_with_the_jail_bans_lifts_and_stops():
    world, enforcer = World(), an_enforcer()

    assert ["start wall"] == world.drive(enforcer.start())
    assert ["ban wall 192.0.2.1 0"] == world.drive(enforcer.carry_out(enforce("192.0.2.1")))
    assert ["unban wall 192.0.2.1"] == world.drive(enforcer.carry_out(lift("192.0.2.1")))
    assert ["stop wall"] == world.drive(enforcer.stop())
    assert [] == world.notes


def test_each_action_gets_all_orders_in_their_order():
    world, enforcer = World(), an_enforcer(conf("a"), conf("b"))
    world.drive(enforcer.start())
    orders = [*enforce("192.0.2.1", "192.0.2.2"), *lift("192.0.2.1")]

    steps = world.drive(enforcer.carry_out(orders))

    wanted = ["ban {} 192.0.2.1 0", "ban {} 192.0.2.2 0", "unban {} 192.0.2.1"]
    assert [text.format(name) for name in "ab" for text in wanted] == steps


def test_an_action_that_only_bans_needs_nothing_else():
    only = conf("mail", without=("actionstart", "actionstop", "actionunban"))
    world, enforcer = World(), an_enforcer(only)

    steps = [
        *world.drive(enforcer.start()),
        *world.drive(enforcer.carry_out([*enforce("192.0.2.1"), *lift("192.0.2.1")])),
        *world.drive(enforcer.stop()),
    ]

    assert ["ban mail 192.0.2.1 0"] == steps


def test_an_action_on_demand_starts_with_the_first_ban_and_stops_only_if_it_did():
    world, enforcer = World(), an_enforcer(conf(actionstart_on_demand=True))

    assert [] == world.drive(enforcer.start())
    assert [] == world.drive(enforcer.stop())
    assert ["start wall", "ban wall 192.0.2.1 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.1"))
    )
    assert ["unban wall 192.0.2.1", "stop wall"] == world.drive(enforcer.stop())


def test_what_differs_by_family_starts_with_the_first_ban_of_that_family():
    world, enforcer = World(), an_enforcer(by_family())

    assert [] == world.drive(enforcer.start())
    assert ["start 6", "ban wall 2001:db8::1 0"] == world.drive(
        enforcer.carry_out(enforce("2001:db8::1"))
    )
    assert ["ban wall 2001:db8::2 0"] == world.drive(enforcer.carry_out(enforce("2001:db8::2")))
    assert ["start 4", "ban wall 192.0.2.1 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.1"))
    )
    assert {"flush 4", "stop 4", "flush 6", "stop 6"} == set(world.drive(enforcer.stop()))


def test_what_differs_by_family_can_be_told_to_start_at_once():
    world, enforcer = World(), an_enforcer(by_family(actionstart_on_demand=False))

    assert ["start 4", "start 6"] == world.drive(enforcer.start())
    assert ["stop 4", "stop 6"] == world.drive(enforcer.stop())


def test_restored_bans_are_told_and_spared_where_the_action_wants_none():
    world, enforcer = World(), an_enforcer(conf("a"), conf("b", norestored=True))
    world.drive(enforcer.start())

    assert ["ban a 192.0.2.1 1"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.1", restored=True))
    )
    assert ["unban a 192.0.2.1"] == world.drive(enforcer.carry_out(lift("192.0.2.1")))


def test_what_was_never_banned_is_not_lifted():
    world, enforcer = World(), an_enforcer()
    world.drive(enforcer.start())

    assert [] == world.drive(enforcer.carry_out(lift("192.0.2.1")))


@pytest.mark.parametrize(("more", "steps"), [
    ({}, []),
    ({"actionprolong": "prolong <ip> <bantime>"}, ["prolong 192.0.2.1 900"]),
    ({"actionreban": "reban <ip>"}, ["reban 192.0.2.1"]),
    ({"actionprolong": "prolong <ip>", "actionreban": "reban <ip>"}, ["prolong 192.0.2.1"]),
])  # fmt: skip
def test_a_longer_ban_is_told_to_actions_that_care(more, steps):
    world, enforcer = World(), an_enforcer(conf(**more))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    assert steps == world.drive(enforcer.carry_out([Prolong(a_ban(seconds=900.0))]))


# -- flushing


def test_lifting_all_that_is_banned_is_one_flush():
    world, enforcer = World(), an_enforcer(conf(actionflush="flush"))
    world.drive(enforcer.start())
    hosts = [FOUR.format(i) for i in range(5)]
    world.drive(enforcer.carry_out(enforce(*hosts)))

    assert [f"unban wall {hosts[0]}"] == world.drive(enforcer.carry_out(lift(hosts[0])))
    assert [f"unban wall {host}" for host in hosts[1:3]] == world.drive(
        enforcer.carry_out(lift(*hosts[1:3]))
    )
    assert ["flush"] == world.drive(enforcer.carry_out(lift(*hosts)))
    assert [] == world.drive(enforcer.carry_out(lift(*hosts)))


def test_one_family_can_be_flushed_while_the_other_stays():
    world, enforcer = World(), an_enforcer(by_family())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2")))

    steps = world.drive(enforcer.carry_out(lift("192.0.2.1", "192.0.2.2", "2001:db8::1")))

    assert ["flush 4", "unban wall 2001:db8::1"] == steps


def test_a_flush_that_fails_is_followed_by_each_single_unban():
    world, enforcer = World(flush=1), an_enforcer(conf(actionflush="flush"))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2")))

    assert ["flush", "unban wall 192.0.2.1", "unban wall 192.0.2.2", "stop wall"] == world.drive(
        enforcer.stop()
    )


def test_stopping_without_a_flush_lifts_each_ban():
    world, enforcer = World(), an_enforcer()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2")))

    assert ["unban wall 192.0.2.1", "unban wall 192.0.2.2", "stop wall"] == world.drive(
        enforcer.stop()
    )


# -- many at once


def together(**more):
    return conf(actionban_many="bans <ips>", actionunban_many="unbans <ips>", **more)


def test_bans_that_wait_together_are_one_command():
    world, enforcer = World(), an_enforcer(together())
    world.drive(enforcer.start())

    steps = world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2", "2001:db8::1", "Bob")))
    assert ["bans 192.0.2.1,192.0.2.2", "ban wall 2001:db8::1 0", "ban wall Bob 0"] == steps
    steps = world.drive(enforcer.carry_out(lift("192.0.2.1", "192.0.2.2", "2001:db8::1", "x")))
    assert ["unbans 192.0.2.1,192.0.2.2", "unban wall 2001:db8::1"] == steps
    assert ["unban wall Bob", "stop wall"] == world.drive(enforcer.stop())


def test_nobody_is_banned_by_a_command_for_many_twice():
    world, enforcer = World(), an_enforcer(together())
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2", "192.0.2.2")))

    steps = world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.3", "192.0.2.4")))

    assert ["bans 192.0.2.3,192.0.2.4", "ban wall 192.0.2.1 0"] == steps


def test_what_cannot_be_done_together_is_done_one_by_one():
    world, enforcer = World(bans=1, unbans=1), an_enforcer(together())
    world.drive(enforcer.start())

    steps = world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2")))
    assert ["bans 192.0.2.1,192.0.2.2", "ban wall 192.0.2.1 0", "ban wall 192.0.2.2 0"] == steps
    steps = world.drive(enforcer.stop())
    assert [
        "unbans 192.0.2.1,192.0.2.2",
        "unban wall 192.0.2.1",
        "unban wall 192.0.2.2",
        "stop wall",
    ] == steps
    assert () == enforcer.problems


def test_a_repair_makes_its_bans_together():
    world, enforcer = World(check=[0, 1, 0]), an_enforcer(together(actioncheck="check"))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2")))

    steps = world.drive(enforcer.carry_out(enforce("192.0.2.3")))

    assert "bans 192.0.2.1,192.0.2.2" in steps
    assert "ban wall 192.0.2.1 0" not in steps


def test_very_many_go_in_portions_that_a_system_takes():
    world, enforcer = World(), an_enforcer(together())
    hosts = [f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{i:x}" for i in range(2000)]
    world.drive(enforcer.carry_out(enforce(*hosts)))

    portions = [text.split()[1] for text in world.ran if text.startswith("bans")]
    assert hosts == ",".join(portions).split(",")
    assert all(len(portion) <= 32 * 1024 for portion in portions)
    assert 1 < len(portions) < 10


# -- when something breaks


def checked(**more):
    return conf(actioncheck="check", **more)


def test_a_check_comes_before_bans_once_for_all_that_wait():
    world, enforcer = World(), an_enforcer(checked())
    world.drive(enforcer.start())

    assert ["check", "ban wall 192.0.2.1 0", "ban wall 192.0.2.2 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2"))
    )
    assert ["check", "ban wall 192.0.2.3 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.3"))
    )


def test_a_check_that_fails_has_the_action_started_anew_with_all_its_bans():
    world, enforcer = World(check=[0, 1, 0]), an_enforcer(checked())
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2")))

    steps = world.drive(enforcer.carry_out(enforce("192.0.2.3")))

    assert [
        "check",
        "stop wall",
        "start wall",
        "ban wall 192.0.2.1 0",
        "ban wall 192.0.2.2 0",
        "check",
        "ban wall 192.0.2.3 0",
    ] == steps
    assert () == enforcer.problems
    assert "actioncheck failed (exit status 1: no)" in world.notes[0].text


def test_an_action_may_know_how_to_repair_itself():
    world, enforcer = (
        World(check=[0, 1, 0]),
        an_enforcer(checked(actionrepair="repair", actionreban="reban <ip>")),
    )
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    steps = world.drive(enforcer.carry_out(enforce("192.0.2.2")))

    assert ["check", "repair", "reban 192.0.2.1", "check", "ban wall 192.0.2.2 0"] == steps


def test_what_cannot_be_repaired_is_told_and_tried_again_with_the_next_orders():
    world, enforcer = World(check=[1, 1]), an_enforcer(checked())
    world.drive(enforcer.start())

    assert ["check", "stop wall", "start wall", "check"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.1"))
    )
    assert "after a repair failed" in enforcer.problems[0]
    assert "192.0.2.1 is not banned" in world.errors[-1]
    assert ["start wall", "ban wall 192.0.2.1 0", "ban wall 192.0.2.2 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.2"))
    )
    assert () == enforcer.problems


def test_a_ban_that_fails_is_tried_once_more():
    world, enforcer = World(ban=[1, 0]), an_enforcer()
    world.drive(enforcer.start())

    assert ["ban wall 192.0.2.1 0"] * 2 == world.drive(enforcer.carry_out(enforce("192.0.2.1")))
    assert () == enforcer.problems


def test_a_ban_that_fails_though_the_check_is_good_repairs_nothing():
    world, enforcer = World(ban=1), an_enforcer(checked())
    world.drive(enforcer.start())

    assert ["check", "ban wall 192.0.2.1 0", "check", "ban wall 192.0.2.1 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.1"))
    )


def test_a_ban_that_fails_since_all_is_gone_is_repaired_and_made():
    world, enforcer = World(ban=[0, 1, 0, 0], check=[0, 0, 1, 0]), an_enforcer(checked())
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    steps = world.drive(enforcer.carry_out(enforce("192.0.2.2")))

    assert [
        "check",
        "ban wall 192.0.2.2 0",
        "check",
        "stop wall",
        "start wall",
        "ban wall 192.0.2.1 0",
        "check",
        "ban wall 192.0.2.2 0",
    ] == steps
    assert () == enforcer.problems


def test_a_ban_that_fails_twice_is_told_with_what_it_printed_and_what_can_be_done():
    world, enforcer = World(ban=1), an_enforcer()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    assert ["action wall: actionban of 192.0.2.1 failed (exit status 1: no)"] == world.errors
    assert tuple(world.errors) == enforcer.problems
    world.ends.clear()
    world.drive(enforcer.carry_out(enforce("192.0.2.2")))
    assert () == enforcer.problems


HOPELESS = [
    Result(None, 127, "", "sh: 1: nft: not found"),
    Result(None, 126),
    Result(None, -15, "", "", True),
]


@pytest.mark.parametrize("result", HOPELESS)
def test_what_is_missing_or_hangs_is_not_tried_twice(result):
    world, enforcer = World(ban=result), an_enforcer(checked())
    world.drive(enforcer.start())

    assert ["check", "ban wall 192.0.2.1 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.1"))
    )
    assert "failed" in enforcer.problems[0]


def test_a_mail_that_fails_is_not_sent_twice():
    world, enforcer = World(ban=1), an_enforcer(conf(without=("actionstart", "actionstop")))
    world.drive(enforcer.start())

    assert ["ban wall 192.0.2.1 0"] == world.drive(enforcer.carry_out(enforce("192.0.2.1")))


def test_one_action_that_fails_is_no_matter_to_the_next():
    world, enforcer = (
        World(bad=1),
        an_enforcer(conf("a", actionban="bad", actionstart="bad", actionstop="bad"), conf("b")),
    )
    world.drive(enforcer.start())

    assert "ban b 192.0.2.1 0" == world.drive(enforcer.carry_out(enforce("192.0.2.1")))[-1]
    assert 1 == len(enforcer.problems)


def test_a_start_that_stumbles_over_what_an_earlier_run_left_clears_that_away():
    world, enforcer = World(start=[1, 0]), an_enforcer()

    assert ["start wall", "stop wall", "start wall"] == world.drive(enforcer.start())
    assert () == enforcer.problems


def test_a_start_that_fails_where_the_check_is_good_was_started_already():
    world, enforcer = World(start=1), an_enforcer(checked())

    assert ["start wall", "check"] == world.drive(enforcer.start())
    assert () == enforcer.problems


def test_bans_wait_for_a_start_that_fails_and_are_made_when_it_succeeds():
    missing = Result(None, 127, "", "sh: 1: nft: not found")
    world, enforcer = World(start=[missing, missing]), an_enforcer()

    assert ["start wall"] == world.drive(enforcer.start())
    assert ["start wall"] == world.drive(enforcer.carry_out(enforce("192.0.2.1")))
    assert "Is nft installed" in enforcer.problems[0]
    assert ["start wall", "ban wall 192.0.2.1 0", "ban wall 192.0.2.2 0"] == world.drive(
        enforcer.carry_out(enforce("192.0.2.2"))
    )
    assert () == enforcer.problems


def test_bans_that_are_lifted_before_the_action_ever_started_need_no_command():
    world, enforcer = World(start=127), an_enforcer()
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    assert [] == world.drive(enforcer.carry_out(lift("192.0.2.1")))
    assert [] == world.drive(enforcer.stop())


def test_bans_that_cannot_be_made_again_are_told_once():
    world, enforcer = World(check=[0, 1, 0], ban=[0] * 5 + [1] * 5), an_enforcer(checked())
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce(*(FOUR.format(i) for i in range(5)))))
    world.drive(enforcer.carry_out(enforce("192.0.2.99")))

    assert [
        "action wall: actionban for 5 of 5 bans made again failed (exit status 1: no)"
    ] == world.errors


def test_an_unban_that_fails_is_an_error_unless_there_is_nothing_left_to_lift():
    world, enforcer = World(unban=1, check=[0, 0, 1]), an_enforcer(checked())
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2")))

    assert ["unban wall 192.0.2.1", "check"] == world.drive(enforcer.carry_out(lift("192.0.2.1")))
    assert 1 == len(world.errors)
    assert ["unban wall 192.0.2.2", "check"] == world.drive(enforcer.carry_out(lift("192.0.2.2")))
    assert 1 == len(world.errors)
    assert "nothing to lift" in world.notes[-1].text


def test_an_unban_repairs_where_the_action_wants_that():
    world, enforcer = (
        World(unban=1, check=[0, 1, 0]),
        an_enforcer(checked(actionrepair_on_unban=True)),
    )
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1", "192.0.2.2")))

    steps = world.drive(enforcer.carry_out(lift("192.0.2.1")))

    assert [
        "unban wall 192.0.2.1",
        "check",
        "stop wall",
        "start wall",
        "ban wall 192.0.2.2 0",
        "check",
    ] == steps


def test_a_property_that_needs_itself_is_a_problem_of_that_action_alone():
    world, enforcer = World(), an_enforcer(conf("a", actionban="ban <x>", x="<x>"), conf("b"))
    world.drive(enforcer.start())

    assert ["ban b 192.0.2.1 0"] == world.drive(enforcer.carry_out(enforce("192.0.2.1")))
    assert "needs itself" in enforcer.problems[0]


def test_what_an_attacker_named_himself_cannot_write_lines_of_our_log():
    world, enforcer = (
        World(ban=1, start=127),
        an_enforcer(conf("a"), conf("b", without=("actionstart",))),
    )
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("x\n2026-01-01 fail2ban: forged\x1b[2J")))

    assert 2 < len(world.notes)
    assert all(note.text.isprintable() for note in world.notes)


# -- changing


def test_a_change_does_not_touch_what_stays_the_same():
    world, enforcer = World(), an_enforcer(conf("a"), conf("b"))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    assert [] == world.drive(enforcer.change((conf("b"), conf("a")), [a_ban()]))


def test_a_new_action_gets_all_bans_before_an_old_one_stops():
    world, enforcer = World(), an_enforcer(conf("old"))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    steps = world.drive(enforcer.change((conf("new"),), [a_ban()]))

    assert ["start new", "ban new 192.0.2.1 1", "unban old 192.0.2.1", "stop old"] == steps
    assert ["unban new 192.0.2.1"] == world.drive(enforcer.carry_out(lift("192.0.2.1")))


def test_a_new_mail_is_not_sent_for_bans_that_are_there():
    world, enforcer = World(), an_enforcer()
    world.drive(enforcer.start())

    assert ["start mail"] == world.drive(
        enforcer.change((conf(), conf("mail", norestored=True)), [a_ban()])
    )


def test_a_changed_action_starts_anew_with_its_bans():
    world, enforcer = World(), an_enforcer(conf(actionflush="flush"))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    steps = world.drive(
        enforcer.change((conf(actionflush="flush", actionstart="start other"),), [a_ban()])
    )

    assert ["flush", "stop wall", "start other", "ban wall 192.0.2.1 1"] == steps


def test_a_changed_action_that_can_reload_keeps_its_bans():
    world, enforcer = World(), an_enforcer(conf(actionreload="reload"))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    assert ["reload"] == world.drive(
        enforcer.change((conf(actionreload="reload", actionstart="start other"),), [a_ban()])
    )
    assert ["unban wall 192.0.2.1", "stop wall"] == world.drive(enforcer.stop())


def test_bans_in_another_place_stand_before_the_old_ones_go():
    here, there = (conf(actionplace=p, actionstart=f"start {p}") for p in ("here", "there"))
    world, enforcer = World(), an_enforcer(here)
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    assert [
        "start there",
        "ban wall 192.0.2.1 1",
        "unban wall 192.0.2.1",
        "stop wall",
    ] == world.drive(enforcer.change((there,), [a_ban()]))
    assert ["unban wall 192.0.2.1", "stop wall"] == world.drive(enforcer.stop())


def test_bans_that_are_made_otherwise_in_the_same_place_are_exchanged_there():
    soft = conf(actionplace="here", actionflush="flush")
    hard = conf(actionplace="here", actionflush="flush", actionban="drop <ip>")
    world, enforcer = World(), an_enforcer(soft)
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    assert ["drop 192.0.2.1", "unban wall 192.0.2.1", "drop 192.0.2.1"] == world.drive(
        enforcer.change((hard,), [a_ban()])
    )
    assert ["flush", "stop wall"] == world.drive(enforcer.stop())


def test_what_stands_in_the_same_place_and_is_built_otherwise_makes_room_first():
    old, new = (conf(actionplace="here", actionstart=f"start {n}") for n in (1, 2))
    world, enforcer = World(), an_enforcer(old)
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    steps = world.drive(enforcer.change((new,), [a_ban()]))

    assert ["unban wall 192.0.2.1", "stop wall", "start 2", "ban wall 192.0.2.1 1"] == steps


def test_a_reload_that_fails_is_followed_by_a_new_start():
    world, enforcer = World(reload=1), an_enforcer(conf(actionreload="reload"))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))

    steps = world.drive(
        enforcer.change((conf(actionreload="reload", actionstart="start other"),), [a_ban()])
    )

    assert [
        "reload",
        "unban wall 192.0.2.1",
        "stop wall",
        "start other",
        "ban wall 192.0.2.1 1",
    ] == steps


def test_a_change_of_what_builds_nothing_runs_nothing():
    world, enforcer = (
        World(),
        an_enforcer(conf(without=("actionstart", "actionstop", "actionunban"))),
    )
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(enforce("192.0.2.1")))
    changed = conf(without=("actionstart", "actionstop", "actionunban"), actionban="mail <ip>")

    assert [] == world.drive(enforcer.change((changed,), [a_ban()]))
    assert ["mail 192.0.2.2"] == world.drive(enforcer.carry_out(enforce("192.0.2.2")))


def test_a_change_of_the_time_limit_runs_nothing():
    world, enforcer = World(), an_enforcer(conf())
    world.drive(enforcer.start())

    assert [] == world.drive(enforcer.change((conf(timeout="5"),), []))


# -- whatever comes


@given(
    st.lists(
        st.tuples(st.sampled_from(["ban", "lift", "prolong"]), st.integers(0, 5), st.booleans()),
        max_size=30,
    ),
    st.integers(1, 8),
    st.booleans(),
    st.booleans(),
)
def test_after_any_orders_just_those_are_in_the_wall_that_should_be(
    orders, at_once, has_flush, has_many
):
    """A wall that is a set; orders come in any portions."""
    more = {"actionflush": "flush <f>"} if has_flush else {}
    if has_many:
        more |= {"actionban_many": "bans <ips>", "actionunban_many": "unbans <ips>"}
    action = conf(actionstart="start <f>", actionstop="stop <f>", f="4", f__inet6="6", **more)
    world, enforcer, wanted = World(), an_enforcer(action), set()
    made = []
    for what, number, is_six in orders:
        host = (SIX if is_six else FOUR).format(number + 1)
        if what == "ban":
            wanted.add(host)
            made += enforce(host)
        elif what == "lift":
            wanted.discard(host)
            made += lift(host)
        else:
            made.append(Prolong(a_ban(host)))
    world.drive(enforcer.start())
    for i in range(0, len(made), at_once):
        world.drive(enforcer.carry_out(made[i : i + at_once]))
    assert wanted == the_wall(world.ran)
    world.drive(enforcer.stop())

    assert set() == the_wall(world.ran)
    for family in "46":
        assert world.ran.count(f"start {family}") == world.ran.count(f"stop {family}") <= 1


def the_wall(ran):
    wall = set()
    for command in ran:
        what, *words = command.split()
        if what == "ban":
            wall.add(words[1])
        elif what == "unban":
            wall.remove(words[1])
        elif what == "bans":
            wall |= set(words[0].split(","))
        elif what == "unbans":
            assert wall >= set(words[0].split(","))
            wall -= set(words[0].split(","))
        elif what == "flush":
            wall = {host for host in wall if (":" in host) != (words[0] == "6")}
    return wall
