# SPDX-License-Identifier: GPL-2.0-or-later
"""A process of its own that tries regexes, so that it can be ended where one of them takes too long.

Run as a script, with the seconds of a match and of idleness after which the kernel is to end it.
Imports next to nothing, since it is started while a jail waits.  A request on standard input, which
is a socket, is six numbers, a regex and a text; the answer there is how many seconds it took, and
where the groups stand.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import struct
import sys
import time

HEAD = struct.Struct(
    "!BIIIII"
)  # search?, flags, pos, endpos, bytes of the regex, bytes of the text
ANSWER = struct.Struct("!dI")  # seconds, how many numbers follow: two a group, none without a match
MEMORY = 1 << 29  # bytes
_LINK = 0


def spans_of(data: bytes, count: int) -> tuple[tuple[int, int], ...] | None:
    """Where groups stand, of the numbers behind an answer."""
    numbers = struct.unpack(f"!{count}i", data)
    return tuple(zip(numbers[::2], numbers[1::2], strict=True)) if count else None


def _read(size: int) -> bytes:
    parts = []
    while size:
        data = os.read(_LINK, size)
        if not data:
            os._exit(0)
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _answer(budget: float, regexes: dict[tuple[str, int], re.Pattern[str]]) -> None:
    is_search, flags, pos, endpos, regex_size, text_size = HEAD.unpack(_read(HEAD.size))
    signal.setitimer(signal.ITIMER_REAL, 0)
    source = _read(regex_size).decode("utf-8", "surrogatepass")
    text = _read(text_size).decode("utf-8", "surrogatepass")
    regex = regexes.get((source, flags))
    if regex is None:
        if len(regexes) >= 1000:
            regexes.clear()
        regex = regexes[source, flags] = re.compile(source, flags)
    attempt = regex.search if is_search else regex.match
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, budget)  # the processor's time: a busy machine is no fault
    match = attempt(text, pos, endpos)
    signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - began
    numbers: list[int] = []
    if match is not None:
        for group in range(regex.groups + 1):
            numbers += match.span(group)
    data = ANSWER.pack(seconds, len(numbers)) + struct.pack(f"!{len(numbers)}i", *numbers)
    while data:
        data = data[os.write(_LINK, data) :]


def main(budget: float, idle: float) -> None:
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for what, most in (("RLIMIT_AS", MEMORY), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        resource.setrlimit(getattr(resource, what), (most, most))
    regexes: dict[tuple[str, int], re.Pattern[str]] = {}
    while True:
        signal.setitimer(signal.ITIMER_REAL, idle)
        _answer(budget, regexes)


if __name__ == "__main__":
    try:
        main(float(sys.argv[1]), float(sys.argv[2]))
    except MemoryError:
        os._exit(3)
