# SPDX-License-Identifier: GPL-2.0-or-later
"""`fail2ban-server --check`: a stream in, findings out, nothing started."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import ROOT


def check(text):
    return subprocess.run(
        [sys.executable, str(ROOT / "fail2ban-server"), "--check"],
        input=text, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def found(stream):
    done = check(json.dumps(stream))
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_good_stream_has_no_findings():
    assert found([["set", "loglevel", "INFO"], ["add", "door", "auto"], ["start", "door"]]) == []


def test_a_finding_tells_level_kind_jail_and_text():
    stream = [["add", "door", "auto"], ["set", "door", "addfailregex", "^(<HOST>$"]]

    (one,) = found(stream)

    assert one.keys() == {"level", "kind", "jail", "text"}
    assert (one["level"], one["kind"], one["jail"]) == ("error", "regex", "door")


def test_programs_are_looked_for_where_the_server_would():
    script = "ls; nosuchprogram --help"
    stream = [["add", "door"], ["set", "door", "addaction", "a"], ["set", "door", "action", "a", "actionban", script]]  # fmt: skip

    assert [one["text"].split()[0] for one in found(stream)] == ["nosuchprogram"]


@pytest.mark.parametrize(("code", "told"), [("1 / 0", "ZeroDivisionError"), ("x = ", "SyntaxError")])  # fmt: skip
def test_code_that_cannot_be_run_is_a_finding(tmp_path, code, told):
    (tmp_path / "x.py").write_text(code)
    stream = [["add", "door"], ["set", "door", "addaction", "x", str(tmp_path / "x.py"), "{}"]]

    (one,) = found(stream)

    assert one["kind"] == "action" and told in one["text"]


def test_code_that_prints_spoils_no_answer(tmp_path):
    code = "print('hello')\nfrom fail2ban.server.action import ActionBase\nclass Action(ActionBase): pass\n"
    (tmp_path / "x.py").write_text(code)
    stream = [["add", "door"], ["set", "door", "addaction", "x", str(tmp_path / "x.py"), "{}"]]

    done = check(json.dumps(stream))

    assert (json.loads(done.stdout), done.stderr) == ([], "hello\n")


def test_what_is_no_stream_fails():
    assert check("{").returncode != 0
