# SPDX-License-Identifier: GPL-2.0-or-later
"""A section of jail.conf becomes the commands that set up a jail."""

import pytest

from client.jailconf import is_enabled, jail_filter, read_jail, strange_defaults
from common.errors import ConfigError, Where
from tests.shelf import HERE, library

FILES = {
    "filter.d/gate.conf": "[Definition]\nfailregex = ^<logtype> <HOST>$\nmaxlines = 2\n",
    "action.d/wall.conf": "[Definition]\nactionban = add <ip>\n",
    "log": "",
}
USUAL = "[DEFAULT]\nfilter = gate\naction = wall\nlogpath = /etc/f/log\n"


def a_jail(text="", defaults=USUAL, **files):
    shelf = library({**FILES, "jail.conf": f"{defaults}[j]\n{text}\n", **files})
    return read_jail(shelf, shelf.load("jail"), "j")


def sent(key, text, **how):
    """The arguments of all `set j KEY` among a jail's commands."""
    jail = a_jail(text, **how)
    return [each[3:] for each in jail.commands if each[0] == "set" and each[2] == key]


def told(text, **how):
    return [(each.level, str(each)) for each in a_jail(text, **how).problems]


def test_a_jail_is_added_with_its_filter_logs_and_actions():
    jail = a_jail()

    assert "good" == jail.state
    assert () == jail.problems
    assert (
        ["add", "j", "auto"],
        ["set", "j", "maxlines", 2],
        ["set", "j", "addfailregex", "^file <HOST>$"],
        ["set", "j", "addlogpath", "/etc/f/log", "head"],
        ["set", "j", "addaction", "wall"],
        ["multi-set", "j", "action", "wall",
         [["actionban", "add <ip>"], ["name", "j"], ["actname", "wall"]]],
    ) == jail.commands  # fmt: skip


@pytest.mark.parametrize("word", ["1", "on", "TRUE", "Yes", "true ; and a comment"])
def test_these_words_enable_a_jail(word):
    conf = library({"jail.conf": f"[j]\nenabled = {word}\n"}).load("jail")

    assert is_enabled(conf, "j")


@pytest.mark.parametrize("line", ["", "enabled = 2", "enabled = y", "enabled =", "enabled = false"])
def test_anything_else_does_not(line):
    conf = library({"jail.conf": f"[j]\n{line}\n"}).load("jail")

    assert not is_enabled(conf, "j")


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("maxretry", "maxretry = 007", [[7]]),
        ("maxretry", "maxretry = +4", [[4]]),
        ("maxretry", "", []),
        ("bantime", "bantime = 1d 12h", [["1d 12h"]]),
        ("bantime.increment", "bantime.increment = Yes", [[True]]),
        ("bantime.maxtime", "bantime.maxtime =", [[""]]),
        ("ignoreself", "ignoreself = maybe", [[False]]),
        ("addignoreip", "ignoreip = ,192.0.2.1 ,a\n ::1", [["192.0.2.1", "a", "::1"]]),
        ("addignoreip", "ignoreip =", [[]]),
        ("usedns", "usedns = raw", [["raw"]]),
        ("logtimezone", "logtimezone = UTC+0200", [["UTC+0200"]]),
        ("maxlines", "maxlines = 9", [[9]]),
        ("addjournalmatch", "journalmatch = A=1 'B=2 3'", [["A=1", "B=2 3"]]),
        ("findtime", "maxtime = 5m", [["5m"]]),
        ("findtime", "maxtime = 5m\nfindtime = 6m", [["6m"]]),
        ("datepattern", "timepattern = %%H:%%M\ntimeregex = x", [["%H:%M"]]),
        ("addfailregex", "failregex = %(known/failregex)s!", [["^file <HOST>$!"]]),
    ],
)
def test_options_are_sent_as_what_they_are(key, text, wanted):
    assert wanted == sent(key, text)


def test_what_a_filter_says_of_the_jail_holds_where_the_jail_is_silent():
    files = {
        "filter.d/gate.conf": "[Definition]\nfailregex = x\nlogpath = /etc/f/log\nmaxretry = 4\n"
    }
    bare = "[DEFAULT]\nfilter = gate\naction = wall\n"

    assert [[4]] == sent("maxretry", "", defaults=bare, **files)
    assert [["/etc/f/log", "head"]] == sent("addlogpath", "", defaults=bare, **files)
    assert [[9]] == sent("maxretry", "maxretry = 9", defaults=bare, **files)


