# SPDX-License-Identifier: GPL-2.0-or-later
"""All mistakes of a configuration are found before it is carried out, and no others."""

from __future__ import annotations

import json

import pytest

from client.stream import exit_status, read
from common.errors import CommandError
from server.inspection import inspect, tools_of
from tests.support import ROOT, a_configuration

CONFIGS = ROOT / "tests/conformance/configs"


def findings(*commands, missing=(), broken=()):
    def check(action):
        if action.name in broken:
            raise CommandError(f"{action.module} cannot be run")

    return inspect(commands, lambda name: name not in missing, check)


def told(*commands, **more):
    """Level, kind and text of what is found."""
    return [(one.level, one.kind, one.text) for one in findings(*commands, **more)]


def a_jail(*commands, name="door"):
    return [["add", name, "auto"], *(["set", name, *words] for words in commands), ["start", name]]


def an_action(**properties):
    pairs = [[key, value] for key, value in properties.items()]
    return [
        ["add", "door", "auto"],
        ["set", "door", "addaction", "wall"],
        ["multi-set", "door", "action", "wall", pairs],
    ]


def test_a_good_jail_has_nothing_to_tell():
    jail = a_jail(
        ["addfailregex", "^knock refused for <HOST>$"], ["maxretry", 3], ["logencoding", "auto"]
    )

    assert told(["set", "loglevel", "INFO"], *jail) == []


MISTAKES = [
    (["addfailregex", "^(<HOST>$"], "regex", r"[door] failregex: Unable to compile regular expression '^(<HOST>$': missing )"),
    (["addfailregex", "^nobody$"], "regex", "[door] failregex: No failure-id group in '^nobody$'"),
    (["addignoreregex", "["], "regex", "[door] ignoreregex: Unable to compile"),
    (["prefregex", "^(x"], "regex", "[door] prefregex: Unable to compile"),
    (["datepattern", "%Y(%m"], "value", "[door] datepattern: '%Y(%m' is no date pattern"),
    (["logtimezone", "Moon"], "value", "[door] logtimezone: 'Moon' is no time zone"),
    (["logencoding", "klingon"], "value", "[door] logencoding: unknown encoding: klingon"),
    (["maxretry", "many"], "value", "[door] maxretry = 'many' is not"),
    (["bantime", "soon"], "value", "[door] bantime = 'soon' is not"),
    (["ignorecache", "max-count=3"], "value", "[door] ignorecache needs a key"),
    (["bantime.formula", "rm()"], "value", "[door] bantime.formula: is not a formula: 'rm()'"),
    (["nosuch", "x"], "value", "[door] nosuch"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "kind", "text"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])  # fmt: skip
def test_a_mistake_is_told_with_its_jail_and_option(words, kind, text):
    (found,) = findings(*a_jail(words))

    assert (found.level, found.kind, found.jail) == ("error", kind, "door")
    assert found.text.startswith(text)


def test_a_slow_rule_is_a_warning_with_the_reason():
    slow = a_jail(["addfailregex", r"^\S+ <HOST>$"])
    (found,) = [one for one in findings(*slow) if one.kind == "slow"]

    assert (found.level, found.jail) == ("warning", "door")
    assert found.text.startswith("[door] failregex 1 is slow: each line of the log is tried")


def test_a_mistake_in_the_daemon_s_options_concerns_no_jail():
    (found,) = findings(["set", "dbpurgeage", "soon"])

    assert (found.level, found.jail) == ("error", "")
    assert "dbpurgeage" in found.text


def test_all_mistakes_are_told_at_once():
    regexes = ["^(<HOST>", "^right <HOST>$", "^nobody$"]
    stream = [
        *a_jail(["maxretry", "x"], ["logtimezone", "Moon"]),
        *a_jail(["findtime", "x"], name="gate"),
        ["multi-set", "gate", "addfailregex", regexes],
    ]

    assert [(one.jail, one.kind) for one in findings(*stream)] == [
        ("door", "value"),
        ("door", "value"),
        ("gate", "value"),
        ("gate", "regex"),
        ("gate", "regex"),
    ]


