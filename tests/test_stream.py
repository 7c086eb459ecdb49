# SPDX-License-Identifier: GPL-2.0-or-later
"""A configuration directory becomes a stream, with all of its mistakes at once."""

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.include import Disk
from client.stream import (
    DaemonSettings,
    exit_status,
    read,
    read_daemon,
    read_jail_filter,
    read_one_filter,
)
from common.errors import ConfigError, Where
from tests.shelf import HERE, Shelf
from tests.support import ROOT

CONFIGS = Path(__file__).resolve().parent / "conformance" / "configs"

FILES = {
    "fail2ban.conf": "[Definition]\nloglevel = NOTICE\nsocket = /run/x.sock\n",
    "filter.d/gate.conf": "[Definition]\nfailregex = ^<HOST>$\n",
    "action.d/wall.conf": "[Definition]\nactionban = add <ip>\n",
    "log": "",
    "jail.conf": "[DEFAULT]\nenabled = yes\nfilter = gate\naction = wall\nlogpath = /etc/f/log\n[a]\n[b]\n",
}


def reading(how=None, **files):
    shelf = Shelf({name: text for name, text in {**FILES, **files}.items() if text is not None})
    return read(HERE, files=shelf, **(how or {}))


def first_words(commands):
    return [" ".join(map(str, each[:2])) for each in commands if each[0] in ("add", "start", "config-error")]  # fmt: skip


def test_the_daemon_comes_first_and_the_starts_last():
    commands = reading().commands

    assert ["set", "set", "set", "set", "set", "set"] == [each[0] for each in commands[:6]]
    assert ["add a", "add b", "start a", "start b"] == first_words(commands)
    assert (["start", "a"], ["start", "b"]) == commands[-2:]


def test_what_is_right_has_no_problems_and_ends_well():
    got = reading()

    assert () == got.problems
    assert (0, 0) == (exit_status(got, "dump"), exit_status(got, "test"))


def test_no_jail_at_all_is_right_too():
    got = reading(**{"jail.conf": "[DEFAULT]\nbantime = 1\n"})

    assert (0, 0) == (exit_status(got, "dump"), exit_status(got, "test"))
    assert 6 == len(got.commands)


def test_one_jail_can_be_had_alone_and_without_the_daemon():
    got = reading({"jail": "b"})

    assert "add b" == first_words(got.commands)[0]
    assert ["b"] == [each.name for each in got.jails]
    assert not [each for each in got.commands if each[:2] == ["set", "loglevel"]]


def test_a_jail_that_does_not_exist_is_refused():
    got = reading({"jail": "nosuch"})

    assert got.is_refused
    assert "[nosuch]" in str(got.problems[0])


def test_a_disabled_jail_gives_nothing_unless_asked_for_anyway():
    files = {"jail.local": "[a]\nenabled = no\n"}

    assert () == reading({"jail": "a"}, **files).commands
    assert ["add a", "start a"] == first_words(
        reading({"jail": "a", "is_enabled_anyway": True}, **files).commands
    )


def test_a_wrong_value_is_printed_but_only_the_right_jails_are_sent():
    got = reading(**{"jail.local": "[a]\nmaxretry = three\n"})

    assert ["add a", "add b", "start a", "start b"] == first_words(got.commands)
    assert ["config-error", "add", "start"] == [
        each[0] for each in got.sent if each[0] in ("config-error", "add", "start")
    ]
    assert "[a] maxretry = 'three'" in next(each for each in got.sent if len(each) == 2)[1]
    assert [("a", Where(f"{HERE}/jail.local", 2))] == [(one.jail, one.where) for one in got.errors]
    assert (0, 0) == (exit_status(got, "dump"), exit_status(got, "test"))


def test_a_jail_without_logs_is_sent_but_fails_a_test():
    got = reading(log=None)

    assert () == got.errors
    assert ["add a", "add b", "start a", "start b"] == first_words(got.sent)
    assert 2 == len([each for each in got.sent if each[2:] == ["addlogpath", "/etc/f/log", "head"]])
    assert not [each for each in got.commands if each[2:3] == ["addlogpath"]]
    assert (0, 255) == (exit_status(got, "dump"), exit_status(got, "test"))


