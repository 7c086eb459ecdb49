# SPDX-License-Identifier: GPL-2.0-or-later
"""The language of tags: `name[key=value]` and `<tag>`.  Pure; knows no option and no file.

The client replaces tags when it reads a configuration, the server those that only a ban can fill in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

# How often one tag may be replaced in one value, and how long a value may get by that: what grows
# beyond has been written by mistake (`a = <b><b>`, `b = <c><c>`, …).
_TIMES = 25
_LONGEST = 1 << 20

# Innermost first: no other tag inside.  `(?P<host>…)` is a group of a regular expression, no tag.
_TAG = re.compile(r"(?<!\(\?P)<([\w\-./?=:]+)>")

_GROUPS = re.compile(r"(?P<name>[^\[]+)\[(?P<arguments>.*)\]\s*", re.DOTALL)
_KEY = re.compile(r"\s*(?P<key>\w[\w\-./]*(?:\?\w+=\w+)?)=")
_TEXT = re.compile(r"\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^,\]]*)")
_NEXT = re.compile(r"\s*(?:,(?:\s*\Z)?|\]\s*\[|\Z)")
_SPACE_BEFORE_KEY = re.compile(r"(?<=[\"'])\s+(?=\w[\w\-./]*(?:\?\w+=\w+)?=)")

_WORD = re.compile(
    r"""(?:[^\s\[]++|\[(?:="[^"]*"|='[^']*'|[^\]])*+\]|\[)+""",
)


def split_name(text: str) -> tuple[str, dict[str, str]]:
    """The name and the arguments of `name[a=b, c="d, e"][f='g']`.

    No spaces may stand around `=`; they may stand around arguments, and a comma at the end.  A bare
    value ends at `,` or `]`; quotes know no escapes, and one that is never closed is taken as it
    stands.  ValueError says what cannot be read, and where.
    """
    if "[" not in text:
        return text, {}
    parts = _GROUPS.fullmatch(text)
    if parts is None:
        raise ValueError("a name with arguments in brackets, name[key=value], was expected")
    arguments: dict[str, str] = {}
    inside = parts["arguments"]
    at = 0
    while inside[at:].strip():
        key = _KEY.match(inside, at)
        if key is None:
            raise ValueError(f"expected option, wrong syntax at {at}: {inside[at:]}")
        value = _TEXT.match(inside, key.end())
        assert value is not None  # a bare value may be empty
        end = _NEXT.match(inside, value.end()) or _SPACE_BEFORE_KEY.match(inside, value.end())
        if end is None:
            raise ValueError(
                f"unexpected syntax at {value.end()} after option {key['key']!r}:"
                f" {inside[value.end() :]}"
            )
        bare = value["bare"]
        quoted = value["double"] if value["single"] is None else value["single"]
        arguments[key["key"]] = quoted if bare is None else bare.strip()
        at = end.end()
    return parts["name"], arguments


def split_list(text: str) -> list[str]:
    """The members of a list of `name[…]`, parted by white space outside of brackets."""
    return _WORD.findall(text)


def replace_tags(
    text: str,
    values: Mapping[str, str] | Callable[[str], str | None],
    *,
    keep: Collection[str] = (),
) -> str:
    """`text` with every `<tag>` that `values` knows replaced, and the tags in what came of it.

    Inner tags go first, so that `<rule-<mode>>` becomes `<rule-strict>` and then that tag's value.
    Unknown tags and those in `keep` stay as they are.  ValueError if a tag needs itself.
    """
    find = values.get if isinstance(values, Mapping) else values
    return _Replacing(find, keep).replace(text, ())


def _filled(text: str, name: str, value: str) -> str:
    group = f"(?P<{name}>"
    return group.join(part.replace(f"<{name}>", value) for part in text.split(group))


class _Replacing:
    """One go: what a tag finally stands for is worked out once."""

    def __init__(self, find: Callable[[str], str | None], keep: Collection[str]) -> None:
        self._find = find
        self._keep = keep
        self._done: dict[str, str | None] = {}

    def replace(self, text: str, inside: tuple[str, ...]) -> str:
        times: dict[str, int] = {}
        at = 0
        while tag := _TAG.search(text, at):
            name = tag[1]
            value = self._value(name, inside)
            if value is None:
                at = tag.start() + 1
                continue
            times[name] = times.get(name, 0) + 1
            if times[name] > _TIMES:
                raise ValueError(f"the tag <{name}> had to be replaced more than {_TIMES} times")
            text = _filled(text, name, value)
            if len(text) > _LONGEST:
                raise ValueError(f"the tag <{name}> makes a text of more than {_LONGEST} letters")
            # Before it there is nothing left to replace, but for a tag in which it stood.
            at = max(0, text.rfind("<", 0, tag.start()))
        return text

    def _value(self, name: str, inside: tuple[str, ...]) -> str | None:
        if name in self._done:
            return self._done[name]
        raw = None if name in self._keep else self._find(name)
        if raw is not None:
            way = " -> ".join(f"<{each}>" for each in (*inside, name))
            if name in inside:
                raise ValueError(f"the tag <{name}> needs itself: {way}")
            if len(inside) >= _TIMES:
                raise ValueError(f"the tag <{name}> stands too deep: {way}")
            raw = self.replace(raw, (*inside, name))
        self._done[name] = raw
        return raw
