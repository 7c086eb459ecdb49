# SPDX-License-Identifier: GPL-2.0-or-later
"""A command becomes an answer.  What a command may be stands in `common.commands`; what it means, here.

Knows no socket, thread or file: it asks the server, which is handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common.commands import COMMANDS, Command, Given, parse
from common.errors import Fail2banError, UnknownJailError
from common.options import DAEMON_OPTIONS, ActionConf, Config
from common.version import VERSION
from server import draft
from server.handlers import HANDLERS, handles
from server.standing import lift_all, log_paths

if TYPE_CHECKING:
    from server.server import Server

log = logging.getLogger("fail2ban.transmitter")

_BUILT_IN = (
    "actionban",
    "actioncheck",
    "actionflush",
    "actionprolong",
    "actionreban",
    "actionreload",
    "actionrepair",
    "actionstart",
    "actionstop",
    "actionunban",
    "timeout",
)
_METHODS = ("ban", "flush", "prolong", "reban", "reload", "start", "stop", "unban")


class Transmitter:
    """Answers what comes over the wire."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def answer(self, words: Any) -> tuple[int, Any]:
        """`(0, result)` or `(1, error)` for a command; raises nothing."""
        try:
            return 0, self._answer(words)
        except (
            Fail2banError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            OSError,
        ) as error:
            log.warning("Command %.200r has failed: %s", words, draft.message_of(error))
            return 1, error
        except RuntimeError as error:
            log.exception("Command %.200r has failed", words)
            return 1, error

    def _answer(self, words: Any) -> Any:
        if not isinstance(words, (list, tuple)):
            raise TypeError(f"a command is a list of words, not {type(words).__name__}")
        if words and words[0] == "server-stream":  # its commands are checked one by one
            return _server_stream(self._server, {"commands": (words[1],)}, words)
        command, given = parse(words)
        if (handler := HANDLERS.get(command.usage)) is not None:
            return handler(self._server, given, words)
        return _generic(self._server, command, words)


def answered() -> set[str]:
    """The usages that have an answer here; a test holds it against the table."""
    return {
        command.usage
        for command in COMMANDS
        if not command.by_client and (command.usage in HANDLERS or _is_generic(command))
    }


def _is_generic(command: Command) -> bool:
    verb, *rest = command.usage.split()
    if verb not in ("set", "get", "multi-set") or len(rest) < 1:
        return False
    if rest[0] != "<jail>":
        return rest[0] in DAEMON_OPTIONS or rest[0] == "thread"
    key = rest[1].replace("<key>", "key")
    if verb == "get":
        return key in draft.JAIL_VIEWS or key.startswith("bantime.")
    return draft.configures_jail(key)


def _generic(server: Server, command: Command, words: Sequence[Any]) -> Any:
    """`set` and `get` of what is configuration and nothing else."""
    verb, *rest = command.usage.split()
    if rest[0] != "<jail>":
        if verb == "set":
            server.change(lambda config: draft.set_daemon(config, rest[0], words[2]))
            return None if rest[0] == "thread" else _daemon_option(server, rest[0])
        return _daemon_option(server, rest[0])
    name, key = words[1], str(words[2])
    if verb == "get":
        return draft.view_jail(server.conf(name), key)
    config = server.change(lambda config: draft.edit(config, words))
    return True if verb == "multi-set" else draft.view_jail(config.jails[name], key)


# -- basic -----------------------------------------------------------------------------------------


