# SPDX-License-Identifier: GPL-2.0-or-later
import time

import pytest

from server.announce import line_of
from server.records import AlreadyBanned, Ban, Enforce, Failure, Ignored, Lift, Prolong

WHEN = time.mktime((2026, 11, 22, 10, 0, 0, 0, 0, -1))
BAN = Ban("ssh", "192.0.2.1", WHEN, 600, count=2)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (Failure("192.0.2.1", WHEN), ("filter", 20, "[ssh] Found 192.0.2.1 - 2026-11-22 10:00:00")),
        (Ignored("192.0.2.1", "ip"), ("filter", 20, "[ssh] Ignore 192.0.2.1 by ip")),
        (AlreadyBanned("192.0.2.1"), ("actions", 25, "[ssh] 192.0.2.1 already banned")),
        (Enforce(BAN), ("actions", 25, "[ssh] Ban 192.0.2.1")),
        (Enforce(BAN, restored=True), ("actions", 25, "[ssh] Restore Ban 192.0.2.1")),
        (Lift(BAN), ("actions", 25, "[ssh] Unban 192.0.2.1")),
        (Prolong(BAN), ("actions", 25, "[ssh] Increase Ban 192.0.2.1 (2 # 600 -> 2026-11-22 10:10:00)")),
    ],
)  # fmt: skip
def test_the_log_reads_as_other_programs_expect(said, line):
    found = line_of("ssh", said)

    assert (found.logger, found.level, found.text) == (f"fail2ban.{line[0]}", *line[1:])
