# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands are rendered so that values reach their place whole, and run nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import CommandError
from common.options import ActionConf
from server.action import (
    LONGEST_VALUE,
    Action,
    clean,
    ending,
    family_of,
    hint,
    ip_of,
    render,
)
from server.records import Ban, Result, ShellCommand

SHELLS = [shell for shell in ("/bin/dash", "/bin/bash", "/bin/sh") if shutil.which(shell)]


# Each prints the value in another context of the shell; beside it what is printed, with @ for the value.
CONTEXTS = {
    "double quotes": ("""printf '%s' "[<matches>]\"""", "[@]"),
    "single quotes": ("""printf '%s' '[<matches>]'""", "[@]"),
    "unquoted": ("""printf '%s' [<matches>]""", "[@]"),
    "a word of its own": ("""printf '[%s]' <matches>""", "[@]"),
    "after a backslash": ("""printf '%s' [\\<matches>]""", "[@]"),
    "after a backslash, quoted": ("""printf '%s' "[\\<matches>]\"""", "[\\@]"),
    "after a dollar": ("""printf %s "[$<matches>]\"""", "[$@]"),
    "joined with a word": ("""printf %s "[<matches>x]\"""", "[@x]"),
    "twice": ("""printf %s "[<matches><matches>]\"""", "[@@]"),
    "echo": ("""echo "[<matches>]\"""", "[@]\n"),
    "echo unquoted": ("""echo [<matches>] tail""", "[@] tail\n"),
    "/bin/echo": ("""/bin/echo -n '[<matches>]'""", "[@]"),
    "/bin/echo -e": ("""/bin/echo -ne '[<matches>]'""", "[@]"),
    "printf's format": ("""printf "[<matches>]\"""", "[@]"),
    "printf's format in single quotes": ("""printf '[<matches>]\\n'""", "[@]\n"),
    "printf %b": ("""printf %b "[<matches>]\\n\"""", "[@]\n"),
    "printf, second of two": ("""printf '%s%b' '[' '<matches>]'""", "[@]"),
    "printf, redirected": ("""2>/dev/null printf %b "[<matches>]" 2>&1""", "[@]"),
    "here-document": ("cat <<EOF\n[<matches>]\nEOF\n", "[@]\n"),
    "here-document after backslash": ("cat <<EOF\n[\\<matches> $<matches>]\nEOF\n", "[\\@ $@]\n"),
    "quoted here-document": ("cat <<'EOF'\n[<matches>] $HOME `id` \\\nEOF\n", "[@] $HOME `id` \\\n"),
    "oddly ended": ('cat <<"E O F"\n[<matches>]\nE O F\necho x', "[@]\nx\n"),
    "tabbed": ("cat <<-'EOF'\n\t[<matches>]\n\tEOF\necho x", "[@]\nx\n"),
    "two here-documents": ("cat <<A /dev/fd/3 - 3<<'B'\n1<matches>\nA\n2<matches>\nB\n", "2@\n1@\n"),
    "substitution": ("""printf %s "[$(printf %s "<matches>"; echo x)]\"""", "[@x]"),
    "substitution in a document": (
        'cat <<EOF\n[$(printf %s "<matches>"; echo x)]\nEOF\n', "[@x]\n"),
    "document in a substitution": (
        "printf %s \"[$(cat <<'EOF'\n<matches>x\nEOF\n)]\"", "[@x]"),
    "backticks": ("""printf %s "[`printf %s '<matches>'; echo x`]\"""", "[@x]"),
    "backticks with escaped quotes": (
        """printf %s "[`printf %s \\"<matches>\\"; echo x`]\"""", "[@x]"),
    "default of a variable": ("""printf %s "[${nothing:-<matches>}]\"""", "[@]"),
    "unquoted default": ("""printf %s [${nothing:-<matches>}]""", "[@]"),
    "assignment": ("""x=<matches>; printf %s "[$x]\"""", "[@]"),
    "case": (
        """case x<matches> in y) ;; *) printf %s "[<matches>]";; esac; printf %s <matches>""", "[@]@"),
    "case in a substitution": (
        """printf %s "[$(case x in (y) ;; x) printf %s <matches>;; esac; echo x)]\"""", "[@x]"),
    "function": ("""f() { printf %s "[$1]"; }; f <matches>""", "[@]"),
    "condition": ("""if [ x<matches> = y ]; then :; else printf %b <matches>; fi""", "@"),
    "comment": ("# don't: <matches>\nprintf %s '[<matches>]' # isn't it?", "[@]"),
    "pipe": ("""printf %s <matches> | { printf '['; cat; printf ']'; }""", "[@]"),
    "braces of nft": ("""printf %s 'add element t s { '<matches>' }'""", "add element t s { @ }"),
    "eval": ("""eval 'printf %s "[<matches>]"'""", "[@]"),
    "eval in double quotes": ("""eval "printf %s \\"[<matches>]\\"\"""", "[@]"),
    "sh -c": ("""sh -c 'printf %s "[<matches>]"'""", "[@]"),
    "another sh -c": ("""exec /bin/sh -ec "printf %s \\"[<matches>]\\"\"""", "[@]"),
    "script read by a shell": ("sh <<'EOF'\nprintf %s \"[<matches>]\"\nEOF\n", "[@]"),
    "the same, expanded": ('sh <<EOF\nprintf %s "[<matches>]"\nEOF\n', "[@]"),
}  # fmt: skip

