# SPDX-License-Identifier: GPL-2.0-or-later
"""Becoming a daemon, and its pid file."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from common.errors import Fail2banError
from server.daemon import PidFile
from tests.support import ROOT, eventually


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "f2b.pid"


def test_the_file_names_the_process_and_goes_with_it(path):
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

    assert not path.exists()


def test_while_one_holds_it_another_is_refused(path):
    with PidFile(str(path)), pytest.raises(Fail2banError, match=f"process {os.getpid()}"):
        PidFile(str(path)).acquire()


@pytest.mark.parametrize("text", ["", "nonsense", "999999999\n", "1\n"])
def test_a_stale_file_is_taken_over(path, text):
    path.parent.mkdir()
    path.write_text(text)

    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_living_server_that_does_not_lock_is_respected(path):
    path.parent.mkdir()
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "fail2ban-server"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        other.stdout.readline()
        path.write_text(f"{other.pid}\n")
        with pytest.raises(Fail2banError, match=f"process {other.pid}"):
            PidFile(str(path)).acquire()
        other.stdin.close()
    assert path.exists()


def test_a_link_is_never_followed(path, tmp_path):
    path.parent.mkdir()
    target = tmp_path / "precious"
    target.write_text("precious")
    path.symlink_to(target)

    with pytest.raises(Fail2banError, match=str(path)):
        PidFile(str(path)).acquire()
    assert target.read_text() == "precious"


def test_a_second_name_of_another_file_is_never_written_to(path, tmp_path):
    path.parent.mkdir()
    target = tmp_path / "precious"
    target.write_text("precious")
    os.link(target, path)

    with pytest.raises(Fail2banError):
        PidFile(str(path)).acquire()
    assert target.read_text() == "precious"


def test_a_file_that_was_replaced_is_left_alone(path):
    with PidFile(str(path)):
        path.unlink()
        path.write_text("another's")

    assert path.read_text() == "another's"


DAEMON = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from common.errors import Fail2banError
from server.daemon import PidFile, detached

def run(is_ready):
    what = sys.argv[2]
    if what == "refuse":
        raise Fail2banError("the socket is taken")
    if what == "fail":
        raise RuntimeError("a fault")
    if what == "die":
        os._exit(1)
    if what == "return":
        return 255
    with open(sys.argv[1] + ".facts", "w") as facts:
        print(os.getcwd(), os.getsid(0) != int(sys.argv[3]), os.umask(0), file=facts)
    is_ready()
    if what == "stay":
        signal.sigwait([signal.SIGTERM])
    return 0

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
status = detached(run, pidfile=PidFile(sys.argv[1]), timeout=30)
print("back", status)
sys.exit(status)
"""


def start(path, what):
    code = DAEMON.format(root=str(ROOT))
    return subprocess.run(
        [sys.executable, "-c", code, str(path), what, str(os.getsid(0))],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_caller_comes_back_when_the_daemon_is_up(path):
    run = start(path, "stay")
    pid = int(path.read_text())
    try:
        assert (run.returncode, run.stdout, run.stderr) == (0, "back 0\n", "")
        facts = path.with_name("f2b.pid.facts").read_text()
        assert facts == f"/ True {0o077}\n"
        os.kill(pid, 0)
    finally:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not path.exists(), what="the end")


@pytest.mark.parametrize(
    ("what", "said"),
    [("refuse", "the socket is taken"), ("fail", "RuntimeError: a fault"),
     ("die", "without a word"), ("return", "ended at once")],
)  # fmt: skip
def test_the_caller_says_why_there_is_no_daemon(path, what, said):
    run = start(path, what)

    assert run.returncode == 255
    assert said in run.stderr and run.stdout == "back 255\n"


def test_a_second_daemon_is_refused_by_the_pid_file(path):
    with PidFile(str(path)):
        run = start(path, "stay")

    assert run.returncode == 255 and f"process {os.getpid()}" in run.stderr
