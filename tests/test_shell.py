# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a program does, it is a result, and soon."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from server.records import ShellCommand
from server.shell import hint, run
from tests.support import eventually


def run_script(script, environment=None, **more):
    return run(ShellCommand(script, environment or {}), **more)


def is_running(number):
    """Whether the process lives; one that nobody has waited for yet is dead all the same."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_script_prints_and_its_status_are_kept():
    result = run_script("echo out; echo err >&2; exit 3")

    assert (3, "out\n", "err\n", False) == (
        result.status, result.stdout, result.stderr, result.is_timeout,
    )  # fmt: skip
    assert not result.is_success


def test_the_status_of_a_script_is_that_of_its_last_command():
    assert run_script("false\ntrue").is_success


def test_values_come_in_the_environment():
    result = run_script('printf %s "$f2b_x"', {"f2b_x": "$(id) 'ü'\n"})

    assert "$(id) 'ü'\n" == result.stdout


def test_next_to_nothing_of_our_environment_is_inherited(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("PATH", "/opt/mine:/usr/bin")
    told = dict(line.split("=", 1) for line in run_script("env").stdout.splitlines())

    assert {"PATH", "HOME", "LC_ALL", "LANG"} == set(told) - {"PWD", "_", "SHLVL", "OLDPWD"}
    assert "/opt/mine:/usr/bin:/usr/local/sbin" in told["PATH"]
    assert "/usr/sbin" in told["PATH"].split(":")


def test_a_script_has_nothing_to_read():
    assert "" == run_script("cat", timeout=10).stdout


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_flood_is_read_to_its_end_and_its_beginning_kept(stream):
    result = run_script(f"head -c 5000000 /dev/zero | tr '\\0' x >&{stream}; echo end >&{stream}; exit 4", output_limit=1000)  # fmt: skip

    assert 4 == result.status
    assert "x" * 1000 == result.stdout + result.stderr


def test_output_that_is_no_text_does_no_harm():
    assert "a\ufffdb" == run_script("printf 'a\\377b'").stdout


def test_what_takes_too_long_is_ended_with_all_its_children():
    result = run_script("sleep 1000 & echo $!; echo said; sleep 1000", timeout=0.3)

    assert result.is_timeout
    assert -signal.SIGTERM == result.status
    assert result.stdout.endswith("said\n")
    child = int(result.stdout.split()[0])
    eventually(lambda: not is_running(child))
    assert "timeout" in hint(result)


def test_what_does_not_listen_is_ended_all_the_same():
    result = run_script("trap '' TERM; echo $$; while :; do sleep 0.05; done", timeout=0.2)

    assert result.is_timeout
    assert -signal.SIGKILL == result.status
    assert not is_running(int(result.stdout))


def test_the_time_limit_is_the_commands_own_unless_given():
    assert run(ShellCommand("sleep 100", timeout=0.1)).is_timeout
    assert run(ShellCommand("true", timeout=0.0), timeout=10).is_success


def test_a_child_left_behind_holds_nobody_up():
    result = run_script("sleep 1000 & echo $!")

    assert (0, False) == (result.status, result.is_timeout)
    child = int(result.stdout)
    assert is_running(child), "its end was waited for"
    os.kill(child, signal.SIGKILL)


def test_a_child_that_floods_what_is_left_open_holds_nobody_up():
    has_begun = "grep -q '^wchar: [1-9]' /proc/$!/io"
    result = run_script(f"yes & echo $! >&2; until {has_begun}; do sleep 0.1; done")
    os.kill(int(result.stderr), signal.SIGKILL)

    assert result.is_success
    assert result.stdout.startswith("y\n")


def test_a_program_that_is_not_there_is_status_127_and_named():
    result = run_script("no-such-program --now")

    assert 127 == result.status
    assert "Is no-such-program installed" in hint(result)


def test_a_signal_is_told():
    assert -signal.SIGKILL == run_script("kill -9 $$").status


@pytest.mark.parametrize("command", [
    ShellCommand("x" * 200_000),
    ShellCommand("true", {"f2b_x": "x" * 200_000}),
    ShellCommand("true", {"f2b_x": "a\0b"}),
    ShellCommand("tr\0ue"),
])  # fmt: skip
def test_what_the_system_does_not_take_is_a_result_too(command):
    result = run(command)

    assert 126 == result.status
    assert result.stderr


def test_no_descriptor_is_left_open_or_handed_on():
    before = len(os.listdir("/proc/self/fd"))
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    for _ in range(20):
        run_script("sleep 0.01 & echo x")
    told = run_script("ls /proc/self/fd").stdout.split()
    os.close(reader)
    os.close(writer)

    assert before == len(os.listdir("/proc/self/fd"))
    assert str(writer) not in told


def test_a_command_reads_its_input_however_large_and_nothing_else():
    lines = b"".join(b"192.0.2.%d 600\n" % (i % 256) for i in range(100_000))

    assert "100000" == run(ShellCommand("wc -l", input=lines)).stdout.strip()
    assert "" == run(ShellCommand("cat")).stdout
    assert run(ShellCommand("exit 0", input=lines)).is_success  # it need not read it


def test_of_what_it_prints_as_much_is_kept_as_the_command_says():
    result = run(ShellCommand("yes | head -c 300000", output_limit=200_000))

    assert 200_000 == len(result.stdout)
