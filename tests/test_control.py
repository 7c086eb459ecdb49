# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket, with real sockets and a server that only repeats."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from unittest.mock import patch

import pytest

from common.errors import Fail2banError
from common.wire import CLOSE, END, Decoder, encode, encode_answer
from server.control import _PAUSE, Control
from tests.support import ROOT, eventually, unavailable

GATE = "gate"


class Repeater:
    """Answers with what was asked; `gate` waits until the gate is opened, `fail` fails."""

    def __init__(self):
        self.gate = threading.Event()
        self.asked = []

    def __call__(self, message):
        self.asked.append(message)
        if message == [GATE]:
            self.gate.wait(60)
        if message == ["fail"]:
            raise RuntimeError("a fault of ours")
        if message == ["big"]:
            return 0, "x" * (32 << 20)
        return 0, message


@contextlib.contextmanager
def a_server(path, answer=None, **options):
    control = Control(str(path), answer or Repeater(), **options)
    control.open()
    thread = threading.Thread(target=control.serve)
    thread.start()
    try:
        yield control
    finally:
        control.stop()
        thread.join(60)
        control.close()
        assert not thread.is_alive()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f2b.sock"


def a_link(path):
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(20)
    link.connect(str(path))
    return link


def answers(link, count):
    decoder, found = Decoder(limit=64 << 20), []
    while len(found) < count:
        data = link.recv(1 << 16)
        assert data, f"only {len(found)} of {count} answers came"
        found += decoder.feed(data)
    return found


def ask(path, *words):
    with a_link(path) as link:
        link.sendall(encode(list(words)))
        return answers(link, 1)[0]


def is_closed(link):
    try:
        return link.recv(1 << 16) == b""
    except ConnectionError:
        return True


def test_a_request_is_answered(path):
    with a_server(path):
        assert ask(path, "ping") == (0, ["ping"])


def test_many_requests_on_one_link_are_answered_in_their_order(path):
    requests = [["echo", str(number)] for number in range(500)]
    with a_server(path), a_link(path) as link:
        data = b"".join(map(encode, requests))
        threading.Thread(target=link.sendall, args=(data,)).start()

        assert answers(link, 500) == [(0, request) for request in requests]


def test_a_request_may_arrive_byte_by_byte(path):
    with a_server(path), a_link(path) as link:
        for byte in encode(["ping"]):
            link.sendall(bytes([byte]))

        assert answers(link, 1) == [(0, ["ping"])]


def test_a_slow_request_keeps_nobody_else_waiting_and_its_own_link_in_order(path):
    repeater = Repeater()
    with a_server(path, repeater), a_link(path) as slow:
        slow.sendall(encode([GATE]) + encode(["after"]))
        eventually(lambda: [GATE] in repeater.asked)

        assert ask(path, "ping") == (0, ["ping"])
        assert ["after"] not in repeater.asked
        repeater.gate.set()
        assert answers(slow, 2) == [(0, [GATE]), (0, ["after"])]


def test_one_thread_does_for_those_who_ask_one_after_the_other(path):
    threads = set()

    def answer(message):
        threads.add(threading.current_thread())
        return 0, message

    with a_server(path, answer), a_link(path) as link:
        for number in range(100):
            link.sendall(encode([str(number)]))
            assert answers(link, 1) == [(0, [str(number)])]
    # The answer may be here before its thread is free again.
    assert len(threads) <= 3


def test_a_link_is_served_on_after_a_pause(path):
    with a_server(path), a_link(path) as link:
        for seconds in (0, 0.01, _PAUSE, 3 * _PAUSE, 0):
            time.sleep(seconds)
            data = encode(["ping"])
            link.sendall(data[:9])
            time.sleep(seconds)
            link.sendall(data[9:])
            assert answers(link, 1) == [(0, ["ping"])]


def test_where_no_thread_can_be_had_an_error_is_the_answer(path):
    with a_server(path), a_link(path) as link:
        no_thread = patch("threading.Thread.start", side_effect=RuntimeError("no thread left"))
        with no_thread, contextlib.ExitStack() as stack:
            links = [stack.enter_context(a_link(path)) for _ in range(3)]
            for one in links:
                one.sendall(encode(["ping"]))
            told = [one.recv(1 << 16) for one in links]
        # Threads that others have done with are free.
        assert {encode((0, ["ping"])), encode_answer(1, RuntimeError("no thread left"))} >= set(
            told
        )
        assert any(b"no thread left" in each for each in told)

        link.sendall(encode(["ping"]))
        assert answers(link, 1) == [(0, ["ping"])]


