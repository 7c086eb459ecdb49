# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU seconds from all stock jails, enabled, in files to all of them at work in a running server.

    python bench/config.py [--repeat N]

Nobody is banned, and no log is looked at but those that are here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.run import CASES, a_server, cpu_of, jail_of
from client.stream import read

_ALL = "[DEFAULT]\nenabled = true\nbanaction = log-only\nbanaction_allports = log-only\n"


def once(directory: Path) -> tuple[float, float, float, int]:
    """CPU of reading the files, of the server that takes over what they say, real time; jails."""
    log = directory / "bench.log"
    log.write_text("")
    with a_server(directory, jail_of(CASES[0], log)) as (pid, link):
        (directory / "config" / "jail.local").write_text(_ALL)
        before, began, began_here = cpu_of(pid), time.perf_counter(), time.process_time()
        reading = read(directory / "config")
        here = time.process_time() - began_here
        link.ask(["server-stream", list(reading.sent)])
        real = time.perf_counter() - began
        time.sleep(1)  # the jails' threads open their logs
        at_work = dict(link.ask(["status"]))["Number of jail"]
        return here, cpu_of(pid) - before, real, at_work


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=3)
    found = []
    for _ in range(parser.parse_args().repeat):
        with tempfile.TemporaryDirectory() as place:
            found.append(once(Path(place)))
    read_for, taken_over, real, jails = (
        statistics.median(each) for each in zip(*found, strict=True)
    )
    print(
        f"{jails:.0f} jails: {read_for + taken_over:.2f} s of one core ({read_for:.2f} read, "
        f"{taken_over:.2f} server), answered after {real:.2f} s; median of {len(found)}"
    )


if __name__ == "__main__":
    main()
