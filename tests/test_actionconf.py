# SPDX-License-Identifier: GPL-2.0-or-later
"""An action file and its arguments become the commands that add it to a jail."""

import json

import pytest

from client.actionconf import read_action, split_actions
from client.filterconf import JailError
from client.include import Library
from client.ini import Value
from common.errors import ConfigError, Where
from tests.shelf import HERE, library
from tests.support import ROOT

WALL = """\
[Definition]
actionstart = open <name> <chain>
actionban = add <name> <ip> <block>
helper = unsent
[Init]
name = default
chain = INPUT
block = deny
"""


def an_action(text=WALL, name="wall", jail="j", **how):
    files = {"action.d/wall.conf": text, "action.d/post.py": "", "action.d/wall.py": ""}
    return read_action(library(files), Value(name, Where("jail.conf", 9)), jail, **how)


def properties(*args, **how):
    commands = an_action(*args, **how).commands
    return dict(commands[1][4]) if len(commands) > 1 else {}


def test_an_action_is_added_and_given_its_properties_in_order():
    assert (
        ["set", "j", "addaction", "wall"],
        ["multi-set", "j", "action", "wall", [
            ["actionstart", "open j OUT"], ["actionban", "add j <ip> deny"],
            ["chain", "OUT"], ["other", "x"], ["name", "j"], ["actname", "wall"], ["block", "deny"],
        ]],
    ) == an_action(name="wall[chain=OUT, other=x]").commands  # fmt: skip


@pytest.mark.parametrize(
    ("name", "handle"),
    [
        ("wall", "wall"),
        ("wall[name=j]", "wall"),
        ("wall[name=j-http]", "wall-http"),
        ("wall[name=other]", "wall-other"),
        ("wall[actname=mine, name=other]", "mine"),
        ("wall[name=<kind>]", "wall-<kind>"),
    ],
)
def test_the_name_an_action_goes_by(name, handle):
    assert handle == an_action(name=name).name


def test_what_only_the_ban_can_say_is_left_for_it():
    tags = "<ip> <matches> <ipmatches> <ipjailmatches> <bantime> <timeout>"

    assert (
        tags
        == properties(
            f"[Definition]\nactionban = {tags}\n[Init]\nbantime = 5\ntimeout = 9\nmatches = x\n"
        )["actionban"]
    )


FAMILY = WALL + "[Init?family=inet6]\nblock = deny6\n"


@pytest.mark.parametrize(
    ("name", "plain", "six"),
    [
        ("wall", "deny", "deny6"),
        ("wall[block=drop]", "drop", "drop"),
        ('wall[block=drop, block?family=inet6="drop six"]', "drop", "drop six"),
    ],
)
def test_a_tag_with_a_variant_is_left_for_the_ban_too(name, plain, six):
    got = properties(FAMILY, name=name)

    assert "add j <ip> <block>" == got["actionban"]
    assert (plain, six) == (got["block"], got["block?family=inet6"])


def test_switches_become_true_or_false():
    text = "[Definition]\nnorestored = Yes\nactionstart_on_demand = 0\nactionrepair_on_unban = x\n"

    got = properties(text)

    assert (True, False, False) == tuple(
        got[key] for key in ("norestored", "actionstart_on_demand", "actionrepair_on_unban")
    )


def test_a_switch_that_hangs_on_a_tag_comes_after_the_other_commands():
    got = properties("[Definition]\nactionstart_on_demand = <x>\nactionban = b\n[Init]\nx = 1\n")

    assert ["actionban", "actionstart_on_demand", "name"] == list(got)[:3]
    assert got["actionstart_on_demand"] is True


def test_an_empty_command_is_sent_a_missing_one_is_not():
    got = properties("[Definition]\nactionban = x\nactioncheck =\n")

    assert "" == got["actioncheck"]
    assert "actionstart" not in got


def test_a_command_for_many_is_made_of_the_same_parts_as_one_for_a_single_ban():
    many = WALL.replace(
        "helper = unsent", "helper = into <chain>\nactionban_many = add <ips> <helper>"
    )

    assert "add <ips> into OUT" == properties(many, "wall[chain=OUT]")["actionban_many"]


MANY = """\
[Definition]
actionban = add <ip>
actionban_many = add <ips>
actionprolong = <actionban>
actionprolong_many = renew <ips>
actionexchange_many = exchange
actionplace = here
actionunban = del <ip>
actionunban_many = del <ips>
"""
WHOLE = {"actionexchange_many", "actionplace"}
OF_MANY = {"actionban_many", "actionprolong_many", "actionunban_many", *WHOLE}


def commands_for_many(*, name="wall", **files):
    """Those that are left when `wall.conf` is MANY and there are `files`, `_` for a dot in their names."""
    named = {f"action.d/{file.replace('_', '.')}": text for file, text in files.items()}
    shelf = library({"action.d/wall.conf": MANY} | named)
    action = read_action(shelf, Value(name, Where("jail.conf", 9)), "j")
    return OF_MANY & {key for key, _ in action.commands[1][4]}


