# SPDX-License-Identifier: GPL-2.0-or-later
"""Actions in Python: finds the code in a file, makes its actions, and calls them.

What that code does wrong, an exception or even an attempt to end the program, is an answer here.
Knows no ban and no order of things.
"""

from __future__ import annotations

import inspect
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from common import units
from common.errors import CommandError
from common.options import ActionConf
from server.action import quotable
from server.actionbase import ActionBase, JailName
from server.steps import Call, Returned

log = logging.getLogger("fail2ban.actions")

T = TypeVar("T")
_LARGEST = 4 << 20  # bytes of a file that may be code
_loading = threading.Lock()

# What code of others may raise; KeyboardInterrupt is nobody's but the interpreter's.
_WHATEVER = (Exception, SystemExit)


class Plugin:
    """An action in Python as seen from outside: what of it can be read, set and called by name."""

    def __init__(self, action: ActionBase) -> None:
        self.action = action

    @property
    def properties(self) -> list[str]:
        """The names of what can be read and set."""
        return [name for name in self._public() if not callable(getattr(self.action, name))]

    @property
    def methods(self) -> list[str]:
        """The names of what can be called."""
        return [name for name in self._public() if callable(getattr(self.action, name))]

    def get(self, name: str) -> Any:
        """The property `name`; AttributeError where there is none."""
        if name not in self.properties:
            raise AttributeError(f"the action has no property {name}")
        return getattr(self.action, name)

    def set(self, name: str, value: Any) -> Any:
        """Set a property, from a text to the kind of value that is there; what it is then."""
        if not name.isidentifier() or name.startswith("_") or name in self.methods:
            raise AttributeError(f"the action has no property {name}")
        setattr(self.action, name, _alike(value, getattr(self.action, name, None)))
        return getattr(self.action, name)

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """What the method `name` returns; AttributeError where there is none."""
        if name not in self.methods:
            raise AttributeError(f"the action has no method {name}")
        return getattr(self.action, name)(**arguments)

    def _public(self) -> list[str]:
        return sorted(name for name in dir(self.action) if not name.startswith("_"))


def _alike(value: Any, old: Any) -> Any:
    """`value`, if it is a text, as the kind of thing that `old` is."""
    if not isinstance(value, str):
        return value
    try:
        if isinstance(old, bool):
            return units.is_on(value)
        return type(old)(value) if isinstance(old, (int, float)) else value
    except ValueError:
        raise CommandError(f"{value!r} is no number, as {old!r} is") from None


class Plugins:
    """The actions in Python of one jail; to be used by the thread that carries actions out."""

    def __init__(self, jail: str) -> None:
        self._jail = JailName(jail)
        self._made: dict[str, tuple[ActionConf, ActionBase]] = {}

    def call(self, call: Call) -> Returned:
        """Carry `call` out; raises nothing."""
        try:
            return Returned(self._call(call))
        except CommandError as error:  # it says all there is to say
            return Returned(problem=str(error))
        except _WHATEVER as error:
            name, method = call.action.name, call.method
            log.exception("[%s] action %s: %s failed", self._jail, name, method)
            return Returned(problem=_in_words(error))

    def _call(self, call: Call) -> Any:
        if call.method == "reload":
            return self._reload(call.action)
        action = self.find(call.action)
        if call.about is None:
            value = getattr(action, call.method)()
        elif call.about["restored"] and action.norestored:
            return None
        else:
            value = getattr(action, call.method)(call.about)
        if call.method == "stop":
            del self._made[call.action.name]
        return value

    def find(self, conf: ActionConf) -> ActionBase:
        """The action of `conf` with its properties set, made anew if it is not the one there was."""
        before, action = self._made.get(conf.name, (None, None))
        if before == conf and action is not None:
            return action
        properties: Mapping[str, Any] = {}
        if before is not None and _code_of(before) == _code_of(conf):
            properties = before.properties
        else:
            action = _class_of(conf)(self._jail, conf.name, **conf.arguments)
        assert action is not None
        for name, value in conf.properties.items():
            if name not in properties or properties[name] != value:
                Plugin(action).set(name, value)
        self._made[conf.name] = conf, action
        return action

    def _reload(self, conf: ActionConf) -> bool:
        """Have the action go on with other arguments; False where it has to be made anew."""
        before, action = self._made.get(conf.name, (None, None))
        if before is None or action is None or before.module != conf.module:
            return False
        if action.reload(**conf.arguments) is not True:
            return False
        self._made[conf.name] = conf, action
        return True


