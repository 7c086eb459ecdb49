# SPDX-License-Identifier: GPL-2.0-or-later
import threading

import pytest

from common.options import ActionConf
from server.actor import Actor
from server.records import Ban, Enforce, Lift, Result
from tests.support import BOB, EVE, eventually

WALL = ActionConf("wall", {"actionstart": "open", "actionban": "ban <ip>", "actionunban": "unban <ip>", "actionstop": "close"})  # fmt: skip

UNBAN = {"actionunban": "unban <ip>", "actionunban_many": "unban-many"}


class Stage:
    """An actor, what it ran, and a gate that holds it up."""

    def __init__(self, *actions):
        self.ran = []
        self.gate = threading.Event()
        self.gate.set()
        self.actor = Actor("ssh", actions or (WALL,), self._run)
        self.actor.start()
        assert self.actor.settle(10)

    def _run(self, command):
        self.gate.wait(60)
        self.ran.append(" ".join([command.script.split()[0], *command.environment.values()]))
        if "fail" in command.script:
            raise OSError("the world is gone")
        return Result(command, 0)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.gate.set()
    stage.actor.end()
    assert stage.actor.join(60)


def a_ban(host):
    return Ban("ssh", host, 0, 60)


def test_orders_are_carried_out_in_their_order(stage):
    stage.actor.carry_out([Enforce(a_ban(EVE))])
    stage.actor.carry_out([Enforce(a_ban(BOB)), Lift(a_ban(EVE))])
    stage.actor.stop()
    stage.actor.end()
    assert stage.actor.join(60)

    assert stage.ran == [
        "open",
        f"ban {EVE}",
        f"ban {BOB}",
        f"unban {EVE}",
        f"unban {BOB}",
        "close",
    ]


def test_nobody_waits_for_a_slow_action(stage):
    stage.gate.clear()

    stage.actor.carry_out([Enforce(a_ban(EVE))])

    assert stage.ran == ["open"]
    stage.gate.set()
    eventually(lambda: f"ban {EVE}" in stage.ran)


def test_what_waits_when_the_end_comes_is_done_first(stage):
    stage.gate.clear()
    for host in (EVE, BOB):
        stage.actor.carry_out([Enforce(a_ban(host))])
    stage.actor.end()
    stage.gate.set()

    assert stage.actor.join(60)
    assert [one for one in stage.ran if one.startswith("ban")] == [f"ban {EVE}", f"ban {BOB}"]


def test_an_unforeseen_error_is_shown_and_the_next_order_carried_out():
    stage = Stage(ActionConf("odd", {"actionban": "fail <ip>", "actionunban": "unban <ip>"}))

    stage.actor.carry_out([Enforce(a_ban(EVE))])
    eventually(lambda: stage.actor.problems)
    stage.actor.stop()
    stage.actor.end()
    assert stage.actor.join(60)
    stage.actor.end()

    assert "the world is gone" in stage.actor.problems[0]
    assert stage.actor.join(60)


MAIL = ActionConf("mail", {"actionban": "send <ip>"})


def test_an_action_that_hangs_delays_no_other():
    posting = threading.Event()
    ran = []

    def run(command):
        if command.script.startswith("send"):
            posting.wait(60)
        ran.append(command.script.split()[0])
        return Result(command, 0)

    actor = Actor("ssh", (MAIL, WALL), run)
    actor.start()
    actor.carry_out([Enforce(a_ban(EVE))])
    actor.carry_out([Enforce(a_ban(BOB))])

    eventually(lambda: ran.count("ban") == 2)
    assert "send" not in ran
    posting.set()
    actor.stop()
    actor.end()
    assert actor.join(60)
    assert ran.count("send") == 2


def test_threads_are_there_only_while_there_is_something_to_do(monkeypatch):
    monkeypatch.setattr("server.actor.LINGER", 0.01)
    stage = Stage()

    stage.actor.carry_out([Enforce(a_ban(EVE))])
    eventually(lambda: f"ban {EVE}" in stage.ran)
    eventually(lambda: "act:ssh:wall" not in [thread.name for thread in threading.enumerate()])
    stage.actor.carry_out([Enforce(a_ban(BOB))])

    eventually(lambda: f"ban {BOB}" in stage.ran)
    stage.actor.end()
    assert stage.actor.join(60)


def test_whoever_gives_an_action_the_lead_goes_on_when_its_command_for_many_runs():
    many = ActionConf("wall", {"actionban": "ban <ip>", "actionban_many": "many"} | UNBAN)
    stage = Stage(many)
    stage.gate.clear()
    hosts = {f"192.0.2.{n}": 1e12 for n in range(3)}

    stage.actor.foresee(hosts)
    stage.actor.lead(10)  # else the gate would be closed all that time

    assert [] == stage.ran
    stage.gate.set()
    stage.actor.lead(10)
    stage.actor.settle(10)
    assert ["many"] == stage.ran
    stage.actor.foresee({})
    stage.actor.end()
    assert stage.actor.join(60)
    assert ["many", "unban-many"] == stage.ran


def test_what_waits_for_an_action_that_hangs_is_bounded_by_the_number_of_hosts(monkeypatch):
    monkeypatch.setattr("server.actor.MOST_WAITING", 100)
    stage = Stage()
    stage.gate.clear()
    hosts = [f"192.0.2.{i}" for i in range(10)]
    stage.actor.carry_out([Enforce(a_ban(EVE))])

    for _ in range(100):
        stage.actor.carry_out([Enforce(a_ban(host)) for host in hosts])
        stage.actor.carry_out([Lift(a_ban(host)) for host in hosts])
    stage.actor.carry_out([Enforce(a_ban(hosts[0]))])
    stage.gate.set()
    assert stage.actor.settle(10)

    assert len(stage.ran) < 500
    assert stage.ran[-1] == f"ban {hosts[0]}"
    stage.actor.end()
    assert stage.actor.join(60)


def test_an_action_that_is_new_stands_before_the_one_it_takes_the_place_of_falls(stage):
    gate = ActionConf("gate", {**WALL.properties, "actionban": "shut <ip>", "actionstop": "gone"})
    stage.actor.carry_out([Enforce(a_ban(EVE))])

    stage.actor.change((gate,), [a_ban(EVE)])
    eventually(lambda: "close" in stage.ran)

    assert stage.ran.index(f"shut {EVE}") < stage.ran.index(f"unban {EVE}")
