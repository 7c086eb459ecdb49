# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands are rendered so that values reach their place whole, and run nothing."""

from __future__ import annotations

import pytest

from common.errors import CommandError
from common.options import ActionConf
from server.action import (
    LONGEST_VALUE,
    Action,
    ending,
    family_of,
    from_history,
    hint,
    ip_of,
    render,
)
from server.records import Ban, Result, ShellCommand
from server.shell import run


def test_a_script_names_variables_and_the_values_travel_beside_it():
    command = render('mail -s "ban <ip>" root', {}, {"ip": "192.0.2.7"})

    assert ShellCommand('mail -s "ban $f2b_ip" root', {"f2b_ip": "192.0.2.7"}) == command


def test_only_values_that_a_script_names_are_passed():
    assert {} == render("echo", {}, {"ip": "192.0.2.7"}).environment


def test_tags_that_nobody_knows_stay():
    assert ShellCommand("echo <nosuch> <br>") == render("echo <nosuch> <br>", {}, {"ip": "x"})


def test_two_tags_never_share_a_variable():
    command = render("<F-A-B> <F-A_B>", {}, {"F-A-B": "1", "F-A_B": "2"})

    assert ["1", "2"] == sorted(command.environment.values())


def test_properties_are_pasted_also_inside_one_another_and_may_hold_tags():
    properties = {"do": "add <what-<kind>>", "kind": "net", "what-net": "n <ip>", "n": 3}

    assert 'add n "$f2b_ip" 3' == render("<do> <n>", properties, {"ip": "x"}).script


def test_a_property_may_be_another_one_for_ipv6():
    properties = {"block": "deny", "block?family=inet6": "deny6"}

    assert "deny" == render("<block>", properties, {}).script
    assert "deny" == render("<block>", properties, {}, "inet4").script
    assert "deny6 inet6" == render("<block> <family>", properties, {}, "inet6").script


def test_a_property_that_needs_itself_is_refused():
    with pytest.raises(CommandError, match="needs itself"):
        render("<a>", {"a": "<b>", "b": "<a>"}, {})


@pytest.mark.parametrize(
    "script", ["echo ${<ip>}", 'echo "${<ip>:-x}"', "echo $'it\\'s' $'a\\'<ip>'"]
)
def test_a_tag_where_no_value_can_stand_is_refused(script):
    with pytest.raises(CommandError):
        render(script, {}, {"ip": "192.0.2.7"})


def test_a_very_long_value_is_cut_to_what_an_environment_takes():
    command = render("printf %s <matches> | wc -c", {}, {"matches": "ü\\" * 100_000})

    assert LONGEST_VALUE == len(command.environment["f2b_matches"].encode())
    assert LONGEST_VALUE == int(run(command).stdout)


# -- what a ban says


def a_ban(host="192.0.2.7", **more):
    return Ban(jail="sshd", host=host, since=1700000000.5, seconds=600, **more)


def an_action(**properties):
    return Action(
        "sshd",
        ActionConf("a", {key.replace("__", "?"): value for key, value in properties.items()}),
    )


VALUES = [
    ("<ip>", a_ban(), "192.0.2.7"),
    ("<fid>", a_ban("Bob"), "Bob"),
    ("<ip>", a_ban("Bob"), "Bob"),
    ("<ip>", a_ban("Bob", fields={"ip4": "192.0.2.9"}), "192.0.2.9"),
    ("<fid>", a_ban("Bob", fields={"ip4": "192.0.2.9"}), "Bob"),
    ("<ip-rev>", a_ban(), "7.2.0.192."),
    ("<ip-rev>", a_ban("2001:db8::1"), "1." + "0." * 23 + "8.b.d.0.1.0.0.2."),
    ("<failures>", a_ban(failures=5), "5"),
    ("<time>", a_ban(), "1700000000"),
    ("<bantime>", a_ban(), "600"),
    ("<bantime>", Ban("j", "h", 0, float("inf")), "-1"),
    ("<bancount>", a_ban(count=3), "3"),
    ("<matches>", a_ban(matches=("a", "b")), "a\nb"),
    ("<ipmatches>", a_ban(matches=("a", "b")), "a\nb"),
    ("<restored>", a_ban(), "0"),
    ("<F-USER>", a_ban(fields={"user": "root"}), "root"),
    ("<F-ALT_USER>", a_ban(fields={"alt_user": "toor"}), "toor"),
    ("<F-USERS>", a_ban(fields={"users": {"b", "a"}}), "a\nb"),
    ("<F-NONE>", a_ban(), ""),
    ("<jail.found>", a_ban(), "0"),
]  # fmt: skip


@pytest.mark.parametrize(("tag", "ban", "value"), VALUES)
def test_a_ban_tells(tag, ban, value):
    assert [value] == list(an_action(actionban=f"echo {tag}").ban(ban).environment.values())


