# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration files that exist in a dictionary only."""

from __future__ import annotations

import fnmatch

from client.include import Library

HERE = "/etc/f"


class Shelf:
    """The files named, under `HERE`; notes which of them were read."""

    def __init__(self, files):
        self.contents = {f"{HERE}/{name}": text for name, text in files.items()}
        self.reads = []

    def read(self, path):
        self.reads.append(path)
        text = self.contents.get(path)
        if isinstance(text, OSError):
            raise text
        return text.encode() if isinstance(text, str) else text

    def names(self, directory):
        start = f"{directory}/"
        return [path.removeprefix(start) for path in self.contents if path.startswith(start)]

    def glob(self, pattern):
        return [path for path in self.contents if fnmatch.fnmatchcase(path, pattern)]


def library(files):
    return Library(HERE, Shelf(files))