@pytest.mark.parametrize(
    ("text", "dump", "test"),
    [
        ("[a]\nfilter = nosuch\n", 0, 255),
        ("[DEFAULT]\nfilter = nosuch\n", 255, 255),
        ("[a]\nfilter = %(x)s\n", 255, 255),
        ("[a]\nskip_if_nologs = 1\nlogpath = /absent\n", 0, 0),
    ],
)
def test_a_dump_is_content_with_one_good_jail_a_test_wants_all(text, dump, test):
    got = reading(**{"jail.local": text})

    assert (dump, test) == (exit_status(got, "dump"), exit_status(got, "test"))


def test_what_is_refused_has_no_commands_and_all_of_its_mistakes():
    got = reading(
        **{
            "fail2ban.conf": "nothing\n",
            "jail.local": "[a]\nignorecommand = %(x)s\n[b]\nfilter = other\nmaxretry = x\n[c]\nfilter = nosuch\n",
            "filter.d/other.conf": "[Definition]\nx = 1\nx = 2\n",
        }
    )

    assert got.is_refused
    assert ((), ()) == (got.commands, got.sent)
    assert {"fail2ban.conf:1", "jail.local:2", "other.conf:3", "jail.local:7"} == {
        str(each.where).rpartition("/")[2] for each in got.errors
    }


def test_a_mistake_that_several_jails_meet_is_told_once():
    got = reading(**{"filter.d/gate.conf": "[Definition]\nfailregex = x\nfailregx = y\n"})

    assert 1 == len(got.problems)


# The daemon's own options.


def daemon(text, **how):
    return reading(how, **{"fail2ban.conf": text, "jail.conf": "[DEFAULT]\n"})


def test_the_daemon_s_options_are_sent_in_their_order():
    text = "[Definition]\ndbmaxmatches = 7\ndbpurgeage = 2d\nloglevel = 4\nunheard = 1\nbackground = x\n[Thread]\nstacksize = 64\n"  # fmt: skip

    got = daemon(text)

    assert (
        ["set", "thread", {"stacksize": 64}], ["set", "syslogsocket", "auto"],
        ["set", "loglevel", "4"], ["set", "logtarget", "STDERR"], ["set", "allowipv6", "auto"],
        ["set", "dbfile", "None"], ["set", "dbmaxmatches", 7], ["set", "dbpurgeage", "2d"],
    ) == got.commands  # fmt: skip
    assert ["unheard"] == [each.text.split()[1].strip(":") for each in got.problems]


def test_auto_is_what_the_caller_says_it_is():
    text = "[Definition]\n" + "".join(
        f"{key} = auto\n" for key in ("socket", "pidfile", "dbfile", "logtarget", "syslogsocket")
    )
    auto = {"socket": "/a", "pidfile": "/b", "dbfile": "/c", "logtarget": "/d"}

    got = daemon(text, auto=auto)

    assert DaemonSettings("/a", "/b", "INFO", "/d", "auto", "/c") == got.daemon
    assert ["set", "dbfile", "/c"] in got.commands
    assert ["set", "logtarget", "/d"] in got.commands
    assert ["set", "syslogsocket", "auto"] in got.commands


def test_what_the_files_say_beats_what_auto_would_be():
    got = daemon("[Definition]\nsocket = /own\n", auto={"socket": "/a"})

    assert "/own" == got.daemon.socket


@pytest.mark.parametrize(
    "line", ["dbmaxmatches = many", "dbpurgeage = soon", "loglevel = LOUD", "socket = %(x)s"]
)
def test_a_wrong_option_of_the_daemon_is_an_error_with_its_line(line):
    (problem,) = daemon(f"[Definition]\n{line}\n").errors

    assert Where(f"{HERE}/fail2ban.conf", 2) == problem.where
    assert line.split()[0] in problem.text


def test_a_number_that_is_none_is_not_sent():
    got = daemon("[Definition]\ndbmaxmatches = many\n")

    assert ["set", "dbmaxmatches", None] in got.commands
    assert not [each for each in got.sent if each[-1] is None]


