# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of commands, and how words are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from common.commands import COMMANDS, InvalidCommand, may_follow, parse, parse_for_client
from common.options import BAN_TIME_OPTIONS, DAEMON_OPTIONS, JAIL_OPTIONS

USAGES = [
    ("status", "status", {}),
    ("status sshd", "status <jail> [<flavour>]", {"jail": ("sshd",), "flavour": ()}),
    ("status --all stats", "status --all [<flavour>]", {"flavour": ("stats",)}),
    ("stop --all", "stop --all", {}),
    ("stop all", "stop <jail>", {"jail": ("all",)}),
    ("set loglevel DEBUG", "set loglevel <value>", {"value": ("DEBUG",)}),
    (
        "set loglevel maxretry 5",
        "set <jail> maxretry <value>",
        {"jail": ("loglevel",), "value": ("5",)},
    ),
    ("set a bantime -1", "set <jail> bantime <value>", {"jail": ("a",), "value": ("-1",)}),
    (
        "set a bantime.factor 2",
        "set <jail> bantime.factor <value>",
        {"jail": ("a",), "value": ("2",)},
    ),
    (
        "set a bantime.odd 2",
        "set <jail> bantime.<key> <value>",
        {"jail": ("a",), "key": ("odd",), "value": ("2",)},
    ),
    ("set a addignoreip", "set <jail> addignoreip [<ip>...]", {"jail": ("a",), "ip": ()}),
    (
        "set a unbanip --report-absent x y",
        "set <jail> unbanip [--report-absent] <ip>...",
        {"jail": ("a",), "--report-absent": ("--report-absent",), "ip": ("x", "y")},
    ),
    (
        "set a unbanip x",
        "set <jail> unbanip [--report-absent] <ip>...",
        {"jail": ("a",), "--report-absent": (), "ip": ("x",)},
    ),
    ("get a banip --with-time", "get <jail> banip --with-time", {"jail": ("a",)}),
    ("get a banip ,", "get <jail> banip [<separator>]", {"jail": ("a",), "separator": (",",)}),
    ("unban --all", "unban --all", {}),
    ("unban 192.0.2.1 x", "unban <ip>...", {"ip": ("192.0.2.1", "x")}),
    ("echo", "echo [<word>...]", {"word": ()}),
]


@pytest.mark.parametrize(("text", "usage", "given"), USAGES, ids=[row[0] for row in USAGES])
def test_words_are_told_apart(text, usage, given):
    command, found = parse(text.split())

    assert (command.usage, dict(found)) == (usage, given)


def test_words_may_be_any_plain_value():
    _, given = parse(["multi-set", "a", "action", "wall", [["timeout", 5]]])

    assert given["list"] == ([["timeout", 5]],)


def test_a_word_that_is_no_text_is_no_literal():
    with pytest.raises(InvalidCommand):
        parse([["status"]])


REFUSED = [
    ([], IndexError, "list index out of range", "no command"),
    (["frob"], Exception, "Invalid command", "frob"),
    ([5], Exception, "Invalid command", "5"),
    (["quit"], Exception, "Invalid command", "quit"),
    (["loadconf"], Exception, "Invalid command", "loadconf"),
    (["get"], IndexError, "list index out of range", "goes on with"),
    (["set", "sshd"], IndexError, "list index out of range", "goes on with"),
    (["set", "sshd", "maxretry"], IndexError, "list index out of range", "<value>"),
    (
        ["set", "sshd", "failregex", "x"],
        Exception,
        "Invalid command 'failregex' (no set action or not yet implemented)",
        "addfailregex",
    ),
    (
        ["get", "sshd", "maxretri"],
        Exception,
        "Invalid command (no get action or not yet implemented)",
        "'get sshd' cannot go on with 'maxretri'; try: maxretry",
    ),
]


@pytest.mark.parametrize(("words", "kind", "wire", "said"), REFUSED, ids=[str(r[0]) for r in REFUSED])  # fmt: skip
def test_what_is_no_command_is_refused_for_people_and_for_old_clients(words, kind, wire, said):
    with pytest.raises(InvalidCommand) as refused:
        parse(words)

    assert type(refused.value.wire) is kind
    assert refused.value.wire.args == (wire,)
    assert said in str(refused.value)


def test_every_option_can_be_set_and_shown():
    shown = {command.usage for command in COMMANDS}
    for key in DAEMON_OPTIONS:
        assert f"set {key} <value>" in shown
    for key in [*JAIL_OPTIONS, *(f"bantime.{option.key}" for option in BAN_TIME_OPTIONS)]:
        if key != "backend":
            assert {f"set <jail> {key} <value>", f"get <jail> {key}"} <= shown


def test_no_usage_stands_twice_on_the_same_side():
    usages = [(command.usage, command.by_client) for command in COMMANDS]

    assert len(usages) == len(set(usages))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.usage)
def test_every_command_has_a_sentence_of_help(command):
    assert command.help[0].isupper() and command.help.endswith(".")


@pytest.mark.parametrize(
    ("text", "is_own"),
    [("start", True), ("start sshd", False), ("restart", True), ("restart sshd", True),
     ("reload", True), ("reload --unban --restart sshd", True), ("reload --all", True),
     ("loadconf", True), ("quit", True), ("stop", False), ("status", False), ("frob", False)],
)  # fmt: skip
def test_the_client_knows_its_own_commands(text, is_own):
    assert bool(parse_for_client(text.split())) is is_own


def test_a_wrong_reload_is_not_sent_to_the_server():
    with pytest.raises(InvalidCommand):
        parse_for_client(["reload", "a", "b"])


def test_completion_comes_out_of_the_table():
    assert "status" in may_follow([])
    assert "server-stream" not in may_follow([])
    assert "maxretry" in may_follow(["get", "sshd"])
    assert may_follow(["reload", "--all"]) == ["--if-exists", "--restart", "--unban"]
    assert "--report-absent" in may_follow(["set", "sshd", "unbanip"])


WORDS = st.lists(
    st.sampled_from(["set", "get", "status", "sshd", "--all", "banip", "loglevel", "bantime.x", 5])
    | st.text(max_size=5),
    max_size=7,
)


@for_all(WORDS)
def test_any_words_are_a_command_or_refused_with_advice(words):
    try:
        _, given = parse(words)
    except InvalidCommand as refused:
        assert str(refused) and isinstance(refused.wire, Exception)
    else:
        assert all(isinstance(taken, tuple) for taken in given.values())
