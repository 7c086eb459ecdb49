# SPDX-License-Identifier: GPL-2.0-or-later
import logging
import os
import re
import socket
import threading

import pytest

from common import logs
from common.errors import CommandError
from common.logs import Log, level_of


@pytest.fixture
def log():
    log = Log()
    log.set_level("INFO")
    yield log
    log.set_target("STDERR")


@pytest.fixture
def only_log(log, monkeypatch):
    """Nobody else listens, as in a server; pytest does in a test."""

    def set_target(target):
        log.set_target(target)
        ours = logging.getLogger("fail2ban")
        monkeypatch.setattr(ours, "handlers", ours.handlers[-1:])
        return ours.handlers[0]

    return set_target


def say(text="[ssh] Ban 192.0.2.1", level=25):
    logging.getLogger("fail2ban.actions").log(level, text)


def test_a_line_looks_as_other_programs_expect(log, tmp_path):
    log.set_target(str(tmp_path / "log"))

    say()

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} fail2ban\.actions {8}\[\d+\]: NOTICE  "
        r"\[ssh\] Ban 192\.0\.2\.1\n",
        (tmp_path / "log").read_text(),
    )


@pytest.mark.parametrize(
    ("word", "level"),
    [("INFO", 20), ("notice", 25), ("1", 40), ("2", 30), ("3", 20), ("4", 10), ("20", 20), ("HEAVYDEBUG", 5)],
)  # fmt: skip
def test_a_level_is_a_name_or_a_number(word, level):
    assert level_of(word) == level


@pytest.mark.parametrize("word", ["", "loud", "-1", "9999"])
def test_another_word_is_no_level(word):
    with pytest.raises(ValueError, match="Invalid log level"):
        level_of(word)


def test_less_important_lines_are_left_out(log, tmp_path):
    log.set_target(str(tmp_path / "log"))
    log.set_level("ERROR")

    say()

    assert (tmp_path / "log").read_text() == ""


def test_a_target_that_cannot_be_had_leaves_the_old_one(log, tmp_path):
    log.set_target(str(tmp_path / "log"))

    with pytest.raises(CommandError, match="cannot log to"):
        log.set_target(str(tmp_path / "nowhere" / "log"))
    say()

    assert log.target == str(tmp_path / "log")
    assert "Ban" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("reopens", [True, False])
def test_a_log_that_was_moved_is_begun_anew(log, tmp_path, reopens):
    log.set_target(str(tmp_path / "log"))
    say("first")
    os.rename(tmp_path / "log", tmp_path / "log.1")

    if reopens:
        assert log.reopen()
    say("second")

    assert "first" in (tmp_path / "log.1").read_text()
    assert "second" in (tmp_path / "log").read_text()


def test_syslog_gets_the_line_with_facility_and_level(log, tmp_path):
    path = str(tmp_path / "devlog")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(path)
        syslog.settimeout(5)
        log.set_target("SYSLOG[facility=LOCAL3]", path)

        say()

        # local3 is 19, notice 5 (RFC 5424, 6.2.1)
        assert re.fullmatch(
            rb"<%d>fail2ban\.actions\[\d+\]: NOTICE \[ssh\] Ban 192\.0\.2\.1\0?" % (19 * 8 + 5),
            syslog.recv(1000),
        )
    assert not log.reopen()


def test_what_cannot_be_written_as_text_does_no_harm(log, tmp_path):
    log.set_target(str(tmp_path / "log"))

    say("odd \udcff name")

    assert "odd \\udcff name" in (tmp_path / "log").read_text()


def test_a_directory_that_vanishes_takes_the_log_with_it_and_nothing_else(log, tmp_path):
    place = tmp_path / "logs"
    place.mkdir()
    log.set_target(str(place / "log"))
    say("first")
    (place / "log").unlink()
    place.rmdir()

    say("lost")
    place.mkdir()
    say("second")

    assert "second" in (place / "log").read_text()


def test_a_directory_is_no_log(log, tmp_path):
    with pytest.raises(CommandError, match="cannot log to"):
        log.set_target(str(tmp_path))


def test_many_lines_at_once_read_as_each_by_itself_and_keep_their_order(only_log, tmp_path):
    lines = [
        ("fail2ban.filter", 20, "Found"),
        ("fail2ban.actions", 25, "Ban"),
        ("fail2ban.filter", 10, "x"),
        ("fail2ban.filter", 20, "Found %s"),
    ]
    only_log(str(tmp_path / "log"))

    logs.say([(name, level, [text]) for name, level, text in lines])
    for name, level, text in lines:
        logging.getLogger(name).log(level, text)

    written = (tmp_path / "log").read_text().splitlines()
    plain = [line[24:] for line in written]
    assert plain[:3] == plain[3:]
    assert ["Found", "Ban", "Found %s"] == [line.partition(": ")[2][8:] for line in plain[:3]]


def test_a_passage_of_many_lines_reads_as_each_by_itself(only_log, tmp_path):
    only_log(str(tmp_path / "log"))

    logs.say([("fail2ban.filter", 20, ["Found one", "Found two"]), ("fail2ban.filter", 10, ["x"])])
    logs.say([("fail2ban.filter", 20, [])])

    written = (tmp_path / "log").read_text().splitlines()
    assert ["Found one", "Found two"] == [line.partition(": ")[2][8:] for line in written]
    assert written[0].removesuffix("one") == written[1].removesuffix("two")


def test_who_writes_while_another_does_need_not_wait_and_nothing_is_lost(only_log, tmp_path):
    handler = only_log(str(tmp_path / "log"))

    handler.acquire()
    thread = threading.Thread(target=logs.say, args=([("fail2ban.filter", 20, ["Found one"])],))
    thread.start()
    thread.join()  # would never end, did it wait
    assert "" == (tmp_path / "log").read_text()
    handler.emit(logging.LogRecord("fail2ban.jail", 20, "", 0, "Jail started", None, None))
    thread = threading.Thread(target=logs.say, args=([("fail2ban.filter", 20, ["Found two"])],))
    thread.start()
    thread.join()
    handler.release()

    written = (tmp_path / "log").read_text().splitlines()
    assert ["Found one", "Jail started", "Found two"] == [
        line.partition(": ")[2][8:] for line in written
    ]


def test_many_threads_lose_no_line_and_break_none(only_log, tmp_path):
    only_log(str(tmp_path / "log"))

    def talk(name):
        for number in range(300):
            if number % 3:
                logs.say([("fail2ban.filter", 20, [f"{name} {number}", f"{name} {number} more"])])
            else:
                say(f"{name} {number}")

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    said = [
        line.partition(": ")[2][8:].split() for line in (tmp_path / "log").read_text().splitlines()
    ]
    for name in "abcdefgh":
        own = [(int(number), *more) for one, number, *more in said if one == name]
        assert own == [
            each
            for number in range(300)
            for each in ([(number,), (number, "more")] if number % 3 else [(number,)])
        ]


def test_behind_a_log_that_cannot_be_written_no_more_than_so_much_waits(only_log, tmp_path):
    handler = only_log(str(tmp_path / "log"))

    def talk():
        for number in range(2 * logs._MOST_WAITING):
            logs.say([("fail2ban.filter", 20, [f"Found {number}"])])

    handler.acquire()
    thread = threading.Thread(target=talk)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    assert len(handler._waiting) == logs._MOST_WAITING + 1
    handler.release()
    thread.join()

    written = (tmp_path / "log").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in written] == [
        str(number) for number in range(2 * logs._MOST_WAITING)
    ]
