# SPDX-License-Identifier: GPL-2.0-or-later
"""The client's end of the link, against servers that behave as they like."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import threading

import pytest

from client.connection import Connection, NoServer, Refused
from common.errors import Fail2banError
from common.wire import CLOSE, END
from tests.support import unavailable


@contextlib.contextmanager
def a_server_that_sends(path, data):
    """A server that reads one request and sends `data`; it gives what it read."""
    heard = []

    def serve():
        link, _ = listener.accept()
        with link:
            link.settimeout(10)
            with contextlib.suppress(OSError):
                heard.append(link.recv(1 << 16))
                for piece in data if isinstance(data, list) else [data]:
                    link.sendall(piece)
                if not data:
                    return
                while more := link.recv(1 << 16):
                    heard.append(more)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join(60)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f2b.sock"


def ask(path, *words, timeout=10):
    with Connection(str(path), timeout) as connection:
        return connection.ask(list(words))


def test_an_answer_comes_back_and_leave_is_taken(path):
    with a_server_that_sends(path, pickle.dumps((0, "pong")) + END) as heard:
        assert ask(path, "ping") == "pong"

    said = b"".join(heard)
    assert said.endswith(CLOSE + END)
    assert pickle.loads(said.split(END)[0]) == ["ping"]


def test_a_pair_may_be_a_list_and_come_in_pieces(path):
    data = pickle.dumps([0, ["a"] * 3000]) + END
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    with a_server_that_sends(path, pieces):
        assert ask(path, "ping") == ["a"] * 3000


def test_a_refusal_carries_what_the_server_said(path):
    answer = pickle.dumps((1, KeyError("x"))) + END
    with a_server_that_sends(path, answer), pytest.raises(Refused) as refused:
        ask(path, "get")

    assert (refused.value.error.kind, refused.value.error.args) == ("KeyError", ("x",))


@pytest.mark.parametrize(
    ("data", "said"),
    [(pickle.dumps("ERROR: what?") + END, "ERROR: what?"),
     (pickle.dumps(["SHUTDOWN"]) + END, "shutting down"),
     (b"rubbish" + END, "makes no sense"),
     (pickle.dumps((0, os.system)) + END, "makes no sense"),
     (pickle.dumps(5) + END, "could not read"),
     (b"", "closed it before it answered")],
    ids=["error", "shutdown", "rubbish", "call", "no pair", "nothing"],
)  # fmt: skip
def test_what_is_no_answer_is_said_so(path, data, said):
    with a_server_that_sends(path, data), pytest.raises(Fail2banError, match=said):
        ask(path, "ping")


def test_a_silent_server_is_waited_for_only_so_long(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(Fail2banError, match="too long"):
            ask(path, "ping", timeout=0.05)


def test_where_there_is_no_server_the_socket_is_named(path):
    with pytest.raises(NoServer) as missing:
        Connection(str(path))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NoServer):
        Connection(str(path))

    assert str(missing.value) == f"Failed to access socket path: {path}. Is fail2ban running?"


def test_a_server_of_somebody_else_is_told_nothing(path):
    if os.geteuid() != 0:
        unavailable("it takes root to be somebody else")
    heard, ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                os.setuid(65534)
                listener.listen()
                os.write(ready, b"up")
                link, _ = listener.accept()
                link.settimeout(10)
                os.write(ready, link.recv(100) or b"nothing")
        finally:
            os._exit(0)
    try:
        assert os.read(heard, 2) == b"up"
        with pytest.raises(Fail2banError, match="user 65534, who is not trusted"):
            ask(path, "ping")
        assert os.read(heard, 100) == b"nothing"
    finally:
        os.waitpid(child, 0)
        os.close(heard)
        os.close(ready)
