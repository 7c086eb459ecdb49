# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands describe a configuration: each is a function from one `Config` to the next.

Nothing runs here and nothing is remembered; whoever keeps the result decides what it means.
"""

from __future__ import annotations

import codecs
import json
import locale
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common import units
from common.commands import parse
from common.errors import (
    CommandError,
    DuplicateJailError,
    Fail2banError,
    RegexError,
    UnknownJailError,
)
from common.options import (
    BAN_TIME_OPTIONS,
    DAEMON_OPTIONS,
    JAIL_OPTIONS,
    ActionConf,
    Config,
    JailConf,
    LogPath,
)
from common.tags import split_name
from server import bantime
from server.dates import DateDetector
from server.pattern import Pattern

BACKENDS = ("auto", "pyinotify", "polling", "systemd")
Words = tuple[Any, ...]
JailEdit = Callable[[JailConf, Words], JailConf]

# -- one jail --------------------------------------------------------------------------------------


def _text(words: Words) -> str:
    return " ".join(str(word) for word in words)


def _with(conf: JailConf, field: str, value: Any) -> JailConf:
    changes: dict[str, Any] = {field: value}
    return replace(conf, **changes)


def _set_idle(conf: JailConf, words: Words) -> JailConf:
    if words[0] not in ("on", "off"):
        raise CommandError("Invalid idle option, must be 'on' or 'off'")
    return replace(conf, is_idle=words[0] == "on")


def _add_ignore_ip(conf: JailConf, words: Words) -> JailConf:
    new = dict.fromkeys((*conf.ignore_ip, *(str(word) for word in words if str(word).strip())))
    return replace(conf, ignore_ip=tuple(new))


def _del_ignore_ip(conf: JailConf, words: Words) -> JailConf:
    gone = str(words[0])
    if gone not in conf.ignore_ip:
        raise ValueError(f"{gone} is not ignored in {conf.name}")
    return replace(conf, ignore_ip=tuple(one for one in conf.ignore_ip if one != gone))


def _add_log_path(conf: JailConf, words: Words) -> JailConf:
    path, where = str(words[0]), str(words[1]) if len(words) > 1 else "head"
    if where not in ("head", "tail"):
        raise ValueError("File option must be 'head' or 'tail'")
    if any(log.pattern == path for log in conf.log_paths):
        return conf
    return replace(conf, log_paths=(*conf.log_paths, LogPath(path, where == "tail")))


def _del_log_path(conf: JailConf, words: Words) -> JailConf:
    rest = tuple(log for log in conf.log_paths if log.pattern != words[0])
    return replace(conf, log_paths=rest)


def _set_log_encoding(conf: JailConf, words: Words) -> JailConf:
    encoding = str(words[0])
    if encoding.lower() in ("auto", ""):
        encoding = locale.getpreferredencoding(False)
    codecs.lookup(encoding)  # raises LookupError
    return replace(conf, log_encoding=encoding)


def _set_log_time_zone(conf: JailConf, words: Words) -> JailConf:
    zone = str(words[0]) or None
    DateDetector(zone=zone)  # raises ValueError
    return replace(conf, log_time_zone=zone)


def _set_date_pattern(conf: JailConf, words: Words) -> JailConf:
    pattern = str(words[0]) or None
    try:
        DateDetector(pattern)
    except ValueError as error:
        raise TypeError(str(error)) from None
    return replace(conf, date_pattern=pattern)


def _add_journal_match(conf: JailConf, words: Words) -> JailConf:
    if not conf.backend.lower().startswith("systemd"):
        return conf
    match = tuple(str(word) for word in words)
    return replace(conf, journal_match=(*conf.journal_match, match))


def _del_journal_match(conf: JailConf, words: Words) -> JailConf:
    match = tuple(str(word) for word in words)
    if match not in conf.journal_match:
        raise ValueError(f"{' '.join(match)!r} is no journal match of {conf.name}")
    return replace(conf, journal_match=tuple(one for one in conf.journal_match if one != match))


def _set_prefregex(conf: JailConf, words: Words) -> JailConf:
    if words[0]:
        Pattern(words[0])  # raises RegexError
    return replace(conf, prefregex=words[0])


def _adder(field: str, needs_id: bool) -> JailEdit:
    def add(conf: JailConf, words: Words) -> JailConf:
        regexes = words[0] if isinstance(words[0], (list, tuple)) else (_text(words),)
        has_id_before = bool(conf.prefregex) and Pattern(conf.prefregex).has_id
        for regex in regexes:
            Pattern(regex, needs_id=needs_id and not has_id_before)  # raises RegexError
        return _with(conf, field, (*getattr(conf, field), *regexes))

    return add


def _deleter(field: str) -> JailEdit:
    def delete(conf: JailConf, words: Words) -> JailConf:
        index = int(words[0])  # raises ValueError
        regexes = list(getattr(conf, field))
        if 0 <= index < len(regexes):
            del regexes[index]
        return _with(conf, field, tuple(regexes))

    return delete


def _set_ignore_cache(conf: JailConf, words: Words) -> JailConf:
    text = str(words[0])
    cache_options(text)  # raises ValueError
    return replace(conf, ignore_cache=text or None)


def cache_options(text: str | None) -> tuple[str, int, float] | None:
    """Key, number of entries and seconds that `ignorecache` gives; None for no cache."""
    if not text:
        return None
    options = split_name(f"cache[{text}]")[1]
    if "key" not in options:
        raise ValueError('ignorecache needs a key, as in key="<ip>", max-count=100, max-time=5m')
    count = units.whole(options.get("max-count", "1000"), 1)
    return options["key"], count, units.seconds(options.get("max-time", "5m"))


_EXTRAS = {option.key: option for option in BAN_TIME_OPTIONS}
_EXTRA_CHECKS: dict[str, Callable[[str], Any]] = {
    "factor": bantime.factor_of,
    "formula": bantime.formula,
    "multipliers": bantime.multipliers_of,
}


def _set_ban_time_extra(key: str, conf: JailConf, words: Words) -> JailConf:
    value = words[0]
    extra = {name: kept for name, kept in conf.ban_time_extra.items() if name != key}
    if value not in ("", None):
        if key in _EXTRA_CHECKS:
            _EXTRA_CHECKS[key](value)  # raises ValueError
        extra[key] = _EXTRAS[key].kind.read(value) if key in _EXTRAS else value
    return replace(conf, ban_time_extra=extra)


def _add_action(conf: JailConf, words: Words) -> JailConf:
    name = str(words[0])
    if any(action.name == name for action in conf.actions):
        raise ValueError(f"Action {name} already exists")
    module = str(words[1]) if len(words) > 1 else None
    arguments = arguments_of(words[2]) if len(words) > 2 else {}
    action = ActionConf(name, module=module, arguments=arguments)
    return replace(conf, actions=(*conf.actions, action))


def arguments_of(text: Any) -> dict[str, Any]:
    """The arguments by name that the JSON `text` holds."""
    given = json.loads(text) if isinstance(text, str) else text
    if not isinstance(given, dict):
        raise ValueError(f'arguments are written as {{"name": "value"}}, not as {text!r}')
    return {str(key): value for key, value in given.items()}


def action_of(conf: JailConf, name: str) -> ActionConf:
    """The action of that name; KeyError where there is none."""
    for action in conf.actions:
        if action.name == name:
            return action
    raise KeyError(f"Invalid Action name: {name}")


def _del_action(conf: JailConf, words: Words) -> JailConf:
    gone = action_of(conf, str(words[0]))
    return replace(conf, actions=tuple(action for action in conf.actions if action is not gone))


def _set_action(conf: JailConf, words: Words) -> JailConf:
    """`words`: the action's name, and a property with its value or a list of such pairs."""
    old = action_of(conf, str(words[0]))
    pairs = words[1] if len(words) == 2 else [(words[1], words[2])]
    read = {str(key): _property(str(key), value) for key, value in pairs}
    new = replace(old, properties={**old.properties, **read})
    return replace(conf, actions=tuple(new if action is old else action for action in conf.actions))


