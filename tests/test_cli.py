# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: words in, choices out."""

from __future__ import annotations

import pytest

from common import cli
from common.errors import CommandError


def test_options_are_understood_in_every_way_of_writing_them():
    given = cli.parse(["-vvxc/etc/x", "--logt=STDERR", "--sock", "/s", "--dump", "set", "-v", "-1"])

    assert (given.verbosity, given.is_forced, given.confdir) == (2, True, "/etc/x")
    assert (given.logtarget, given.socket, given.dump) == ("STDERR", "/s", "pretty")
    assert given.words == ("set", "-v", "-1")


def test_an_option_that_may_be_two_is_refused():
    with pytest.raises(CommandError, match="--loglevel or --logtarget"):
        cli.parse(["--log", "x"])


@pytest.mark.parametrize("argv", [["-z"], ["--nosuch"], ["-c"], ["--test=3"]], ids=str)
def test_what_is_no_option_is_refused(argv):
    with pytest.raises(CommandError):
        cli.parse(argv)


def test_the_help_fits_a_terminal_of_80_columns():
    assert max(map(len, cli.help_text("fail2ban-client").splitlines())) <= 80


def test_every_option_is_a_field_that_it_sets():
    fields = cli.Choices.__dataclass_fields__

    assert {switch.sets for switch in cli.SWITCHES} <= set(fields)