def guarded(request: Callable[[], T]) -> T:
    """What `request` gives, which runs code of others: whatever it raises is a CommandError."""
    try:
        return request()
    except (CommandError, AttributeError):
        raise
    except _WHATEVER as error:
        log.exception("an action failed")
        raise CommandError(_in_words(error)) from None


def check(conf: ActionConf) -> None:
    """CommandError where the action of `conf`, if it is one in Python, could not be made."""
    if conf.module is not None:
        _class_of(conf)


# -- the code --------------------------------------------------------------------------------------


def _code_of(conf: ActionConf) -> tuple[str | None, Mapping[str, Any]]:
    return conf.module, conf.arguments


def _class_of(conf: ActionConf) -> type[ActionBase]:
    """The class `Action` that `conf` names, if its arguments fit; else CommandError."""
    assert conf.module is not None
    module = _module(conf.module)
    found = getattr(module, "Action", None)
    if not (isinstance(found, type) and issubclass(found, ActionBase)):
        raise CommandError(
            f"{conf.module}: there is no class Action(ActionBase) in it;"
            " ActionBase is to be had by: from fail2ban.server.action import ActionBase"
        )
    try:
        inspect.signature(found).bind(None, conf.name, **conf.arguments)
    except TypeError as error:
        raise CommandError(f"{conf.module}: the arguments of action {conf.name}: {error}") from None
    return found


def _module(path: str) -> ModuleType:
    """The module that the file at `path` is, run once for as long as the file stays the same."""
    with _loading:
        return _loaded(path)


def _loaded(path: str) -> ModuleType:
    source = _read(path)
    import hashlib  # with it comes OpenSSL, which is large

    digest = hashlib.sha256(os.fsencode(path) + b"\0" + source).hexdigest()
    name = f"fail2ban_action_{Path(path).stem}_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # some libraries look the module of a class up
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except _WHATEVER as error:
        del sys.modules[name]
        if not isinstance(error, (SyntaxError, ImportError)):
            log.exception("%s cannot be run", path)
        raise CommandError(f"{path} cannot be run: {_in_words(error)}") from None
    return module


def _read(path: str) -> bytes:
    """What stands in the file at `path`, if nobody could have put it there who may not."""
    try:
        # Where a pipe stands, this does not wait for somebody to write into it.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from None
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
            raise CommandError(f"{path} is no file of Python code")
        _see_that_it_is_ours(path, about)
        folder = Path(path).parent
        _see_that_it_is_ours(str(folder), folder.stat())
        with os.fdopen(os.dup(file), "rb") as code:
            return code.read(_LARGEST)
    finally:
        os.close(file)


def _see_that_it_is_ours(path: str, about: os.stat_result) -> None:
    """CommandError if another than root or the server's user could change what is at `path`."""
    if about.st_uid not in (0, os.geteuid()):
        raise CommandError(
            f"{path} belongs to the user {about.st_uid}; what it holds would run as the server's:"
            " have it belong to root (chown root)"
        )
    is_sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
    is_others = about.st_mode & stat.S_IWOTH
    is_a_group_s = about.st_mode & stat.S_IWGRP and about.st_gid not in (0, os.getegid())
    if (is_others or is_a_group_s) and not is_sticky:
        raise CommandError(
            f"{path} may be written by others; what it holds would run as the server's user:"
            " take that right away (chmod go-w)"
        )


def _in_words(error: BaseException) -> str:
    text = quotable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