@handles("ping [<seconds>]")
def _ping(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return "pong"


@handles("version")
def _version(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return VERSION


@handles("echo [<word>...]")
def _echo(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return list(given["word"])


@handles("server-status")
def _server_status(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return "Server ready"


@handles("sleep <seconds>")
def _sleep(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.wait(min(float(given["seconds"][0]), 3600.0))


@handles("stop")
def _stop(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.stop_jails()
    server.is_stopping.set()


@handles("flushlogs")
def _flush_logs(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return "rolled over" if server.reopen_log() else "flushed"


@handles("config-error <text>")
def _config_error(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.problems = {
        **server.problems,
        f"configuration {len(server.problems) + 1}": str(words[1]),
    }
    server.log_problem(str(words[1]))


def _server_stream(server: Server, given: Given, words: Sequence[Any]) -> Any:
    """Jails that are right start; what is wrong with the others is said loudly."""
    drafts: list[draft.Draft] = []

    def edit(config: Config) -> Config:
        drafts.append(
            draft.read_stream(config, given["commands"][0], server.pinned, is_lenient=True)
        )
        return drafts[0].config

    server.problems = {}
    server.change(edit, is_lenient=True)
    _note_problems(server, drafts[0].problems)


@handles("reload <jail> <options> <commands>")
def _reload(server: Server, given: Given, words: Sequence[Any]) -> Any:
    name, options, stream = given["jail"][0], given["options"][0], given["commands"][0]
    if name != "--all" and name not in server.config.jails and "--if-exists" not in options:
        raise UnknownJailError(name)
    touched = [name] if name != "--all" else server.names()
    drafts: list[draft.Draft] = []

    def edit(config: Config) -> Config:
        # An option that the new configuration does not name is as in a new jail, but for the daemon's.
        fresh = replace(config, jails={}) if name == "--all" else draft.without_jail(config, name)
        drafts.append(draft.read_stream(fresh, stream, server.pinned))
        jails = drafts[0].config.jails
        started = {
            key: conf for key, conf in jails.items() if conf.is_started or key not in touched
        }
        order = [key for key in config.jails if key in started]
        order += [key for key in started if key not in config.jails]
        return replace(drafts[0].config, jails={key: started[key] for key in order})

    # A mistake shows here, before anything is touched.
    server.check_actions(edit(server.config))
    drafts.clear()
    for one in touched if "--unban" in options else ():
        if one in server.config.jails:
            server.worker(one).order(lift_all)
    if "--restart" in options:
        server.change(lambda config: _without(config, touched))
    server.change(edit)
    server.problems = {}
    _note_problems(server, drafts[0].problems)
    return "OK"


def _without(config: Config, names: Sequence[str]) -> Config:
    return replace(
        config, jails={key: conf for key, conf in config.jails.items() if key not in names}
    )


def _note_problems(server: Server, problems: Mapping[str, str]) -> None:
    server.problems = {**server.problems, **problems}
    for problem in problems.values():
        server.log_problem(problem)


# -- the daemon's options ----------------------------------------------------------------------------


def _daemon_option(server: Server, key: str) -> Any:
    if key == "thread":
        return {"stacksize": server.config.daemon.stack_size}
    field, option = DAEMON_OPTIONS[key]
    value = option.kind.show(getattr(server.config.daemon, field))
    match key:
        case "loglevel":
            return value.upper()
        case "logtarget":
            return value.partition("[")[0]
        case "dbfile":
            return None if value in ("", "None") else value
        case "dbpurgeage" | "dbmaxmatches" if _daemon_option(server, "dbfile") is None:
            return None
    return value


# -- jails -------------------------------------------------------------------------------------------


@handles("add <jail> [<backend>]")
def _add(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.change(lambda config: draft.edit(config, words))
    return given["jail"][0]


@handles("start <jail>")
def _start_jail(server: Server, given: Given, words: Sequence[Any]) -> Any:
    def start(config: Config) -> Config:
        conf = draft.jail_of(config, given["jail"][0])
        return draft.with_jail(config, replace(conf, is_started=True, is_idle=False))

    server.change(start)


@handles("stop <jail>")
def _stop_jail(server: Server, given: Given, words: Sequence[Any]) -> Any:
    name = draft.jail_of(server.config, given["jail"][0]).name
    server.change(lambda config: draft.without_jail(config, name))


@handles("stop --all")
def _stop_all(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.stop_jails()


@handles("set <jail> addlogpath <path> [<where>]")
def _add_log_path(server: Server, given: Given, words: Sequence[Any]) -> Any:
    name = given["jail"][0]
    draft.edit(server.config, words)  # says what is wrong with the words first
    server.check_log(str(given["path"][0]))
    server.change(lambda config: draft.edit(config, words))
    return log_paths(server, name)


@handles("get <jail> logpath")
def _get_log_path(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return log_paths(server, given["jail"][0])


@handles("set <jail> dellogpath <path>")
def _del_log_path(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.change(lambda config: draft.edit(config, words))
    return log_paths(server, given["jail"][0])


# -- actions -----------------------------------------------------------------------------------------


@handles("set <jail> addaction <action> [<file>] [<json>]")
def _add_action(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.check_actions(draft.edit(server.config, words))
    server.change(lambda config: draft.edit(config, words))
    return given["action"][0]


@handles("set <jail> delaction <action>")
def _del_action(server: Server, given: Given, words: Sequence[Any]) -> Any:
    server.change(lambda config: draft.edit(config, words))


@handles("set <jail> action <action> <name> [<value>]")
def _set_action(server: Server, given: Given, words: Sequence[Any]) -> Any:
    jail, action, name = (given[key][0] for key in ("jail", "action", "name"))
    conf = draft.action_of(server.conf(jail), action)
    if conf.module is not None and (server.conf(jail).is_started or not given["value"]):
        return _use_action(server, conf, given, words)
    if not given["value"]:
        raise AttributeError(f"the action {action} of {jail} has no method {name}")
    config = server.change(lambda config: draft.edit(config, words))
    return draft.action_of(config.jails[jail], action).properties[name]


def _use_action(server: Server, conf: ActionConf, given: Given, words: Sequence[Any]) -> Any:
    """Call a method of an action in Python, or set one of its properties, from now on."""
    jail, name = given["jail"][0], str(given["name"][0])
    value = given["value"][0] if given["value"] else "{}"
    methods = server.use_action(jail, conf, lambda plugin: plugin.methods)
    if name in methods or not given["value"]:
        arguments = draft.arguments_of(value)
        return server.use_action(jail, conf, lambda plugin: plugin.call(name, arguments))
    answer = server.use_action(jail, conf, lambda plugin: plugin.set(name, value))
    server.change(lambda config: draft.edit(config, words))
    return answer


@handles("get <jail> action <action> <property>")
def _get_action(server: Server, given: Given, words: Sequence[Any]) -> Any:
    jail, action, name = (given[key][0] for key in ("jail", "action", "property"))
    conf = draft.action_of(server.conf(jail), action)
    if conf.module is not None:
        return server.use_action(jail, conf, lambda plugin: plugin.get(str(name)))
    if name in conf.properties:
        return conf.properties[name]
    if name == "timeout":
        return 60
    if name in _BUILT_IN:
        return ""
    raise AttributeError(f"the action {action} of {jail} has no property {name}")


@handles("get <jail> actionproperties <action>")
def _action_properties(server: Server, given: Given, words: Sequence[Any]) -> Any:
    jail, action = given["jail"][0], given["action"][0]
    conf = draft.action_of(server.conf(jail), action)
    if conf.module is not None:
        return server.use_action(jail, conf, lambda plugin: plugin.properties)
    return sorted({*_BUILT_IN, *conf.properties})


@handles("get <jail> actionmethods <action>")
def _action_methods(server: Server, given: Given, words: Sequence[Any]) -> Any:
    jail, action = given["jail"][0], given["action"][0]
    conf = draft.action_of(server.conf(jail), action)
    if conf.module is not None:
        return server.use_action(jail, conf, lambda plugin: plugin.methods)
    return list(_METHODS)