OWN = "[Definition]\n{} = mine <ip>\n"
INCLUDING = "[INCLUDES]\nbefore = wall.conf\n" + OWN


@pytest.mark.parametrize(
    ("own", "left"),
    [
        ("actionban", {"actionunban_many"}),
        ("actionreban", {"actionunban_many"}),
        ("actionprolong", {"actionban_many", "actionunban_many", *WHOLE}),
        ("actionunban", {"actionban_many", "actionprolong_many"}),
        ("actionstart", OF_MANY),
        ("actionban_many", OF_MANY),
    ],
)
def test_a_command_of_one_s_own_is_not_passed_by_the_stock_one_for_many(own, left):
    assert left == commands_for_many(wall_local=OWN.format(own))
    assert left == commands_for_many(mine_conf=INCLUDING.format(own), name="mine")
    assert left == commands_for_many(name=f'wall[{own}="mine <ip>"]')


def test_a_command_for_many_of_one_s_own_holds_beside_one_s_own_for_one():
    both = "[Definition]\nactionban = mine <ip>\nactionban_many = mine <ips>\n"

    assert {"actionban_many", "actionunban_many"} == commands_for_many(wall_local=both)
    assert {"actionban_many", "actionunban_many"} == commands_for_many(
        wall_conf=MANY, name='wall[actionban="mine <ip>", actionban_many="mine <ips>"]'
    )


def test_what_is_added_to_the_stock_command_happens_for_each_of_many_too():
    more = "[Definition]\nactionban = %(known/actionban)s\n            tell <ip>\n"

    assert {"actionunban_many"} == commands_for_many(wall_local=more)


def test_stock_actions_keep_their_commands_for_many():
    shelf = Library(ROOT / "config")
    for name in shelf.names("action.d", ".conf"):
        conf = shelf.load(f"action.d/{name}")
        wanted = OF_MANY & {*conf.sections["Definition"]}
        commands = read_action(shelf, Value(name), "j").commands if wanted else ()

        assert wanted == {key for key, _ in (commands[1][4] if commands else ())} & OF_MANY, name


def test_variables_of_the_jail_may_be_used():
    jail = {"bantime": Value("60")}

    got = properties("[Definition]\nbantime = 5\nactionban = %(bantime)s\n", variable=jail.get)

    assert "60" == got["actionban"]


def test_what_init_says_comes_as_it_was_written():
    got = properties("[Definition]\nactionban = <a>\n[Init]\na = %(b)s<c>\nb = 1\nc = 2\n")

    assert ("12", "1<c>") == (got["actionban"], got["a"])


def test_an_action_in_python_is_named_by_its_file():
    wanted = [
        "set",
        "j",
        "addaction",
        "post",
        f"{HERE}/action.d/post.py",
        '{"host": "h", "n": "1"}',
    ]

    for name in ("post[host=h, n=1]", "post.py[host=h, n=1]"):
        assert (wanted,) == an_action(name=name).commands


def test_an_action_in_python_may_have_another_name_in_the_jail():
    (command,) = an_action(name="post[actname=mine, a=é]").commands

    assert "mine" == command[3]
    assert {"a": "é"} == json.loads(command[5])


def test_of_two_files_the_one_without_python_is_taken():
    assert "actionban" in properties(name="wall")


@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("wal", "Unable to read action 'wal'", "wall"),
        ("nothing.py", "Unable to read action 'nothing.py'", ""),
        ("wall[a]", "Invalid action definition 'wall[a]'", "without spaces"),
        ("[a=b]", "Invalid action definition '[a=b]'", ""),
    ],
)
def test_an_action_that_is_not_there_is_the_jail_s_mistake(name, told, hint):
    with pytest.raises(JailError) as refused:
        an_action(name=name)

    assert told in refused.value.told
    assert hint in refused.value.hint
    assert Where("jail.conf", 9) == refused.value.where


@pytest.mark.parametrize("line", ["actionban = %(nosuch)s", "actionban = <actionban>"])
def test_a_mistake_in_a_command_stops_everything(line):
    with pytest.raises(ConfigError) as refused:
        an_action(f"[Definition]\n{line}\n")

    assert not isinstance(refused.value, JailError)
    assert Where(f"{HERE}/action.d/wall.conf", 2) == refused.value.where


def test_a_command_that_is_misspelled_is_a_warning():
    (problem,) = an_action("[Definition]\nactionbann = x\n").problems

    assert "Did you mean actionban?" in str(problem)
    assert Where(f"{HERE}/action.d/wall.conf", 2) == problem.where


def test_a_jail_s_actions_are_parted_and_know_their_line():
    value = Value('wall[a="b c"]\n  note', Where("jail.conf", 3))

    assert [('wall[a="b c"]', value.where), ("note", value.where)] == [
        (each.text, each.where) for each in split_actions(value)
    ]
