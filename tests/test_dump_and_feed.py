# SPDX-License-Identifier: GPL-2.0-or-later
"""What the client dumps, the server understands: fed back, it gives the same configuration."""

import ast

import pytest

from client.stream import read
from common.options import Config
from server.draft import read_stream
from tests.support import ROOT

PLACES = sorted(
    path for path in (ROOT / "tests" / "conformance" / "configs").iterdir() if path.is_dir()
)


def configured(stream):
    return read_stream(Config(), stream, is_lenient=True)


@pytest.mark.parametrize("place", PLACES, ids=lambda path: path.name)
def test_what_is_dumped_and_fed_back_gives_the_same_state(place):
    reading = read(place)
    printed = "\n".join(repr(command) for command in reading.commands)

    fed_back = configured([ast.literal_eval(line) for line in printed.splitlines()])

    assert fed_back == configured(reading.commands)
    # config-error stands for a jail that the client has left out already
    wanted = {command[1] for command in reading.commands if command[0] == "add"}
    assert wanted == {*fed_back.config.jails, *(wanted & {*fed_back.problems})}


def test_the_stock_configuration_is_understood_with_every_jail_enabled():
    from client.include import Library

    names = [name for name in Library(ROOT / "config").load("jail").sections if name != "INCLUDES"]

    wrong = {}
    for name in names:
        reading = read(ROOT / "config", jail=name, is_enabled_anyway=True)
        problems = configured(reading.sent).problems
        wrong |= {name: [*problems.values(), *map(str, reading.errors)]} if problems else {}

    assert names and not wrong
