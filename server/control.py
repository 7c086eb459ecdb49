# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket: who may speak, on how many links, and for how long.

It carries messages to `answer` and answers back.  What they mean it does not know.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import stat
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from common.errors import Fail2banError, ProtocolError
from common.wire import REQUEST_LIMIT, Decoder, Leave, Unreadable, encode, encode_answer

log = logging.getLogger("fail2ban.control")

Answer = Callable[[Any], tuple[int, Any]]
T = TypeVar("T")

_CHUNK = 64 << 10
_PAUSE = 0.02  # seconds for which a thread waits for the next request of its link …
_LINGERING = 5.0  # … and then for another link: to begin a thread costs more
_LEAVING = ["SHUTDOWN"]  # the answer of a server on its way out


@dataclass(slots=True, eq=False)
class _Link:
    """One client: what it asked, what it is still to be told, and since when it kept us waiting.

    While `is_busy`, all that belongs to the thread that answers; else to the loop.  With `is_pausing` the
    thread has answered everything, and waits whether there is more, or for the loop to take the link back.
    """

    sock: socket.socket
    decoder: Decoder
    requests: deque[Any] = field(default_factory=deque)
    outbox: bytearray = field(default_factory=bytearray)
    is_busy: bool = False
    is_pausing: bool = False
    is_ending: bool = False
    moved: float = 0.0

    @property
    def is_idle(self) -> bool:
        return self.is_pausing or not (self.is_busy or self.requests or self.outbox)

    @property
    def is_owing(self) -> bool:
        """Whether it is the client that must go on: with half a message, or reading its answer."""
        return not self.is_busy and (bool(self.outbox) or self.decoder.is_amid_message)


class _Hands(Generic[T]):
    """Threads, as many as there are tasks at the same time; none waits for another one's end."""

    def __init__(self, work: Callable[[T], None]) -> None:
        self._work = work
        self._tasks: SimpleQueue[T] = SimpleQueue()
        # How many threads wait, less the tasks that are on their way to them.
        self._free = threading.Semaphore(0)

    def take(self, task: T) -> None:
        """Have `task` done; RuntimeError where the system has no thread left."""
        if not self._free.acquire(blocking=False):
            threading.Thread(target=self._run, args=(task,), daemon=True).start()
        else:
            self._tasks.put(task)

    def _run(self, task: T) -> None:
        while True:
            self._work(task)
            del task  # perhaps megabytes, for as long as nothing comes
            self._free.release()
            try:
                task = self._tasks.get(timeout=_LINGERING)
            except Empty:
                if self._free.acquire(blocking=False):
                    return
                task = self._tasks.get()  # it was just counted on


