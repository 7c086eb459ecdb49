# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel tells of this machine, and of a process on it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PROCESS_CLOCK = (
    2  # the low bits of a CPU clock's id (clock_getcpuclockid): all threads, as scheduled
)


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: its CPU and real seconds, and what it wrote to standard output."""

    cpu: float
    real: float
    output: bytes


def ran(words: list[str], environment: dict[str, str] | None = None) -> Ran:
    """Run `words` to the end, whatever it ends with."""
    began = time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Ran(used.ru_utime + used.ru_stime, time.perf_counter() - began, output)


def cpu_of(pid: int) -> float:
    """CPU seconds that process `pid`, its children and theirs have used by now."""
    used = time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used += (int(fields[13]) + int(fields[14])) / _TICK  # of children that have ended
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended since, and the next time counts as above
            used += sum(cpu_of(int(child)) for child in (task / "children").read_text().split())
    return used


@contextlib.contextmanager
def one_core(pid: int) -> Iterator[None]:
    """Process `pid`, and what it starts meanwhile, has one core: the last of those it may use."""
    allowed = os.sched_getaffinity(pid)
    _confine(pid, {max(allowed)})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it may have ended
            _confine(pid, allowed)


def _confine(pid: int, cores: set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


def resident(pid: int) -> float:
    """Bytes of memory that process `pid` holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0]) * 1024


def description() -> dict[str, str]:
    """This machine, in words."""
    cpu = _of_file("/proc/cpuinfo", "model name") or platform.machine()
    memory = int(_of_file("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    is_system_s = sys.base_prefix == "/usr"
    return {
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        # One that was built by hand may take a fifth longer for everything.
        "Python": f"{platform.python_version()}, {'of the system' if is_system_s else 'built apart'}",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
    }


def _of_file(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
