# SPDX-License-Identifier: GPL-2.0-or-later
"""What must stand in a line for a regex to match it: a few literals, one behind the other.

Read off the regex's parse tree.  May ask for less than the regex does, never for more: whoever
passes over the lines without these literals misses no match.  Knows no log and no matcher.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from server import trees
from server.trees import once, tree_of

# Shorter ones stand in nearly every line.
SHORTEST = 3
_LONGEST = 80  # longer ones find no fewer lines
_MOST_TEXTS = 64  # as many texts that stand side by side are written out …
_MOST_CHOICES = 256  # … so many of which one is chosen …
_MOST_LITERALS = 128  # … and so many asked for
_MOST_CHAINS = 8
_LONGEST_CHAIN = 2  # what a third clause spares is less than it costs
_TELLING = 3.0  # what weighs less stands in nearly every line, too: two letters
_WORTH_ADDING = 8.0  # of a clause that is not the best one of its chain: six letters, say
_MOST_OF_CLASS = 4  # characters of a class that are told apart: `[Ff]`
# Words that stand in so many lines that they tell nothing.
_COMMON = re.compile(
    r"GET|POST|HEAD|HTTP(?:/1\.[01])?|\b(?:from|for|by|user|port|client|session)\b", re.I
)
# Groups in which no letter is sure: those of an address, which are large and stand in most regexes.
_OPAQUE = frozenset({"ip4", "ip6", "dns"})
_OF_WORD, _DIGIT = re.compile(r"\w"), re.compile(r"\d")
# Letters that, where case does not matter, stand for a character beyond ASCII as well.
_LOOK_ALIKES = frozenset("iksIKS")
LOOK_ALIKES = "\u0130\u0131\u017f\u212a"


class Cut(Enum):
    """Where in a line the date may have stood that was cut out before the regex saw the line.

    `BETWEEN`: between two characters of no word each, or after no more than two of them at the
    line's beginning, as all default styles of dates do.
    """

    NOWHERE = 0
    BETWEEN = 1
    ANYWHERE = 2


@dataclass(frozen=True, slots=True)
class Literal:
    """ASCII text that stands in a line; `is_caseless`: in any mixture of case."""

    text: str
    is_caseless: bool = False

    def __add__(self, other: Literal) -> Literal:
        return Literal(self.text + other.text, self.is_caseless or other.is_caseless)

    @property
    def has_look_alike(self) -> bool:
        """Whether characters of `LOOK_ALIKES` can stand for some of it."""
        return self.is_caseless and not _LOOK_ALIKES.isdisjoint(self.text)


# One of these stands in the line …
Clause = frozenset[Literal]
# … and one of the next clause behind it …
Chain = tuple[Clause, ...]
# … and so on, for one of these chains.
Need = frozenset[Chain]
_NOTHING: Clause = frozenset({Literal("")})


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of a part of a regex: all texts that it may match, if these are few; else what
    must stand in whatever it matches."""

    texts: Clause | None = None
    need: Need | None = None


# What is known of parts of a parse tree, by what they are or where they stand, and the flags there.
_Known = dict[tuple[Any, int], _Part]
_MOST_KNOWN = 20_000
_at_it: deque[bool] = deque()  # for each thread that looks at regexes
_ANYTHING = _Part()
_EMPTY = _Part(_NOTHING)


@lru_cache(4096)  # many jails use one filter
def required(
    regex: re.Pattern[str],
    cut: Cut = Cut.NOWHERE,
    inner: Need | None = None,
    group: str = "content",
) -> Need | None:
    """What stands in any line that `regex` matches; None where nothing is sure.

    The line is the one as logged; what `regex` sees of it lacks a date that stood at `cut`.
    `inner` is what its `group` holds, as somebody else will require of that.
    """
    inside = {} if inner is None else {regex.groupindex[group]: inner}
    known = _known_with(cut, bool(inside))
    if len(known) > _MOST_KNOWN:
        _known_with.cache_clear()  # whoever uses it in another thread keeps it to the end
        known = _known_with(cut, bool(inside))
    opaque = {number for name, number in regex.groupindex.items() if name in _OPAQUE}
    walk = _Walk(cut, inside, opaque, known)
    try:
        tree = tree_of(regex)
        known[tree, 0] = _ANYTHING  # so that it stays, and its parts where they are
        need = walk.need_of(walk.sequence(tree, regex.flags))
    except RecursionError:  # nested too deeply for this walk, though not for `re`
        return None
    return None if need is None else frozenset(map(_shortened, need))


