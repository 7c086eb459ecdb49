# SPDX-License-Identifier: GPL-2.0-or-later
"""What a regex consists of, as the parser of `re` sees it.  Understands nothing of it.

A tree is a sequence of pairs, operation and value; Python promises nothing about them, but has kept
to them for decades, and tests tell when that ends.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from importlib import import_module
from threading import Lock
from typing import Any, ParamSpec, TypeVar

PARSER = import_module("re._parser")

Items = Iterable[tuple[Any, Any]]
P = ParamSpec("P")
T = TypeVar("T")

# When a filter's first lines come, its regexes are looked at from several sides; a tree has some 20 KB.
_KEPT = 40
_REMEMBERED = 4096  # many jails use one filter


def once(work: Callable[P, T]) -> Callable[P, T]:
    """Have `work` remember what it found; of threads that ask the same at once, one works it out.

    When a server starts, all jails of a filter see their first lines at the same moment.
    """
    remembered, lock = lru_cache(_REMEMBERED)(work), Lock()

    @wraps(work)
    def ask(*words: P.args, **more: P.kwargs) -> T:
        with lock:
            return remembered(*words, **more)  # type: ignore[arg-type]

    return ask


def tree_of(regex: re.Pattern[str]) -> Any:
    """What `regex` consists of.  Not to be changed: it is kept for the next who asks."""
    return parsed(regex.pattern, regex.flags)


@lru_cache(_KEPT)
def parsed(text: str, flags: int) -> Any:
    """The same of a regex that is not compiled.  Raises re.error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are for the author of a regex
        return PARSER.parse(text, flags)


def forget() -> None:
    """Let go of what is kept to be asked again soon."""
    parsed.cache_clear()


def parts_of(item: tuple[Any, Any]) -> list[Items]:
    """What an item of a tree consists of."""
    op, value = str(item[0]), item[1]
    match op:
        case "SUBPATTERN":
            return [value[3]]
        case "ATOMIC_GROUP":
            return [value]
        case "ASSERT" | "ASSERT_NOT":
            return [value[1]]
        case "BRANCH":
            return list(value[1])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return [value[2]]
        case "GROUPREF_EXISTS":
            return [part for part in value[1:] if part is not None]
    return []
