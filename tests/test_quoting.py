# SPDX-License-Identifier: GPL-2.0-or-later
"""A value arrives whole wherever its tag stands in a script, and runs nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.action import clean, render

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
        timeout=90,
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