def test_a_signal_may_end_the_wait(path):
    with a_server(path) as control:
        assert ask(path, "ping") == (0, ["ping"])
        with patch.object(control, "_wake"):
            control.stop()
        os.write(control.bell, b"\0")


@pytest.mark.parametrize("lingering", [0, 0.0005])
def test_a_thread_that_is_about_to_go_loses_no_request(path, lingering):
    with patch("server.control._LINGERING", lingering), a_server(path), a_link(path) as link:
        for number in range(1000):
            link.sendall(encode([str(number)]))
            assert answers(link, 1) == [(0, [str(number)])]
            time.sleep(number % 7 * 0.0002)


def test_rubbish_is_answered_and_the_link_stays(path):
    with a_server(path), a_link(path) as link:
        link.sendall(b"rubbish" + END + encode(["ping"]))

        error, pong = answers(link, 2)
        assert error.startswith("ERROR: ") and pong == (0, ["ping"])


def test_a_fault_of_ours_is_an_answer(path, caplog):
    with a_server(path), a_link(path) as link:
        link.sendall(encode(["fail"]) + encode(["ping"]))
        data = b""
        while data.count(END) < 2:
            data += link.recv(1 << 16)

        assert b"RuntimeError" in data and b"a fault of ours" in data
    assert "A request failed" in caplog.text


def test_taking_leave_closes_the_link_after_the_answers(path):
    with a_server(path), a_link(path) as link:
        link.sendall(encode(["ping"]) + CLOSE + END)

        assert answers(link, 1) == [(0, ["ping"])]
        assert is_closed(link)


def test_a_client_that_says_no_more_still_gets_its_answer(path):
    with a_server(path), a_link(path) as link:
        link.sendall(encode(["ping"]))
        link.shutdown(socket.SHUT_WR)

        assert answers(link, 1) == [(0, ["ping"])]
        assert is_closed(link)


def test_a_client_that_goes_before_its_answer_harms_nobody(path):
    repeater = Repeater()
    with a_server(path, repeater):
        with a_link(path) as link:
            link.sendall(encode([GATE]))
            eventually(lambda: repeater.asked)
        repeater.gate.set()

        assert ask(path, "ping") == (0, ["ping"])


def test_a_hundred_megabytes_are_cut_off(path):
    with a_server(path, limit=1 << 20), a_link(path) as link:
        with pytest.raises(OSError):
            for _ in range(1600):
                link.sendall(b"x" * (64 << 10))

        assert ask(path, "ping") == (0, ["ping"])


def test_half_a_message_is_waited_for_only_so_long(path):
    with a_server(path, patience=0.2), a_link(path) as link:
        link.sendall(encode(["ping"])[:-5])

        assert is_closed(link)


def test_a_client_that_asks_nothing_may_stay(path):
    with a_server(path, patience=0.05), a_link(path) as quiet, a_link(path) as half:
        half.sendall(b"x")
        assert is_closed(half)

        quiet.sendall(encode(["ping"]))
        assert answers(quiet, 1) == [(0, ["ping"])]


def test_a_client_that_never_reads_its_answer_is_cut_off(path):
    with a_server(path, patience=0.3), a_link(path) as link:
        link.sendall(encode(["big"]))

        assert ask(path, "ping") == (0, ["ping"])
        eventually(lambda: time.sleep(0.05) or not is_writable(link), what="the cut")


