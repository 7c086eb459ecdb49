# SPDX-License-Identifier: GPL-2.0-or-later
"""Logs are followed through what the real logrotate does to them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from common.options import LogPath
from server.reader import LogReader
from tests.support import eventually, unavailable

LOGROTATE = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin")


class Rotated:
    """A log, its reader, and a logrotate that is told how to rotate it."""

    def __init__(self, directory, words):
        directory.chmod(0o755)
        self.directory = directory
        self.log = directory / "auth.log"
        self.log.touch()
        self.configuration = directory / "rotate.conf"
        lines = "".join(f"  {word}\n" for word in words)
        self.configuration.write_text(f"{self.log} {{\n  rotate 9\n{lines}}}\n")
        self.blocks = []
        self.positions = {}
        self.written = []
        self.start()

    def start(self):
        self.reader = LogReader()
        self.reader.start()
        logs = (LogPath(str(self.log)),)
        self.reader.follow("sshd", logs, dict(self.positions), self.take)
        self.reader.files("sshd")  # answered after the first look

    def take(self, block):
        self.blocks.append(block)
        self.positions[block.path] = block.end
        return True

    def write(self, file, count=20):
        for _ in range(count):
            self.written.append(f"line {len(self.written)}")
            file.write(self.written[-1] + "\n")
        file.flush()

    def rotate(self):
        state = self.directory / "state"
        command = [LOGROTATE, "-f", "-s", str(state), str(self.configuration)]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def lines(self):
        return b"".join(block.data for block in self.blocks).decode().splitlines()

    def reads_everything(self):
        eventually(lambda: len(self.lines) >= len(self.written), what="reading all lines")
        assert self.lines == self.written


@pytest.fixture
def rotated(request, tmp_path):
    if LOGROTATE is None:
        unavailable("logrotate is not here")
    rotated = Rotated(tmp_path, request.param)
    yield rotated
    rotated.reader.stop()


RENAMING = [
    ["create"],
    ["nocreate"],
    ["create", "compress", "delaycompress"],
    ["create", "compress"],
]
DATED = [["create", "dateext"]]


@pytest.mark.parametrize("rotated", RENAMING, indirect=True, ids=" ".join)
def test_every_line_is_read_once_where_the_service_reopens(rotated):
    for _ in range(3):
        with rotated.log.open("a") as service:
            rotated.write(service)
        rotated.reads_everything()
        rotated.rotate()

    with rotated.log.open("a") as service:
        rotated.write(service)
    rotated.reads_everything()


@pytest.mark.parametrize("rotated", RENAMING[:3], indirect=True, ids=" ".join)
def test_every_line_is_read_once_where_the_service_reopens_late(rotated):
    for _ in range(2):
        with rotated.log.open("a") as service:
            rotated.write(service)
            rotated.rotate()
            rotated.write(service)
            rotated.reads_everything()
            rotated.write(service)
            rotated.reads_everything()


COPYING = [["copytruncate"], ["copytruncate", "compress", "delaycompress"]]


@pytest.mark.parametrize("rotated", COPYING, indirect=True, ids=" ".join)
def test_every_line_is_read_once_where_the_log_is_copied_and_truncated(rotated):
    with rotated.log.open("a") as service:
        for _ in range(4):
            rotated.write(service)
            rotated.reads_everything()
            rotated.rotate()
        rotated.write(service)

    rotated.reads_everything()


@pytest.mark.parametrize("rotated", COPYING[1:], indirect=True, ids=" ".join)
def test_every_line_is_read_once_where_the_log_was_empty_and_is_copied_between_two_runs(rotated):
    with rotated.log.open("a") as service:
        rotated.write(service)
        rotated.reads_everything()
        rotated.rotate()
        eventually(lambda: rotated.positions[str(rotated.log)].offset == 0, what="an empty log")
        rotated.reader.stop()
        rotated.write(service)
        rotated.rotate()
        rotated.write(service)
    rotated.start()

    rotated.reads_everything()


@pytest.mark.parametrize("rotated", COPYING + RENAMING[:3] + DATED, indirect=True, ids=" ".join)
def test_every_line_is_read_once_where_it_was_rotated_between_two_runs(rotated):
    with rotated.log.open("a") as service:
        rotated.write(service)
        rotated.reads_everything()
        rotated.reader.stop()
        rotated.write(service)
    rotated.rotate()
    with rotated.log.open("a") as service:
        rotated.write(service)
    rotated.start()

    rotated.reads_everything()
