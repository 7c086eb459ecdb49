# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban-client: reads what was typed, has it done, and says what came of it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from client.connection import Connection, NoServer, Refused
from client.launch import (
    FAILED,
    become_server,
    configuration,
    daemon_settings,
    is_gone,
    launch,
    patience,
    say,
    server_check,
)
from client.present import present, present_error, without_control
from common import cli, units
from common.commands import Given, InvalidCommand, may_follow, parse, parse_for_client
from common.errors import CommandError, Fail2banError
from common.version import VERSION

FORMATS = ("text", "json")


def main(argv: Sequence[str] | None = None, program: str = "fail2ban-client") -> int:
    """Do what `argv` says; the exit status."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before we began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv), program)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    return status


def _run(argv: list[str], program: str) -> int:
    try:
        choices = cli.parse(argv)
        if choices.asks_for:
            print(_asked(choices.asks_for, program))
            return 0
        if choices.duration is not None:
            print(_seconds(choices.duration))
            return 0
        if choices.is_test:
            return _test(choices)
        if choices.dump:
            return _dump(choices)
        patience(choices)
        if choices.format not in FORMATS:
            raise CommandError(f"--format {choices.format} is none of {', '.join(FORMATS)}")
    except CommandError as error:
        say("ERROR", str(error))
        return FAILED
    if choices.is_interactive:
        return _interact(Session(choices), program)
    if not choices.words:
        print(cli.help_text(program))
        return FAILED
    return Session(choices).do(choices.words)


def _asked(what: str, program: str) -> str:
    if what == "help":
        return cli.help_text(program)
    return VERSION if what == "number" else f"Fail2Ban v{VERSION}"


def _seconds(text: str) -> str:
    try:
        return str(units.seconds(text))
    except ValueError as error:
        raise CommandError(f"{text!r} {error}") from None


def _test(choices: cli.Choices) -> int:
    """See whether the configuration is right: what can be read here, and what the server says of it."""
    from client.stream import exit_status

    reading = configuration(choices)
    status = exit_status(reading, "test")
    found = [] if reading.is_refused else server_check(choices, reading.sent)
    for one in found:
        if one["level"] == "error" or choices.verbosity >= 0:
            say(one["level"].upper(), one["text"])
        # A regex that cannot be used is told, and is no failure of the test, as in fail2ban 1.1.
        if one["level"] == "error" and one["kind"] != "regex":
            status = FAILED
    if choices.is_json:
        from client.asjson import problem_as_json

        told = [problem_as_json(one.level, one.jail, str(one)) for one in reading.problems]
        told += [problem_as_json(one["level"], one["jail"], one["text"]) for one in found]
        _print_json({"is_right": not status, "problems": told})
        return status
    print("ERROR: test configuration failed" if status else "OK: configuration test is successful")
    return status


def _dump(choices: cli.Choices) -> int:
    from client.stream import exit_status

    reading = configuration(choices)
    if choices.is_json:
        _print_json(reading.commands)
        return exit_status(reading, "dump")
    if reading.is_refused:
        print("ERROR: The configuration stream failed because of the invalid syntax.")
    for command in reading.commands:
        print(_pretty(command) if choices.dump == "pretty" else command)
    return exit_status(reading, "dump")


def _print_json(data: Any) -> None:
    """One line of JSON; on a terminal without anything that could steer it."""
    import json

    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(data, ensure_ascii=sys.stdout.isatty() or not is_utf8)
    print(text.replace("\x7f", "\\u007f"))


def _pretty(command: Any) -> str:
    from pprint import pformat

    return pformat(command, width=100, sort_dicts=False)


@dataclass(frozen=True, slots=True)
class _Link:
    """Where the server is, and how long it may take."""

    socket: str
    timeout: float | None

    def open(self) -> Connection:
        return Connection(self.socket, self.timeout)

    def ask(self, words: Sequence[Any]) -> Any:
        with self.open() as connection:
            return connection.ask(words)


class Session:
    """Commands, one after the other, with the same options."""

    def __init__(self, choices: cli.Choices) -> None:
        self._choices = choices
        self._socket = choices.socket

    def do(self, words: Sequence[str]) -> int:
        """Carry out one command and print what came of it; the exit status."""
        try:
            own = parse_for_client(words)
            if own:
                command, given = own
                return _OWN[command.usage.split()[0]](self, given)
            if list(words) == ["stop"]:
                return self.quit({})
            self._print(words, self._link(_timeout_of(words)).ask(_as_sent(words)))
        except Refused as refused:
            return self._refused(words, refused)
        except NoServer as error:
            return self._failed("no_server", str(error))
        except Fail2banError as error:
            return self._failed("failed", str(error))
        return 0

    # what the client does itself

    def start(self, given: Given) -> int:
        """Start a server and send it the configuration."""
        if self._is_there():
            return self._failed("server_running", "Server already running")
        from client.stream import exit_status

        reading = configuration(self._choices)
        if exit_status(reading, "dump"):
            return self._failed("configuration", _NO_JAIL)
        if self._choices.is_foreground:
            sys.stdout.flush()
            become_server(self._choices)
        if not launch(self._choices):
            return self._failed("no_start", "The server did not start")
        link = self._link(None)
        try:
            link.ask(["server-stream", list(reading.sent)])
        except Refused:  # one that knows half of its configuration is worse than none
            _, left = self._end_server()
            if left:
                say("ERROR", _NO_END % left)
            raise
        self._print(["server-status"], link.ask(["server-status"]))
        return 0

    def restart(self, given: Given) -> int:
        """Stop the server and start another; or do so with one jail."""
        if "jail" in given:
            return self.reload({**given, "--restart": ("--restart",)})
        from client.stream import exit_status

        if exit_status(configuration(self._choices), "dump"):  # first see whether it could start
            return self._failed("configuration", _NO_JAIL)
        with contextlib.suppress(NoServer):
            if self.quit(given):
                return FAILED
        return self.start(given)

    def reload(self, given: Given) -> int:
        """Send the configuration, or one jail's, to the running server: all of it or nothing."""
        if not self._is_there():
            return self._failed("no_server", "Could not find server")
        jail = given["jail"][0] if given.get("jail") else None
        reading = configuration(self._choices, jail)
        if reading.is_refused or reading.errors:
            text = "The configuration has mistakes; nothing was changed"
            return self._failed("configuration", text)
        options = [name for name in ("--unban", "--restart", "--if-exists") if given.get(name)]
        with self._link(None).open() as connection:
            is_ours = _is_ours(connection.ask(["version"]))
            stream = list(reading.sent if is_ours else reading.commands)
            words = ["reload", jail or "--all", options, stream]
            try:
                answer = connection.ask(words)
            except Refused as refused:
                self._tell_all_mistakes(stream, str(refused.error))
                raise
        self._print(words, answer)
        return 0

    def _tell_all_mistakes(self, stream: Sequence[Any], first: str) -> None:
        """Say what else the server will refuse, when the `first` mistake has been mended."""
        for one in server_check(self._choices, stream):
            if one["level"] == "error" and one["text"] != first:
                say("ERROR", one["text"])

    def quit(self, given: Given) -> int:
        """End the server, and wait until it is gone, so that another may start."""
        answer, left = self._end_server()
        if left:
            return self._failed("no_end", _NO_END % left)
        self._print(["stop"], answer)
        return 0

    # what these need

    def _end_server(self) -> tuple[Any, int]:
        """What it answers, and once it should have ended, the process that has not; 0 if all is well."""
        with self._link(None).open() as connection:
            answer = connection.ask(["stop"])
        process = connection.server_process
        return answer, 0 if is_gone(process, patience(self._choices)) else process

    def _link(self, timeout: float | None) -> _Link:
        if self._socket is None:
            self._socket = daemon_settings(self._choices).socket
        if self._choices.verbosity > 0:
            say("INFO", f"Using socket file {self._socket}")
        if timeout is None and self._choices.timeout is not None:
            timeout = patience(self._choices)
        return _Link(self._socket, timeout)

    def _is_there(self) -> bool:
        try:
            self._link(patience(self._choices)).ask(["ping"])
        except NoServer:
            return False
        return True

    def _print(self, words: Sequence[Any], answer: Any) -> None:
        if self._choices.is_json:
            from client.asjson import as_json  # a `ping` for people needs none of it

            _print_json(as_json(words, answer))
            return
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        text = present(words, answer, has_boxes=encoding == "utf8")
        print(without_control(text) if sys.stdout.isatty() else text)

    def _failed(self, kind: str, text: str) -> int:
        """Say what went wrong; `kind` is the word for it in JSON."""
        say("ERROR", text)
        if self._choices.is_json:
            from client.asjson import error_as_json

            _print_json(error_as_json(kind, text))
        return FAILED

    def _refused(self, words: Sequence[str], refused: Refused) -> int:
        say("ERROR", f"NOK: {refused.error.args!r}")
        if self._choices.is_json:
            from client.asjson import error_as_json, kind_of

            _print_json(error_as_json(kind_of(refused.error), present_error(refused.error)))
        else:
            print(present_error(refused.error))
        try:
            if not parse_for_client(words):  # of its own it has sent others
                parse(words)
        except InvalidCommand as error:
            print(f"  {error}", file=sys.stderr)
        return FAILED


