# SPDX-License-Identifier: GPL-2.0-or-later
"""One thread for the whole server that has what is enforced looked at: in time, and when the kernel tells.

Knows when each action wants to be looked at, and hears of changes to nftables through netlink.  Knows no
ban and no command: it wakes the action, which does the rest.  There is no thread until an action asks.
"""

from __future__ import annotations

import array
import errno
import logging
import math
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger("fail2ban.actions")

_AT_ONCE = 0.3  # seconds from a change to the look: changes come in crowds
_REST = 3.0  # seconds between two looks because of changes
_MOST_SKIPPED = 9  # looks in a row that are left out as nothing has changed
_TABLE_AND_SET = (
    2  # names of which all changes are heard; what an ipset holds is not told by netlink
)
_RETRY = 60.0  # seconds until netlink is tried again


class Beat(Protocol):
    """What can be looked at."""

    def look(self) -> None: ...


@dataclass(slots=True)
class _Post:
    """When to look at an action, and what it listens to: names of an nftables table and a set."""

    due: float = math.inf
    names: frozenset[str] = frozenset()
    rest: float = _REST
    skipped: int = 0
    last: float = -math.inf
    # How many transactions had been heard of when it last changed something; whether any came since.
    heard_before: int | None = None
    is_deaf: bool = True
    is_changed: bool = True  # since the last look


