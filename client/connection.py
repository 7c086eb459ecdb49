# SPDX-License-Identifier: GPL-2.0-or-later
"""A link to the server: words out, an answer in.  What either means it does not know."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from common.errors import Fail2banError, ProtocolError
from common.wire import ANSWER_LIMIT, CLOSE, END, ERROR_NAMES, Decoder, RemoteError, Unreadable
from common.wire import encode as encode_message

_CHUNK = 64 << 10


class NoServer(Fail2banError):
    """Nobody answers at the socket."""


class Refused(Fail2banError):
    """The server answered that it cannot; `error` is what it said."""

    def __init__(self, error: RemoteError) -> None:
        super().__init__(str(error))
        self.error = error


class Connection:
    """A link to the server at `path`, which must be root's or our own.

    With `timeout`, no answer may take longer.  Used with `with`.
    """

    def __init__(self, path: str, timeout: float | None = None) -> None:
        self._path = path
        self._decoder = Decoder(ANSWER_LIMIT, ERROR_NAMES)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            self.server_process, user, _ = struct.unpack(
                "3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            )
        except PermissionError:
            self._socket.close()
            raise Fail2banError(
                f"No permission to use the socket: {path}. It takes root, or who runs the server."
            ) from None
        except OSError:
            self._socket.close()
            raise NoServer(f"Failed to access socket path: {path}. Is fail2ban running?") from None
        if user not in (0, os.geteuid()):
            self._socket.close()
            raise Fail2banError(f"The server at {path} is run by user {user}, who is not trusted.")

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, words: Sequence[Any]) -> Any:
        """The server's answer to `words`; Refused where it cannot, Fail2banError where none comes."""
        try:
            self._socket.sendall(encode_message(list(words)))
            answer = self._receive()
        except TimeoutError:
            raise Fail2banError("The server takes too long to answer.") from None
        except ProtocolError as error:
            raise Fail2banError(f"The server answered what makes no sense: {error}") from None
        except OSError as error:
            raise Fail2banError(f"The link to the server broke: {error}") from None
        match answer:
            case (0, value):
                return value
            case (1, value):
                is_error = isinstance(value, RemoteError)
                raise Refused(value if is_error else RemoteError("Exception", (value,)))
            case ["SHUTDOWN"]:
                raise Fail2banError("The server is shutting down.")
            case Unreadable():
                raise Fail2banError(f"The server answered what makes no sense: {answer.why}")
        raise Fail2banError(f"The server could not read what was sent: {answer}")

    def close(self) -> None:
        """Take leave."""
        try:
            self._socket.sendall(CLOSE + END)
        except OSError:
            pass  # it is gone already
        finally:
            self._socket.close()

    def _receive(self) -> Any:
        while True:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("the server closed it before it answered")
            if messages := self._decoder.feed(data):
                return messages[0]
