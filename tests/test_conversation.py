# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of one connection: which of them make a failure together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.conversation import (
    LONGEST_SILENCE,
    LONGEST_TEXT,
    MOST_LINES,
    MOST_USERS,
    Conversations,
    Said,
)
from server.pattern import Id

HOST = Id("192.0.2.7")


def line(text="a line", host=None, user=None, **flags):
    """A line that is a failure, unless flags say otherwise."""
    return Said((text,), host, {"user": user} if user is not None else {}, **flags)


def hint(text="a hint", host=HOST, user=None):
    return line(text, host, user, is_helper=True)


def login(text="let in", host=HOST, user=None):
    return line(text, host, user, is_helper=True, is_gain=True)


def farewell(text="bye", host=HOST, user=None):
    return line(text, host, user, is_helper=True, is_end=True)


def told(*lines, talks=None):
    """What each of the lines of one conversation made known: the lines gathered, or None."""
    talks = talks or Conversations()
    answers = [talks.hear("sshd[1]", said, 0.0) for said in lines]
    return [answer and answer.lines for answer in answers]


def test_a_failure_that_knows_its_host_is_told_at_once():
    assert told(line("x", HOST), line("y", HOST)) == [("x",), ("y",)]


def test_a_failure_without_a_host_waits_for_the_line_that_has_one():
    assert told(line("locked"), farewell("bye")) == [None, ("locked", "bye")]


def test_a_failure_without_a_host_takes_the_one_known_already():
    assert told(hint("from"), line("too many"), line("again")) == [
        None,
        ("from", "too many"),
        ("again",),
    ]


def test_hints_alone_are_no_failure():
    assert told(hint(), hint(), farewell()) == [None, None, None]


def test_hints_are_gathered_until_a_failure():
    assert told(hint("a"), hint("b"), line("c", HOST)) == [None, None, ("a", "b", "c")]


def test_a_login_excuses_what_was_held_and_what_waits():
    assert told(hint("a", user="eve"), login(user="eve"), line("later", HOST)) == [
        None,
        None,
        ("later",),
    ]
    assert told(line("locked"), login(), farewell()) == [None, None, None]


def test_a_login_does_not_excuse_one_who_tried_several_users():
    assert told(hint("a", user="root"), hint("b", user="root"), login("c", user="eve")) == [
        None,
        None,
        ("a", "b", "c"),
    ]


def test_a_second_user_makes_hints_a_failure():
    assert told(hint("a", user="root"), hint("b", user="eve"), hint("c", user="root")) == [
        None,
        ("a", "b"),
        ("c",),
    ]


def test_the_farewell_is_no_further_try_of_a_user():
    assert told(hint("a", user="root"), hint("b", user="eve"), farewell("c", user="eve")) == [
        None,
        ("a", "b"),
        None,
    ]


def test_all_users_are_told_where_there_are_several():
    talks = Conversations()
    talks.hear("k", hint(user="root"), 0.0)

    answer = talks.hear("k", hint(user="eve"), 0.0)

    assert answer.fields["users"] == ("root", "eve")
    assert answer.fields["user"] == "eve"


def test_after_the_farewell_nothing_is_known():
    assert told(hint("from"), farewell(), line("too many")) == [None, None, None]


def test_other_conversations_know_nothing_of_it():
    talks = Conversations()
    talks.hear("sshd[1]", hint(), 0.0)

    assert talks.hear("sshd[2]", line("too many"), 0.0) is None


def test_a_silent_conversation_is_forgotten_as_its_number_comes_round():
    talks = Conversations()
    talks.hear("sshd[1]", hint(), 0.0)

    assert talks.hear("sshd[1]", line("soon"), LONGEST_SILENCE) is not None
    assert talks.hear("sshd[1]", line("late"), 2 * LONGEST_SILENCE + 1) is None


def test_another_address_is_another_conversation():
    assert told(hint("a"), line("b", Id("192.0.2.8"))) == [None, ("b",)]