HOSTILE = [
    "",
    "plain",
    "it's",
    'say "no"',
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "\"'$(id)`id`\\",
    "a\nEOF\nid\n",
    "back\\slash \\n \\c \\0101 \\\\",
    "100% %s %d %b %n",
    "* ? [a-z] ~ {a,b}",
    "two  words\tand a tab",
    "a\0b",
    "zwölf ✓ \U0001f600",
    "-n",
    "-e \\n",
    "a[$(touch pwned)]",
    "${IFS}$f2b_matches$$",
    "!! !1 &&|;<>()#",
    "]",
]


def run_in(shell, command, directory):
    return subprocess.run(
        [shell, "-c", command.script],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **command.environment},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )


def output(script, value, shell, directory):
    done = run_in(shell, render(script, {}, {"matches": value}), directory)
    assert b"" == done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_hostile_value_arrives_whole_wherever_its_tag_stands(context, shell, tmp_path):
    script, printed = CONTEXTS[context]
    for value in HOSTILE:
        got = output(script, value, shell, tmp_path)

        assert printed.replace("@", clean(value)) == got

    assert [] == list(tmp_path.iterdir())


@settings(max_examples=150, deadline=None)
@given(
    context=st.sampled_from(sorted(CONTEXTS)),
    shell=st.sampled_from(SHELLS),
    value=st.text(
        alphabet=st.one_of(st.sampled_from("'\"\\$`%\n()<> \0#!-ab{}*"), st.characters())
    ),
)
def test_any_text_arrives_whole_in_any_context(context, shell, value):
    script, printed = CONTEXTS[context]

    assert printed.replace("@", clean(value)) == output(script, value, shell, "/")


@pytest.mark.parametrize("script", ["echo $(( <matches> + 1 ))", "echo $((1+<matches>))"])
@pytest.mark.parametrize("shell", SHELLS)
def test_arithmetic_gets_numbers_and_nothing_else(script, shell, tmp_path):
    assert "42\n" == output(script, "41", shell, tmp_path)
    for value in ["a[$(touch pwned)]", "x", "08", "", "9" * 40, "1 + 1"]:
        assert "1\n" == output(script, value, shell, tmp_path)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", [
    "sh -c \"echo '<matches>'\"", "sh -c \"echo <matches>\"", "eval echo <matches>",
    "eval echo '<matches>'", "sh <<EOF\necho <matches>\nEOF",
    "timeout 5 sh -c 'echo <matches>'", "echo `echo \\`echo <matches>\\``", 'x="<matches>',
    "echo '<matches>", "$'<matches>'", '$"<matches>"', "((<matches>))", "f=<matches>; echo ${f#<matches>}",
    'echo "${x#\'<matches>\'}"', "cat <<<<matches>", "cat <<EOF", "cat <<EOF\n<matches>", "`<matches>", "$(<matches>",
    'echo "${x:-"<matches>"}"', 'echo "${x:-\'<matches>\'}"', "echo <(echo <matches>)",
])  # fmt: skip
def test_nothing_of_a_value_is_run_even_in_odd_places(script, shell, tmp_path):
    for value in [
        "$(touch pwned)",
        "`touch pwned`",
        "'; touch pwned; '",
        "\n touch pwned\n",
        "; touch pwned;",
        '";touch pwned;"',
        ")touch pwned",
        "}\ntouch pwned",
    ]:
        command = render(script, {}, {"matches": value})
        run_in(shell, command, tmp_path)

        assert value not in command.script
        assert [] == list(tmp_path.iterdir())


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
    assert LONGEST_VALUE == int(run_in("/bin/sh", command, "/").stdout)


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
