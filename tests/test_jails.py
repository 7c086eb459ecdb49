# SPDX-License-Identifier: GPL-2.0-or-later
"""The stock jails: complete, disabled, and right wherever the logs are."""

from __future__ import annotations

import re
from functools import cache

import pytest

from client.include import Disk, Library
from client.jailconf import jail_filter
from client.stream import read
from common.options import BAN_TIME_OPTIONS, JAIL_OPTIONS, Config
from server.draft import read_stream
from tests.filters import CONFIG

# What a section of the stock jail.conf may say.
KNOWN = {
    *JAIL_OPTIONS,
    *(f"bantime.{option.key}" for option in BAN_TIME_OPTIONS),
    *"filter logpath port protocol banaction action journalmatch systemd_if_nologs".split(),
}
ALL_ENABLED = "[DEFAULT]\nenabled = true\n"
FILTERS = {
    path.stem for path in (CONFIG / "filter.d").glob("*.conf") if not path.stem.endswith("common")
}
PATHS = sorted(path.name for path in CONFIG.glob("paths-*.conf") if path.stem != "paths-common")


class Elsewhere(Disk):
    """The stock configuration where `paths` tells of the logs, which are there or not."""

    def __init__(self, paths="paths-debian.conf", local=None, has_logs=True, has_journal=False):
        self._paths = paths
        self._local = local
        self._has_logs = has_logs
        self._has_journal = has_journal

    def read(self, path):
        if path == str(CONFIG / "jail.local"):
            return self._local and self._local.encode()
        data = super().read(path)
        if path == str(CONFIG / "jail.conf"):
            data = data.replace(b"\nbefore = paths-debian.conf\n", f"\nbefore = {self._paths}\n".encode())  # fmt: skip
        return data

    def names(self, directory):
        more = ["jail.local"] if self._local and directory == str(CONFIG) else []
        return [*super().names(directory), *more]

    def glob(self, pattern):
        is_there = self._has_journal if pattern.endswith("/journal") else self._has_logs
        return [pattern] if is_there else []


def sections(**where):
    """The jails and what each says itself."""
    return Library(CONFIG, Elsewhere(**where)).load("jail").sections


def variables(name):
    return set(re.findall(r"^(\w+)\s*=", (CONFIG / name).read_text("utf-8"), re.MULTILINE))


def test_every_filter_has_a_jail_and_every_jail_a_filter():
    library = Library(CONFIG, Elsewhere())
    conf = library.load("jail")

    assert FILTERS == {jail_filter(library, conf, name).name for name in conf.sections}


def test_nothing_is_enabled_that_the_user_does_not_enable():
    reading = read(CONFIG, files=Elsewhere())

    assert (reading.jails, reading.problems) == ((), ())


def test_a_jail_says_nothing_that_is_no_option():
    strange = {name: set(options) - KNOWN for name, options in sections().items()}

    assert not any(strange.values()), strange


def test_a_jail_says_which_ports_it_shuts_unless_it_shuts_all():
    wrong = [name for name, own in sections().items() if ("port" in own) == ("banaction" in own)]

    assert not wrong


@cache
def all_enabled(paths):
    """What is read where every jail is enabled and `paths` tells of the logs."""
    return read(CONFIG, files=Elsewhere(paths, ALL_ENABLED))


@pytest.mark.parametrize("paths", PATHS)
def test_all_jails_are_right_wherever_the_logs_are(paths):
    reading = all_enabled(paths)
    draft = read_stream(Config(), reading.sent)

    assert (reading.problems, draft.problems) == ((), {})
    assert set(draft.config.jails) == set(sections())
    for jail in draft.config.jails.values():
        assert jail.failregex and jail.actions, jail.name
        assert jail.log_paths or jail.backend == "systemd", jail.name


def test_a_jail_without_its_log_waits_for_it_or_reads_the_journal():
    reading = read(CONFIG, files=Elsewhere(local=ALL_ENABLED, has_logs=False))
    draft = read_stream(Config(), reading.sent)

    told = {str(problem.text) for problem in reading.problems}
    assert told and all("Have not found any log file for" in text for text in told), told
    assert not draft.problems
    assert set(draft.config.jails) == set(sections())


@pytest.mark.parametrize("paths", PATHS)
def test_a_system_says_only_what_all_others_can_say_too(paths):
    own = variables(paths)

    assert own and own <= {*variables("paths-common.conf"), "before"}


@pytest.mark.parametrize("paths", PATHS)
def test_a_jail_local_may_choose_the_system(paths):
    chosen = f"[INCLUDES]\nbefore = {paths}\n{ALL_ENABLED}"

    assert read(CONFIG, files=Elsewhere(local=chosen)) == all_enabled(paths)


def test_where_syslog_is_missing_the_jail_of_sshd_reads_the_journal():
    own = "[sshd]\nenabled = true\n"
    reading = read(CONFIG, files=Elsewhere(local=own, has_logs=False, has_journal=True))
    sshd = read_stream(Config(), reading.sent).config.jails["sshd"]

    assert ["add", "sshd", "systemd"] == reading.jails[0].commands[0]
    assert any("_SYSTEMD_UNIT=ssh.service" in match for match in sshd.journal_match)
    assert not sshd.log_paths and sshd.failregex


def test_what_does_not_log_by_syslog_waits_for_its_log_even_there():
    where = Elsewhere(local=ALL_ENABLED, has_logs=False, has_journal=True)
    jails = read_stream(Config(), read(CONFIG, files=where).sent).config.jails

    assert jails["asterisk"].backend == "auto"
    assert jails["postfix"].backend == "systemd" and jails["postfix"].journal_match


@pytest.mark.parametrize(
    "name", sorted(name for name, own in sections().items() if "systemd_if_nologs" in own)
)
def test_a_jail_that_would_read_the_journal_knows_what_to_read(name):
    own = f"[{name}]\nenabled = true\n"
    reading = read(CONFIG, files=Elsewhere(local=own, has_logs=False, has_journal=True))

    assert "systemd" == reading.jails[0].commands[0][2]