def test_without_fail2ban_conf_the_daemon_is_as_usual():
    got = reading(**{"fail2ban.conf": None})

    assert ["warning"] == [each.level for each in got.problems]
    assert DaemonSettings() == got.daemon


def test_the_daemon_can_be_found_though_the_jails_are_wrong():
    shelf = Shelf(FILES | {"jail.conf": "nothing\n"})

    assert "/run/x.sock" == read_daemon(HERE, files=shelf).socket
    assert [f"{HERE}/fail2ban.conf"] == [path for path in shelf.reads if path in shelf.contents]


# Filters by themselves.


def test_a_filter_can_be_had_by_itself():
    found = read_one_filter(HERE, "gate[maxlines=3]", files=Shelf(FILES))

    assert ("^<HOST>$", "3") == (found.options["failregex"].text, found.options["maxlines"].text)
    with pytest.raises(ConfigError, match="nosuch"):
        read_one_filter(HERE, "nosuch", files=Shelf(FILES))


def test_or_that_of_a_jail():
    files = FILES | {"jail.local": "[a]\nenabled = no\nmaxlines = 4\n"}

    assert "4" == read_jail_filter(HERE, "a", files=Shelf(files)).options["maxlines"].text
    assert read_jail_filter(HERE, "gate", files=Shelf(files)) is None


# Whole configurations.