@once
def needs_of(
    rules: tuple[re.Pattern[str], ...],
    prefix: re.Pattern[str] | None,
    group: str | None,
    cut: Cut,
) -> tuple[Need | None, ...]:
    """What `required` says of each of `rules`, and of the `prefix` in front of them.

    If there is a `group`, it is what of the prefix's match the rules see; else they see the line.
    """
    return tuple(_behind(prefix, group, cut, required(rule, cut)) for rule in rules)


def _behind(
    prefix: re.Pattern[str] | None, group: str | None, cut: Cut, need: Need | None
) -> Need | None:
    if prefix is None:
        return need
    if group is not None and need is not None:
        return required(prefix, cut, need, group)
    return better(need, required(prefix, cut))


@contextmanager
def trees_kept() -> Iterator[None]:
    """Meanwhile regexes are looked at from several sides: what helps with that is kept.

    It is half a megabyte for a filter, and let go of when nobody is at it any more.
    """
    _at_it.append(True)
    try:
        yield
    finally:
        _at_it.pop()
        forget_trees()


def forget_trees() -> None:
    """Let go of what is kept to look at the same regexes again soon, unless somebody is at it."""
    if not _at_it:
        _known_with.cache_clear()
        trees.forget()


@lru_cache(2 * len(Cut))
def _known_with(cut: Cut, has_inside: bool) -> _Known:
    """Room for what is known of parts; what a group holds may be known to one walk and not to another."""
    return {}


def better(one: Need | None, other: Need | None) -> Need | None:
    """Which of two needs fewer lines will meet."""
    if one is None or other is None:
        return one or other
    return one if _worth(one) >= _worth(other) else other


