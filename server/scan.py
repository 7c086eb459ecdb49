# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds words among bytes: one by one, or all at once by pyperscan.

Knows no line and no rule; what it says is in order, and may name a word more than once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

_SHORTEST = 5  # bytes of a word, with which it is found nowhere else, as a rule
# For 9 to 16 words pyperscan takes twice as long as for 17, from which on it goes another way: others are added then.
_AWKWARD = range(9, 17)
_FILLER = (-1, b"\n")

# What is searched for: bytes, and whether their case does not matter; of some words one, and behind it
# in the same line one of others.
Word = tuple[bytes, bool]
Expression = tuple[tuple[Word, ...], ...]
# Where in a block one ends, and the number of the expression; a scan, from a place on, has them in order.
Hit = tuple[int, int]
Scan = Callable[[bytes, int], list[Hit]]

_ESCAPES = [b"\\x%02x" % byte for byte in range(256)]


def plain_scan(expressions: Sequence[Expression]) -> Scan:
    """What finds words one by one, in a line no more than once each."""
    sought = [
        (text, is_caseless, number)
        for number, (words,) in enumerate(expressions)
        for text, is_caseless in words
    ]
    is_any_caseless = any(is_caseless for _, is_caseless, _ in sought)

    def scan(data: bytes, start: int) -> list[Hit]:
        hits: list[Hit] = []
        lower = data.lower() if is_any_caseless else data
        for text, is_caseless, number in sought:
            find = lower.find if is_caseless else data.find
            at = find(text, start)
            while at >= 0:
                hits.append((at + len(text), number))
                end = data.find(b"\n", at)
                at = find(text, end) if end >= 0 else -1
        hits.sort()
        return hits

    return scan


def quick_scan(expressions: Sequence[Expression], sample: bytes = b"") -> Scan:
    """What finds them by pyperscan, the quickest in logs that look like `sample`.

    Raises what pyperscan does, or that it is not there.
    """
    import pyperscan

    end_of = _ends(sample) if sample else len
    # Each tagged with the number of its expression, and what must stand behind what is found.
    patterns: list[pyperscan.Pattern] = []
    for number, expression in enumerate(expressions):
        if len(expression) > 1:
            patterns.append(pyperscan.Pattern(regex_of(expression), tag=(number, b"")))
            continue
        for text, is_caseless in expression[0]:
            end = len(text) if is_caseless else end_of(text)
            part = regex_of((((text[:end], is_caseless),),))
            patterns.append(pyperscan.Pattern(part, tag=(number, text[end:])))

    if len(patterns) in _AWKWARD:
        fillers = (b"\\x01\\x02\\x03\\x%02x" % n for n in range(_AWKWARD.stop - len(patterns)))
        patterns += [pyperscan.Pattern(filler, tag=_FILLER) for filler in fillers]

    go_on = pyperscan.Scan.Continue
    hits: list[Hit] = []
    take = hits.append
    searched, start = b"", 0

    def on_hit(context: None, tag: tuple[int, bytes], begin: int, end: int) -> pyperscan.Scan:
        number, rest = tag
        if not rest or searched.startswith(rest, start + end) and tag is not _FILLER:
            take((start + end, number))
        return go_on

    scanner = pyperscan.BlockDatabase(*patterns).build(None, on_hit)

    def scan(data: bytes, begin: int) -> list[Hit]:
        nonlocal searched, start
        searched, start = data, begin
        try:
            scanner.scan(memoryview(data)[begin:])
            return sorted(hits)  # as a rule they are
        finally:
            searched = b""  # not to be kept
            hits.clear()

    return scan


def _ends(sample: bytes) -> Callable[[bytes], int]:
    """What says where to end a text that is searched for, in logs like `sample`.

    The engine looks at the last three bytes first; `from ` makes it stop at each `om ` in the log.  And since it
    looks for several texts at a time by the halves of their bytes, they should end alike: in what is frequent.
    Together four times as fast as with whole words.
    """
    threes = Counter(sample[at : at + 3] for at in range(len(sample)))
    ones = Counter(sample)

    def end_of(text: bytes) -> int:
        ends = range(min(len(text), _SHORTEST), len(text) + 1)
        return min(ends, key=lambda end: (threes[text[end - 3 : end]], -ones[text[end - 1]]))

    return end_of


def regex_of(expression: Expression) -> bytes:
    """`expression` as a regular expression, of `re` as well as of pyperscan."""
    return b"[^\\n]*".join(
        b"(?:%s)" % b"|".join(
            b"(?i:%s)" % _escaped(text) if is_caseless else _escaped(text)
            for text, is_caseless in words
        )
        for words in expression
    )  # fmt: skip


def _escaped(text: bytes) -> bytes:
    """`text` as a regular expression that matches just that."""
    return b"".join(map(_ESCAPES.__getitem__, text))
