# SPDX-License-Identifier: GPL-2.0-or-later
"""Regular expressions with tags: `<HOST>`, `<F-USER>…</F-USER>` and their kin become groups.

Knows what may stand for a failing host in a line, and nothing of dates, rules or files.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple

from common import address
from common.errors import RegexError
from server.budget import Watched
from server.trees import parsed

# Of an address's text only so much is asked that what follows it in a line is told apart; whether
# it is one is decided afterwards.  An IPv6 address has two colons or more, and does not end in
# one, but for `::`.
_DIGITS = r"\d{1,3}"
_HEX = r"[0-9A-Fa-f]{1,4}"
_DOTTED = rf"{_DIGITS}(?:\.{_DIGITS}){{3}}(?!\d)"
_IP4 = rf"(?:::[Ff]{{4}}:)?(?P<ip4>{_DOTTED})"
_IP6 = (
    rf"\[?(?P<ip6>(?:{_HEX}:|:){{2,7}}(?:{_DOTTED}|{_HEX}(?!\w)|(?<=::)))"
    r"(?:%[\w.-]{1,15})?\]?"
)
_DNS = r"(?P<dns>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)"
_CIDR = r"(?P<cidr>\d{1,3})"
_ADDR = f"(?:{_IP4}|{_IP6})"

# Tags that stand for themselves; `<F-IP4/>` is another way to write `<IP4>`.
_SELF_CLOSED: Mapping[str, str] = {
    "IP4": _IP4,
    "IP6": f"(?:{_IP6})",
    "ADDR": _ADDR,
    "DNS": _DNS,
    "CIDR": _CIDR,
    "SUBNET": f"{_ADDR}(?:/{_CIDR})?",
}
# What a field is where the regex does not say; others, `<F-NOFAIL/>`, are just marks.
_FIELD_DEFAULT: Mapping[str, str] = {"ID": r"\S+", "PORT": r"\w+", "USER": r"\S+"}
# Groups that are not called as their tag.
_GROUP_NAME: Mapping[str, str] = {"id": "fid", "port": "fport"}

_TAG = re.compile(r"<(?:(HOST|IP4|IP6|ADDR|DNS|CIDR|SUBNET|SKIPLINES)|(/?)F-([A-Z0-9_-]+)(/?))>")
_FLAGS = re.compile(r"\(\?([aiLmsux]+)\)")

# In the order in which they are asked for; `host` is how it was written before there was a tag.
_ID_GROUPS = ("fid", "ip4", "ip6", "dns", "host")
# The parser of `re`, which shows what a regex consists of.

# A number alone is none: resolvers take it for an address.
_NAME = re.compile(r"(?!\d+\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")
_LONGEST_NAME = 253
_SKIPPED = "_skiplines"

# Regexes whose compiled form is kept: many jails use one filter, and each is made twice, to be checked
# and to be used.
_REMEMBERED = 4096


_Search = Callable[[str], "re.Match[str] | None"]


class Id(NamedTuple):
    """Whom a line blames; `is_name` says that it is a host name."""

    text: str
    is_name: bool = False


class Pattern:
    """A failregex, ignoreregex or prefregex.

    `source` is the text as written, `expanded` the one without tags.  With `needs_id` it must have
    a group that tells whom to blame.  Without `use_dns`, `<HOST>` matches addresses only.
    `is_multiline` is for lines that are joined by line feeds.  Raises RegexError.
    """

    __slots__ = ("source", "expanded", "regex", "search", "watched", "groups", "_stand_ins")

    def __init__(
        self,
        text: str,
        *,
        needs_id: bool = False,
        use_dns: bool = True,
        is_multiline: bool = False,
    ) -> None:
        if not text.strip():
            raise RegexError("Empty regular expression")
        self.source = text
        try:
            self.expanded, compiled = _compiled(_expanded(text, use_dns), is_multiline)
        except RegexError as error:
            raise RegexError(f"Unable to compile regular expression {text!r}: {error}") from None
        self.regex = compiled
        self.watched = Watched(compiled, partial(_is_tied, self.expanded, compiled.flags))
        # To be looked up each time: it is another one, and quicker, once there was a line.
        self.search: _Search = self._first
        self.groups = frozenset(compiled.groupindex)
        self._stand_ins = tuple(
            (name, name.removeprefix("alt_").rstrip("0123456789"))
            for name in compiled.groupindex
            if name.startswith("alt_")
        )
        if needs_id and not self.has_id:
            raise RegexError(f"No failure-id group in '{text}'")

    @property
    def has_id(self) -> bool:
        """Whether it can tell whom to blame, be it through a conversation that others know."""
        return "mlfid" in self.groups or not self.groups.isdisjoint(_ID_GROUPS)

    @property
    def names(self) -> frozenset[str]:
        """What `fields` may tell of."""
        return self.groups | {plain for _, plain in self._stand_ins}

    @property
    def is_plain(self) -> bool:
        """Whether `fields` tells of each group by its own name."""
        return not self._stand_ins

    def fields(self, match: re.Match[str]) -> dict[str, str | None]:
        """What `match` has named.  `alt_user`, `alt_user1`, … stand in for a `user` without one."""
        fields: dict[str, str | None] = match.groupdict()
        for name, plain in self._stand_ins:
            value = fields.pop(name)
            if value is not None and fields.get(plain) is None:
                fields[plain] = value
        return fields

    @property
    def is_tied(self) -> bool:
        """Whether it can match nowhere but at the start of a text."""
        return _is_tied(self.expanded, self.regex.flags)

    def _first(self, text: str) -> re.Match[str] | None:
        """Search in `text`, and see before how dear that can be; many regexes never meet a line."""
        # Python tries a regex with `^` at each place of a line; `match` looks at the first alone.
        is_tied, watched = self.is_tied, self.watched
        attempt: _Search = self.regex.match if is_tied else self.regex.search
        if not watched.is_harmless:
            attempt = _quick_if_short(
                attempt, watched.match if is_tied else watched.search, watched.reach
            )
        self.search = attempt
        return attempt(text)

    def __repr__(self) -> str:
        return f"Pattern({self.source!r})"


def _quick_if_short(quick: _Search, careful: _Search, short: int) -> _Search:
    """What asks `quick` of single lines of at most `short` characters; most are."""
    return lambda text: quick(text) if len(text) <= short and "\n" not in text else careful(text)


def id_of(fields: Mapping[str, str | None]) -> Id | None:
    """Whom the groups of a match blame; None where they name nobody.

    A dotted quad that is no address (`192.030.0.6`: octal to some) counts as a name.
    """
    for group in _ID_GROUPS:
        text = fields.get(group)
        if text:
            break
    else:
        return None
    if fields.get("cidr") and group in ("ip4", "ip6"):
        net = address.shortest_network(f"{text}/{fields['cidr']}")
        return None if net is None else Id(net)
    plain = address.shortest(text)
    if plain is not None:
        return Id(plain)
    if group == "fid":
        return Id(text)
    if len(text) > _LONGEST_NAME or not _NAME.match(text):
        return None
    return Id(text.rstrip("."), is_name=True)


def skipped_spans(match: re.Match[str]) -> list[tuple[int, int]]:
    """Where in the text stand the lines that `<SKIPLINES>` passed over."""
    names = (name for name in match.re.groupindex if name.startswith(_SKIPPED))
    return [span for span in map(match.span, names) if span[0] < span[1]]


def _expanded(text: str, use_dns: bool) -> str:
    skips = 0

    def group(tag: re.Match[str]) -> str:
        nonlocal skips
        plain, closes, field, is_self_closed = tag.groups()
        if plain == "HOST" or field == "HOST" and is_self_closed:
            return f"(?:{_IP4}|{_IP6}|{_DNS})" if use_dns else _ADDR
        if plain == "SKIPLINES":
            skips += 1
            return rf"\n(?P<{_SKIPPED}{skips}>(?:.*\n)*?)"
        if plain:
            return _SELF_CLOSED[plain]
        if closes:
            return ")"
        if is_self_closed and field in _SELF_CLOSED:
            return _SELF_CLOSED[field]
        name = field.lower().replace("-", "_")
        opening = f"(?P<{_GROUP_NAME.get(name, name)}>"
        return f"{opening}{_FIELD_DEFAULT.get(field, '')})" if is_self_closed else opening

    return _TAG.sub(group, text)


@lru_cache(_REMEMBERED)
def _compiled(text: str, is_multiline: bool) -> tuple[str, re.Pattern[str]]:
    """`text`, perhaps mended, and what it compiles to."""
    flags = re.MULTILINE if is_multiline else 0
    with warnings.catch_warnings():
        # "possible nested set" and the like are for the author of a regex, not for the daemon's log
        warnings.simplefilter("ignore")
        try:
            return text, re.compile(text, flags)
        except (re.error, OverflowError, RecursionError) as error:
            problem = error
        if "global flags" in str(problem):
            text = _with_scoped_flags(text)
            try:
                return text, re.compile(text, flags)
            except (re.error, OverflowError, RecursionError) as error:
                problem = error
    # Where in the expanded text it went wrong would tell nobody anything.
    raise RegexError(getattr(problem, "msg", str(problem)))


@lru_cache(_REMEMBERED)
def _is_tied(text: str, flags: int) -> bool:
    """Whether `text` can match nowhere but at the start."""
    if flags & re.MULTILINE:
        return False
    try:
        items = list(parsed(text, flags))
    except RecursionError:  # the stack was less deep when it was compiled
        return False
    return bool(items) and str(items[0][0]) == "AT" and str(items[0][1]) == "AT_BEGINNING"


def _with_scoped_flags(text: str) -> str:
    """`text` with flags in its midst, `a(?i)b|c`, made groups: `a(?i:b)|(?i:c)`.

    Python wants them at the start since 3.11.  As in PCRE they hold up to the end of the group in
    which they stand, alternatives included.
    """
    out: list[str] = []
    open_flags: list[list[str]] = [[]]  # for each group that is open, the flags set in it
    at = 0
    while at < len(text):
        size = 1
        flags = _FLAGS.match(text, at)
        if text[at] == "\\":
            size = 2
            out.append(text[at : at + size])
        elif text[at] == "[":
            size = _class_length(text, at)
            out.append(text[at : at + size])
        elif flags is not None:
            size = len(flags[0])
            open_flags[-1].append(flags[1])
            out.append(f"(?{flags[1]}:")
        elif text[at] == "(":
            open_flags.append([])
            out.append("(")
        elif text[at] == ")":
            out.append(")" * (len(open_flags[-1]) + 1))
            if len(open_flags) > 1:
                open_flags.pop()
        elif text[at] == "|":
            again = "".join(f"(?{flag}:" for flag in open_flags[-1])
            out.append(")" * len(open_flags[-1]) + "|" + again)
        else:
            out.append(text[at])
        at += size
    return "".join(out) + ")" * len(open_flags[0])


def _class_length(text: str, start: int) -> int:
    """How long the character class is that begins at `start`."""
    at = start + 1
    if text[at : at + 1] == "^":
        at += 1
    if text[at : at + 1] == "]":  # the first one is just a character
        at += 1
    while at < len(text) and text[at] != "]":
        at += 2 if text[at] == "\\" else 1
    return at + 1 - start