def test_a_restored_ban_says_so():
    assert {"f2b_restored": "1"} == an_action(actionban="<restored>").ban(a_ban(), True).environment


def test_what_a_ban_does_not_know_is_asked_for_only_where_it_is_named():
    asked = []

    def facts(tag, ban):
        asked.append(tag)
        return "gate.example.com" if tag == "ip-host" else None

    conf = ActionConf("a", {"actionban": "<ip-host> <failures>", "actionunban": "<name>"})
    command = Action("sshd", conf, facts).ban(a_ban(failures=2))

    assert {"f2b_ip_host": "gate.example.com", "f2b_failures": "2"} == command.environment
    assert ["ip-host", "failures"] == asked


def test_what_the_admin_sets_goes_before_what_a_ban_says():
    assert "add 77" == an_action(actionban="add <bantime>", bantime="77").ban(a_ban()).script


@pytest.mark.parametrize(("host", "family"), [
    ("192.0.2.1", "inet4"), ("192.0.2.0/24", "inet4"), ("2001:db8::1", "inet6"), ("2001:db8::/64", "inet6"), ("Bob", "inet4"),
    ("1234", "inet4"), ("face", "inet4"),
])  # fmt: skip
def test_the_family_of_a_ban(host, family):
    assert family == family_of(a_ban(host))
    assert host == ip_of(a_ban(host))


def test_an_action_may_have_another_command_for_ipv6():
    action = an_action(
        actionban="ban <ip>", actionban__family=0, **{"actionban?family=inet6": "ban6 <ip>"}
    )

    assert 'ban6 "$f2b_ip"' == action.ban(a_ban("2001:db8::1")).script
    assert 'ban "$f2b_ip"' == action.ban(a_ban()).script


def test_a_command_that_is_not_there_or_empty_is_none():
    action = an_action(actionstart="  \n")

    assert [None] * 4 == [action.start(), action.stop(), action.flush(), action.ban(a_ban())]


@pytest.mark.parametrize(
    ("given", "seconds"), [("30", 30), ("2m", 120), (5, 5), ("soon", 60), (None, 60)]
)
def test_the_time_limit_of_an_action(given, seconds):
    properties = (
        {"actionstart": "true"} if given is None else {"actionstart": "true", "timeout": given}
    )

    assert seconds == an_action(**properties).start().timeout


@pytest.mark.parametrize(("properties", "waits"), [
    ({"actionstart": "x"}, False),
    ({"actionstart": "x", "actionstart_on_demand": True}, True),
    ({"actionstart": "<f>", "f": "a", "f?family=inet6": "b"}, True),
    ({"actionstart": "<family>"}, True),
    ({"actionstart": "<f>", "f": "a", "f?family=inet6": "b", "actionstart_on_demand": False}, False),
])  # fmt: skip
def test_what_differs_by_family_waits_for_the_first_ban_unless_told_otherwise(properties, waits):
    assert waits == an_action(**properties).starts_on_demand


# -- when a command fails


def a_result(status, stderr="", is_timeout=False):
    return Result(ShellCommand("x"), status, "", stderr, is_timeout)


@pytest.mark.parametrize(("result", "text"), [
    (a_result(127, "/bin/sh: 1: nft: not found"), "Is nft installed"),
    (a_result(127, "/bin/sh: line 1: nft: command not found"), "Is nft installed"),
    (a_result(127, "strange"), "Is the program installed"),
    (a_result(126), "not executable"),
    (a_result(-15, is_timeout=True), "'timeout'"),
    (a_result(-9), "memory"),
    (a_result(139), "SIGSEGV"),
    (a_result(1, "nft: Operation not permitted"), "as a user who may"),
])  # fmt: skip
def test_a_failure_comes_with_what_a_person_can_do(result, text):
    assert text in hint(result)


def test_an_ending_is_one_line_and_repeats_no_control_characters():
    assert "exit status 2: one | t?[2Jwo" == ending(a_result(2, "one\nt\x1b[2Jwo\n"))
    assert "ended by SIGKILL" == ending(a_result(-9))
    assert "ended after 60 seconds" == ending(a_result(-9, is_timeout=True))
    assert 600 > len(ending(a_result(1, "x" * 100_000)))


def test_what_all_jails_know_of_a_host_is_summed_up():
    ban = Ban("ssh", "192.0.2.1", 2000.0, 60, ("ssh now",), 3)
    others = [
        Ban("mail", "192.0.2.1", 3000.0, 60, ("mail",), 2),
        Ban("ssh", "192.0.2.1", 1000.0, 60, ("ssh once",), 9),
        Ban("web", "192.0.2.1", 1000.0, 60, ("web",), 4),
    ]

    def known(tag):
        return from_history(tag, ban, {"192.0.2.1": others}.__getitem__)

    assert known("ipfailures") == "9"
    assert known("ipmatches") == "web\nssh now\nmail"
    assert known("ipjailmatches") is None and known("ip") is None
