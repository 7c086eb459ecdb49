# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known and done before there is a server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from client import launch
from common import cli
from tests.support import a_configuration


@pytest.fixture
def confdir(tmp_path):
    return a_configuration(tmp_path)


@pytest.mark.parametrize(
    ("argv", "is_start"),
    [("-f start", True), ("start", True), ("-xf", True), ("--async -b", True), ("", True),
     ("status", False), ("-t", False), ("-V", False), ("-d start", False), ("start sshd", False)],
)  # fmt: skip
def test_the_server_s_program_knows_when_to_be_a_server(argv, is_start):
    assert launch.is_server_start(cli.parse(argv.split())) is is_start


def test_a_server_starts_with_the_configuration_and_absolute_paths(confdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = launch.prepare(cli.parse(["-c", "conf", "-p", "x.pid", "-xf", "start"]))

    assert start.settings["socket"] == f"{tmp_path}/f2b.sock"
    assert start.settings["pidfile"] == f"{tmp_path}/x.pid"
    assert start.settings["is_foreground"] and start.settings["is_forced"]
    assert ["start", "door"] in list(start.stream)


def test_a_server_that_a_client_will_configure_starts_empty(confdir):
    start = launch.prepare(cli.parse(["-c", str(confdir), "--async", "-b", "start"]))

    assert list(start.stream) == [] and not start.settings["is_foreground"]


def test_a_configuration_that_cannot_be_read_starts_nothing(confdir, capsys):
    (confdir / "jail.conf").write_text("enabled = true\n")

    assert launch.prepare(cli.parse(["-c", str(confdir), "-f", "start"])) is None
    assert "jail.conf" in capsys.readouterr().err


def test_stop_comes_back_when_the_server_is_gone():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not launch.is_gone(process.pid, 0.05)

        process.stdin.close()
        assert launch.is_gone(process.pid, 20)  # though nobody has asked how it ended


@pytest.mark.parametrize(
    ("argv", "level"), [("-f start", None), ("-fvv start", "DEBUG"), ("-fvvvvv start", "HEAVYDEBUG"),
                        ("-fvv --loglevel ERROR start", "ERROR")],
)  # fmt: skip
def test_verbosity_is_a_level_of_the_server(confdir, argv, level):
    start = launch.prepare(cli.parse(["-c", str(confdir), *argv.split()]))

    assert start.settings["loglevel"] == level