def is_writable(link):
    try:
        link.send(b"x", socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def test_the_longest_silent_makes_room_for_a_newcomer(path):
    with a_server(path, most_links=3) as control, contextlib.ExitStack() as stack:
        links = [stack.enter_context(a_link(path)) for _ in range(3)]
        for link in links:
            link.sendall(encode(["ping"]))
            answers(link, 1)
        eventually(lambda: all(link.is_idle for link in control._links))

        assert ask(path, "ping") == (0, ["ping"])
        assert is_closed(links[0])


def test_who_is_silent_is_so_before_the_loop_takes_the_link_back(path):
    control = Control(str(path), Repeater())
    control.open()
    try:
        with a_link(path) as link:
            control._turn()
            link.sendall(encode(["ping"]))
            answers(link, 1)
            eventually(lambda: control._done.qsize() == 1)

            assert [link.is_idle for link in control._links] == [True]
    finally:
        control.close()


def test_when_all_are_busy_a_newcomer_is_sent_away(path):
    repeater = Repeater()
    with a_server(path, repeater, most_links=2), a_link(path) as one, a_link(path) as two:
        for link in (one, two):
            link.sendall(encode([GATE]))
        eventually(lambda: len(repeater.asked) == 2)

        with a_link(path) as third:
            assert is_closed(third)
        repeater.gate.set()
        assert answers(one, 1) and answers(two, 1)


def test_who_asked_for_the_end_is_still_answered(path):
    control = None

    def answer(message):
        control.stop()
        return 0, None

    control = Control(str(path), answer)
    control.open()
    thread = threading.Thread(target=control.serve)
    thread.start()
    try:
        assert ask(path, "stop") == (0, None)
    finally:
        thread.join(60)
        control.close()
    assert not path.exists()


def test_what_waits_when_the_server_ends_is_told_so(path):
    repeater = Repeater()
    with a_link_to_a_stopping(path, repeater) as link:
        assert answers(link, 2) == [(0, [GATE]), ["SHUTDOWN"]]


@contextlib.contextmanager
def a_link_to_a_stopping(path, repeater):
    with a_server(path, repeater) as control, a_link(path) as link:
        link.sendall(encode([GATE]) + encode(["late"]))
        eventually(lambda: repeater.asked)
        control.stop()
        repeater.gate.set()
        yield link


def test_the_socket_is_its_owner_s_alone_and_goes_with_the_server(tmp_path):
    path = tmp_path / "run" / "f2b.sock"
    with a_server(path):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600

    assert not path.exists()


def test_the_umask_is_as_before(path):
    before = os.umask(0o022)
    try:
        with a_server(path):
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_second_server_is_refused_even_by_force(path):
    with a_server(path):
        for is_forced in (False, True):
            with pytest.raises(Fail2banError, match="answers on .* already .*process"):
                Control(str(path), Repeater(), is_forced=is_forced).open()
        assert ask(path, "ping") == (0, ["ping"])


def test_a_stale_socket_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    with a_server(path):
        assert ask(path, "ping") == (0, ["ping"])


@pytest.mark.parametrize("is_forced", [False, True])
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "directory"])
def test_what_is_no_socket_is_never_touched(path, tmp_path, kind, is_forced):
    target = tmp_path / "target"
    target.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target if kind == "link" else tmp_path / "nowhere")
    before = os.lstat(path)

    with pytest.raises(Fail2banError, match="no socket"):
        Control(str(path), Repeater(), is_forced=is_forced).open()
    assert os.path.samestat(before, os.lstat(path)) and target.read_text() == "precious"


def test_a_place_where_nothing_can_be_made_is_named(tmp_path):
    for path in (tmp_path / "a" / "b" / "sock", tmp_path / ("x" * 120)):
        with pytest.raises(Fail2banError, match=str(path)):
            Control(str(path), Repeater()).open()


def test_only_its_own_socket_is_removed_at_the_end(path):
    with a_server(path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))

    assert path.exists()


KNOCK = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
link = socket.socket(socket.AF_UNIX); link.settimeout(10); link.connect(sys.argv[1])
try:
    link.sendall(b"x<F2B_END_COMMAND>")
    print("heard" if link.recv(100) else "cut")
except OSError:
    print("cut")
"""


def test_a_foreign_user_is_not_heard_even_if_the_socket_lets_it_in(path, tmp_path):
    if os.geteuid() != 0:
        unavailable("it takes root to be somebody else")
    for directory in [tmp_path, *tmp_path.parents]:
        if directory.stat().st_uid == 0 and not directory.stat().st_mode & 1:
            directory.chmod(directory.stat().st_mode | 0o011)
    repeater = Repeater()
    with a_server(path, repeater):
        path.chmod(0o777)
        run = subprocess.run(
            [sys.executable, "-I", "-c", KNOCK, str(path)],
            cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

        assert (run.stdout, run.stderr) == ("cut\n", "")
        assert repeater.asked == []


def test_a_stale_socket_of_somebody_else_takes_force(path):
    if os.geteuid() != 0:
        unavailable("it takes root to be somebody else")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    os.chown(path, 65534, 65534)

    with pytest.raises(Fail2banError, match="belongs to user 65534"):
        Control(str(path), Repeater()).open()
    with a_server(path, is_forced=True):
        assert ask(path, "ping") == (0, ["ping"])