def test_a_name_may_be_the_address_that_follows():
    assert told(hint("a", Id("box.example.org", True)), line("b", HOST)) == [None, ("a", "b")]


def test_no_more_than_so_many_are_open():
    talks = Conversations(most_open=3)
    for number in range(10):
        talks.hear(f"sshd[{number}]", hint(), 0.0)

    assert len(talks) == 3
    assert talks.hear("sshd[9]", line(), 0.0) is not None
    assert talks.hear("sshd[0]", line(), 0.0) is None


@pytest.mark.parametrize("too_many", [1, 4, 40])
def test_those_stay_open_that_were_heard_of_last(too_many):
    talks = Conversations(most_open=4)
    keys = [f"sshd[{number}]" for number in range(4 + too_many)]
    for key in keys:
        talks.begin(key, (0.0, hint))

    talks.trim()

    assert list(talks) == keys[-4:]
    assert [talks.is_open(key) for key in keys] == [False] * too_many + [True] * 4


def test_no_more_than_so_many_lines_are_held():
    answers = told(*[hint(str(n)) for n in range(3 * MOST_LINES)], line("last", HOST))

    assert answers[-1][-2:] == (str(3 * MOST_LINES - 1), "last")
    assert len(answers[-1]) == MOST_LINES + 1


def test_of_what_waits_only_so_much_is_kept():
    long = "x" * (2 * LONGEST_TEXT)
    talks = Conversations()
    for user in ("a" + long, "b" + long):
        last = talks.hear("k", hint(user=user), 0.0)

    assert [len(user) for user in last.fields["users"]] == [LONGEST_TEXT] * 2
    assert told(hint(long), line("y" + long, HOST)) == [None, (long[:LONGEST_TEXT], "y" + long)]


def test_no_more_than_so_many_users_are_told():
    talks = Conversations()
    for number in range(3 * MOST_USERS):
        last = talks.hear("k", hint(user=f"user{number}"), 0.0)

    assert len(last.fields["users"]) == MOST_USERS


SAID = st.builds(
    line,
    st.text(max_size=3),
    st.sampled_from([None, HOST, Id("192.0.2.8")]),
    st.sampled_from([None, "", "root", "eve"]),
    is_helper=st.booleans(),
    is_gain=st.booleans(),
    is_end=st.booleans(),
)


@given(st.lists(SAID, max_size=20))
def test_nobody_is_blamed_whom_no_line_named(lines):
    talks = Conversations()
    named = set()
    for said in lines:
        if said.id is not None:
            named.add(said.id)
        answer = talks.hear("k", said, 0.0)

        assert answer is None or answer.id in named
        assert answer is None or answer.lines[-1:] == said.lines


# -- a first line that is read only when more comes

SAYINGS = st.builds(
    Said,
    lines=st.sampled_from([("one",), ("other",)]),
    id=st.sampled_from([None, Id("192.0.2.1"), Id("192.0.2.2"), Id("a.example", is_name=True)]),
    fields=st.sampled_from([{}, {"user": "carol"}, {"user": "eve"}, {"port": "1"}]),
    is_helper=st.booleans(),
    is_gain=st.booleans(),
    is_end=st.booleans(),
).map(lambda said: said._replace(is_helper=said.is_helper or said.is_gain))


@given(st.lists(st.tuples(st.sampled_from("ab"), SAYINGS, st.integers(0, 700))))
def test_it_makes_no_difference_when_a_first_line_is_read(heard):
    at_once, later = Conversations(), Conversations()
    now = 0
    for key, said, seconds in heard:
        now += seconds
        told = at_once.hear(key, said, now)
        # What a helper, or a failure of somebody who is known, comes to is known without reading on.
        if not later.is_open(key) and (said.is_helper or said.id is not None):
            if not said.is_end:
                later.begin(key, (now, lambda line: line, said))
            is_failure = not said.is_helper
            assert told == ((said.id, said.lines, said.fields) if is_failure else None)
        else:
            assert told == later.hear(key, said, now)
