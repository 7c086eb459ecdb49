# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lines of a block are worth a filter's time: those with a literal that some regex requires.

One search for all literals at once over the bytes of a block; other lines are not even cut out.
A long block is searched by hyperscan, which is faster by far but takes memory; a short one, and all
where there is no hyperscan, by `re`, with the same results.  Knows no dates and does no reading.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from server.literals import LOOK_ALIKES, Need

# From this length on of a block it pays to load hyperscan.
LONG_BLOCK = 64 * 1024
_MOST_MASKS = 4096

# A line that is worth it: where it begins in the block, where it ends, which rules may match it.
Worthy = tuple[int, int, Sequence[int]]
Search = Callable[[bytes, int], Iterator[tuple[int, int, int]]]

# Encodings in which each ASCII character, and nothing else, is its byte.
_PLAIN_ENCODINGS = re.compile(r"ascii|utf-8|iso8859-\d+|cp125\d|koi8-[rtu]")


def is_plain(encoding: str) -> bool:
    """Whether ASCII text in a log of this encoding can be found among its bytes."""
    return _PLAIN_ENCODINGS.fullmatch(codecs.lookup(encoding).name) is not None


class Screen:
    """Finds lines by what each rule of a filter needs (None: nothing, so it may match any line)."""

    def __init__(
        self, needs: Sequence[Need | None], encoding: str = "utf-8", is_quick: bool = True
    ) -> None:
        """Without `is_quick`, hyperscan is left alone."""
        masks: dict[tuple[bytes, bool], int] = {}
        self._always = 0
        for rule, need in enumerate(needs):
            if need is None:
                self._always |= 1 << rule
                continue
            for text, is_caseless in _searched(need, encoding):
                masks[text, is_caseless] = masks.get((text, is_caseless), 0) | 1 << rule
        self._masks = masks
        self._rules: dict[int, tuple[int, ...]] = {}
        self._plain: Search | None = None
        self._quick: Search | None = None
        self._is_quick = is_quick

    @property
    def helps(self) -> bool:
        """Whether there is any rule that does not ask for every line."""
        return bool(self._masks)

    def lines(self, data: bytes, start: int = 0) -> Iterator[Worthy]:
        """The lines of `data` from `start` on, itself a line's beginning, that are worth it."""
        hits = self._searched(data, start) if self._masks else iter(())
        if self._always:
            hits = _with_all_others(data, start, hits)
        rules, always = self._rules, self._always
        for begin, end, found in hits:
            mask = found | always
            try:
                yield begin, end, rules[mask]
            except KeyError:
                if len(rules) >= _MOST_MASKS:
                    rules.clear()
                rules[mask] = tuple(n for n in range(mask.bit_length()) if mask >> n & 1)
                yield begin, end, rules[mask]

    def _searched(self, data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
        if self._is_quick and len(data) - start >= LONG_BLOCK:
            if self._quick is None:
                self._quick = _quick_search(self._masks)
                self._is_quick = self._quick is not None
            if self._quick is not None:
                return self._quick(data, start)
        if self._plain is None:
            self._plain = _plain_search(self._masks)
        return self._plain(data, start)


def _searched(need: Need, encoding: str) -> Iterator[tuple[bytes, bool]]:
    """What to search for: bytes, and whether their case matters not."""
    for one in need:
        text = one.text.lower() if one.is_caseless else one.text
        yield text.encode("ascii"), one.is_caseless
        if one.has_look_alike:
            for character in LOOK_ALIKES:
                try:
                    yield character.encode(encoding), False
                except UnicodeEncodeError:
                    continue  # then it stands in no line


def _plain_search(masks: dict[tuple[bytes, bool], int]) -> Search:
    """The search that needs nothing but Python."""
    words = [
        b"(?i:%s)" % re.escape(text) if is_caseless else re.escape(text)
        for text, is_caseless in masks
    ]
    find = re.compile(b"|".join(words)).search
    exact = [(text, mask) for (text, is_caseless), mask in masks.items() if not is_caseless]
    caseless = [(text, mask) for (text, is_caseless), mask in masks.items() if is_caseless]

    def search(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
        size = len(data)
        while (hit := find(data, start)) is not None:
            begin = data.rfind(b"\n", 0, hit.start()) + 1
            end = data.find(b"\n", hit.start())
            end = size if end < 0 else end
            line = data[begin:end]
            mask = 0
            for text, rules in exact:
                if text in line:
                    mask |= rules
            if caseless:
                lower = line.lower()
                for text, rules in caseless:
                    if text in lower:
                        mask |= rules
            yield begin, end, mask
            start = end + 1

    return search


def _quick_search(masks: dict[tuple[bytes, bool], int]) -> Search | None:
    """The search by hyperscan; None where that is not there, or cannot work on this machine."""
    try:
        import hyperscan

        database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        database.compile(
            expressions=[_escaped(text) for text, _ in masks],
            ids=list(range(len(masks))),
            elements=len(masks),
            flags=[hyperscan.HS_FLAG_CASELESS if caseless else 0 for _, caseless in masks],
        )
    except Exception:  # a processor too old, a build without this or that: `re` does it as well
        return None
    of_literal = list(masks.values())

    def search(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
        hits: list[tuple[int, int]] = []

        def on_hit(literal: int, begin: int, end: int, flags: int, context: Any) -> None:
            hits.append((end, literal))

        part: Any = memoryview(data)[start:]
        database.scan(part, match_event_handler=on_hit)
        hits.sort()  # as a rule they are
        return _lines_of_hits(data, start, hits, of_literal)

    return search


def _lines_of_hits(
    data: bytes, start: int, hits: list[tuple[int, int]], of_literal: list[int]
) -> Iterator[tuple[int, int, int]]:
    """The lines in which `hits` (end from `start` on, literal) lie, and their rules together."""
    begin, end, mask = start, -1, 0
    for at, literal in hits:
        at += start
        if at <= end:
            mask |= of_literal[literal]
            continue
        if mask:
            yield begin, end, mask
        begin = data.rfind(b"\n", start, at - 1) + 1 or start
        end = data.find(b"\n", at)
        if end < 0:
            end = len(data)
        mask = of_literal[literal]
    if mask:
        yield begin, end, mask


def _with_all_others(
    data: bytes, start: int, hits: Iterator[tuple[int, int, int]]
) -> Iterator[tuple[int, int, int]]:
    """`hits`, and between them the lines without one."""
    for begin, end, mask in hits:
        yield from _all(data, start, begin)
        yield begin, end, mask
        start = end + 1
    yield from _all(data, start, len(data))


def _all(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    while start < stop:
        end = data.find(b"\n", start)
        end = stop if end < 0 else end
        if end > start:
            yield start, end, 0
        start = end + 1


def _escaped(text: bytes) -> bytes:
    """`text` as a regular expression that matches just that."""
    return b"".join(b"\\x%02x" % byte for byte in text)
