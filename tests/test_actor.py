# SPDX-License-Identifier: GPL-2.0-or-later
import threading

import pytest

from common.options import ActionConf
from server.actor import Actor
from server.records import Ban, Enforce, Lift, Result
from tests.support import BOB, EVE, eventually

WALL = ActionConf("wall", {"actionstart": "open", "actionban": "ban <ip>", "actionunban": "unban <ip>", "actionstop": "close"})  # fmt: skip


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
        self.gate.wait(10)
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
    assert stage.actor.join(10)


def a_ban(host):
    return Ban("ssh", host, 0, 60)


def test_orders_are_carried_out_in_their_order(stage):
    stage.actor.carry_out([Enforce(a_ban(EVE))])
    stage.actor.carry_out([Enforce(a_ban(BOB)), Lift(a_ban(EVE))])
    stage.actor.stop()
    stage.actor.end()
    assert stage.actor.join(10)

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

    assert stage.actor.join(10)
    assert [one for one in stage.ran if one.startswith("ban")] == [f"ban {EVE}", f"ban {BOB}"]


def test_an_unforeseen_error_is_shown_and_the_next_order_carried_out():
    stage = Stage(ActionConf("odd", {"actionban": "fail <ip>", "actionunban": "unban <ip>"}))

    stage.actor.carry_out([Enforce(a_ban(EVE))])
    eventually(lambda: stage.actor.problems)
    stage.actor.stop()
    stage.actor.end()
    assert stage.actor.join(10)
    stage.actor.end()

    assert "the world is gone" in stage.actor.problems[0]
    assert stage.actor.join(10)