def _set_origins(conf: JailConf, words: Words) -> JailConf:
    return replace(conf, origins={str(option): str(place) for option, place in words[0]})


def _property(key: str, value: Any) -> Any:
    if key == "timeout":
        return units.seconds(str(value)) if not isinstance(value, (int, float)) else value
    return value


def _setter(key: str) -> JailEdit:
    field, option = JAIL_OPTIONS[key]

    def set_option(conf: JailConf, words: Words) -> JailConf:
        try:
            return _with(conf, field, option.kind.read(words[0]))
        except ValueError as error:
            raise ValueError(f"{key} = {words[0]!r} {error}") from None

    return set_option


# `set <jail> KEY words…` and `multi-set <jail> KEY words…`
JAIL_EDITS: Mapping[str, JailEdit] = {
    **{key: _setter(key) for key in JAIL_OPTIONS if key != "backend"},
    "idle": _set_idle,
    "addignoreip": _add_ignore_ip,
    "delignoreip": _del_ignore_ip,
    "ignorecache": _set_ignore_cache,
    "addlogpath": _add_log_path,
    "dellogpath": _del_log_path,
    "logencoding": _set_log_encoding,
    "logtimezone": _set_log_time_zone,
    "datepattern": _set_date_pattern,
    "addjournalmatch": _add_journal_match,
    "deljournalmatch": _del_journal_match,
    "prefregex": _set_prefregex,
    "addfailregex": _adder("failregex", needs_id=True),
    "delfailregex": _deleter("failregex"),
    "addignoreregex": _adder("ignoreregex", needs_id=False),
    "delignoreregex": _deleter("ignoreregex"),
    "addaction": _add_action,
    "delaction": _del_action,
    "action": _set_action,
    "origins": _set_origins,
}


