# SPDX-License-Identifier: GPL-2.0-or-later
"""What regexes consist of, and how long that is kept."""

from __future__ import annotations

import re
import threading

from server.literals import forget_trees, required, trees_kept
from server.trees import once, tree_of


def test_what_several_threads_need_at_once_is_worked_out_once():
    asked, begun, may_end = [], threading.Event(), threading.Event()

    @once
    def doubled(number):
        asked.append(number)
        begun.set()
        assert may_end.wait(10)
        return 2 * number

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(doubled(4))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    may_end.set()
    for thread in threads:
        thread.join(10)

    assert answers == [8] * 5
    assert asked == [4]
    assert doubled(5) == 10


def test_an_error_is_no_answer_to_be_remembered():
    asked = []

    @once
    def work(number):
        asked.append(number)
        raise ValueError

    for _ in range(2):
        try:
            work(1)
        except ValueError:
            continue
    assert asked == [1, 1]


def test_trees_are_kept_while_somebody_is_at_it_and_no_longer():
    regex = re.compile("one thing (or|and) another")
    with trees_kept():
        with trees_kept():
            tree = tree_of(regex)
            required(regex)
        assert tree_of(regex) is tree  # one is at it still
        forget_trees()
        assert tree_of(regex) is tree
    assert tree_of(regex) is not tree