def test_the_known_value_of_a_filter_may_have_percent_signs():
    files = {"filter.d/gate.conf": "[Definition]\nfailregex = x\ndatepattern = ^%%Y\n"}

    assert [["^%Y\n%d"]] == sent(
        "datepattern", "datepattern = %(known/datepattern)s\n  %%d", **files
    )


@pytest.mark.parametrize(
    ("backend", "kind", "is_watching"),
    [
        ("auto", "file", True),
        ("systemd", "journal", False),
        ("systemd[journalflags=1]", "journal", False),
        ("SYSTEMD", "file", True),
        ("polling", "file", True),
    ],
)
def test_the_journal_needs_no_log_files(backend, kind, is_watching):
    jail = a_jail(f"backend = {backend}")

    assert ["add", "j", backend] == jail.commands[0]
    assert ["set", "j", "addfailregex", f"^{kind} <HOST>$"] in jail.commands
    assert is_watching == any(each[2] == "addlogpath" for each in jail.commands)


def test_logs_are_printed_as_found_and_sent_as_written():
    jail = a_jail("logpath = /etc/f/l*\n /etc/f/absent tail\n", lag="")

    assert [["/etc/f/log", "head"], ["/etc/f/lag", "head"]] == [
        each[3:] for each in jail.commands if each[2] == "addlogpath"
    ]
    assert [["/etc/f/l*", "head"], ["/etc/f/absent", "tail"]] == [
        each[3:] for each in jail.sent if each[2] == "addlogpath"
    ]


@pytest.mark.parametrize(
    ("text", "state", "backend"),
    [
        ("", "without logs", "auto"),
        ("backend = polling\njournalmatch = A=1", "without logs", "polling"),
        ("journalmatch = A=1", "good", "systemd"),
        ("journalmatch = A=1\nsystemd_if_nologs = no", "without logs", "auto"),
        ("skip_if_nologs = yes", "skipped", None),
        ("skip_if_nologs = yes\njournalmatch = A=1", "good", "systemd"),
    ],
)
def test_where_no_log_is_found(text, state, backend):
    jail = a_jail(f"logpath = /etc/f/absent\n{text}")

    assert state == jail.state
    assert ("warning", "j") == (jail.problems[0].level, jail.problems[0].jail)
    assert (["add", "j", backend] if backend else ["config-error", jail.commands[0][1]]) == (
        jail.commands[0]
    )
    assert jail.is_sent == (state != "skipped")


WITH_MATCH = "[Definition]\nfailregex = ^<logtype> <HOST>$\njournalmatch = A=1\n"


@pytest.mark.parametrize(
    ("text", "has_journal", "added"),
    [
        ("systemd_if_nologs = true", True, ["add", "j", "systemd"]),
        ("systemd_if_nologs = true", False, ["add", "j", "auto"]),
        ("systemd_if_nologs = false", True, ["add", "j", "auto"]),
        ("systemd_if_nologs = true\nbackend = polling", True, ["add", "j", "polling"]),
        ("", True, ["add", "j", "auto"]),
    ],
)
def test_a_filter_that_knows_its_entries_will_do_where_that_is_asked_for(
    text, has_journal, added, monkeypatch
):
    place = "/etc/f/journal" if has_journal else "/etc/f/absent"
    monkeypatch.setattr("client.jailconf._JOURNALS", (place,))
    files = {"filter.d/gate.conf": WITH_MATCH, "journal": ""}
    jail = a_jail(f"logpath = /etc/f/absent\n{text}", **files)

    assert added == jail.commands[0]
    kind = "journal" if added[2] == "systemd" else "file"
    assert ["set", "j", "addfailregex", f"^{kind} <HOST>$"] in jail.commands
    assert ["set", "j", "addjournalmatch", "A=1"] in jail.commands


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("maxretry = three", "jail.conf:6: [j] maxretry = 'three' is not a whole number of 1 or more"),
        ("maxretry = 0", "[j] maxretry = '0' is not a whole number of 1 or more"),
        ("bantime = soon", "[j] bantime = 'soon' is not a time"),
        ("bantime.maxtime = soon", "[j] bantime.maxtime = 'soon' is not a time"),
        ("maxlines = 0", "[j] maxlines = '0'"),
        ("backend = nosuch", "[j] backend = 'nosuch' is no backend"),
        ("logpath = /etc/f/lo g", "'g' is neither head nor tail"),
        ("action = wall wall", "two actions are called wall"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_line_and_keeps_the_jail_from_being_sent(text, about):
    jail = a_jail(text)
    errors = [each for each in jail.problems if each.level == "error"]

    assert about in str(errors[0])
    assert errors[0].where.path == f"{HERE}/jail.conf" and errors[0].where.line
    assert "add" == jail.commands[0][0]
    assert not jail.is_sent


def test_a_wrong_number_is_printed_as_none():
    assert [[None]] == sent("maxretry", "maxretry = three")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("filter = nosuch", "Unable to read the filter 'nosuch'"),
        ("filter = gate[a = b]", "Invalid filter definition 'gate[a = b]'"),
        ("action = nosuch", "Unable to read action 'nosuch'"),
        ("journalmatch = 'A=1", "Invalid journalmatch"),
    ],
)
def test_a_jail_that_cannot_be_set_up_says_so_in_its_place(text, why):
    jail = a_jail(text)

    assert "bad" == jail.state
    ((word, text),) = jail.commands
    assert "config-error" == word
    assert text.startswith("Jail 'j' skipped, because of wrong configuration: " + why)


