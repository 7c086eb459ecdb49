# SPDX-License-Identifier: GPL-2.0-or-later
"""A server under attack is killed hundreds of times; each line must be counted once.

    make soak                                        20 rounds of 40 kills
    .venv/bin/python bench/soak.py --rounds 2 --seed 7

A round begins with an empty database.  After every kill what stands in the database must be a moment
of an uninterrupted run, and at the end what an uninterrupted run over the same lines gives.  A round
that fails leaves its folder, and says which.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.crash import Torture, of_talks, stored, uninterrupted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kills", type=int, default=40, help="in each round")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between two failures")
    given = parser.parse_args()
    begun, failures = time.monotonic(), 0
    for seed in range(given.seed, given.seed + given.rounds):
        problem = one_round(seed, given.kills, given.pause)
        failures += bool(problem)
        minutes = (time.monotonic() - begun) / 60
        print(f"round {seed}: {problem or 'nothing lost'} ({minutes:.1f} min)", flush=True)
    print(f"{given.rounds * given.kills} kills, {failures} rounds failed")
    return 1 if failures else 0


def one_round(seed: int, kills: int, pause: float) -> str:
    """What went wrong, with where to look; empty if nothing did."""
    folder = Path(tempfile.mkdtemp(prefix="fail2ban-soak-"))
    torture = Torture(folder, seed, pause)
    try:
        torture.kill(kills)
        expected = torture.finish()
        assert stored(torture.database) == expected, "bans or failures differ"
        every = uninterrupted(torture.attack.lines, 10**6)
        assert stored(torture.database, "every") == every, "lines were missed or counted twice"
        talks = of_talks(torture.attack.talks)
        assert stored(torture.database, "talk") == talks, "conversations were missed or torn"
        assert "Traceback" not in torture.ours.logged, "the server was taken by surprise"
    except AssertionError as error:
        return f"{str(error).partition(chr(10))[0]}; see {folder}"
    finally:
        torture.attack.is_over = True
        with contextlib.suppress(AssertionError):  # what it complains of stands in the folder
            torture.ours.finish()
    shutil.rmtree(folder)
    return ""


if __name__ == "__main__":
    sys.exit(main())