class _Walk:
    """A walk through the parse tree of one regex."""

    def __init__(
        self, cut: Cut, inside: Mapping[int, Need], opaque: Collection[int], known: _Known
    ) -> None:
        self._cut = cut
        self._inside = inside  # what else is required within some of the groups
        self._opaque = opaque  # groups that are not looked into
        self._known = known  # of parts without such groups
        self._has_inside = False
        self._of: dict[str, Callable[[Any, int], _Part]] = {
            "IN": _class,
            "AT": lambda _, flags: _EMPTY,
            "ASSERT": self._assertion,
            "ASSERT_NOT": lambda _, flags: _EMPTY,
            "SUBPATTERN": self._group,
            "ATOMIC_GROUP": lambda inner, flags: self.sequence(inner, flags),
            "BRANCH": lambda value, flags: self._either(value[1], flags),
            "GROUPREF_EXISTS": self._condition,
            "MAX_REPEAT": self._repeat,
            "MIN_REPEAT": self._repeat,
            "POSSESSIVE_REPEAT": self._repeat,
        }

    def sequence(self, items: Iterable[tuple[Any, Any]], flags: int) -> _Part:
        """Parts one after the other."""
        run, need, is_whole = _NOTHING, None, True
        for part in self._parts(items, flags):
            longer = None if part.texts is None else _joined(run, part.texts)
            if longer is not None:
                run = longer
                continue
            need = _then(_then(need, self._cut_safe(run)), part.need)
            is_whole, run = False, part.texts or _NOTHING
        if is_whole:
            return _Part(run)
        return _Part(None, _then(need, self._cut_safe(run)))

    def _parts(self, items: Iterable[tuple[Any, Any]], flags: int) -> Iterator[_Part]:
        """What is known of each of `items`; characters in a row are one part."""
        text = ""
        for op, value in items:
            name = str(op)
            if name == "LITERAL" and value < 128 and value != 10:
                if len(text) == _LONGEST // 2:
                    yield _written(text, flags)
                    text = ""
                text += chr(value)
                continue
            if text:
                yield _written(text, flags)
                text = ""
            yield self._part(name, value, flags)
        if text:
            yield _written(text, flags)

    def need_of(self, part: _Part) -> Need | None:
        return part.need if part.texts is None else self._cut_safe(part.texts)

    def _part(self, op: str, value: Any, flags: int) -> _Part:
        handler = self._of.get(op)
        if handler is None:
            return _ANYTHING
        part = self._known.get((id(value), flags))
        if part is None:
            had_inside, self._has_inside = self._has_inside, False
            part = handler(value, flags)
            if not self._has_inside:
                self._known[id(value), flags] = part
            self._has_inside |= had_inside
        return part

    def _assertion(self, value: Any, flags: int) -> _Part:
        # What it looks at it does not consume, so what stands around it stands side by side.
        return _EMPTY

    def _group(self, value: Any, flags: int) -> _Part:
        group, added, removed, inner = value
        if group in self._opaque:
            return _ANYTHING
        part = self.sequence(inner, (flags | added) & ~removed)
        if group in self._inside:
            self._has_inside = True
            return _Part(None, better(self._inside[group], self.need_of(part)))
        return part

    def _condition(self, value: Any, flags: int) -> _Part:
        _, yes, no = value
        return self._either([yes, no or []], flags)

    def _either(self, branches: Iterable[Any], flags: int) -> _Part:
        parts = [self.sequence(branch, flags) for branch in branches]
        texts: set[Literal] = set()
        for part in parts:
            if part.texts is None:
                break
            texts |= part.texts
        else:
            if len(texts) <= _MOST_CHOICES:
                return _Part(frozenset(texts))
        return _Part(None, _either([self.need_of(part) for part in parts]))

    def _repeat(self, value: Any, flags: int) -> _Part:
        least, most, inner = value
        part = self.sequence(inner, flags)
        if least == 0:
            if int(most) == 1 and part.texts is not None:
                return _Part(part.texts | _NOTHING)
            return _ANYTHING
        if int(least) == int(most) and part.texts is not None and least <= _LONGEST:
            whole = _NOTHING
            for _ in range(least):
                longer = _joined(whole, part.texts)
                if longer is None:
                    break
                whole = longer
            else:
                return _Part(whole)
        return _Part(None, self.need_of(part))

    def _cut_safe(self, texts: Clause) -> Need | None:
        """What stands of `texts` in a line, wherever in the midst of them a date was cut out."""
        if any(len(one.text) < SHORTEST for one in texts):
            return None
        if self._cut is Cut.NOWHERE:
            return _need(_fit(texts))
        # If a cut goes through the one half, the other is whole.
        halves = _need(_fit(frozenset(half for one in texts for half in _halves(one))))
        if self._cut is Cut.ANYWHERE:
            return halves
        pieces = _need(_fit(frozenset(map(_longest_piece, texts))))
        # Of a common word a half is no less common, uncommon as it looks.
        has_common = pieces is not None and any(_weight(one.text) < _TELLING for one in texts)
        return pieces if has_common else better(pieces, halves)


@lru_cache(1024)
def _character(code: int, flags: int) -> _Part:
    if code > 127 or code == 10:  # what is joined of several lines, or not the same byte everywhere
        return _ANYTHING
    text = chr(code)
    return _Part(frozenset({Literal(text, bool(flags & re.IGNORECASE) and text.isalpha())}))


def _written(text: str, flags: int) -> _Part:
    is_caseless = bool(flags & re.IGNORECASE) and any(map(str.isalpha, text))
    return _Part(frozenset({Literal(text, is_caseless)}))


def _class(items: list[tuple[Any, Any]], flags: int) -> _Part:
    codes: list[int] = []
    for op, value in items:
        if str(op) == "LITERAL":
            codes.append(value)
        elif str(op) == "RANGE":
            codes.extend(range(value[0], min(value[1], value[0] + _MOST_OF_CLASS) + 1))
        else:  # all but these, or a category
            return _ANYTHING
    if len(codes) > _MOST_OF_CLASS:
        return _ANYTHING
    parts = [_character(code, flags).texts for code in codes]
    texts: set[Literal] = set()
    for part in parts:
        if part is None:
            return _ANYTHING
        texts |= part
    return _Part(frozenset(texts))


def _joined(first: Clause, second: Clause) -> Clause | None:
    """Each text of `first` with each of `second` behind it; None if these are too many."""
    if len(first) * len(second) > _MOST_TEXTS:
        return None
    texts = frozenset(one + other for one in first for other in second)
    return texts if all(len(one.text) <= _LONGEST for one in texts) else None


