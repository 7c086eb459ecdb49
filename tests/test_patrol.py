# SPDX-License-Identifier: GPL-2.0-or-later
"""When what is enforced is looked at: in time, when the kernel tells, and no more often than need be."""

from __future__ import annotations

import math
import socket
import struct
import threading
import time

import pytest

from server.patrol import Listener, Patrol, messages
from tests.support import eventually

NAMES = frozenset({"table", "set"})


class Sentry:
    """What is looked at; with each look it says when it wants the next."""

    def __init__(self, patrol, due, names=NAMES, interval=0.05):
        self.looks = []
        self._patrol, self._names, self._interval = patrol, names, interval
        patrol.begin(self, names)
        patrol.expect(self, due, names)

    def look(self):
        self.looks.append(time.monotonic())
        # Like an action, which has a thread of its own for it.
        threading.Thread(target=self._looked).start()

    def _looked(self):
        self._patrol.expect(self, time.monotonic() + self._interval, self._names)


class Kernel:
    """Netlink as a test would have it: what is put in is heard."""

    def __init__(self):
        self._out, self._in = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.setblocking(False)
        self.listener = None

    def open(self):
        self.listener = Listener(self._out)
        return self.listener

    def tell(self, *kinds_and_names):
        data = b"".join(message(kind, *names) for kind, *names in kinds_and_names)
        self._in.send(data)


def message(kind, *names):
    body = b"\x01\0\0\0"
    for number, name in enumerate(names, 1):
        text = name.encode() + b"\0"
        body += struct.pack("=HH", 4 + len(text), number) + text + b"\0" * (-len(text) % 4)
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, 0) + body


GENERATION, NO_TABLE, NO_RULE, NO_ELEMENT = 15, 2, 8, 14


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def patrol(kernel):
    patrol = Patrol(listen=kernel.open)
    yield patrol
    patrol.stop()


def soon():
    return time.monotonic() + 0.01


def test_nobody_waits_for_anything_until_an_action_asks(patrol):
    patrol.expect(object(), math.inf, frozenset())

    assert "patrol" not in [thread.name for thread in threading.enumerate()]


def test_it_is_looked_when_it_is_due_and_again(patrol):
    sentry = Sentry(patrol, soon(), names=frozenset())

    eventually(lambda: len(sentry.looks) >= 3)


def test_where_nothing_is_heard_of_looks_are_left_out_but_not_all(patrol, kernel):
    quiet, deaf = (
        Sentry(patrol, soon(), interval=0.02),
        Sentry(patrol, soon(), frozenset({"x", "y"}), 0.02),
    )
    patrol.begin(quiet, NAMES)
    kernel.tell((GENERATION,))  # what it did was heard
    eventually(lambda: kernel.listener.transactions == 1 and len(quiet.looks) >= 2)

    eventually(lambda: len(quiet.looks) >= 3)
    eventually(lambda: len(deaf.looks) >= 6)


def test_what_is_partly_heard_of_only_is_looked_at_each_time(patrol, kernel):
    """As an ipset, the rule of which is one of nftables."""
    partly = Sentry(patrol, soon(), frozenset({"table"}), interval=0.2)
    patrol.begin(partly, frozenset({"table"}))
    kernel.tell((GENERATION,))
    eventually(lambda: kernel.listener.transactions == 1)

    eventually(
        lambda: len(partly.looks) >= 6, 5
    )  # with looks left out it would take twelve seconds


def test_what_is_taken_away_from_a_table_or_set_is_looked_at_at_once(patrol, kernel):
    mine = Sentry(patrol, math.inf)
    other = Sentry(patrol, math.inf, frozenset({"table", "other set"}))

    patrol.expect(mine, time.monotonic() + 1000, NAMES)
    patrol.expect(other, time.monotonic() + 1000, frozenset({"table", "other set"}))
    kernel.tell((NO_ELEMENT, "table", "set"), (GENERATION,))
    eventually(lambda: mine.looks)
    assert not other.looks

    kernel.tell((NO_RULE, "table", "chain"), (GENERATION,))
    eventually(lambda: other.looks)


def test_a_change_during_a_look_leads_to_another(patrol, kernel):
    mine = Sentry(patrol, soon(), interval=1000)
    eventually(lambda: mine.looks)

    kernel.tell((NO_TABLE, "table"), (GENERATION,))
    eventually(lambda: kernel.listener.transactions == 1)
    patrol.expect(mine, time.monotonic() + 1000, NAMES)

    eventually(lambda: len(mine.looks) == 2)


def test_without_netlink_the_interval_is_all_there_is():
    patrol = Patrol(listen=lambda: None)
    try:
        sentry = Sentry(patrol, soon(), interval=0.01)
        eventually(lambda: len(sentry.looks) >= 12)
    finally:
        patrol.stop()


def test_messages_are_read_as_far_as_they_are_whole():
    data = message(NO_ELEMENT, "t", "s") + message(GENERATION)

    assert [NO_ELEMENT, GENERATION] == [kind for kind, _ in messages(data)]
    assert [NO_ELEMENT] == [kind for kind, _ in messages(data[:-1])]
    assert [] == [*messages(b"\0" * 100)]


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ([(NO_ELEMENT, "t", "s")], {frozenset({"t", "s"})}),
        ([(NO_RULE, "t", "chain")], {frozenset({"t"})}),
        ([(12, "t", "s"), (GENERATION,)], set()),
    ],
)
def test_what_was_taken_away_is_named(kernel, told, named):
    listener = kernel.open()
    kernel.tell(*told)

    assert named == listener.changes()