_NO_JAIL = "The configuration is not such that a server could start with it"
_NO_END = "The server does not end (process %d)"

_OWN: dict[str, Callable[[Session, Given], int]] = {
    "start": Session.start,
    "restart": Session.restart,
    "reload": Session.reload,
    "loadconf": Session.reload,
    "quit": Session.quit,
}


def _is_ours(version: Any) -> bool:
    """Whether a server of this version waits for logs that are missing, as ours does since 2."""
    first = str(version).split(".")[0]
    return first.isdigit() and int(first) >= 2


def _timeout_of(words: Sequence[str]) -> float | None:
    """`ping 5` waits for five seconds."""
    if words[0] != "ping" or len(words) != 2:
        return None
    try:
        return units.seconds(words[1])
    except ValueError as error:
        raise CommandError(f"{words[1]!r} {error}") from None


def _as_sent(words: Sequence[str]) -> Sequence[str]:
    return words[:1] if words[0] == "ping" else words


# interactive


def _interact(session: Session, program: str) -> int:
    """Do what is typed, line by line, until `quit`, `exit` or the end."""
    import shlex

    _complete()
    print(f"Fail2Ban v{VERSION} reads log files and bans hosts that fail too often.")
    print("Type 'help' for the commands, 'exit' to leave.\n")
    while True:
        try:
            words = shlex.split(input("fail2ban> "))
        except EOFError:
            print()
            return 0
        except ValueError as error:  # a quotation mark is missing
            say("ERROR", str(error))
            continue
        if words in (["exit"], ["quit"]):
            return 0
        if words == ["help"]:
            print(cli.help_text(program))
        elif words:
            session.do(words)


def _complete() -> None:
    """Have the tabulator key complete words out of the table of commands."""
    try:
        import readline
    except ImportError:  # a Python without it
        return

    def complete(text: str, number: int) -> str | None:
        before = readline.get_line_buffer()[: readline.get_begidx()].split()
        fitting = [f"{word} " for word in may_follow(before) if word.startswith(text)]
        return fitting[number] if number < len(fitting) else None

    readline.set_completer_delims(" \t")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
