# SPDX-License-Identifier: GPL-2.0-or-later
"""Our filter without a server around it: what it costs, and where in it a line's CPU goes.

    python -m bench.inside [--case auth-10] [--lines N] [--top N]

The only module here that knows our own code.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cases import Surroundings, jail
from bench.servers import ROOT, Setup
from client.stream import read
from common.options import Config
from server.draft import read_stream
from server.filter import Filter
from server.packing import Packer
from server.records import LogBlock, Position
from server.source import BLOCK

if TYPE_CHECKING:
    from bench.lines import Subject


def a_filter(subject: Subject, surroundings: Surroundings) -> Filter:
    """The filter of a jail for `subject`, as a server makes it."""
    files = {f"filter.d/{key.partition('_')[2]}.conf": text for key, text in subject.files.items()}
    setup = Setup(surroundings.stock, {"bench": jail(subject.filter, "/nowhere")}, files)
    with surroundings.empty_directory() as place:
        reading = read(setup.write(place), jail="bench", is_enabled_anyway=True)
    sent = [command for command in reading.sent if command[0] != "config-error"]
    return Filter(read_stream(Config(), sent).config.jails["bench"])


def feed(filter: Filter, log: Path) -> int:
    """Give it all of `log`, block by block; how many failures it found."""
    at, found, rest, packer = Position(0, 0, 0), 0, b"", Packer()
    with log.open("rb") as file:
        while data := file.read(BLOCK):
            whole, end, rest = (rest + data).rpartition(b"\n")
            block = LogBlock(str(log), whole + end, at, at)
            found += len(filter.caught(block, time.time(), packer))
    return found


def cpu_of_filter(log: Path, subject: Subject, surroundings: Surroundings) -> float:
    """CPU seconds of the filter alone."""
    filter = a_filter(subject, surroundings)
    began = time.process_time()
    feed(filter, log)
    return time.process_time() - began


def main() -> None:
    """Print where the CPU goes, by function: of the filter alone, whose costs a profile blows up."""
    from bench import lines, logs

    subjects = {
        "auth-0.1": lines.RARE_SSH, "auth-10": lines.SOME_SSH, "auth-90": lines.MOSTLY_SSH,
        "access-1": lines.PROBES, "access-all": lines.ALL_PROBES, "app-1": lines.LOGINS,
    }  # fmt: skip
    parser = argparse.ArgumentParser(prog="bench.inside", description="Where a line's CPU goes.")
    parser.add_argument("--case", choices=subjects, default="auth-10")
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--top", type=int, default=25, help="functions shown")
    given = parser.parse_args()
    subject = subjects[given.case]
    with tempfile.TemporaryDirectory() as name:
        surroundings = Surroundings(Path(name), ROOT / "config", 1.0, False)
        log = logs.write(Path(name) / "log", subject.kind, given.lines, subject.share)
        cost = cpu_of_filter(log.path, subject, surroundings)
        print(f"{given.case}: {log.lines / cost:,.0f} lines per CPU-second, filter alone")
        filter = a_filter(subject, surroundings)
        with cProfile.Profile() as profile:
            feed(filter, log.path)
    pstats.Stats(profile).sort_stats("tottime").print_stats(given.top)


if __name__ == "__main__":
    main()