def configures_jail(key: str) -> bool:
    """Whether `set <jail> KEY` is a matter of configuration (and not, say, a ban)."""
    return key in JAIL_EDITS or key.startswith("bantime.")


def edit_jail(conf: JailConf, key: str, words: Words) -> JailConf:
    """The jail after `set <jail> KEY words…`."""
    if key.startswith("bantime."):
        return _set_ban_time_extra(key.removeprefix("bantime."), conf, words)
    option = key.removeprefix("add").removeprefix("del")
    if option in conf.origins:  # it is no longer as it is written there
        origins = {name: place for name, place in conf.origins.items() if name != option}
        conf = replace(conf, origins=origins)
    return JAIL_EDITS[key](conf, words)


# -- the whole -------------------------------------------------------------------------------------


def jail_of(config: Config, name: Any) -> JailConf:
    """The jail of that name; UnknownJailError where there is none."""
    try:
        return config.jails[name]
    except (KeyError, TypeError):
        raise UnknownJailError(name) from None


def with_jail(config: Config, conf: JailConf) -> Config:
    return replace(config, jails={**config.jails, conf.name: conf})


def without_jail(config: Config, name: str) -> Config:
    jails = {other: conf for other, conf in config.jails.items() if other != name}
    return replace(config, jails=jails)


def add_jail(config: Config, name: str, backend: str = "auto") -> Config:
    """`config` with a new, empty jail that is not started."""
    if name == "--all":
        raise CommandError("Reserved name '--all'")
    if not name.strip() or name.startswith("-") or not name.isprintable():
        raise CommandError(f"a jail needs a name, which {name!r} is not")
    if name in config.jails:
        raise DuplicateJailError(name)
    if split_name(backend)[0].lower() not in BACKENDS:
        raise ValueError(f"Unknown backend {backend}. Must be among: {', '.join(BACKENDS)}")
    return with_jail(config, JailConf(name, backend=backend))


def set_daemon(config: Config, key: str, value: Any) -> Config:
    """`config` after `set KEY value` for one of the daemon's options."""
    if key == "thread":
        return replace(config, daemon=replace(config.daemon, stack_size=_stack_size(value)))
    field, option = DAEMON_OPTIONS[key]
    return replace(config, daemon=replace(config.daemon, **{field: option.kind.read(value)}))


def _stack_size(value: Any) -> int:
    for key in value:
        if key != "stacksize":
            raise KeyError(f"unknown option {key!r} of thread")
    size = int(value.get("stacksize", 0))
    if size and size < 32:
        raise ValueError(f"size not valid: {size} KiB; at least 32")
    return size


def edit(config: Config, words: Sequence[Any]) -> Config:
    """The configuration after the command `words`; one that configures nothing is an error."""
    command, given = parse(words)
    verb, *rest = command.usage.split()
    match verb:
        case "add":
            return add_jail(config, str(words[1]), *(str(word) for word in given["backend"]))
        case "start" if rest:
            return with_jail(config, replace(jail_of(config, words[1]), is_started=True))
        case "set" if rest[0] != "<jail>":
            return set_daemon(config, rest[0], words[2])
        case "set" | "multi-set" if configures_jail(str(words[2])):
            conf = edit_jail(jail_of(config, words[1]), str(words[2]), tuple(words[3:]))
            return with_jail(config, conf)
    raise CommandError(f"{' '.join(map(str, words))!r} has no place in a stream of commands")


@dataclass(frozen=True, slots=True)
class Draft:
    """What a stream of commands describes, and what it says is wrong with the rest."""

    config: Config
    problems: Mapping[str, str]


