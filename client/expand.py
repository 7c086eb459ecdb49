# SPDX-License-Identifier: GPL-2.0-or-later
"""What `%(name)s` and `<name>` mean in a section, a filter, an action.

`Scope` is one section with its variables, `Definition` a filter or action file called with arguments.
Which options there are is not known here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping

from client.include import Conf
from client.ini import DEFAULT, Value
from common.errors import ConfigError
from common.tags import replace_tags

# Ten levels, as Python's own configparser; the other two bound what only a mistake can make grow.
_DEEPEST = 10
_MOST_STEPS = 10_000
_LONGEST = 1 << 20

_PERCENT = re.compile(r"%(?:(?P<percent>%)|\((?P<name>[^)]+)\)s)?")
_TAGS = re.compile(r"<([\w\-./]+)")

Find = Callable[[str], Value | None]


def _nothing(name: str) -> Value | None:
    return None


def expand(value: Value, what: str, find: Find, names: Iterable[str] = ()) -> Value:
    """`value` with its variables replaced, final; `what` names the option where something is wrong.

    `find` gives the raw value of a variable; `names` are those that exist, for a hint.
    """
    if value.is_final or "%" not in value.text:
        return Value(value.text, value.where, is_final=True)
    expanding = _Expanding(value, what, find, names)
    return Value(expanding.text(value.text, 1), value.where, is_final=True)


class _Expanding:
    """One option being expanded."""

    def __init__(self, value: Value, what: str, find: Find, names: Iterable[str]) -> None:
        self._value = value
        self._what = what
        self._find = find
        self._names = names
        self._steps = 0

    def text(self, raw: str, depth: int) -> str:
        if depth > _DEEPEST:
            raise self._error(
                f"the variables of {self._value.text!r} stand more than {_DEEPEST} levels deep",
                "Do they need one another?",
            )
        parts = []
        length = at = 0
        for found in _PERCENT.finditer(raw):
            parts += [raw[at : found.start()], self._one(found, depth)]
            at = found.end()
            self._steps += 1
            length += len(parts[-1])
            if length > _LONGEST or self._steps > _MOST_STEPS:
                raise self._error("its variables make a text that is far too long")
        return "".join((*parts, raw[at:]))

    def _one(self, found: re.Match[str], depth: int) -> str:
        if found["percent"]:
            return "%"
        name = found["name"]
        if name is None:
            near = found.string[found.start() : found.start() + 12]
            raise self._error(
                f"the % of {near!r} begins no variable such as %(name)s", "Write %% for a % sign."
            )
        value = self._find(name)
        if value is None:
            raise self._error(f"the variable %({name})s is not defined", self._hint(name))
        if value.is_final or "%" not in value.text:
            return value.text
        return self.text(value.text, depth + 1)

    def _hint(self, name: str) -> str:
        section, slash, option = name.rpartition("/")
        if section != section.lower():
            return (
                f"Sections with capitals cannot be named; for [DEFAULT] write %(default/{option})s."
            )
        near = difflib.get_close_matches(option.lower(), sorted(self._names), 1, 0.7)
        if near and not slash:
            return f"Did you mean %({near[0]})s?"
        return "Nothing was said before that it could extend." if section == "known" else ""

    def _error(self, problem: str, hint: str = "") -> ConfigError:
        return ConfigError(f"{self._what}: {problem}", self._value.where, hint)


class Scope:
    """One section of a `Conf`: its options, those of [DEFAULT], and what their variables mean.

    What `given` knows comes before what the section says, for variables only; `known` comes before
    what the section said in earlier files, for `%(known/name)s`.
    """

    def __init__(
        self,
        conf: Conf,
        section: str,
        given: Find = _nothing,
        known: Mapping[str, Value] | None = None,
    ) -> None:
        self.conf = conf
        self.section = section
        self._own = conf.sections.get(section, {})
        self._given = given
        self._known = known or {}
        self._done: dict[str, Value | ConfigError] = {}

    def has_own(self, option: str) -> bool:
        return option in self._own

    def raw(self, option: str) -> Value | None:
        return self._own.get(option) or self.conf.defaults.get(option)

    def options(self) -> dict[str, Value]:
        """All options as written, those of [DEFAULT] first."""
        return {**self.conf.defaults, **self._own}

    def get(self, option: str) -> Value | None:
        """The option with its variables replaced; None if it is not there."""
        raw = self.raw(option)
        if raw is None:
            return None
        if option not in self._done:
            try:
                self._done[option] = self.expand(raw, option)
            except ConfigError as error:
                self._done[option] = error
        done = self._done[option]
        if isinstance(done, ConfigError):
            raise ConfigError(done.problem, done.where, done.hint)
        return done

    def expand(self, value: Value, option: str) -> Value:
        what = f"[{self.section}] {option}"
        return expand(value, what, self.variable, {**self.conf.defaults, **self._own})

    def variable(self, name: str) -> Value | None:
        """The raw value of `%(name)s` in this section."""
        section, slash, option = name.partition("/")
        option = option.lower()
        if not slash:
            return self._plain(section.lower())
        if section != section.lower():
            return None
        if section == "known":
            return (
                self._known.get(option)
                or self.conf.known.get((self.section, option))
                or self.conf.defaults.get(option)
            )
        if section == DEFAULT.lower():
            return self.conf.defaults.get(option)
        if section not in self.conf.sections:
            return None
        return self.conf.sections[section].get(option) or self.conf.defaults.get(option)

    def _plain(self, name: str) -> Value | None:
        if name == "__name__":
            return Value(self.section, None, is_final=True)
        return self._given(name) or self.raw(name) or self.conf.constants.get(name)


class Definition:
    """A filter or an action, called with `arguments`.

    `variable` gives the options of the jail that `%(name)s` may stand for.  In a filter
    (`init_counts`) the options of [Init] count as arguments for `%(name)s`, too; `forced` are values
    that beat [Init], but not arguments.
    """

    def __init__(
        self,
        conf: Conf,
        arguments: Mapping[str, Value],
        variable: Find = _nothing,
        *,
        init_counts: bool = False,
        forced: Mapping[str, Value] | None = None,
    ) -> None:
        self._conf = conf
        self.arguments = arguments
        self._forced = forced or {}
        self._lower = {key.lower(): value for key, value in arguments.items()}
        self._variable = variable
        self._init_counts = init_counts
        self.init: dict[str, Value] = {}
        self.init = self._read_init()
        self._scope = Scope(conf, "Definition", self._given)

    def _read_init(self) -> dict[str, Value]:
        init: dict[str, Value] = {}
        for section, options in self._conf.sections.items():
            name, question, condition = section.partition("?")
            if name != "Init":
                continue
            scope = Scope(self._conf, section, self._given)
            for key, value in options.items():
                init[f"{key}{question}{condition}"] = scope.expand(value, key)
        return init

    def _given(self, name: str) -> Value | None:
        """What comes before the [Definition] for `%(name)s`."""
        return self._over(name) or self._variable(name)

    def _over(self, name: str) -> Value | None:
        """What an option of [Definition] is replaced with."""
        given = self._lower.get(name) or self._forced.get(name)
        if given is None and self._init_counts:
            given = self.init.get(name)
        return given

    def check(self) -> None:
        """Expand all that [Definition] itself says; ConfigError if something there is undefined."""
        for option in self._conf.sections.get("Definition", {}):
            self._scope.get(option)

    def get(self, option: str) -> Value | None:
        """The option's value, its variables replaced but not its tags."""
        if given := self._over(option):
            return Value(given.text, given.where, is_final=True)
        return self._scope.get(option)

    def layer(self, option: str) -> int:
        """How late the option was given its value: the number of its file, arguments after all files."""
        if self._over(option):
            return len(self._conf.paths)
        value = self._scope.raw(option)
        if value is None or value.where is None:
            return -1
        paths = self._conf.paths
        return max((at for at, path in enumerate(paths) if path == value.where.path), default=-1)

    def options(self) -> Iterable[str]:
        return self._scope.options()

    def names_own(self, option: str) -> bool:
        return self._scope.has_own(option)

    def tag(self, name: str) -> str | None:
        """The text that `<name>` stands for; None if it stands for nothing here."""
        value = self.arguments.get(name) or self._forced.get(name) or self.init.get(name)
        if value is None:
            section, slash, option = name.partition("/")
            if not slash:
                key = name.lower()
                value = self.get(key) if self._scope.raw(key) else None
            elif section == "known":
                value = self.init.get(option) or self._scope.get(option.lower())
            elif section in self._conf.sections or section == DEFAULT:
                value = Scope(self._conf, section, self._given).get(option.lower())
        return None if value is None else value.text

    def render(self, value: Value, what: str, keep: Collection[str] = ()) -> Value:
        """`value` with its tags replaced, but for those in `keep`."""
        if "<" not in value.text:
            return value
        try:
            text = replace_tags(value.text, self.tag, keep=keep)
        except ValueError as error:
            raise ConfigError(f"{what}: {error}", value.where) from None
        return Value(text, value.where, is_final=True)

    def unused(self) -> dict[str, Value]:
        """The options of [Definition] that nothing in its files refers to."""
        texts = [each.text for each in self._conf.defaults.values()]
        for options in self._conf.sections.values():
            texts += [each.text for each in options.values()]
        used = referred(texts) | {name.lower() for text in texts for name in _TAGS.findall(text)}
        own = self._conf.sections.get("Definition", {})
        return {key: value for key, value in own.items() if key not in used}


def referred(texts: Iterable[str]) -> set[str]:
    """The options that variables in `texts` name."""
    return {
        found["name"].rpartition("/")[2].lower()
        for text in texts
        for found in _PERCENT.finditer(text)
        if found["name"]
    }
