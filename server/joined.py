# SPDX-License-Identifier: GPL-2.0-or-later
"""A prefregex and a failregex as one regex, where that comes to the same as one after the other.

To search once takes less time than to search twice.  Knows no line and no conversation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import combinations

from server.trees import PARSER, Items, parsed, parts_of, tree_of

_BEGIN = str(list(parsed("^", 0)))
# What may refer to a group by its number; what does so by its name does no harm.
_NUMBERED = re.compile(r"\\[1-9]|\(\?\([0-9]")
_REMEMBERED = 4096  # many jails use one filter
_OTHERWISE = re.MULTILINE | re.VERBOSE  # with these `^`, `$` and spaces are not what they seem


@lru_cache(_REMEMBERED)
def joined(prefix: re.Pattern[str], content: str, rule: re.Pattern[str]) -> re.Pattern[str] | None:
    """What matches a text without line feeds where `prefix` does, and `rule` its group `content`.

    It has the groups of both, but for `content`, by their names.  None where that cannot be told to
    come to the same: all that `prefix` leaves must be the content, and `rule` see nothing before that.
    """
    flags, rest = rule.flags, rf"(?P<{content}>.+)$"
    head, body = prefix.pattern.removesuffix(rest), rule.pattern.removeprefix("^")
    way = "" if body != rule.pattern else ".*?"  # it may begin anywhere
    if prefix.flags != flags or flags & _OTHERWISE or head == prefix.pattern:
        return None
    try:
        begin, inside = list(parsed(head, flags)), list(parsed(body, flags))
        # What was taken off their texts are items of their own, and hold for all the rest.
        is_whole = str(begin) == str(list(tree_of(prefix))[:-2])
        is_tied = str(begin[:1]) == _BEGIN
        is_all = bool(way) or str(inside) == str(list(tree_of(rule))[1:])
        if not (is_whole and is_tied and is_all and _needs_nothing_before(inside, 0)):
            return None
        if _NUMBERED.search(body):  # groups will have other numbers
            return None
        # As soon as the prefix has ended well it is settled where the content begins.
        return re.compile(f"(?>(?:{head})(?=.)){way}(?:{body})", flags)
    except re.error:  # both have a group of one name, or a part is nothing by itself
        return None
    except RecursionError:  # nested too deeply for this, though not for `re`
        return None


@lru_cache(_REMEMBERED)
def exclusive(regex: re.Pattern[str]) -> frozenset[tuple[int, int]]:
    """Those pairs of its groups of which no match of `regex` has both."""
    try:
        pairs, _ = _exclusive(tree_of(regex))
    except RecursionError:
        return frozenset()
    return frozenset(pairs)


def _needs_nothing_before(items: Items, seen: int) -> bool:
    """Whether `items` mean the same whatever stands before the `seen` characters in front of them."""
    for item in items:
        op, value = str(item[0]), item[1]
        match op:
            case "AT":
                is_end = str(value) in ("AT_END", "AT_END_STRING")
                if not (is_end or (seen and str(value) in ("AT_BOUNDARY", "AT_NON_BOUNDARY"))):
                    return False
            case "ASSERT" | "ASSERT_NOT" if value[0] < 0:
                if value[1].getwidth()[1] > seen or not _needs_nothing_before(value[1], 0):
                    return False
            case _:
                if not all(_needs_nothing_before(part, seen) for part in parts_of(item)):
                    return False
        if not op.startswith("GROUPREF"):  # of those only the whole regex knows the width
            seen += int(PARSER.SubPattern(PARSER.State(), [item]).getwidth()[0])
    return True


def _exclusive(items: Items) -> tuple[set[tuple[int, int]], set[int]]:
    """Pairs of groups in `items` of which no match has both, and all groups there."""
    pairs: set[tuple[int, int]] = set()
    groups: set[int] = set()
    for item in items:
        op, inside = str(item[0]), [_exclusive(part) for part in parts_of(item)]
        # What is repeated may take one way now and then the other.
        if not op.endswith("_REPEAT") or item[1][1] == 1:
            pairs = pairs.union(*(found for found, _ in inside))
            if op == "BRANCH":
                for (_, ones), (_, others) in combinations(inside, 2):
                    pairs |= {tuple(sorted((a, b))) for a in ones for b in others}  # type: ignore[misc]
        groups = groups.union(*(found for _, found in inside))
        if op == "SUBPATTERN" and item[1][0] is not None:
            groups.add(item[1][0])
    return pairs, groups
