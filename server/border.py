# SPDX-License-Identifier: GPL-2.0-or-later
"""From where on a jail needs to read a log that it did not read for long: what `findtime` leaves.

Knows how the jail reads dates, and no file; `seek` does the search.
"""

from __future__ import annotations

from collections.abc import Callable

from common.options import JailConf
from server import seek
from server.dates import DateDetector
from server.lines import LONGEST_LINE, encoding_of, line_decoder
from server.screen import is_plain

# Told how to read bytes of a log (offset, length), where a line begins, and the log's size: from where
# on to read.
Border = Callable[[Callable[[int, int], bytes], int, int], int]

_WINDOWS_BACK = 10  # times `maxlines`: lines that no failure takes stay longer


def border_of(conf: JailConf, clock: Callable[[], float]) -> Border | None:
    """What says from where on `conf` needs to read a log; None where only reading tells."""
    # Of a log in UTF-16 or UTF-32 the beginning tells how to read the rest.
    if not is_plain(encoding_of(conf.log_encoding)):
        return None
    if DateDetector(conf.date_pattern, conf.log_time_zone).takes_now:
        return None
    back = _WINDOWS_BACK * conf.max_lines if conf.max_lines > 1 else 0

    def border(read: Callable[[int, int], bytes], offset: int, size: int) -> int:
        now, decode = clock(), line_decoder(conf.log_encoding)
        dates = DateDetector(conf.date_pattern, conf.log_time_zone)

        def moment(line: bytes) -> float | None:
            hit = dates.find(decode(line[:LONGEST_LINE]), now)
            return None if hit is None else hit.moment

        return seek.border(read, offset, size, moment, now - conf.find_time, back)

    return border
