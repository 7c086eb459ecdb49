# SPDX-License-Identifier: GPL-2.0-or-later
"""The watcher says that something changed; the places say where to look for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server.watch import _BATCH, _TELLINGS, Bell, Watcher, _Pace, places
from tests.support import ROOT, eventually


class Told:
    """Remembers what the watcher told."""

    def __init__(self):
        self.written = set()
        self.others = set()

    def __call__(self, written, others):
        self.written |= written
        self.others |= others

    def forget(self):
        self.written, self.others = set(), set()


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def watcher(told):
    watcher = Watcher(told)
    watcher.start()
    yield watcher
    watcher.stop()


def test_what_is_written_is_told(tmp_path, watcher, told):
    log = tmp_path / "a.log"
    log.touch()
    assert watcher.watch({str(tmp_path): None}, [str(log)]) == ({str(log), str(tmp_path)}, set())
    log.write_text("x\n")

    eventually(lambda: str(log) in told.written)


def test_nobody_is_woken_for_what_is_written_to_other_files(tmp_path, watcher, told):
    log, other, heard = tmp_path / "a.log", tmp_path / "b.log", []
    log.touch()
    other.touch()
    watcher._changes, changes = lambda data: heard.append(data) or changes(data), watcher._changes
    watcher.watch({str(tmp_path): None}, [str(log)])
    with other.open("a") as stream:
        for _ in range(100):
            stream.write("x\n")
            stream.flush()
    log.write_text("x\n")

    eventually(lambda: str(log) in told.written)
    assert b"b.log" not in b"".join(heard)


def test_a_file_that_is_made_anew_is_watched_anew(tmp_path, watcher, told):
    log, wanted = tmp_path / "a.log", {str(tmp_path): frozenset({"a.log"})}
    assert watcher.watch(wanted, [str(log)]) == ({str(tmp_path)}, set())
    log.touch()
    assert watcher.watch(wanted, [str(log)]) == ({str(log)}, set())
    assert watcher.watch(wanted, [str(log)]) == (set(), set())
    log.rename(f"{log}.1")
    log.touch()
    assert watcher.watch(wanted, [str(log)]) == ({str(log)}, set())
    eventually(lambda: str(log) in told.others)
    told.forget()
    with Path(f"{log}.1").open("a") as old:
        old.write("x\n")
    assert not told.written
    log.write_text("x\n")

    eventually(lambda: str(log) in told.written)


def test_a_file_is_told_by_each_name_that_it_was_asked_by(tmp_path, watcher, told):
    log, link = tmp_path / "a.log", tmp_path / "link.log"
    log.touch()
    link.symlink_to(log)
    watcher.watch({str(tmp_path): None}, [str(link), str(log)])
    log.write_text("x\n")

    eventually(lambda: {str(log), str(link)} <= told.written)


def test_what_is_written_in_a_directory_is_told_only_while_that_is_asked(tmp_path, watcher, told):
    wanted = {str(tmp_path): None}
    log, other, third = (tmp_path / f"{name}.log" for name in "abc")
    for each in (log, other, third):
        each.touch()
    watcher.watch(wanted, [str(log)])
    assert watcher.watch(wanted, [str(log)], wanted) == ({str(tmp_path)}, set())
    other.write_text("x\n")
    eventually(lambda: str(other) in told.written)
    assert watcher.watch(wanted, [str(log)]) == (set(), set())
    third.write_text("x\n")
    log.write_text("x\n")

    eventually(lambda: str(log) in told.written)
    assert str(third) not in told.written


def test_what_comes_and_goes_is_told(tmp_path, watcher, told):
    watcher.watch({str(tmp_path): None})
    log = tmp_path / "a.log"
    for change in (log.touch, lambda: log.rename(f"{log}.1"), lambda: os.unlink(f"{log}.1")):
        told.forget()
        change()
        eventually(lambda: told.others)


def test_names_of_no_interest_are_not_told(tmp_path, watcher, told):
    watcher.watch({str(tmp_path): frozenset({"a.log"})}, (), {str(tmp_path)})
    (tmp_path / "b.log").write_text("x\n")
    (tmp_path / "a.log").write_text("x\n")

    eventually(lambda: str(tmp_path / "a.log") in told.written)
    assert not any("b.log" in path for path in told.written | told.others)


def test_a_name_that_is_no_utf_8_does_no_harm(tmp_path, watcher, told):
    watcher.watch({str(tmp_path): None})
    name = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.log")
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))

    eventually(lambda: os.fsdecode(name) in told.others)


def test_a_directory_that_is_made_again_is_watched_again(tmp_path, watcher, told):
    directory = tmp_path / "app"
    directory.mkdir()
    wanted = {str(directory): None}
    watcher.watch(wanted)
    shutil.rmtree(directory)
    eventually(lambda: str(directory) in told.others)
    assert watcher.watch(wanted) == (set(), {str(directory)})

    directory.mkdir()
    assert watcher.watch(wanted) == ({str(directory)}, set())
    (directory / "a.log").touch()

    eventually(lambda: str(directory / "a.log") in told.others)


def test_two_names_of_one_directory_are_both_told(tmp_path, watcher, told):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    watcher.watch({str(real): None, str(link): None})
    watcher.watch({str(real): None, str(link): None})
    (real / "a.log").touch()

    eventually(lambda: {str(real / "a.log"), str(link / "a.log")} <= told.others)


def test_a_directory_of_two_names_is_watched_in_full_if_one_is_to_be(tmp_path, watcher, told):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    (real / "a.log").touch()
    watcher.watch({str(real): None, str(link): None}, (), {str(real)})
    (real / "a.log").write_text("x\n")

    eventually(lambda: {str(real / "a.log"), str(link / "a.log")} <= told.written)


def test_the_kernel_watches_nothing_that_is_not_asked_for(tmp_path, watcher):
    logs = [tmp_path / f"{n}.log" for n in range(3)]
    for log in logs:
        log.touch()
    info = Path(f"/proc/self/fdinfo/{watcher._fd}")
    for some in (logs, logs[:1], [], logs[1:]):
        watcher.watch({str(tmp_path): None}, [str(log) for log in some])
        assert len(some) + 1 == info.read_text().count("inotify wd:")
    watcher.watch({})
    assert "inotify wd:" not in info.read_text()


def test_what_is_watched_no_longer_is_not_told(tmp_path, watcher, told):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    watcher.watch({str(first): None, str(second): None})
    watcher.watch({str(second): None})
    (first / "a.log").touch()
    (second / "a.log").touch()

    eventually(lambda: str(second / "a.log") in told.others)
    assert not any(path.startswith(str(first)) for path in told.others)


def test_the_thread_ends_when_it_is_told_to(told):
    watcher = Watcher(told)
    watcher.start()
    watcher.stop()

    assert "watcher" not in {thread.name for thread in threading.enumerate()}


def test_pyinotify_is_loaded_where_there_is_no_asyncore():
    program = (
        "import sys\n"
        "from server.watch import load_pyinotify\n"
        "sys.modules.pop('asyncore', None)\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'asyncore':\n"
        "            raise ModuleNotFoundError('no asyncore', name='asyncore')\n"
        "sys.meta_path.insert(0, Without())\n"
        "assert load_pyinotify().WatchManager\n"
        "assert 'asyncore' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_bell_that_rang_before_is_heard():
    bell = Bell()
    bell.ring()

    bell.wait(None)  # else the test hangs here


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{}/app/a.log", [("{}/app", "a.log")]),
        ("{}/none/deep/a.log", [("{}", "none")]),
        ("{}/app/*.log", [("{}/app", "*.log")]),
        ("{}/*/a.log", [("{}", "*"), ("{}/app", "a.log"), ("{}/web", "a.log")]),
        ("{}/*/logs/*.log", [("{}", "*"), ("{}/app", "logs"), ("{}/web/logs", "*.log")]),
    ],
)
def test_the_places_to_watch_for_a_pattern(tmp_path, pattern, expected):
    (tmp_path / "app").mkdir()
    (tmp_path / "web" / "logs").mkdir(parents=True)

    found = places(pattern.format(tmp_path))

    assert sorted(found) == sorted((d.format(tmp_path), name) for d, name in expected)


def test_what_is_written_without_end_is_told_of_in_fewer_tellings():
    pace, now, rests = _Pace(0.0), 0.0, []
    for _ in range(1000):  # a line every three milliseconds
        now += 0.003
        rests.append(pace.rest(now))
        now += rests[-1]

    assert {_BATCH} == set(rests[:_TELLINGS])
    assert 0.9 * now * _TELLINGS < len(rests) - _TELLINGS < 1.1 * now * _TELLINGS
    assert 0.01 < max(rests) <= 1 / _TELLINGS

    now += 0.5 + 1 / _TELLINGS
    assert [_BATCH] * (_TELLINGS // 2) == [pace.rest(now) for _ in range(_TELLINGS // 2)]