def test_what_the_client_has_told_itself_is_not_told_again():
    assert told(["config-error", "Jail 'x' skipped"]) == []


def test_a_regex_that_only_the_whole_filter_refuses_is_found():
    # backreferences to a group of <HOST> that is not there where no names are wanted
    jail = a_jail(["usedns", "no"], ["addfailregex", "^<HOST> (?P=dns)$"])

    found = findings(*jail)

    assert [one.kind for one in found] == ["regex"]
    assert found[0].text.startswith("[door] ")


# -- actions


def test_a_tag_that_nothing_knows_is_told_with_its_command():
    stream = an_action(actionban="wall <ip> -j <blocktyp>", blocktype="DROP")

    assert told(*stream) == [
        ("warning", "tag", "[door] action wall: actionban: nothing says what <blocktyp> is")
    ]


def test_what_only_a_ban_knows_is_strange_anywhere_else():
    stream = an_action(actionstart="echo <ip>", actionban="echo <ip> <F-USER> <matches> <restored>")

    assert [text for _, _, text in told(*stream)] == [
        "[door] action wall: actionstart: nothing says what <ip> is"
    ]


def test_a_tag_of_one_family_alone_is_found():
    stream = an_action(actionban="<tool> <ip>", tool="wall", **{"tool?family=inet6": "<nosuch>"})

    assert [text.rpartition("what ")[2] for _, _, text in told(*stream)] == ["<nosuch> is"]


@pytest.mark.parametrize(
    "script",
    ['echo "From: <<sender>>"', "echo '<fail2ban>'", "wall <name> <family> <actname> <port>",
     "cat </dev/null >/tmp/x", "test 1 -lt 2 >&2", "grep '(?P<x>a)'"],
)  # fmt: skip
def test_what_is_no_strange_tag_is_passed_over(script):
    assert told(*an_action(actionstart=script, sender="fail2ban", port="22")) == []


def test_a_property_that_needs_itself_is_an_error():
    (found,) = findings(*an_action(actionban="wall <a>", a="<b>", b="<a>"))

    assert (found.level, found.kind) == ("error", "action")
    assert "needs itself" in found.text and "[door] action wall" in found.text


def test_a_program_that_is_not_there_is_told_once_with_all_who_need_it():
    stream = [
        *an_action(actionban="moat dig <ip>", actionunban="moat fill <ip>"),
        ["set", "door", "addaction", "more"],
        ["multi-set", "door", "action", "more", [["actionstart", "moat check; bridge up"]]],
    ]

    assert told(*stream, missing=("moat",)) == [
        ("warning", "tool", "moat is not installed, or not in the PATH of the server;"
                            " it is needed by [door] wall, [door] more"),
    ]  # fmt: skip


def test_an_action_in_python_that_cannot_be_made_is_an_error():
    stream = [["add", "door"], ["set", "door", "addaction", "mail", "/x.py", "{}"]]

    assert told(*stream) == []
    assert told(*stream, broken=("mail",)) == [
        ("error", "action", "[door] action mail: /x.py cannot be run")
    ]


# -- what a script runs

SCRIPTS = [
    ("iptables -w -N f2b", ["iptables"]),
    ("iptables -C x || iptables -I x && ip6tables -I x; nft list", ["iptables", "iptables", "ip6tables", "nft"]),
    ("moat -a\nbridge up\n\nwall", ["moat", "bridge", "wall"]),
    ("moat \\\n  bridge", ["moat"]),
    ("if moat -x; then bridge; else wall; fi", ["moat", "bridge", "wall"]),
    ("for x in a b; do moat $x; done", ["moat"]),
    ("while ! moat; do sleep 1; done", ["moat", "sleep"]),
    ("{ moat; bridge; } | wall", ["moat", "bridge", "wall"]),
    ("x=$(moat -p | bridge) wall", ["moat", "bridge"]),
    ("LC_ALL=C moat", ["moat"]),
    ("dig() { moat; }; dig x", ["moat"]),
    ("/usr/sbin/moat up >/dev/null 2>&1", ["/usr/sbin/moat"]),
    ("printf %b 'moat\nbridge' | wall", ["wall"]),
    ("echo \"a; b | c\" && true", []),
    ("[ -x /moat ] || exit 0", []),
    ("$moat up", []),
    ("<tool> up", []),
    ("# don't\nmoat", ["moat"]),
    ("case $x in moat) bridge;; esac", []),
    ("cat <<END\nmoat\nEND", []),
    ("echo 'never closed", []),
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("script", "tools"), SCRIPTS, ids=[script for script, _ in SCRIPTS])
def test_the_programs_of_a_script_are_those_it_begins_commands_with(script, tools):
    assert list(tools_of(script)) == tools