def read_stream(
    base: Config,
    stream: Sequence[Any],
    pinned: Collection[str] = (),
    *,
    is_lenient: bool = False,
) -> Draft:
    """The configuration that `stream` makes of `base`; the daemon's options in `pinned` stay.

    A command that fails raises its error.  Where `is_lenient`, one about a jail that the stream
    itself brings costs that jail alone: it is left out, and named among the problems.
    """
    config = base
    problems: dict[str, str] = {}
    brought: set[str] = set()
    for words in stream:
        if not isinstance(words, (list, tuple)) or not words:
            raise CommandError(f"{words!r} is no command")
        if words[0] == "config-error":
            problems[f"configuration {len(problems) + 1}"] = _text(tuple(words[1:]))
            continue
        name = str(words[1]) if len(words) > 1 else ""
        if (name in problems and name in brought) or (words[0] == "set" and name in pinned):
            continue
        if words[0] == "add":
            brought.add(name)
        try:
            config = edit(config, words)
        except (Fail2banError, ValueError, TypeError, LookupError) as error:
            is_of_jail = words[0] in ("add", "set", "multi-set", "start") and name in brought
            if not is_lenient or not is_of_jail:
                raise _with_its_place(error, words) from None
            problems[name] = f"[{name}] {_text(tuple(words[2:4]))[:200]}: {message_of(error)}"
            config = without_jail(config, name)
    return Draft(config, problems)


def _with_its_place(error: Exception, words: Sequence[Any]) -> Exception:
    """The same error, saying which jail and option `words` were about to set."""
    kind = type(error)
    if words[0] not in ("set", "multi-set") or len(words) < 4 or kind not in _PLACELESS:
        return error
    return kind(told(words, error))


def told(words: Sequence[Any], error: BaseException) -> str:
    """`error` with the jail and the option that `words` were about to set."""
    message = message_of(error)
    key = str(words[2]).removeprefix("add")
    return f"[{words[1]}] {message if message.startswith(f'{key} ') else f'{key}: {message}'}"


_PLACELESS = (RegexError, CommandError, ValueError, TypeError, LookupError)


def message_of(error: BaseException) -> str:
    """The text of `error` as a person should read it."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error) or type(error).__name__


# -- what is asked for -----------------------------------------------------------------------------


def _shown_cache(conf: JailConf) -> list[Any] | None:
    options = cache_options(conf.ignore_cache)
    return list(options) if options else None


def _expanded(regexes: tuple[str, ...]) -> list[str]:
    return [Pattern(regex).expanded for regex in regexes]


def _shown_by(key: str) -> Callable[[JailConf], Any]:
    field, option = JAIL_OPTIONS[key]
    return lambda conf: option.kind.show(getattr(conf, field))


# `get <jail> KEY`
JAIL_VIEWS: Mapping[str, Callable[[JailConf], Any]] = {
    **{key: _shown_by(key) for key in JAIL_OPTIONS if key != "backend"},
    "idle": lambda conf: conf.is_idle,
    "ignoreip": lambda conf: list(conf.ignore_ip),
    "ignorecommand": lambda conf: conf.ignore_command or False,
    "ignorecache": _shown_cache,
    "logpath": lambda conf: [log.pattern for log in conf.log_paths],
    "logencoding": lambda conf: (
        locale.getpreferredencoding(False) if conf.log_encoding == "auto" else conf.log_encoding
    ),
    "journalmatch": lambda conf: [list(match) for match in conf.journal_match],
    "prefregex": lambda conf: Pattern(conf.prefregex).expanded if conf.prefregex else "",
    "failregex": lambda conf: _expanded(conf.failregex),
    "ignoreregex": lambda conf: _expanded(conf.ignoreregex),
    "datepattern": lambda conf: DateDetector(conf.date_pattern, conf.log_time_zone).name,
    "actions": lambda conf: [action.name for action in conf.actions],
}


def view_jail(conf: JailConf, key: str) -> Any:
    """The answer to `get <jail> KEY`; that of `set <jail> KEY …`, too, bar a few."""
    if key.startswith("bantime."):
        name = key.removeprefix("bantime.")
        value = conf.ban_time_extra.get(name)
        return _EXTRAS[name].kind.show(value) if name in _EXTRAS and value is not None else value
    if key.startswith(("add", "del")) and key not in JAIL_VIEWS:
        key = key[3:]
    return JAIL_VIEWS[key](conf)
