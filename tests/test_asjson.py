# SPDX-License-Identifier: GPL-2.0-or-later
"""Every answer has a shape in JSON that programs can hold on to."""

from __future__ import annotations

import json
import math
import time

import pytest

from client.asjson import as_json, error_as_json, kind_of, problem_as_json
from common.commands import COMMANDS
from common.wire import RemoteError
from tests.support import ROOT

DOOR = [
    ("Filter", [("Currently failed", 1), ("Total failed", 9), ("File list", ["/a.log", "/b.log"])]),
    ("Actions", [("Currently banned", 1), ("Total banned", 2), ("Banned IP list", ["192.0.2.1"])]),
]
DOOR_AS_JSON = {
    "jail": "door",
    "filter": {"currently_failed": 1, "total_failed": 9, "file_list": ["/a.log", "/b.log"]},
    "actions": {"currently_banned": 1, "total_banned": 2, "banned_ip_list": ["192.0.2.1"]},
}
FIGURES = ["pyinotify", (1, 9), (1, 2)]
FIGURES_AS_JSON = {
    "jail": "door",
    "backend": "pyinotify",
    "failed": {"current": 1, "total": 9},
    "banned": {"current": 1, "total": 2},
}

CASES = [
    ("ping", "pong", "pong"),
    ("version", "2.0.0", "2.0.0"),
    ("stop", None, None),
    ("reload", "OK", "OK"),
    ("start", "Server ready", "Server ready"),
    ("echo a b", ["a", "b"], ["a", "b"]),
    ("get loglevel", "INFO", "INFO"),
    ("get dbfile", None, None),
    ("get thread", {"stacksize": 0}, {"stacksize": 0}),
    ("status", [("Number of jail", 2), ("Jail list", "door, gate")], {"number_of_jail": 2, "jail_list": ["door", "gate"]}),
    ("status", [("Number of jail", 0), ("Jail list", "")], {"number_of_jail": 0, "jail_list": []}),
    ("status", [("Number of jail", 0), ("Jail list", ""), ("Problems", ["a", "b"])], {"number_of_jail": 0, "jail_list": [], "problems": ["a", "b"]}),
    ("status door", DOOR, DOOR_AS_JSON),
    ("status door stats", FIGURES, FIGURES_AS_JSON),
    ("status --all", [("Number of jail", 1), ("Jail list", "door"), {"door": DOOR}], {"number_of_jail": 1, "jail_list": ["door"], "jails": [DOOR_AS_JSON]}),
    ("status --all stats", {"door": FIGURES}, {"jails": [FIGURES_AS_JSON]}),
    ("stats", {"door": FIGURES}, {"jails": [FIGURES_AS_JSON]}),
    ("statistic", {}, {"jails": []}),
    ("banned", [{"door": ["192.0.2.1"]}, {"gate": []}], {"door": ["192.0.2.1"], "gate": []}),
    ("banned 192.0.2.1 192.0.2.9", [["door"], []], {"192.0.2.1": ["door"], "192.0.2.9": []}),
    ("get door banned", ["192.0.2.1"], ["192.0.2.1"]),
    ("get door banned 192.0.2.1", 1, {"192.0.2.1": True}),
    ("get door banned 192.0.2.1 ::1", [1, 0], {"192.0.2.1": True, "::1": False}),
    ("get door banip", ["192.0.2.1"], ["192.0.2.1"]),
    ("set door banip 192.0.2.1", 1, 1),
    ("get door bantime", -1, -1),
    ("get door ignoreself", True, True),
    ("get door bantime.factor", None, None),
    ("get door logpath", [], []),
    ("get door failregex", ["^a", "^b"], ["^a", "^b"]),
    ("get door journalmatch", [["A=1", "B=2"], ["C=3"]], [["A=1", "B=2"], ["C=3"]]),
    ("get door datepattern", ("%Y", "Year"), {"pattern": "%Y", "name": "Year"}),
    ("get door datepattern", (None, "Default Detectors"), {"pattern": None, "name": "Default Detectors"}),
    ("get door ignorecache", ["<ip>", 100, 300], {"key": "<ip>", "max_count": 100, "max_time": 300}),
    ("get door ignorecache", None, None),
    ("get door actions", ["wall"], ["wall"]),
    ("get door action wall timeout", 60, 60),
]  # fmt: skip