class Patrol:
    """When to look at what; any thread may call any method."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        listen: Callable[[], Listener | None] | None = None,
    ) -> None:
        self._clock = clock
        self._listen = listen or Listener.opened
        self._lock = threading.Lock()
        self._posts: dict[Beat, _Post] = {}
        self._listener: Listener | None = None
        self._listen_at = -math.inf
        self._wake = -1
        self._woken = -1
        self._wakes_at = math.inf  # what the thread waits for
        self._thread: threading.Thread | None = None
        self._is_ending = False

    def begin(self, beat: Beat, names: frozenset[str]) -> None:
        """`beat` is about to change what is enforced, which is what `names` name."""
        with self._lock:
            post = self._posts.get(beat)
            if post is None and names:
                post = self._posts[beat] = _Post(names=names)
                self._mind_listener(self._clock())
            if post is not None:
                post.is_changed = True
                if post.heard_before is None and self._listener is not None:
                    post.heard_before = self._listener.transactions

    def expect(self, beat: Beat, due: float, names: frozenset[str], rest: float = 0.0) -> None:
        """Have `beat` looked at when it is `due`, and, with a `rest` between, when `names` change."""
        with self._lock:
            if beat not in self._posts and math.isinf(due):
                return
            post = self._posts.setdefault(beat, _Post())
            # A change that was heard of while it was being looked at is not forgotten for that.
            post.due = min(due, post.due) if post.is_changed else due
            post.names, post.rest = names, max(rest, _REST)
            if self._thread is None and not self._is_ending:
                self._start()
            elif due < self._wakes_at:
                self._notify()

    def forget(self, beat: Beat) -> None:
        with self._lock:
            self._posts.pop(beat, None)

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            self._is_ending = True
            self._notify()
            thread = self._thread
        if thread is not None:
            thread.join(10)

    def _start(self) -> None:
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="patrol", daemon=True)
        self._thread.start()

    def _notify(self) -> None:
        if self._wake >= 0:
            with suppress(BlockingIOError):
                os.write(self._wake, b"!")

    # -- in the thread

    def _work(self) -> None:
        try:
            while not self._is_ending:
                self._round()
        except Exception:
            log.exception("what is enforced is not looked at any more")
        finally:
            with self._lock:
                if self._listener is not None:
                    self._listener.close()
                    self._listener = None
                os.close(self._wake)
                os.close(self._woken)
                self._wake = -1

    def _round(self) -> None:
        now = self._clock()
        with self._lock:
            self._mind_listener(now)
            for beat in self._due(now):
                beat.look()
            self._wakes_at = min((post.due for post in self._posts.values()), default=math.inf)
            listener = self._listener
        waiting: list[int | Listener] = [self._woken, *([listener] if listener else [])]
        patience = None if math.isinf(self._wakes_at) else max(0.0, self._wakes_at - now)
        ready, _, _ = select.select(waiting, [], [], patience)
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        if listener in ready and listener is not None:
            self._hear(listener)

    def _mind_listener(self, now: float) -> None:
        """Have a listener if somebody wants one, and none otherwise."""
        is_wanted = any(post.names for post in self._posts.values())
        if is_wanted and self._listener is None and now >= self._listen_at:
            self._listener = self._listen()
            self._listen_at = now + _RETRY
        elif not is_wanted and self._listener is not None:
            self._listener.close()
            self._listener = None

    def _due(self, now: float) -> list[Beat]:
        """What is to be looked at now; where nothing can have changed, that is put off."""
        found = []
        for beat, post in self._posts.items():
            if post.due > now:
                continue
            if self._is_quiet(post):
                post.skipped += 1
                post.due = now + (post.due - post.last if math.isfinite(post.last) else _RETRY)
                post.last = now
                continue
            post.skipped, post.last, post.due, post.is_changed = 0, now, math.inf, False
            found.append(beat)
        return found

    def _is_quiet(self, post: _Post) -> bool:
        listener = self._listener
        if listener is None or len(post.names) < _TABLE_AND_SET:
            return False
        if post.heard_before is not None:
            # Commands of its own that are not heard of happen where we hear nothing.
            post.is_deaf = listener.transactions == post.heard_before
            post.heard_before = None
        return not (post.is_deaf or post.is_changed) and post.skipped < _MOST_SKIPPED

    def _hear(self, listener: Listener) -> None:
        try:
            named = listener.changes()
        except OSError as error:
            log.warning("netlink fails (%s); it is tried again", error)
            with self._lock:
                listener.close()
                self._listener = None
            named = None
        now = self._clock()
        with self._lock:
            for post in self._posts.values():
                if post.names and (named is None or any(post.names >= one for one in named)):
                    post.is_changed = True
                    post.due = min(post.due, max(now + _AT_ONCE, post.last + post.rest))


# -- netlink ---------------------------------------------------------------------------------------

_NETLINK_NETFILTER = 12
_GROUP_NFTABLES = 7  # NFNLGRP_NFTABLES
_SUBSYSTEM_NFTABLES = 10
_NEW_ELEMENT = 12
_NEW_GENERATION = 15
_NO_TABLE, _NO_CHAIN, _NO_RULE, _NO_SET, _NO_ELEMENT = 2, 5, 8, 11, 14
_DELETIONS = frozenset((_NO_TABLE, _NO_CHAIN, _NO_RULE, _NO_SET, _NO_ELEMENT))
_SO_ATTACH_FILTER = 26


class Listener:
    """Hears what is taken away from nftables in this network namespace.

    What is added is not even delivered: that would be a message for each ban.
    """

    def __init__(self, link: socket.socket) -> None:
        self.transactions = 0
        self._link = link

    @staticmethod
    def opened() -> Listener | None:
        """One that listens; None where that cannot be."""
        try:
            link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
            try:
                _leave_out_additions(link)
                link.bind((0, 1 << (_GROUP_NFTABLES - 1)))
                link.setblocking(False)
            except BaseException:
                link.close()
                raise
        except (OSError, AttributeError) as error:
            log.debug("netlink is not to be had: %s", error)
            return None
        return Listener(link)

    def fileno(self) -> int:
        return self._link.fileno()

    def close(self) -> None:
        self._link.close()

    def changes(self) -> set[frozenset[str]] | None:
        """What lost something since: names of tables, or of tables and sets; None for anything."""
        named: set[frozenset[str]] = set()
        is_lost = False
        for _ in range(1000):
            try:
                data = self._link.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                is_lost = True  # more has happened than we could hear
                self.transactions += 1
                continue
            for kind, body in messages(data):
                self.transactions += kind == _NEW_GENERATION
                if kind in _DELETIONS:
                    named.add(_names(kind, body))
        return None if is_lost else named


def _leave_out_additions(link: socket.socket) -> None:
    """Have the kernel deliver no message that begins with the news of an element."""
    kind = _SUBSYSTEM_NFTABLES << 8 | _NEW_ELEMENT
    kind = socket.htons(kind) if sys.byteorder == "little" else kind
    program = struct.pack(
        "HBBI" * 4,
        *(0x28, 0, 0, 4),  # load the half-word where the type stands
        *(0x15, 0, 1, kind),
        *(0x06, 0, 0, 0),  # leave it out
        *(0x06, 0, 0, 0xFFFFFFFF),
    )
    code = array.array("B", program)
    link.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 4, code.buffer_info()[0])
    )


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each message of nftables in `data`."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16 or at + length > len(data):
            return
        if kind >> 8 == _SUBSYSTEM_NFTABLES:
            yield kind & 0xFF, data[at + 20 : at + length]
        at += (length + 3) & ~3


def _names(kind: int, body: bytes) -> frozenset[str]:
    """The table that a message is about; of a set, or elements of one, that set's name, too."""
    wanted = (1, 2) if kind in (_NO_SET, _NO_ELEMENT) else (1,)
    found = []
    at = 0
    while at + 4 <= len(body):
        length, number = struct.unpack_from("=HH", body, at)
        if length < 4:
            break
        if number in wanted:
            found.append(body[at + 4 : at + length].rstrip(b"\0").decode("utf-8", "replace"))
        at += (length + 3) & ~3
    return frozenset(found)