def test_of_a_bad_jail_all_mistakes_are_told_at_once():
    text = "filter = nosuch\nmaxretry = three\naction = none\nmaxretyr = 4\n"

    assert [6, 7, 8, 9] == sorted(each.where.line for each in a_jail(text).problems)


def test_an_undefined_variable_of_a_bad_jail_is_told_among_them():
    jail = a_jail("filter = nosuch\nignorecommand = %(x)s\nlogpath = %(y)s")

    assert "bad" == jail.state
    assert [6, 7, 8] == sorted(each.where.line for each in jail.problems)


@pytest.mark.parametrize(
    "text", ["ignorecommand = %(x)s", "action = wall[a=%(x)s]", "filter = %(x)s"]
)
def test_an_undefined_variable_makes_everything_doubtful(text):
    with pytest.raises(ConfigError, match="x"):
        a_jail(text)


def test_in_an_option_that_nothing_uses_it_does_no_harm():
    assert "good" == a_jail("own = %(x)s").state


def test_an_unknown_option_is_a_warning_that_names_the_nearest():
    ((level, text),) = told("maxretri = 3")

    assert "warning" == level
    assert f"{HERE}/jail.conf:6: [j] maxretri: " in text
    assert "Did you mean maxretry?" in text


@pytest.mark.parametrize(
    "text",
    [
        "port = 1",
        "own = 1\nignorecommand = %(own)s",
        "own = 1\n[k]\nx = %(j/own)s",
        "skip_if_nologs = 1",
    ],
)
def test_options_that_something_refers_to_are_no_strangers(text):
    assert [] == told(text)


def test_a_slip_among_the_defaults_is_told_variables_are_not():
    text = "[DEFAULT]\nmaxretri = 1\naction_mwl = x\nmy_own = 1\nport = 1\n"
    conf = library({"jail.conf": text}).load("jail")

    assert [Where(f"{HERE}/jail.conf", 2)] == [each.where for each in strange_defaults(conf)]


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("filter =", "No filter set for jail j"),
        ("failregex =", "No failregex set for jail j"),
        ("action =", "No actions were defined for j"),
    ],
)
def test_what_a_jail_lacks_is_a_warning(text, about):
    assert [("warning", True)] == [(level, about in line) for level, line in told(text)]


def test_a_jail_s_options_are_variables_of_its_actions_but_not_its_own_inventions():
    files = {"action.d/wall.conf": "[Definition]\nport = none\nactionban = %(bantime)s %(port)s %(maxretry)s\n"}  # fmt: skip

    commands = a_jail("bantime = 60\nport = 22\nmaxretry = 07", **files).commands

    assert ["actionban", "60 none 7"] == commands[-1][4][0]


def test_the_filter_of_a_jail_can_be_had_with_what_the_jail_says():
    text = f"{USUAL}[j]\nmaxlines = 7\n"
    shelf = library({**FILES, "jail.conf": text})

    options = jail_filter(shelf, shelf.load("jail"), "j").options

    assert ("7", "^file <HOST>$") == (options["maxlines"].text, options["failregex"].text)
