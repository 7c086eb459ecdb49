# SPDX-License-Identifier: GPL-2.0-or-later
import time

import pytest

from server.announce import passages_of
from server.records import AlreadyBanned, Ban, Enforce, Failed, Ignored, Lift, Prolong

WHEN = time.mktime((2026, 11, 22, 10, 0, 0, 0, 0, -1))
BAN = Ban("ssh", "192.0.2.1", WHEN, 600, count=2)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (Failed(["192.0.2.1"], [WHEN]), ("filter", 20, "[ssh] Found 192.0.2.1 - 2026-11-22 10:00:00")),
        (Ignored("192.0.2.1", "ip"), ("filter", 20, "[ssh] Ignore 192.0.2.1 by ip")),
        (AlreadyBanned("192.0.2.1"), ("actions", 25, "[ssh] 192.0.2.1 already banned")),
        (Enforce(BAN), ("actions", 25, "[ssh] Ban 192.0.2.1")),
        (Enforce(BAN, restored=True), ("actions", 25, "[ssh] Restore Ban 192.0.2.1")),
        (Lift(BAN), ("actions", 25, "[ssh] Unban 192.0.2.1")),
        (Prolong(BAN), ("actions", 25, "[ssh] Increase Ban 192.0.2.1 (2 # 600 -> 2026-11-22 10:10:00)")),
    ],
)  # fmt: skip
def test_the_log_reads_as_other_programs_expect(said, line):
    (found,) = passages_of("ssh", [said])

    assert found == (f"fail2ban.{line[0]}", line[1], [line[2]])


def test_what_failed_is_told_together_and_in_order():
    said = [
        Failed(["192.0.2.1", "192.0.2.2"], [WHEN, WHEN + 0.9]),
        Enforce(BAN),
        Failed(["192.0.2.3"], [WHEN + 60]),
    ]

    texts = [passage.texts for passage in passages_of("ssh", said)]

    assert texts == [
        [
            "[ssh] Found 192.0.2.1 - 2026-11-22 10:00:00",
            "[ssh] Found 192.0.2.2 - 2026-11-22 10:00:00",
        ],
        ["[ssh] Ban 192.0.2.1"],
        ["[ssh] Found 192.0.2.3 - 2026-11-22 10:01:00"],
    ]


def test_a_moment_that_no_calendar_knows_does_no_harm():
    said = [Failed(["192.0.2.1"] * 2, [1e300, WHEN])]

    (passage,) = passages_of("ssh", said)

    assert passage.texts[0] == "[ssh] Found 192.0.2.1 - for ever"
    assert passage.texts[1].endswith("10:00:00")
