# SPDX-License-Identifier: GPL-2.0-or-later
"""A journal with made-up entries of sshd, and what it costs to read it in a plain loop."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import logs

_REMOTE = Path("/lib/systemd/systemd-journal-remote")
_SYSLOG = re.compile(r"(.{15}) (\S+) sshd\[(\d+)\]: (.*)\n")
# What journald adds to an entry, and nobody reads who looks for failures.
_MORE = "".join(
    f"{key}={value}\n"
    for key, value in {
        "PRIORITY": 6, "SYSLOG_FACILITY": 4, "_TRANSPORT": "syslog", "_UID": 0, "_GID": 0,
        "_COMM": "sshd", "SYSLOG_IDENTIFIER": "sshd", "_EXE": "/usr/sbin/sshd",
        "_CMDLINE": "sshd: unknown [priv]", "_CAP_EFFECTIVE": "1ffffffffff",
        "_SELINUX_CONTEXT": "unconfined", "_SYSTEMD_CGROUP": "/system.slice/ssh.service",
        "_SYSTEMD_UNIT": "ssh.service", "_SYSTEMD_SLICE": "system.slice",
        "_SYSTEMD_INVOCATION_ID": "c" * 32, "_BOOT_ID": "a" * 32, "_MACHINE_ID": "b" * 32,
    }.items()
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Journal:
    """A file of a journal, how many entries it has, and how many of them fail."""

    path: Path
    entries: int
    failures: int


def is_here() -> bool:
    """Whether this machine can write a journal and read one."""
    return _REMOTE.exists() and find_spec("systemd") is not None


def write(path: Path, count: int, share: float, ago: float = 0.0) -> Journal:
    """Write what sshd has to say among `count` lines of auth.log, of which `share` fail.

    It is that of ten minutes, which ended so many seconds ago.
    """
    entries = failures = 0
    begun = int((time.time() - ago - logs.SPAN) * 1e6)
    words = [str(_REMOTE), "--output", str(path), "-"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as remote:
        assert remote.stdin is not None
        for line, is_failure in logs.lines("auth", count, share):
            if not (found := _SYSLOG.fullmatch(line)):
                continue
            entries += 1
            failures += is_failure
            date, host, process, message = found.groups()
            moment = begun + entries * int(logs.SPAN * 1e6) // count
            remote.stdin.write(
                f"__REALTIME_TIMESTAMP={moment}\n__MONOTONIC_TIMESTAMP={entries}\n"
                f"_SOURCE_REALTIME_TIMESTAMP={moment}\nSYSLOG_TIMESTAMP={date} \n_HOSTNAME={host}\n"
                f"_PID={process}\nSYSLOG_PID={process}\n{_MORE}MESSAGE={message}\n\n"
            )
    if remote.returncode:
        raise RuntimeError(f"systemd-journal-remote ended with {remote.returncode}")
    if any(path.parent.glob(f"{path.stem}@*")):
        raise RuntimeError(f"{entries} entries are too many for one file")
    return Journal(path, entries, failures)


def put(source: Path, target: Path) -> None:
    """Have a copy of `source` at `target`, all at once: half a file would not be taken for a journal."""
    unfinished = target.with_suffix(".unfinished")
    shutil.copyfile(source, unfinished)
    unfinished.rename(target)


def cpu_of_loop(journal: Journal, regex: str) -> float:
    """What a plain loop costs that counts the failures of each host."""
    from systemd import journal as systemd

    pattern = re.compile(regex)
    began = time.process_time()
    counts: dict[str, int] = {}
    with systemd.Reader(files=[str(journal.path)]) as reader:
        for entry in reader:
            if found := pattern.search(f"sshd[{entry['_PID']}]: {entry['MESSAGE']}"):
                counts[found[1]] = counts.get(found[1], 0) + 1
    cost = time.process_time() - began
    assert journal.failures == sum(counts.values()), f"not what fails in {journal.path}: {regex}"
    return cost