@pytest.mark.parametrize(("words", "answer", "shape"), CASES, ids=[case[0] for case in CASES])
def test_an_answer_has_its_shape(words, answer, shape):
    found = as_json(words.split(), answer)

    assert found == shape
    assert json.loads(json.dumps(found, allow_nan=False)) == shape


def local(moment):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_bans_with_their_times_are_objects(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        line = f"2001:db8::1 \t{local(1_800_000_000)} + 600 = {local(1_800_000_600)}"

        (ban,) = as_json("get door banip --with-time".split(), [line])
    finally:
        monkeypatch.undo()
        time.tzset()

    assert (ban["ip"], ban["seconds"]) == ("2001:db8::1", 600)
    assert (ban["since_epoch"], ban["until_epoch"]) == (1_800_000_000, 1_800_000_600)
    offset = {"UTC": "+00:00", "Asia/Kolkata": "+05:30", "America/St_Johns": "-03:30"}[zone]
    assert ban["since"].endswith(offset) and ban["until"].endswith(offset)
    assert "T" in ban["since"]


def test_a_ban_for_ever_has_no_end():
    line = "some words \t2027-01-15 08:00:00 + -1 = 9999-12-31 23:59:59"

    (ban,) = as_json("get door banip --with-time".split(), [line])

    assert (ban["ip"], ban["seconds"]) == ("some words", -1)
    assert ban["until"] is None and ban["until_epoch"] is None


def test_a_ban_that_outlasts_the_calendar_has_an_end_all_the_same():
    line = f"192.0.2.1 \t2027-01-15 08:00:00 + {10**12} = 9999-12-31 23:59:59"

    (ban,) = as_json("get door banip --with-time".split(), [line])

    assert ban["until"].startswith("9999-12-31")


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"b", "a"}, ["a", "b"]),
        ((1, (2.5, None)), [1, [2.5, None]]),
        (b"a\xff", "a\\xff"),
        (math.inf, -1),
        ({1: {"x": ()}}, {"1": {"x": []}}),
    ],
    ids=["set", "tuple", "bytes", "infinite", "dict"],
)
def test_whatever_an_action_answers_becomes_plain(value, shape):
    assert as_json("set door action mail tell".split(), value) == shape


ODD = [None, 3, "text", [], [1], {"a": 1}, {"a": None}, [["a"]], [("a", "b", "c")], [{"a": 1}, 2]]


@pytest.mark.parametrize("answer", ODD, ids=repr)
@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.by_client], ids=lambda c: c.usage)
def test_an_answer_in_another_shape_is_shown_as_it_is(command, answer):
    words = [word for word in command.usage.split() if not word.startswith("[")]

    json.dumps(as_json(words, answer))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RemoteError("UnknownJailException", ("x",)), "unknown_jail"),
        (RemoteError("DuplicateJailException", ("x",)), "duplicate_jail"),
        (RemoteError("RegexException", ("No failure-id group in 'x'",)), "bad_regex"),
        (RemoteError("IndexError", ("list index out of range",)), "invalid_command"),
        (RemoteError("Exception", ("Invalid command",)), "invalid_command"),
        (RemoteError("ValueError", ("not banned: ['x']",)), "refused"),
    ],
    ids=str,
)
def test_an_error_has_a_kind(error, kind):
    assert kind_of(error) == kind


def test_an_error_is_one_object():
    assert error_as_json("refused", "no") == {"error": {"kind": "refused", "message": "no"}}


def test_a_mistake_in_the_configuration_may_concern_no_jail():
    assert problem_as_json("error", "", "a") == {"level": "error", "jail": None, "message": "a"}


def test_every_kind_of_error_is_described():
    page = (ROOT / "doc/json.md").read_text("utf-8")

    for kind in "unknown_jail duplicate_jail bad_regex invalid_command refused no_server failed server_running configuration no_start no_end".split():  # fmt: skip
        assert f"`{kind}`" in page
