# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables as text: for man pages (roff, with the macros of man(7)) and for Markdown.  Knows no table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.options import Option

_LETTERS = {"\\": "\\e", "-": "\\-", "…": "...", "’": "'"}


def roff(text: str) -> str:
    """`text` as it stands, for roff."""
    escaped = "".join(_LETTERS.get(letter, letter) for letter in text)
    escaped = "".join(
        letter if letter < "\x7f" else f"\\[u{ord(letter):04X}]" for letter in escaped
    )
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def roff_usage(usage: str) -> str:
    """A usage: what is typed as it stands is bold, what stands for something else is italic."""
    made = ""
    for kind, text in _pieces(usage):
        font = {"name": "\\fI", "word": "\\fB", "sign": ""}[kind]
        made += f"{font}{roff(text)}" + ("\\fR" if font else "")
    return made


def _pieces(usage: str) -> Iterable[tuple[str, str]]:
    """The names (`<x>`), signs (brackets, dots, spaces) and words of `usage`, in their order."""
    at = 0
    while at < len(usage):
        if usage[at] == "<":
            end = usage.index(">", at) + 1
            yield "name", usage[at + 1 : end - 1]
        elif usage.startswith("...", at):
            end = at + 3
            yield "sign", "..."
        elif usage[at] in "[] ":
            end = at + 1
            yield "sign", usage[at]
        else:
            end = at
            while end < len(usage) and usage[end] not in "[]< ":
                end += 1
            yield "word", usage[at:end]
        at = end


def roff_entry(title: str, text: str) -> str:
    """A paragraph under a title that is roff already."""
    return f".TP\n{title}\n{roff(text)}"


def roff_terms(terms: Mapping[str, str]) -> str:
    return "\n".join(roff_entry(f"\\fB{roff(term)}\\fR", text) for term, text in terms.items())


def roff_options(options: Iterable[Option]) -> str:
    return "\n".join(
        roff_entry(
            f"\\fB{roff(option.key)}\\fR = \\fI{roff(option.kind.name)}\\fR",
            f"{option.help}{_default(option)}",
        )
        for option in options
    )


def _default(option: Option) -> str:
    return "" if option.default in (None, "") else f"  Default: {shown(option.default)}."


def shown(value: Any) -> str:
    """A default as it would be written in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-1" if value == math.inf else str(value)


def table(head: Sequence[str], rows: Mapping[str, str]) -> str:
    """A table of two columns, the first of them code."""
    return markdown(head, ((f"`{left}`", cell(right)) for left, right in rows.items()))


def table_of_options(options: Iterable[Option]) -> str:
    return markdown(
        ("option", "kind", "default", "what it is"),
        (
            (
                f"`{option.key}`",
                cell(option.kind.name),
                "" if option.default in (None, "") else f"`{shown(option.default)}`",
                cell(option.help),
            )
            for option in options
        ),
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines])


def cell(text: str) -> str:
    """`text` as it stands, for a cell of a table; what is in angle brackets becomes code."""
    plain = text.replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"<[^<>\s]+>(?:\.\.\.)?", r"`\g<0>`", plain)
