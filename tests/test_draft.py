# SPDX-License-Identifier: GPL-2.0-or-later
import math

import pytest

from common.errors import CommandError, DuplicateJailError, RegexError, UnknownJailError
from common.options import Config, LogPath
from server.draft import edit, read_stream, view_jail

REGEX = r"^login failed for \S+ from <HOST>$"
SSH = [
    ["add", "ssh", "auto"],
    ["set", "ssh", "maxretry", 3],
    ["set", "ssh", "addfailregex", REGEX],
    ["set", "ssh", "addlogpath", "/var/log/auth.log", "tail"],
    ["set", "ssh", "addaction", "wall"],
    ["multi-set", "ssh", "action", "wall", [["actionban", "wall add <ip>"], ["timeout", "2m"]]],
    ["start", "ssh"],
]


def drafted(*commands, base=None, **more):
    return read_stream(base or Config(), commands, **more)


def ssh(*commands):
    return drafted(["add", "ssh"], *commands).config.jails["ssh"]


def test_a_stream_describes_a_jail():
    conf = drafted(*SSH).config.jails["ssh"]

    assert (conf.max_retry, conf.failregex, conf.is_started) == (3, (REGEX,), True)
    assert conf.log_paths == (LogPath("/var/log/auth.log", is_tail=True),)
    assert conf.actions[0].properties == {"actionban": "wall add <ip>", "timeout": 120}


def test_the_same_stream_describes_the_same_configuration():
    assert drafted(*SSH).config == drafted(*SSH).config


@pytest.mark.parametrize(
    ("command", "key", "answer"),
    [
        (["maxretry", "5"], "maxretry", 5),
        (["findtime", "1d 12h"], "findtime", 129600),
        (["bantime", "-1"], "bantime", -1),
        (["usedns", "RAW"], "usedns", "raw"),
        (["usedns", "perhaps"], "usedns", "no"),
        (["ignoreself", "False"], "ignoreself", False),
        (["addignoreip", "10.0.0.0/8", "", "10.0.0.0/8"], "ignoreip", ["10.0.0.0/8"]),
        (["ignorecommand", "/bin/true"], "ignorecommand", "/bin/true"),
        (["ignorecache", 'key="<ip>", max-count=9, max-time=1m'], "ignorecache", ["<ip>", 9, 60]),
        (["ignorecache", ""], "ignorecache", None),
        (["addlogpath", "/a"], "logpath", ["/a"]),
        (["logencoding", "latin-1"], "logencoding", "latin-1"),
        (["logtimezone", "UTC+0200"], "logtimezone", "UTC+0200"),
        (["maxlines", "7"], "maxlines", 7),
        (["bantime.increment", "true"], "bantime.increment", True),
        (["bantime.maxtime", "5w"], "bantime.maxtime", 3024000),
        (["bantime.factor", ""], "bantime.factor", None),
        (["bantime.mine", "x"], "bantime.mine", "x"),
        (["addjournalmatch", "_COMM=sshd"], "journalmatch", []),
        (["idle", "on"], "idle", True),
    ],
)
def test_what_is_set_is_what_is_shown(command, key, answer):
    assert view_jail(ssh(["set", "ssh", *command]), key) == answer


def test_what_was_never_set_has_the_defaults_that_scripts_know():
    conf = ssh()

    assert {key: view_jail(conf, key) for key in ("maxretry", "findtime", "bantime", "usedns", "maxmatches", "maxlines", "ignoreself", "ignorecommand", "logtimezone", "prefregex", "bantime.factor")} == {
        "maxretry": 3, "findtime": 600, "bantime": 600, "usedns": "warn", "maxmatches": 5,
        "maxlines": 1, "ignoreself": True, "ignorecommand": False, "logtimezone": None,
        "prefregex": "", "bantime.factor": None,
    }  # fmt: skip


def test_for_ever_is_kept_as_infinity():
    assert ssh(["set", "ssh", "bantime", "-1"]).ban_time == math.inf


def test_a_regex_is_taken_out_by_its_index():
    commands = [["set", "ssh", "addfailregex", f"^{word} <HOST>$"] for word in ("one", "two")]

    conf = ssh(*commands, ["set", "ssh", "delfailregex", "0"], ["set", "ssh", "delfailregex", "7"])

    assert conf.failregex == ("^two <HOST>$",)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["set", "ssh", "addfailregex", "^(<HOST>$"], RegexError),
        (["set", "ssh", "addfailregex", "^nobody$"], RegexError),
        (["set", "ssh", "maxretry", "three"], ValueError),
        (["set", "ssh", "maxretry", "0"], ValueError),
        (["set", "ssh", "maxlines", "0"], ValueError),
        (["set", "ssh", "findtime", "soon"], ValueError),
        (["set", "ssh", "logencoding", "no-such-code"], LookupError),
        (["set", "ssh", "logtimezone", "Mars/Olympus"], ValueError),
        (["set", "ssh", "datepattern", "%Q ("], TypeError),
        (["set", "ssh", "addlogpath", "/a", "middle"], ValueError),
        (["set", "ssh", "delignoreip", "192.0.2.1"], ValueError),
        (["set", "ssh", "delaction", "none"], KeyError),
        (["set", "ssh", "action", "none", "x", "y"], KeyError),
        (["set", "ssh", "idle", "perhaps"], CommandError),
        (["set", "ssh", "bantime.formula", "__import__('os')"], ValueError),
        (["set", "nobody", "maxretry", "3"], UnknownJailError),
        (["set", "ssh", "banip", "192.0.2.1"], CommandError),
        (["status"], CommandError),
        (["add", "ssh"], DuplicateJailError),
        (["add", "--all"], CommandError),
        (["add", "b", "magic"], ValueError),
        ([], CommandError),
        ("add", CommandError),
        ([["add"]], CommandError),
    ],
)
def test_what_cannot_be_is_refused(command, error):
    with pytest.raises(error):
        drafted(["add", "ssh"], command)


def test_a_mistake_leaves_the_configuration_as_it_was():
    before = drafted(*SSH).config

    with pytest.raises(ValueError, match="is not a whole number of 1 or more"):
        edit(before, ["set", "ssh", "maxretry", "none"])

    assert before == drafted(*SSH).config


def test_at_a_start_a_mistake_costs_its_own_jail_only():
    draft = drafted(
        ["add", "bad"], ["set", "bad", "addfailregex", "("], ["start", "bad"], *SSH, is_lenient=True
    )

    assert list(draft.config.jails) == ["ssh"]
    assert "[bad] addfailregex (" in draft.problems["bad"]


def test_the_reader_of_the_configuration_may_name_problems_itself():
    assert list(drafted(["config-error", "Jail 'x' skipped"]).problems.values()) == [
        "Jail 'x' skipped"
    ]


def test_an_option_of_the_command_line_is_not_overruled():
    config = drafted(
        ["set", "dbfile", "/db"], ["set", "loglevel", "DEBUG"], pinned={"dbfile"}
    ).config

    assert (config.daemon.db_file, config.daemon.log_level) == ("None", "DEBUG")


def test_where_a_regex_is_written_is_known_until_it_is_changed():
    places = [["failregex", "door.conf:3"], ["prefregex", "door.conf:2"]]
    stream = [["set", "ssh", "addfailregex", REGEX], ["multi-set", "ssh", "origins", places]]

    assert ssh(*stream).origins == dict(places)
    for change in (["addfailregex", "^more <HOST>$"], ["delfailregex", 0]):
        assert ssh(*stream, ["set", "ssh", *change]).origins == {"prefregex": "door.conf:2"}
