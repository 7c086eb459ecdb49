# SPDX-License-Identifier: GPL-2.0-or-later
"""One action at work with a tool that takes many at once, ends bans by itself and can be asked."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.address import holds, place_of
from common.options import ActionConf
from server.enforcer import Enforcer, Note
from server.records import Ban, Enforce, Failure, Lift, Prolong, Result
from server.steps import Clocks
from tests.support import BOB, EVE, NOON, a_jail

COMMANDS = {
    "actionstart": "start",
    "actionstop": "stop",
    "actioncheck": "check",
    "actionrepair": "start",
    "actionflush": "flush",
    "actionban": "ban <ip> <remaining>",
    "actionban_many": "ban-many",
    "actionprolong": "prolong <ip> <remaining>",
    "actionprolong_many": "prolong-many",
    "actionunban": "unban <ip>",
    "actionunban_many": "unban-many",
    "actionlist": "list",
    "actionban_expires": "1000000",
}


class Tool:
    """A firewall of its own: addresses to when it drops them.  `bad` ones it does not take."""

    def __init__(self, **more):
        self.now, self.ticks = NOON, 0.0
        self.held = {}
        self.has_rule = False
        self.bad = set()
        self.failing = set()
        self.ran = []
        self.notes = []
        conf = ActionConf("wall", {**COMMANDS, **more})
        clocks = Clocks(lambda: self.now, lambda: self.ticks)
        self.enforcer = Enforcer("sshd", (conf,), clocks=clocks)
        self.drive(self.enforcer.start())

    def pass_(self, seconds):
        self.now += seconds
        self.ticks += seconds
        self.held = {ip: end for ip, end in self.held.items() if end > self.ticks}

    def drive(self, steps):
        """The names of the commands that the steps ran."""
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
        name, *words = text.split()
        self.ran.append(name)
        lines = [line.split() for line in command.input.decode().splitlines()]
        if name.endswith("-many"):
            kind, entries = name.removesuffix("-many"), lines
        else:
            kind, entries = name, [words]
        if kind in self.failing:
            return Result(command, 1, "", "no")
        if kind in ("ban", "prolong") and any(entry[0] in self.bad for entry in entries):
            return Result(command, 1, "", "bad")
        match kind:
            case "start":
                self.has_rule = True
            case "ban" | "prolong":
                for ip, left in entries:
                    end = self.ticks + int(left) if left != "0" else float("inf")
                    if kind == "ban":  # as some tools do, it leaves what is there as it is
                        self.held.setdefault(ip, end)
                    else:
                        self.held[ip] = end
            case "unban":
                for ip, *_ in entries:
                    self.held.pop(ip, None)
            case "exchange":
                for word, ip, *left in entries:
                    if word == "unban":
                        self.held.pop(ip, None)
                    else:
                        self.held[ip] = self.ticks + int(left[0])
            case "flush":
                self.held.clear()
            case "check":
                return Result(command, 0 if self.has_rule else 1)
            case "list":
                ends = {
                    ip: 0 if end == float("inf") else end - self.ticks
                    for ip, end in self.held.items()
                }
                text = "".join(f"{ip} {left:.0f}\n" for ip, left in ends.items())
                return Result(command, 0 if self.has_rule else 1, text)
        return Result(command, 0)

    def carry_out(self, *orders):
        return self.drive(self.enforcer.carry_out(orders))

    def look(self):
        return self.drive(self.enforcer.look())

    @property
    def told(self):
        """What was noted since the last time, the chatter left out."""
        notes, self.notes = self.notes, []
        return [note.text for note in notes if note.level > logging.INFO]


def a_ban(host, seconds=600.0, since=NOON):
    return Ban("sshd", host, since, seconds)


def hosts(count):
    return [f"10.0.{i >> 8}.{i & 255}" for i in range(count)]


def bans(names, restored=False, **more):
    return [Enforce(a_ban(host, **more), restored) for host in names]


# -- many at once


def test_those_who_come_together_are_banned_by_one_command_with_their_time():
    tool = Tool()

    ran = tool.carry_out(
        *bans(["192.0.2.1"]),
        *bans(["192.0.2.2"], seconds=60.5),
        *bans(["2001:db8::1", "2001:db8::2"]),
    )

    assert ["check", "ban-many", "check", "ban-many"] == ran
    assert {"192.0.2.1": 600, "192.0.2.2": 61, "2001:db8::1": 600, "2001:db8::2": 600} == tool.held


@pytest.mark.parametrize("at", [0, 1, 37, 99])
def test_one_bad_address_does_not_cost_the_others(at):
    tool, names = Tool(), hosts(100)
    tool.bad = {names[at]}

    ran = tool.carry_out(*bans(names))

    assert {*names} - tool.bad == {*tool.held}
    assert len(ran) < 25
    assert [f"ban of {names[at]} failed" in text for text in tool.told] == [True]


def test_a_tool_that_takes_nothing_is_not_tried_for_each_of_thousands():
    tool, names = Tool(), hosts(5000)
    tool.bad = {*names}

    ran = tool.carry_out(*bans(names))

    assert len(ran) < 400
    assert "too much fails" in tool.enforcer.problems[0]
    tool.bad = set()
    tool.look()
    assert {*names} == {*tool.held}
    assert () == tool.enforcer.problems


def test_a_rule_that_is_gone_when_many_come_is_built_and_all_are_banned():
    tool = Tool()
    tool.carry_out(*bans(["192.0.2.1"]))
    tool.has_rule, tool.held = False, {}

    tool.carry_out(*bans(hosts(50)))

    assert 51 == len(tool.held) and tool.has_rule


def test_bans_and_ends_in_one_turn_leave_each_host_as_its_last_order_says():
    tool = Tool()
    one, two, three = hosts(3)

    tool.carry_out(
        *bans([one, two]), Lift(a_ban(one)), *bans([three]), Lift(a_ban(three)), *bans([one])
    )

    assert {one, two} == {*tool.held}


# -- a tool that ends bans by itself


def test_what_is_over_needs_no_command():
    tool = Tool()
    tool.carry_out(*bans(hosts(20)))
    tool.pass_(600.1)

    assert [] == tool.carry_out(*(Lift(a_ban(host), is_over=True) for host in hosts(20)))
    assert {} == tool.held


def test_who_is_let_in_before_the_end_is_let_in_at_once():
    tool = Tool()
    tool.carry_out(*bans(hosts(2)))
    tool.pass_(598)

    tool.carry_out(Lift(a_ban(hosts(1)[0])))

    assert [hosts(2)[1]] == [*tool.held]


def test_a_ban_for_ever_or_too_long_for_the_tool_is_lifted_by_a_command():
    tool = Tool()
    tool.carry_out(*bans(["192.0.2.1"], seconds=2e6), *bans(["192.0.2.2"], seconds=float("inf")))
    assert {float("inf")} == {*tool.held.values()}
    tool.pass_(2e6 + 1)

    assert ["unban"] == tool.carry_out(Lift(a_ban("192.0.2.1"), is_over=True))
    assert ["192.0.2.2"] == [*tool.held]


def test_who_is_banned_again_while_the_old_ban_lingers_gets_the_new_end():
    tool = Tool()
    names = hosts(3)
    tool.carry_out(*bans(names))
    tool.now += 600.1
    tool.ticks += 599.9  # the tool is not quite so far
    tool.carry_out(*(Lift(a_ban(host), is_over=True) for host in names))

    tool.carry_out(*bans(names, since=tool.now))
    tool.pass_(5)

    assert {*names} == {*tool.held}


def test_a_longer_ban_is_told_to_the_tool():
    tool = Tool()
    names = hosts(3)
    tool.carry_out(*bans(names))

    assert ["prolong"] == tool.carry_out(Prolong(a_ban(names[0], 900)))
    assert ["prolong-many"] == tool.carry_out(*(Prolong(a_ban(host, 1200)) for host in names))
    assert {1200} == {*tool.held.values()}


def test_after_the_machine_has_slept_what_is_over_is_lifted_by_a_command():
    tool = Tool()
    tool.carry_out(*bans(["192.0.2.1"]))
    tool.now += 601  # what the tool counts stood still

    assert ["unban"] == tool.carry_out(Lift(a_ban("192.0.2.1"), is_over=True))


def test_where_the_clock_was_set_only_ends_that_moved_are_told():
    tool = Tool()
    names = hosts(5)
    tool.carry_out(*bans(names))
    tool.now += 3600
    moved = [a_ban(host, since=NOON + 3600) for host in names[:3]]
    kept = [a_ban(host, seconds=4200) for host in names[3:]]

    assert [] == tool.drive(tool.enforcer.adjust([*moved, *kept]))
    later = [a_ban(host, seconds=9000) for host in names[3:]]
    assert ["prolong-many"] == tool.drive(tool.enforcer.adjust([*moved, *later]))
    assert {600, 5400} == {*tool.held.values()}


def test_an_actionban_that_does_not_tell_the_time_is_lifted_as_ever():
    tool = Tool(actionban="ban <ip> 0", actionprolong="")
    tool.carry_out(*bans(hosts(2)))
    tool.pass_(601)

    tool.carry_out(*(Lift(a_ban(host), is_over=True) for host in hosts(2)))

    assert {} == tool.held


# -- looking


def test_a_look_at_what_is_right_runs_one_command_and_tells_how_many():
    tool = Tool(actionstart="start", actionstop="stop")
    tool.carry_out(*bans(hosts(20)))

    assert ["list", "list"] == tool.look()
    assert {"wall": (20, 20)} == tool.enforcer.enforced
    assert [] == tool.told


def test_what_somebody_took_out_is_banned_again_and_told():
    tool = Tool()
    names = hosts(10)
    tool.carry_out(*bans(names))
    for host in names[:4]:
        del tool.held[host]

    tool.look()

    assert {*names} == {*tool.held}
    assert ["action wall: enforced 10/10 (4 missing and banned again)"] == tool.told


def test_a_rule_that_is_gone_is_built_again():
    tool = Tool()
    tool.carry_out(*bans(hosts(10)))
    tool.look()
    tool.has_rule, tool.held = False, {}

    tool.look()

    assert tool.has_rule and 10 == len(tool.held)
    assert {"wall": (10, 10)} == tool.enforcer.enforced
    assert "actionlist failed" in tool.told[0]


def test_what_cannot_be_enforced_is_counted_and_a_problem_until_it_is():
    tool = Tool()
    names = hosts(10)
    tool.bad = {names[3]}
    tool.carry_out(*bans(names))

    tool.look()
    assert {"wall": (9, 10)} == tool.enforcer.enforced
    assert f"enforced 9/10; missing: {names[3]}" in tool.enforcer.problems[0]

    tool.bad = set()
    tool.look()
    assert {"wall": (10, 10)} == tool.enforcer.enforced
    assert () == tool.enforcer.problems


def test_what_an_earlier_run_left_is_taken_up_if_it_is_banned_and_taken_out_if_not():
    tool = Tool()
    tool.held = {"10.0.0.1": 600.0, "192.0.2.7": 600.0, "192.0.2.8": 600.0}
    tool.carry_out(*(Enforce(a_ban(host), restored=True) for host in hosts(3)))

    tool.look()

    assert {*hosts(3)} == {*tool.held}


def test_what_somebody_put_in_later_is_left_alone_and_told_once():
    tool = Tool()
    tool.carry_out(*bans(hosts(3)))
    tool.look()
    tool.held["192.0.2.9"] = float("inf")

    tool.look()
    tool.look()

    assert "192.0.2.9" in tool.held
    assert 1 == len(told := tool.told) and "1 banned there by somebody else" in told[0]


def test_what_could_not_be_lifted_is_lifted_later():
    tool = Tool()
    tool.carry_out(*bans(hosts(3)))
    tool.look()
    tool.failing = {"unban"}
    tool.carry_out(Lift(a_ban("10.0.0.1")))
    assert "10.0.0.1" in tool.held

    tool.failing = set()
    tool.look()

    assert {"10.0.0.0", "10.0.0.2"} == {*tool.held}


def test_another_end_than_ours_is_put_right():
    tool = Tool()
    tool.carry_out(*bans(hosts(3)))
    tool.held["10.0.0.1"] = 5000.0

    tool.look()

    assert {600.0} == {*tool.held.values()}


def test_it_is_due_soon_after_bans_and_then_at_the_interval():
    tool = Tool(actionlist_interval="30")
    assert tool.enforcer.due == float("inf")

    tool.carry_out(*bans(hosts(3)))
    assert 0 < tool.enforcer.due <= 2
    tool.look()
    assert 30 == tool.enforcer.due


def test_without_actionlist_or_with_an_interval_of_nothing_nobody_looks():
    for more in ({"actionlist": ""}, {"actionlist_interval": "0"}):
        tool = Tool(**more)
        tool.carry_out(*bans(hosts(3)))
        assert tool.enforcer.due == float("inf")


def test_what_is_watched_is_said_by_the_action():
    tool = Tool(actionlist_watch="nftables t <s>", s="four", **{"s?family=inet6": "six"})

    assert {"t", "four", "six"} == tool.enforcer.watched
    assert set() == Tool().enforcer.watched


# -- networks that cannot stand side by side


NETS = {"actionexchange_many": "exchange-many"}


def test_a_wider_network_takes_the_place_of_others_in_one_command():
    tool = Tool(**NETS)
    tool.carry_out(*bans(["192.0.2.0/28", "192.0.2.64/28", "10.0.0.0/8"]))

    ran = tool.carry_out(
        Enforce(a_ban("192.0.2.0/24")),
        Lift(a_ban("192.0.2.0/28"), into="192.0.2.0/24"),
        Lift(a_ban("192.0.2.64/28"), into="192.0.2.0/24"),
        Lift(a_ban("10.0.0.0/8")),
    )

    assert ["check", "exchange-many", "unban"] == ran
    assert {"192.0.2.0/24"} == tool.held.keys()
    tool.look()
    assert (1, 1) == tool.enforcer.enforced["wall"]


def test_a_network_whose_place_is_taken_by_the_same_orders_is_built_before_it_goes():
    tool = Tool(**NETS)
    tool.carry_out(*bans(["192.0.2.0/28"]))

    ran = tool.carry_out(
        *bans(["192.0.2.64/28", "192.0.2.0/24"]),
        Lift(a_ban("192.0.2.0/28"), into="192.0.2.0/24"),
        Lift(a_ban("192.0.2.64/28"), into="192.0.2.0/24"),
    )

    assert ["check", "ban", "exchange-many"] == ran
    tool.look()
    assert (1, 1) == tool.enforcer.enforced["wall"]


def test_what_is_built_and_goes_at_once_is_not_tried_beside_what_it_overlaps_with():
    tool = Tool(**NETS)
    tool.carry_out(*bans(["192.0.2.0/31"]))

    ran = tool.carry_out(
        *bans(["192.0.2.0/30"]),
        Lift(a_ban("192.0.2.0/31"), into="192.0.2.0/30"),
        *bans(["192.0.2.0", "192.0.2.3"], restored=True),
        Lift(a_ban("192.0.2.0/30")),
    )

    assert ["check", "ban-many", "unban"] == ran
    assert {"192.0.2.0", "192.0.2.3"} == tool.held.keys()


def test_what_is_left_of_a_network_takes_its_place_in_one_command():
    tool = Tool(**NETS)
    tool.carry_out(*bans(["192.0.2.0/30", "198.51.100.1"]))

    ran = tool.carry_out(
        *bans(["192.0.2.0/31", "192.0.2.2", "198.51.100.2"], restored=True),
        Lift(a_ban("192.0.2.0/30")),
    )

    assert ["check", "exchange-many", "ban"] == ran
    assert {"192.0.2.0/31", "192.0.2.2", "198.51.100.1", "198.51.100.2"} == tool.held.keys()


def test_hosts_that_take_the_place_of_a_network_need_no_exchange():
    tool = Tool(**NETS)
    tool.carry_out(*bans(["192.0.2.0/30"]))

    assert ["check", "ban", "unban"] == tool.carry_out(
        *bans(["192.0.2.2"], restored=True), Lift(a_ban("192.0.2.0/30"))
    )


def test_where_an_exchange_fails_bans_are_made_and_lifted_as_ever():
    tool = Tool(**NETS)
    tool.carry_out(*bans(["192.0.2.0/28"]))
    tool.failing = {"exchange"}

    tool.carry_out(Enforce(a_ban("192.0.2.0/24")), Lift(a_ban("192.0.2.0/28")))

    assert {"192.0.2.0/24"} == tool.held.keys()


def test_a_network_that_an_earlier_run_left_gives_way_to_one_that_overlaps():
    tool = Tool(**NETS)
    tool.held = {"192.0.2.0/28": float("inf")}
    tool.failing = {"ban"}  # as it overlaps
    tool.carry_out(*bans(["192.0.2.0/24"], restored=True))

    assert "exchange-many" in tool.look()

    assert {"192.0.2.0/24"} == tool.held.keys()


class Strict(Tool):
    """A tool that cannot hold networks that overlap."""

    def run(self, command):
        held = dict(self.held)
        result = super().run(command)
        places = [place_of(ip) for ip in self.held if "/" in ip]
        if any(holds(one, other) for one in places for other in places if one is not other):
            self.held = held
            return Result(command, 1, "", "overlaps")
        return result


HOSTS = st.sampled_from(
    [*(f"192.0.2.{n}" for n in (1, 2, 3, 4, 200)), *(f"2001:db8:0:{n}::{n}" for n in range(1, 6))]
)
NETWORKS = st.sampled_from(["192.0.2.0/30", "192.0.2.0/25", "192.0.2.128/25", "2001:db8::/60"])
HAPPENED = st.lists(
    st.tuples(st.just("fail"), HOSTS)
    | st.tuples(st.just("ban"), HOSTS | NETWORKS)
    | st.tuples(st.just("unban"), HOSTS | NETWORKS)
    | st.tuples(st.just("pass"), st.sampled_from([100, 400])),
    max_size=25,
)


def said_of(jail, word, what, now):
    match word:
        case "fail":
            return jail.on_failure(Failure(what, now), now)
        case "ban":
            return jail.ban(what, now)
        case "unban":
            return jail.unban(what, now)
    return jail.on_time(now)


@settings(deadline=None, max_examples=300)
@given(HAPPENED, st.integers(1, 5))
def test_whatever_happens_a_strict_tool_holds_just_who_is_banned_and_never_complains(
    happened, turn
):
    tool, jail = Strict(**NETS), a_jail(max_retry=1, ban_time=500.0, aggregate=3, ipv6_prefix=64)
    waiting = []
    for number, (word, what) in enumerate([*happened, ("pass", 0)], 1):
        if word == "pass" or number % turn == 0:
            tool.carry_out(*(one for one in waiting if isinstance(one, (Enforce, Lift))))
            waiting = []
            assert {ban.host for ban in jail.bans} == tool.held.keys()
        if word == "pass":
            tool.pass_(what)
        waiting += said_of(jail, word, what, tool.now)

    assert [] == tool.told


# -- shut out before it is ordered


def foreseen(tool, ends):
    return tool.drive(tool.enforcer.foresee(ends))


def test_who_is_foreseen_is_shut_out_and_ordered_without_another_command():
    tool = Tool()

    ran = foreseen(tool, dict.fromkeys([*hosts(3), BOB, "2001:db8::7"], NOON + 600))

    assert ["check", "ban-many", "check", "ban-many"] == ran
    assert {600.0} == {*tool.held.values()}
    assert ["check", "ban"] == tool.carry_out(*bans([*hosts(3), BOB, "192.0.2.9"], restored=True))
    assert ["unban"] == foreseen(tool, {})  # whom nobody ordered
    assert {*hosts(3), BOB, "192.0.2.9"} == tool.held.keys()
    assert ["list", "list"] == tool.look()
    assert ["unban"] == tool.carry_out(Lift(a_ban(BOB)))[-1:]


def test_a_look_before_the_orders_leaves_alone_who_is_foreseen():
    tool = Tool()
    foreseen(tool, dict.fromkeys(hosts(3), NOON + 600))

    tool.look()

    assert {*hosts(3)} == tool.held.keys()
    assert [] == tool.told


def test_who_was_foreseen_with_another_end_is_banned_as_ever():
    tool = Tool()
    foreseen(tool, dict.fromkeys(hosts(2), NOON + 900))

    assert ["check", "ban-many"] == tool.carry_out(*bans(hosts(2), restored=True))
    foreseen(tool, {})
    tool.look()
    assert {600.0} == {*tool.held.values()}


@pytest.mark.parametrize(
    "more", [{"actionban_many": ""}, {"actionban_many": "ban-many <ips>"}, {"norestored": "1"}]
)
def test_an_action_that_cannot_be_told_addresses_alone_foresees_nobody(more):
    tool = Tool(**more)

    assert [] == [name for name in foreseen(tool, dict.fromkeys(hosts(2), NOON)) if name != "check"]


def test_where_it_fails_nobody_is_foreseen():
    tool = Tool()
    tool.bad = {*hosts(1)}
    foreseen(tool, dict.fromkeys(hosts(4), NOON + 600))

    assert [] == foreseen(tool, {})
    tool.carry_out(*bans(hosts(4), restored=True))
    assert {*hosts(4)[1:]} == tool.held.keys()


# -- what an earlier run, ended by force, has left


LISTLESS = {"actionlist": "", "actionban_expires": ""}


def test_what_ended_meanwhile_is_lifted_where_the_tool_cannot_be_asked():
    tool = Tool(**LISTLESS)
    tool.held = dict.fromkeys(hosts(4), float("inf"))
    tool.carry_out(*bans(hosts(1), restored=True))

    ran = tool.drive(tool.enforcer.clear_away([Lift(a_ban(host)) for host in hosts(4)]))

    assert ["check", "unban-many"] == ran
    assert set(hosts(1)) == tool.held.keys()
    assert [] == tool.told


def test_what_can_be_asked_is_left_to_a_look():
    tool = Tool()
    tool.held = dict.fromkeys(hosts(4), 600.0)
    tool.carry_out(*bans(hosts(1), restored=True))

    tool.drive(tool.enforcer.clear_away([Lift(a_ban(host)) for host in hosts(4)]))

    assert set(hosts(4)) == tool.held.keys()
    tool.look()
    assert set(hosts(1)) == tool.held.keys()


def test_what_waits_for_a_first_ban_is_started_for_what_an_earlier_run_left():
    tool = Tool(**LISTLESS, actionstart_on_demand="yes")

    ran = tool.drive(tool.enforcer.clear_away([Lift(a_ban(host)) for host in hosts(1)]))

    assert ["start", "unban"] == ran


def test_lifting_what_is_not_there_any_more_is_no_problem_and_soon_given_up():
    tool = Tool(**LISTLESS, actionunban_many="")
    tool.failing = {"unban"}

    ran = tool.drive(tool.enforcer.clear_away([Lift(a_ban(host)) for host in hosts(500)]))

    assert ran.count("unban") < 100
    assert [] == tool.told
    assert () == tool.enforcer.problems


def test_an_action_that_bans_of_earlier_runs_do_not_concern_lifts_none():
    tool = Tool(**LISTLESS, norestored="1")

    assert [] == tool.drive(tool.enforcer.clear_away([Lift(a_ban(EVE))]))
