# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands are rendered so that values reach their place whole, and run nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
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

# Each prints the value between brackets, in another context of the shell.
CONTEXTS = {
    "double quotes": """printf '%s' "[<matches>]\"""",
    "single quotes": """printf '%s' '[<matches>]'""",
    "unquoted": """printf '%s' [<matches>]""",
    "own word": """printf '[%s]' <matches>""",
    "unquoted after a backslash": """printf '%s' [\\<matches>]""",
    "echo": """echo "[<matches>]\"""",
    "echo -n in single quotes": """/bin/echo -n '[<matches>]'""",
    "printf format": """printf "[<matches>]\"""",
    "printf format in single quotes": """printf '[<matches>]\\n'""",
    "printf %b": """printf %b "[<matches>]\\n\"""",
    "printf, second of two": """printf '%s%b' '[' '<matches>]'""",
    "printf, redirected": """2>/dev/null printf %b "[<matches>]" 2>&1""",
    "here-document": "cat <<EOF\n[<matches>]\nEOF\n",
    "here-document with a quoted end": "cat <<'EOF'\n[<matches>]\nEOF\n",
    "here-document with an odd end": 'cat <<"E O F"\n[<matches>]\nE O F\necho',
    "here-document with tabs": "cat <<-'EOF'\n\t[<matches>]\n\tEOF\n",
    "two here-documents": "cat <<A - /dev/fd/3 3<<'B'\n[\nA\n<matches>]\nB\n",
    "substitution": """printf %s "[$(printf %s "<matches>"; echo x)\"""",
    "substitution in a here-document": 'cat <<EOF\n[$(printf %s "<matches>")]\nEOF\n',
    "backticks": """printf %s "[`printf %s '<matches>'; echo x`\"""",
    "backticks with quotes of their own": """printf %s "[`printf %s \\"<matches>\\"; echo x`\"""",
    "default of a variable": """printf %s "[${nothing:-<matches>}]\"""",
    "unquoted default": """printf %s [${nothing:-<matches>}]""",
    "assignment": """x=<matches>; printf %s "[$x]\"""",
    "case": """case <matches> in a) printf "[a]";; *) printf %s "[<matches>]";; esac""",
    "case in a substitution": """printf %s "[$(case x in (y) ;; x) printf %s <matches>;; esac; echo x)\"""",
    "function": """f() { printf %s "[$1]"; }; f <matches>""",
    "comment": "# don't: <matches>\nprintf %s '[<matches>]' # isn't it?",
    "pipe": """printf %s <matches> | { printf '['; cat; printf ']'; }""",
    "set of nft": """printf %s 'add element t s { ['<matches>'] }'""",
    "eval in single quotes": """eval 'printf %s "[<matches>]"'""",
    "eval in double quotes": """eval "printf %s \\"[<matches>]\\"\"""",
    "sh -c": """sh -c 'printf %s "[<matches>]"'""",
    "script on stdin": "sh <<'EOF'\nprintf %s \"[<matches>]\"\nEOF\n",
    "script on stdin, expanded": 'sh <<EOF\nprintf %s "[<matches>]"\nEOF\n',
    "after a dollar": """printf %s "[$<matches>]\"""",
    "joined with a word": """printf %s "[<matches>x]\"""",
}
ADDITION = {"after a dollar": ("$", ""), "joined with a word": ("", "x")}
for _name in ("substitution", "backticks", "backticks with quotes of their own"):
    ADDITION[_name] = ("", "x")
ADDITION["case in a substitution"] = ("", "x")

HOSTILE = [
    "",
    "plain",
    "it's",
    'say "no"',
    "$(touch /tmp/f2b-pwned)",
    "`touch /tmp/f2b-pwned`",
    "'; touch /tmp/f2b-pwned; '",
    '"; touch /tmp/f2b-pwned; "',
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
    "a[$(touch /tmp/f2b-pwned)]",
    "${IFS}$f2b_matches$$",
    "!! !1 &&|;<>()#",
    "]",
]


def output(script, value, shell):
    command = render(script, {}, {"matches": value})
    run = subprocess.run(
        [shell, "-c", command.script],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **command.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert run.stderr == b""
    return run.stdout


def between(printed):
    """What stands between the first bracket and the last."""
    text = printed.decode()
    return text[text.index("[") + 1 : text.rindex("]")] if "]" in text else text[1:].rstrip("\n")


def expected(name, value):
    before, after = ADDITION.get(name, ("", ""))
    text = before + clean(value) + after
    if name.startswith("case in") or name.startswith("here") or "here" in name:
        return text
    return text


def check(name, value, shell):
    printed = output(CONTEXTS[name], value, shell).decode()
    before, after = ADDITION.get(name, ("", ""))
    whole = before + clean(value) + after
    assert f"[{whole}" == printed.rstrip("\n") if after == "x" and "joined" not in name else f"[{whole}]" in printed, (
        printed
    )


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", CONTEXTS)
def test_a_hostile_value_arrives_whole_wherever_its_tag_stands(name, shell):
    for value in HOSTILE:
        check(name, value, shell)
