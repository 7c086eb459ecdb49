# SPDX-License-Identifier: GPL-2.0-or-later
import os
import shutil
import struct
import subprocess

import pytest

from server.sessions import Sessions
from tests.support import BOB, EVE, unavailable

ALIVE = os.getpid()


def a_record(host="", address=b"", kind=7, process=ALIVE, is_long=False):
    """A record of utmp(5), as this machine's or one of 64-bit ARM's."""
    head = struct.pack("=h2xi32s4s32s256s4x", kind, process, b"pts/0", b"ts/0", b"eve", host.encode())  # fmt: skip
    rest = (b"\0" * 24) if is_long else (b"\0" * 12)
    return head + rest + address.ljust(16, b"\0") + b"\0" * (24 if is_long else 20)


class Machine:
    def __init__(self, folder):
        self.folder = folder
        self.now = 0.0
        (folder / "sessions").mkdir()
        self.sessions = Sessions(
            str(folder / "utmp"), str(folder / "sessions"), clock=lambda: self.now
        )

    def utmp(self, *records):
        (self.folder / "utmp").write_bytes(b"".join(records))

    def logind(self, name="1", **about):
        known = {"UID": "0", "CLASS": "user", "STATE": "active", "REMOTE": "1", "LEADER": ALIVE}
        lines = [f"{key}={value}" for key, value in {**known, **about}.items()]
        (self.folder / "sessions" / name).write_text("# This is private data.\n" + "\n".join(lines))


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_utmp_tells_of_addresses_as_text_and_as_numbers(machine):
    machine.utmp(
        a_record(host=EVE),
        a_record(host="host.example.org", address=bytes([198, 51, 100, 7])),
        a_record(address=bytes.fromhex("20010db8000000000000000000000b0b")),
        a_record(host=":0"),
    )

    assert machine.sessions() == {EVE, "198.51.100.7", BOB}


def test_who_has_left_or_only_waits_at_the_door_is_no_session(machine):
    machine.utmp(
        a_record(host=EVE, kind=8), a_record(host=EVE, kind=6), a_record(host=EVE, process=2**22 + 1)
    )  # fmt: skip

    assert machine.sessions() == set()


def test_records_of_other_machines_are_longer(machine):
    machine.utmp(*[a_record(host=EVE, is_long=True), a_record(host=BOB, is_long=True)] * 12)

    assert machine.sessions() == {EVE, BOB}


@pytest.mark.parametrize("data", [b"", b"\xff" * 768, b"x" * 100, a_record(host=EVE)[:-1]])
def test_what_is_no_utmp_file_tells_nothing(machine, data):
    machine.utmp(data)

    assert machine.sessions() == set()


def test_a_real_utmp_file_is_read(machine):
    if not shutil.which("utmpdump"):
        unavailable("utmpdump is not installed")
    text = (
        f"[7] [{ALIVE:05}] [ts/0] [root    ] [pts/0       ] [{EVE:20}] [{EVE:15}]"
        " [2026-01-02T03:04:05,000000+00:00]\n"
    )
    done = subprocess.run(["utmpdump", "-r"], input=text.encode(), capture_output=True, check=True)
    machine.utmp(done.stdout)

    assert machine.sessions() == {EVE}


def test_logind_tells_of_sessions_from_afar_that_go_on(machine):
    machine.logind("1", REMOTE_HOST=EVE)
    machine.logind("c2", REMOTE_HOST=BOB, STATE="online")
    machine.logind("3", REMOTE_HOST="198.51.100.1", STATE="closing")
    machine.logind("4", REMOTE_HOST="198.51.100.2", REMOTE="0")
    machine.logind("5", REMOTE_HOST="198.51.100.3", CLASS="greeter")
    machine.logind("6", REMOTE_HOST="198.51.100.4", LEADER=2**22 + 1)
    machine.logind("7", REMOTE_HOST="host.example.org")

    assert machine.sessions() == {EVE, BOB}


def test_an_answer_holds_for_a_few_seconds(machine):
    assert machine.sessions() == set()
    machine.utmp(a_record(host=EVE))

    machine.now = 4.9
    assert machine.sessions() == set()
    machine.now = 5.0
    assert machine.sessions() == {EVE}


def test_it_is_said_once_where_nobody_knows_who_is_logged_in(tmp_path, caplog):
    sessions = Sessions(str(tmp_path / "utmp"), str(tmp_path / "none"), clock=iter([0, 9]).__next__)

    assert sessions() == sessions() == set()
    (said,) = caplog.records
    assert "ignoresessions" in said.getMessage() and str(tmp_path / "utmp") in said.getMessage()
