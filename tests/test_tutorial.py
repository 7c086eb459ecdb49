# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tutorial tells people to type does what the tutorial says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from tests.ours import ended
from tests.support import ROOT, eventually

TUTORIAL = ROOT / "doc/tutorial.md"
PROGRAMS = ("fail2ban-server", "fail2ban-client")
DONE = "-- done"


def typed(text):
    """The commands of the ```console blocks in `text`, each with the answer shown for it."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, answer = part.partition("\n")
            if here := re.search(r"<<(\w+)$", command):
                end = f"\n{here[1]}\n"
                lines, _, answer = answer.partition(end)
                command = f"{command}\n{lines}{end}"
            yield command, answer


def told_by_server(text):
    """The lines of the ```text blocks in `text`: what the server prints in its terminal."""
    blocks = re.findall(r"^```text\n(.*?)^```$", text, re.M | re.S)
    assert blocks
    return "".join(blocks).splitlines()


def is_like(answer, shown):
    """Whether `answer` is what is `shown`, where ... stands for anything, lines included."""
    pattern = ".*".join(re.escape(part) for part in shown.strip("\n").split("..."))
    return bool(re.fullmatch(pattern, answer.strip("\n"), re.S))


class Terminal:
    """A shell in the place of a checkout, whose /tmp is `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.place = folder / "checkout"
        self.place.mkdir()
        shutil.copytree(ROOT / "config", self.place / "config")
        here = f"-s {folder}/fail2ban.sock -p {folder}/fail2ban.pid -c {self.place}/config"
        for program in PROGRAMS:
            real = f"{shlex.quote(sys.executable)} {ROOT / program}"
            script = self.place / program
            script.write_text(f'#!/bin/sh\nexec {real} {here} "$@"\n')
            script.chmod(0o755)
        self.server = None
        self.first = folder / "first"  # what the other terminal shows
        self._shell = subprocess.Popen(
            ["sh"],
            cwd=self.place,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self, command):
        """Type `command` in another terminal, where it stays."""
        with self.first.open("wb") as printed:
            self.server = subprocess.Popen(
                shlex.split(command),
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
            )
        eventually((self.folder / "fail2ban.sock").exists, 20, "a server")

    def type(self, command):
        """Type `command`; what is printed on it."""
        command = command.replace("/tmp/", f"{self.folder}/")
        self._shell.stdin.write(f"{command}\necho '{DONE}'\n")
        self._shell.stdin.flush()
        lines = iter(self._shell.stdout.readline, f"{DONE}\n")
        return "".join(lines).replace(f"{self.folder}/", "/tmp/")

    def expect(self, command, shown):
        """Type `command`, and see that the answer is as `shown`; what was logged takes a moment."""
        deadline = time.monotonic() + (10 if re.search("status|banned|cat ", command) else 0)
        while not is_like(answer := self.type(command), shown):
            assert time.monotonic() < deadline, f"$ {command}\n{answer}"

    def close(self):
        if self.server:
            ended(self.server)
        self._shell.stdin.close()
        self._shell.wait(60)
        self._shell.stdout.close()


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("shown", "answer", "is_right"),
    [
        ("OK\n", "OK\n", True),
        ("OK\n", "Not OK\n", False),
        ("", "OK\n", False),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("...:7...", "jail.local:7: no\n", True),
        ("...:7...", "jail.local:8: no\n", False),
    ],
)
def test_an_answer_is_as_shown_but_for_the_dots(shown, answer, is_right):
    assert is_right == is_like(answer, shown)


def test_commands_and_answers_are_told_apart():
    text = "# A\n```console\n$ a\nb\n$ cat <<END\nc\nEND\n$ d\n```\n```\n$ no\n```\n"

    assert [("a", "b\n"), ("cat <<END\nc\nEND\n", ""), ("d", "")] == list(typed(text))


def test_every_step_of_the_tutorial_answers_as_it_says(terminal):
    text = TUTORIAL.read_text("utf-8")
    steps = list(typed(text))
    assert len(steps) > 30

    for command, shown in steps:
        if command == "./fail2ban-server -f":
            terminal.start(command)
            assert "" == terminal.first.read_text()
        else:
            terminal.expect(command, shown)

    assert 0 == terminal.server.wait(60)
    told = terminal.first.read_text().splitlines()
    assert all(any(is_like(line, shown) for line in told) for shown in told_by_server(text)), told
    assert "Traceback" not in terminal.first.read_text()
