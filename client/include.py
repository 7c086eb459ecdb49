# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files make up one configuration, and what they say together.

`jail` is jail.conf, jail.d/*.conf, jail.local and jail.d/*.local with all that they include.  Files are read
through `Files`, which is handed in and asked once for each: nothing else here touches the disk.
What the values mean is not known here.
"""

from __future__ import annotations

import errno
import glob
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from client.ini import DEFAULT, Sections, Value, parse
from common.errors import ConfigError, Where
from common.version import VERSION

INCLUDES = "INCLUDES"
_MOST_FILES = 1000


class Files(Protocol):
    """The file system as far as reading a configuration needs it; paths are text."""

    def read(self, path: str) -> bytes | None:
        """The contents of a file; None if there is none.  OSError if it cannot be read."""

    def names(self, directory: str) -> list[str]:
        """What a directory holds; nothing if there is none."""

    def glob(self, pattern: str) -> list[str]:
        """The files that a pattern matches, in the order of the file system."""


class Disk:
    """The real one."""

    def read(self, path: str) -> bytes | None:
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
            return None  # ValueError: a NUL in the name
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise

    def names(self, directory: str) -> list[str]:
        try:
            return [each.name for each in Path(directory).iterdir()]
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return []
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return []
            raise

    def glob(self, pattern: str) -> list[str]:
        try:
            return [each for each in glob.glob(pattern) if os.path.exists(each)]
        except (ValueError, re.error):
            return []


@dataclass(frozen=True, slots=True)
class Conf:
    """What several files say together.

    `known` holds, by section and option, the value that an option had before the last file that set
    it; `constants` what is always there.
    """

    sections: Sections
    defaults: Mapping[str, Value]
    known: Mapping[tuple[str, str], Value] = field(default_factory=dict)
    constants: Mapping[str, Value] = field(default_factory=dict)
    paths: tuple[str, ...] = ()


class Library:
    """All files under one configuration directory, each read and parsed at most once."""

    def __init__(self, directory: str | Path, files: Files | None = None) -> None:
        self.directory = str(directory)
        self.files: Files = files or Disk()
        self._constants = {
            "fail2ban_confpath": Value(self.directory, None, is_final=True),
            "fail2ban_version": Value(VERSION, None, is_final=True),
        }
        self._parsed: dict[str, dict[str, dict[str, Value]] | None] = {}
        self._listed: dict[str, list[str]] = {}
        self._confs: dict[str, Conf | ConfigError | None] = {}

    def path(self, name: str) -> str:
        return os.path.normpath(os.path.join(self.directory, name))

    def has(self, name: str) -> bool:
        """Whether there is a file of this very name."""
        directory, _, plain = name.rpartition("/")
        return plain in self._names(self.path(directory))

    def names(self, directory: str, suffix: str) -> list[str]:
        """The names, without `suffix`, of the files in `directory` that end so."""
        names = self._names(self.path(directory))
        return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix))

    def load(self, name: str) -> Conf | None:
        """What `name`.conf and all that belongs to it say; None if there is no file at all."""
        if name not in self._confs:
            try:
                self._confs[name] = self._load(name)
            except ConfigError as error:
                self._confs[name] = error
        conf = self._confs[name]
        if isinstance(conf, ConfigError):
            raise ConfigError(conf.problem, conf.where, conf.hint)
        return conf

    def _load(self, name: str) -> Conf | None:
        base = self.path(name)
        drop_ins = sorted(self._names(f"{base}.d"))
        paths = [f"{base}.conf"]
        paths += [f"{base}.d/{each}" for each in drop_ins if each.endswith(".conf")]
        paths += [f"{base}.local"]
        paths += [f"{base}.d/{each}" for each in drop_ins if each.endswith(".local")]
        chain: list[str] = []
        for path in paths:
            self._follow(path, (), chain)
        return self._merged(chain) if chain else None

    def _follow(self, path: str, trail: tuple[str, ...], chain: list[str]) -> None:
        """Append to `chain` the file `path` amid what it includes."""
        if path in trail:
            return
        sections = self._file(path)
        if sections is None:
            return
        trail = (*trail, path)
        self._include(sections, "before", trail, chain)
        chain.append(path)
        if len(chain) > _MOST_FILES:
            problem = f"including this makes more than {_MOST_FILES} files"
            raise ConfigError(problem, Where(path), "Do files include one another?")
        self._include(sections, "after", trail, chain)

    def _include(
        self, sections: Sections, when: str, trail: tuple[str, ...], chain: list[str]
    ) -> None:
        value = sections.get(INCLUDES, {}).get(when)
        if value is None:
            return
        for line in value.text.split("\n"):
            name = line.strip()
            for key, constant in self._constants.items():
                name = name.replace(f"%({key})s", constant.text)
            if not name:
                continue
            path = os.path.normpath(os.path.join(os.path.dirname(trail[-1]), name))
            self._follow(path, trail, chain)
            local = os.path.splitext(path)[0] + ".local"
            if local != path:
                self._follow(local, trail, chain)

    def _merged(self, chain: list[str]) -> Conf:
        sections: dict[str, dict[str, Value]] = {}
        known: dict[tuple[str, str], Value] = {}
        for path in chain:
            for name, options in (self._file(path) or {}).items():
                section = sections.setdefault(name, {})
                for key, value in options.items():
                    if key in section:
                        known[name, key] = section[key]
                    section[key] = value
        defaults = sections.pop(DEFAULT, {})
        sections.pop(INCLUDES, None)
        return Conf(sections, defaults, known, self._constants, tuple(chain))

    def _file(self, path: str) -> dict[str, dict[str, Value]] | None:
        if path not in self._parsed:
            contents = self._read(path)
            self._parsed[path] = None if contents is None else parse(_decoded(contents, path), path)
        return self._parsed[path]

    def _read(self, path: str) -> bytes | None:
        try:
            return self.files.read(path)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", Where(path)) from None

    def _names(self, directory: str) -> list[str]:
        if directory not in self._listed:
            try:
                self._listed[directory] = self.files.names(directory)
            except OSError as error:
                raise ConfigError(f"cannot be read: {error.strerror}", Where(directory)) from None
        return self._listed[directory]


def _decoded(contents: bytes, path: str) -> str:
    try:
        return contents.decode()
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        problem = f"the byte 0x{contents[error.start]:02x} is not UTF-8"
        raise ConfigError(problem, Where(path, line), "Save the file as UTF-8.") from None