# -- what is known to be right

STOCK = sorted(path.stem for path in (ROOT / "config/action.d").glob("*.conf"))


@pytest.mark.parametrize("name", [name for name in STOCK if not name.endswith("-common")])
def test_a_stock_action_has_no_strange_tags(name, tmp_path):
    directory = a_configuration(tmp_path)
    (directory / "jail.local").write_text(f"[door]\naction = {name}[name=%(__name__)s]\n")
    for stock in (ROOT / "config/action.d").glob("*.conf"):
        (directory / "action.d" / stock.name).write_text(stock.read_text("utf-8"), "utf-8")

    found = findings(*read(directory).sent)

    assert [one.text for one in found] == []


@pytest.mark.parametrize("path", sorted(p for p in CONFIGS.iterdir() if p.is_dir()), ids=lambda path: path.name)  # fmt: skip
def test_only_regexes_are_wrong_where_a_test_is_known_to_succeed(path):
    reading = read(path)
    stream = json.loads(json.dumps(reading.sent))

    errors = [one for one in findings(*stream) if one.level == "error" and one.kind != "regex"]

    assert errors == [] or exit_status(reading, "test") != 0


def test_a_regex_that_can_be_frozen_is_warned_of():
    stream = [["add", "door"], ["set", "door", "addfailregex", r"^(?:\w+\s*)+ refused <ADDR>$"]]

    (finding,) = inspect(stream, lambda tool: True, lambda conf: None)

    assert (finding.level, finding.jail) == ("warning", "door")
    assert finding.text.startswith("[door] failregex 1 ")


@pytest.mark.parametrize(
    ("key", "which"),
    [
        ("addfailregex", "failregex 1"),
        ("addignoreregex", "ignoreregex 1"),
        ("prefregex", "prefregex"),
    ],
)
def test_a_regex_that_one_line_can_stop_is_told_of_with_such_a_line(key, which):
    regex = "^bad (?:a+)+ from <ADDR>$"
    others = [] if key == "addfailregex" else [["addfailregex", "^no <ADDR>$"]]

    texts = [text for _, _, text in told(*a_jail([key, regex], *others))]

    (found,) = (text for text in texts if "doubles" in text)
    assert found.startswith(f"[door] {which} makes work ") and "'bad aaaaa" in found
    assert "set aside for all of more than" in found


def test_a_regex_whose_work_grows_with_the_cube_is_told_of_with_what_is_cheap():
    texts = [text for _, _, text in told(*a_jail(["addfailregex", r"^bad .*a.*a.* from <ADDR>$"]))]

    (found,) = (text for text in texts if "grows" in text)
    assert found.startswith("[door] failregex 1 makes work that grows") and "'bad a" in found
    assert "characters are cheap all the same" in found


def test_of_a_regex_that_is_only_watched_nothing_is_told():
    assert [] == told(*a_jail(["addfailregex", r"^bad .*x from <ADDR>$"]))


def test_a_regex_is_named_with_its_place():
    jail = a_jail(["addfailregex", "^bad (?:a+)+ from <ADDR>$"])
    place = ["multi-set", "door", "origins", [["failregex", "filter.d/door.conf:7"]]]

    texts = [text for _, _, text in told(*jail, place)]

    assert texts and all(
        one.startswith("[door] failregex 1 (filter.d/door.conf:7) ") for one in texts
    )