def test_a_configuration_of_the_first_releases_is_understood(tmp_path):
    log = tmp_path / "auth.log"
    log.write_text("")
    files = {
        "fail2ban.conf": "[Definition]\nloglevel = 3\nlogtarget = /var/log/fail2ban.log\n"
        "socket = /tmp/fail2ban.sock\nbackground = true\n",
        "filter.d/sshd.conf": "[Definition]\nfailregex = Failed password .* from (?P<host>\\S*)\n"
        "timeregex = \\S{3}\\s{1,2}\\d{1,2} \\d{2}:\\d{2}:\\d{2}\ntimepattern = %%b %%d %%H:%%M:%%S\n"
        "ignoreregex =\n",
        "action.d/iptables.conf": "[Definition]\nactionstart = iptables -N fail2ban-<name>\n"
        "actionban = iptables -I fail2ban-<name> 1 -s <ip> -j DROP\n"
        "[Init]\nname = default\nport = ssh\nprotocol = tcp\n",
        "jail.conf": "[DEFAULT]\nignoreip = 127.0.0.1\nmaxretry = 3\nmaxtime = 600\nbantime = 600\n"
        "[ssh]\nenabled = true\nfilter = sshd\naction = iptables[name=SSH, port=ssh, protocol=tcp]\n"
        f"logpath = {log}\nmaxretry = 5\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    got = read(tmp_path)

    assert () == got.problems
    assert "/tmp/fail2ban.sock" == got.daemon.socket
    assert [
        ["set", "loglevel", "3"],
        ["set", "ssh", "addfailregex", "Failed password .* from (?P<host>\\S*)"],
        ["set", "ssh", "datepattern", "%b %d %H:%M:%S"],
        ["set", "ssh", "maxretry", 5],
        ["set", "ssh", "findtime", "600"],
        ["set", "ssh", "addaction", "iptables-SSH"],
    ] == [
        each
        for each in got.commands
        if {"loglevel", "addfailregex", "datepattern", "maxretry", "findtime", "addaction"}
        & {each[1], each[2] if len(each) > 2 else ""}
    ]  # fmt: skip


STOCK = ROOT / "config"


def test_the_stock_configuration_has_no_problem_and_no_jail_enabled():
    got = read(STOCK)

    assert () == got.problems
    assert () == got.jails


@pytest.mark.parametrize("name", ["sshd", "apache-auth", "vsftpd"])
def test_each_stock_jail_can_be_enabled(name):
    got = read(STOCK, jail=name, is_enabled_anyway=True)

    assert [] == [str(each) for each in got.errors]
    assert [["start", name]] == [each for each in got.sent if each[0] == "start"]


def test_the_stock_files_leave_open_what_the_place_decides():
    auto = {"socket": "/a", "pidfile": "/b", "dbfile": "/c", "logtarget": "/d"}

    assert DaemonSettings("/a", "/b", "INFO", "/d", "auto", "/c") == read(STOCK, auto=auto).daemon


def test_the_stock_jails_call_their_actions_by_the_usual_names():
    text = (STOCK / "jail.conf").read_text()

    for name in ("action_", "action_mw", "banaction", "banaction_allports", "destemail", "sender"):
        assert f"\n{name} = " in text


def many_jails(folder, count):
    """A configuration of so many jails, with a filter of thirty rules for each."""
    shutil.copytree(CONFIGS / "prefix", folder)
    jails = "".join(f"[j{n}]\nport = {n}\n" for n in range(count))
    rules = "\n  ".join(f"^rule {n} %(_on_port)s <_host> <HOST>$" for n in range(30))
    (folder / "jail.conf").write_text(
        "[DEFAULT]\nenabled = true\nfilter = gate\nport = 1\n"
        f"action = wall[name=%(__name__)s, port=%(port)s]\nlogpath = {folder}/*.log\n{jails}"
    )
    (folder / "filter.d" / "gate.local").write_text(f"[Definition]\nfailregex = {rules}\n")
    (folder / "a.log").write_text("")
    return folder


def calls_of(work):
    """What `work()` gives, and how many functions were called for it."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        done = work()
    finally:
        sys.setprofile(None)
    return done, count


def test_a_hundred_jails_are_little_work_and_each_as_much_as_another(tmp_path):
    folders = [many_jails(tmp_path / str(count), count) for count in (20, 100)]
    few, calls_for_few = calls_of(lambda: read(folders[0]))
    got, calls = calls_of(lambda: read(folders[1]))

    assert 100 == len(got.jails) == 5 * len(few.jails)
    assert {"good"} == {each.state for each in got.jails}
    assert calls < 5 * calls_for_few
    assert calls < 100 * 6000  # twice what it takes


def test_no_file_is_read_twice():
    shelf = Shelf(FILES)

    read(HERE, files=shelf)

    assert f"{HERE}/filter.d/gate.conf" in shelf.reads
    assert len(set(shelf.reads)) == len(shelf.reads)


# Whatever is done to the files: problems, never a crash.


class Damaged(Disk):
    """The files of a directory, some of them with other contents."""

    def __init__(self, contents):
        self.contents = contents

    def read(self, path):
        return self.contents.get(path) if path in self.contents else super().read(path)


EVERY = sorted(path for path in CONFIGS.rglob("*") if path.suffix in (".conf", ".local"))
PIECES = [
    b"%(", b")s", b"%", b"<", b">", b"[", b"]", b'"', b"'", b"=", b":", b"\n", b"\n  ", b"\xff",
    b"\0", b"<name>", b"%(known/failregex)s", b"%(__name__)s", b"[a]\n", b"[DEFAULT]\n", b"*", b"[!",
    b"[INCLUDES]\nbefore = jail.conf\n", b"<known/x>", b"?family=inet6", b"\r", b"\xc3\xa9", b"#", b";",
]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_configurations_give_problems_and_no_crash(data):
    path = data.draw(st.sampled_from(EVERY))
    text = path.read_bytes()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = at + data.draw(st.sampled_from([0, 0, 1, 3, 20]))
        text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[end:]
    confdir = CONFIGS / path.relative_to(CONFIGS).parts[0]

    got = read(confdir, files=Damaged({str(path): text}))

    assert all(each.level in ("error", "warning") and str(each) for each in got.problems)
    assert not got.is_refused or (got.errors and got.commands == ())
    assert exit_status(got, "test") >= exit_status(got, "dump")


def test_where_regexes_are_written_is_sent_to_our_server_and_not_printed():
    jail = "[a]\n[b]\ndatepattern = {NONE}\n\nfailregex = ^no <HOST>$\n   ^never <HOST>$\n"
    got = reading(**{"jail.local": jail})

    told = {each[1]: dict(each[3]) for each in got.sent if each[2:3] == ["origins"]}
    assert {"failregex": f"{HERE}/filter.d/gate.conf:2"} == told["a"]
    assert {
        "failregex": f"{HERE}/jail.local:5",
        "datepattern": f"{HERE}/jail.local:3",
    } == told["b"]
    assert not [each for each in got.commands if each[2:3] == ["origins"]]