class Control:
    """A server's socket at `path`; every message goes through `answer`, in a thread of its link's own.

    `patience` is how many seconds a client may take over half a message or over reading an answer.
    """

    def __init__(
        self,
        path: str,
        answer: Answer,
        *,
        is_forced: bool = False,
        most_links: int = 128,
        limit: int = REQUEST_LIMIT,
        patience: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._answer = answer
        self._is_forced = is_forced
        self._most_links = most_links
        self._limit = limit
        self._patience = patience
        self._clock = clock
        self._listener: socket.socket | None = None
        self._own: tuple[int, int] = (0, 0)
        self._links: set[_Link] = set()
        self._hands = _Hands(self._serve_link)
        self._done: SimpleQueue[_Link] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = os.pipe()
        for end in (self._wake_out, self._wake_in):
            os.set_blocking(end, False)
        self._is_stopped = False

    @property
    def bell(self) -> int:
        """A descriptor; any byte that is written to it wakes `serve`."""
        return self._wake_in

    # coming and going

    def open(self) -> None:
        """Listen; Fail2banError where a server listens already or the place is not ours to take."""
        directory = Path(self._path).parent
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            if not directory.exists():
                directory.mkdir(mode=0o755)
            clear_the_way(self._path, self._is_forced)
            before = os.umask(0o177)  # so that it is nobody else's from the first moment on
            try:
                listener.bind(self._path)
            finally:
                os.umask(before)
            listener.listen(self._most_links)
        except OSError as error:
            listener.close()
            raise Fail2banError(f"no socket can be made at {self._path}: {error}") from None
        except Fail2banError:
            listener.close()
            raise
        listener.setblocking(False)
        made = os.lstat(self._path)
        self._own = (made.st_dev, made.st_ino)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._wake_up)

    def serve(self) -> None:
        """Answer until `stop` is called; what has been asked by then is answered still."""
        while not self._is_stopped:
            self._turn()
        self._say_good_bye()

    def stop(self) -> None:
        """Have `serve` end.  May be called from any thread and from a signal handler."""
        self._is_stopped = True
        self._wake()

    def close(self) -> None:
        """Give up the socket; its file is removed if it is still the one that was made."""
        for link in self._every_link():
            self._drop(link)
        self._selector.close()
        if self._listener:
            self._listener.close()
            with contextlib.suppress(OSError):
                found = os.lstat(self._path)
                if (found.st_dev, found.st_ino) == self._own:
                    os.unlink(self._path)
        # The pipe stays: a request that is still at work will want to say that it is done.

    def _say_good_bye(self) -> None:
        assert self._listener
        self._selector.unregister(self._listener)
        self._listener.close()  # so that nobody waits in vain
        for link in self._every_link():
            link.is_ending = True
            if not link.is_busy:
                self._go_on(link)
        until = self._clock() + min(self._patience, 5.0)
        while self._links and self._clock() < until:
            self._turn(0.1)

    # one turn

    def _turn(self, longest: float = 1.0) -> None:
        is_owing = any(link.is_owing for link in self._every_link())
        for key, events in self._selector.select(longest if is_owing or self._is_stopped else None):
            if isinstance(key.data, _Link):
                self._on_event(key.data, events)
            else:
                key.data()
        if is_owing:
            self._drop_the_slow()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_in, b"\0")

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_out, _CHUNK)
        while True:
            try:
                link = self._done.get_nowait()
            except Empty:
                return
            link.is_busy = link.is_pausing = False
            if link in self._links:
                self._go_on(link)
            else:
                link.sock.close()

    def _accept(self) -> None:
        assert self._listener
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            log.error("No client can be heard: %s", error)
            time.sleep(0.1)  # out of descriptors: without a pause this would be a busy loop
            return
        sock.setblocking(False)
        if not is_welcome(sock) or not self._has_room():
            sock.close()
            return
        link = _Link(sock, Decoder(self._limit), moved=self._clock())
        self._links.add(link)
        self._begin(link)  # who comes has something to ask

    def _has_room(self) -> bool:
        """See to it that there is room for one more; who has been silent the longest must go."""
        if len(self._links) < self._most_links:
            return True
        idle = [link for link in self._every_link() if link.is_idle]
        if not idle:
            log.warning("More than %s clients at once, one is sent away", self._most_links)
            return False
        self._drop(min(idle, key=lambda link: link.moved))
        return True

    def _drop_the_slow(self) -> None:
        latest = self._clock() - self._patience
        for link in self._every_link():
            if not link.is_owing or link.moved >= latest:
                continue
            log.warning(
                "A client kept the server waiting for %s s, its link is cut", self._patience
            )
            self._drop(link)

    def _every_link(self) -> list[_Link]:
        return list(self._links)  # at once: threads take theirs away

    def _drop(self, link: _Link) -> None:
        self._links.discard(link)
        if link.is_busy:  # its thread finds that out
            with contextlib.suppress(OSError):
                link.sock.shutdown(socket.SHUT_RDWR)
            return
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(link.sock)
        link.sock.close()

    # one link

    def _on_event(self, link: _Link, events: int) -> None:
        if link not in self._links:  # it was dropped earlier in this turn
            return
        try:
            if events & selectors.EVENT_READ:
                self._receive(link)
            self._go_on(link)
        except OSError:
            self._drop(link)

    def _receive(self, link: _Link) -> None:
        try:
            data = link.sock.recv(_CHUNK)
        except (BlockingIOError, TimeoutError):
            return
        if not data:
            link.is_ending = True  # it may still read what it has asked for
            return
        link.moved = self._clock()
        try:
            messages = link.decoder.feed(data)
        except ProtocolError as error:
            messages, link.is_ending = [Unreadable(str(error))], True
        for message in messages:
            if isinstance(message, Leave):
                link.is_ending = True
                return
            link.requests.append(message)

    def _go_on(self, link: _Link) -> None:
        """Send what can be sent, begin what can be begun, and wait for the right thing."""
        try:
            self._send(link)
        except OSError:
            self._drop(link)
            return
        if link.requests and not link.outbox:
            self._watch(link, is_ours=False)
            self._begin(link)
        elif link.is_ending and link.is_idle:
            self._drop(link)
        else:
            self._watch(link)

    def _begin(self, link: _Link) -> None:
        """Give it to a thread."""
        link.is_busy = True
        try:
            self._hands.take(link)
        except RuntimeError as error:  # the system has no thread left
            link.is_busy = False
            for _ in range(len(link.requests)):
                link.requests.popleft()
                link.outbox += encode_answer(1, error)
            self._watch(link)

    def _watch(self, link: _Link, *, is_ours: bool = True) -> None:
        events = 0
        if is_ours and link.outbox:
            events = selectors.EVENT_WRITE
        elif is_ours and not link.is_ending:
            events = selectors.EVENT_READ
        is_watched = link.sock.fileno() in self._selector.get_map()
        if events and is_watched:
            self._selector.modify(link.sock, events, link)
        elif events:
            self._selector.register(link.sock, events, link)
        elif is_watched:
            self._selector.unregister(link.sock)

    def _send(self, link: _Link) -> None:
        while link.outbox:
            began = self._clock()  # what others do once this one has its answer is later
            try:
                sent = link.sock.send(link.outbox[:_CHUNK])
            except (BlockingIOError, TimeoutError):
                return
            del link.outbox[:sent]
            link.moved = began

    # in a thread

    def _serve_link(self, link: _Link) -> None:
        """Answer what is asked on `link`, as long as there is no pause.

        To go back to the loop, and from there to a thread again, takes longer than most answers.
        """
        try:
            link.sock.settimeout(_PAUSE)
            while self._ask_once_more(link):
                link.outbox += self._answer_to(link.requests.popleft())
                self._send(link)
            link.sock.setblocking(False)
        except Exception as error:
            if not isinstance(error, OSError):  # which is but a client that went away
                log.exception("A link failed")
            link.requests.clear()
            link.outbox.clear()
            link.is_ending = True
        if link.is_ending and not (link.requests or link.outbox):
            self._links.discard(link)
            link.sock.close()
        else:
            self._done.put(link)
            self._wake()

    def _ask_once_more(self, link: _Link) -> bool:
        """Whether there is a request to be answered by now."""
        if not (link.requests or link.outbox or link.is_ending):
            link.is_pausing = True
            self._receive(link)
            link.is_pausing = not link.requests
        return bool(link.requests) and not link.outbox

    def _answer_to(self, request: Any) -> bytes:
        if isinstance(request, Unreadable):
            return encode(f"ERROR: {request.why}")
        if self._is_stopped:
            return encode(_LEAVING)
        try:
            return encode_answer(*self._answer(request))
        except Exception as error:  # whoever asked must get an answer
            log.exception("A request failed")
            return encode_answer(1, error)


def is_welcome(sock: socket.socket) -> bool:
    """Whether root or this process's own user is at the other end, as the kernel says."""
    uid = _peer(sock)[1]
    if uid in (0, os.geteuid()):
        return True
    log.warning("User %s has no business with the control socket, its link is cut", uid)
    return False


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Process and user at the other end."""
    form = struct.Struct("3i")
    told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
    process, user, _ = form.unpack(told)
    return process, user


def clear_the_way(path: str, is_forced: bool) -> None:
    """Remove a socket at `path` that a dead server left; Fail2banError for all else that is there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Fail2banError(f"{path} is there and no socket; remove it, or choose another with -s")
    if listener := _who_listens(path):
        raise Fail2banError(
            f"a server answers on {path} already ({listener}); stop it, or choose another with -s"
        )
    if found.st_uid != os.geteuid() and not is_forced:
        raise Fail2banError(
            f"{path} belongs to user {found.st_uid}; remove it, choose another with -s,"
            " or have it replaced with -x"
        )
    os.unlink(path)


def _who_listens(path: str) -> str:
    """Which process listens at `path`; "" if none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return ""
        except BlockingIOError:  # so many wait for it that there is a queue
            return "it is busy"
        return f"process {_peer(probe)[0]}"