def _need(clause: Clause | None) -> Need | None:
    return None if clause is None else frozenset({(clause,)})


def _then(first: Need | None, second: Need | None) -> Need | None:
    """Both are met, `second` behind `first`."""
    if first is None or second is None:
        return first or second
    if len(first) * len(second) > _MOST_CHAINS:
        first, second = _simplified(first), _simplified(second)
        if first is None or second is None:
            return first or second
    return frozenset(_shortened(one + other) for one in first for other in second)


def _either(needs: Iterable[Need | None]) -> Need | None:
    """One of `needs` is met, nobody knows which."""
    met: set[Chain] = set()
    for need in needs:
        if need is None:
            return None
        met |= need
    long = {chain for chain in met if len(chain) > 1}
    if len(long) >= _MOST_CHAINS:
        return _simplified(met)
    short = _simplified(met - long) if met - long else frozenset()
    return None if short is None else short | long


def _simplified(need: Collection[Chain]) -> Need | None:
    """A single clause of the best ones of all chains; None if they are too many."""
    return _need(_fit(frozenset(one for chain in need for one in max(chain, key=_worth_of))))


def _shortened(chain: Chain) -> Chain:
    """Of a chain what pays."""
    ranks = sorted(range(len(chain)), key=lambda at: -_worth_of(chain[at]))
    kept = [at for at in ranks if at == ranks[0] or _worth_of(chain[at]) >= _WORTH_ADDING]
    return tuple(chain[at] for at in sorted(kept[:_LONGEST_CHAIN]))


def _fit(texts: Clause) -> Clause | None:
    """`texts` without those that contain another; None if one is too short, or they are too many."""
    if any(len(one.text) < SHORTEST for one in texts):
        return None
    if len(texts) == 1:
        return texts
    kept: list[Literal] = []
    exact: list[str] = []
    caseless: list[str] = []
    for one in sorted(texts, key=lambda one: (len(one.text), one.text, not one.is_caseless)):
        text, lower = one.text, one.text.lower()
        if any(map(lower.__contains__, caseless)):
            continue
        if one.is_caseless:
            caseless.append(lower)
        elif any(map(text.__contains__, exact)):
            continue
        else:
            exact.append(text)
        kept.append(one)
    return frozenset(kept) if len(kept) <= _MOST_LITERALS else None


def _longest_piece(one: Literal) -> Literal:
    """The longest piece of a literal that no date of a default style can be cut out of."""
    return Literal(_longest_piece_of(one.text), one.is_caseless)


@lru_cache(4096)
def _longest_piece_of(text: str) -> str:
    # At the line's beginning a word may follow a date that has two characters of no word before it.
    lead = next((n for n, character in enumerate(text) if _is_of_word(character)), len(text))
    cuts = [0, *(n for n in range(1, min(lead, 2) + 1)), len(text)]
    cuts += [n for n in range(1, len(text)) if not _is_of_word(text[n - 1 : n]) and not _is_of_word(text[n])]  # fmt: skip
    places = sorted(set(cuts))
    pieces = [text[start:end] for start, end in zip(places, places[1:], strict=False)]
    return max(pieces, key=_weight, default="")


def _halves(one: Literal) -> tuple[Literal, Literal]:
    middle = len(one.text) // 2
    return Literal(one.text[:middle], one.is_caseless), Literal(one.text[middle:], one.is_caseless)


def _is_of_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _weight(text: str) -> float:
    """Letters tell lines apart, digits less so, and other characters stand in all of them."""
    rest = _COMMON.sub("", text)
    others = len(_OF_WORD.sub("", rest))
    digits = len(rest) - len(_DIGIT.sub("", rest))
    letters = len(rest) - others - digits
    return 1.5 * letters + 0.8 * digits + 0.3 * others + len(text) / 100


def _worth(need: Need) -> float:
    """The longer and the fewer, the fewer lines have one of them."""
    return min(max(map(_worth_of, chain)) + len(chain) / 4 for chain in need)


@lru_cache(4096)
def _worth_of(clause: Clause) -> float:
    return min(20, *(_weight(one.text) for one in clause)) - math.log2(len(clause)) / 2
