# SPDX-License-Identifier: GPL-2.0-or-later
"""One log path, through all files that stand there one after the other.

A file that was renamed or deleted stays open as an older *generation*: its service may go on writing
to it for a while.  Each jail has a cursor of its own in each generation, so that a slow jail holds
up no other; cursors at the same place share one read.  Nothing here waits, starts threads or knows
inotify: `check` looks at what stands at the path, `read` hands out what can be had.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable

from server.delivery import Delivery
from server.generations import Cursor, Generation, Generations, Member, Piece
from server.records import LogBlock, Position
from server.sharing import KEPT, Sharing, Wanted
from server.source import (
    BLOCK,
    FAR,
    LONG,
    MARK,
    Claims,
    FileState,
    Inbox,
    NotALog,
    Overwritten,
    Source,
    last_before,
    long_lines,
    open_copies_since,
    open_copy,
    open_renamed,
    open_rotated_since,
    progress,
    whole_lines,
)

log = logging.getLogger("fail2ban.tail")

GRACE = 300.0  # how long an older file stays quiet before it is let go
ABANDONED = 3600.0  # the same where no newer file has come
_ALERT = 60.0  # how long an older file is looked at often; after that as any other
TELLING = 10.0  # seconds between two words of how far a jail is that is catching up
_APART = KEPT * BLOCK  # bytes that who is ahead waits for those who can read on at once
OLDER = 8  # older files held open for one path
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # between tries where a file cannot be read


class Tail:
    """All that is read at one path, for all jails that follow it."""

    def __init__(
        self,
        path: str,
        claims: Claims | None = None,
        originals: Callable[[str], Iterable[Tail]] = lambda jail: (),
        opened: Callable[[str], Source] = Source,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`originals(jail)`: the tails, of the same glob, of which this one's file may be a copy.

        `clock` is the wall's, which dates are read by.
        """
        self._opened = opened
        self._clock = clock
        self.path = path
        self.is_missing = False
        self.problem = ""
        self._read_problem = ""  # stays until a read succeeds, not only until the file opens
        self.reads = 0  # blocks read, however many jails got them
        self.long_lines = 0  # that were met, and cut
        self._claims = claims or Claims()
        self._originals = originals
        self._members: dict[str, Member] = {}
        self._files = Generations()
        self._delivery = Delivery(path, self._files, self._members)
        self._pause = _FIRST_PAUSE
        self._sharing = Sharing[Piece](path)

    # -- who follows -----------------------------------------------------------------------------

    def add(
        self,
        inbox: Inbox,
        position: Position | None = None,
        is_tail: bool = False,
        is_globbed: bool = False,
        older: Position | None = None,
    ) -> None:
        """Follow for the jail of `inbox`: from `position`, else from the tail or the head.

        `older` is a position in the file that stood there before, to which lines may have been added.
        """
        self._members[inbox.jail] = Member(
            inbox, position, is_tail, is_globbed, older, inbox.reminder
        )

    def remove(self, jail: str) -> None:
        if jail not in self._members:
            return
        for generation in self._files:
            self._delivery.hand_held(jail, generation)
        del self._members[jail]
        for generation in self._files:
            self._withdraw(jail, generation)
        if not self._members:
            for generation in self._files:
                self._close(generation)

    @property
    def jails(self) -> set[str]:
        return set(self._members)

    def state(self, jail: str) -> FileState:
        held = [one for one in self._files if jail in one.cursors]
        position = self._members[jail].resume
        if held:
            position = held[-1].source.position(held[-1].cursors[jail].offset)
        size = self._files.current.source.size if self._files.current else 0
        total = sum(one.source.size for one in held)
        if self._files.current and self._files.current not in held:
            total += size
        return FileState(
            self.path,
            self.is_missing,
            self.problem,
            position,
            size,
            self.long_lines,
            left=max(0, total - sum(one.cursors[jail].offset for one in held)),
            total=total,
        )

    @property
    def is_over(self) -> bool:
        """Whether there is no file, and nothing left of one."""
        return self.is_missing and not self._files

    @property
    def has_older(self) -> bool:
        return bool(self._files.older)

    def patience(self, now: float) -> float | None:
        """After how many seconds to `check` again, even if nothing is heard of; None: no hurry."""
        if self.problem:
            return self._pause
        is_full = any(member.inbox.is_full for member in self._members.values())
        is_busy = any(one.is_copy or now - one.quiet_since < _ALERT for one in self._files.older)
        cursors = [cursor for one in self._files for cursor in one.cursors.values()]
        soonest = min((cursor.tell_by for cursor in cursors if cursor.passed), default=math.inf)
        if is_full or is_busy:
            soonest = min(soonest, now + _FIRST_PAUSE)
        return None if soonest == math.inf else max(0.0, soonest - now)

    # -- what stands at the path -----------------------------------------------------------------

    def check(self, now: float) -> None:
        """Look at the path: open what is new there, notice what was cut, let go what is over."""
        problem = ""
        try:
            self._look(now)
        except (OSError, ValueError) as error:  # ValueError: a path that none can have
            if isinstance(error, NotALog):
                self._files.set_aside(now)
            self.is_missing = False
            problem = _text(error)
        for generation in self._files:
            try:
                self._notice_changes(generation, now)
            except OSError as error:
                problem = self._fail(generation, error)
        self._admit(now)
        self._let_go(now)
        self._say(problem or self._read_problem)

    def _look(self, now: float) -> None:
        try:
            status = os.stat(self.path)
            identity = status.st_dev, status.st_ino
            if self._files.current is not None and self._files.current.source.identity == identity:
                self.is_missing = False
                return
            source = None if self._files.find(identity) else self._opened(self.path)
        except (FileNotFoundError, NotADirectoryError):
            if not self.is_missing:
                log.info("%s is not there; waiting for it", self.path)
            self.is_missing = True
            self._read_problem = ""
            self._files.set_aside(now)
            for member in self._members.values():
                member.is_tail = False  # all that will stand there is new
            self._catch_up(now)
            return
        if self.is_missing:
            log.info("%s is there", self.path)
        elif self._files.current is not None:
            log.info("%s was rotated", self.path)
        self.is_missing = False
        self._files.set_aside(now)
        self._files.current = Generation(source, now, now) if source else self._files.find(identity)
        self._files.older = [one for one in self._files.older if one is not self._files.current]
        if source:
            self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        """Read what came and was rotated away between two looks."""
        if not self._files.older or self._is_globbed:
            return
        last = self._files.older[-1]
        current = self._files.current.source if self._files.current else None
        for source in open_rotated_since(self.path, last.source, OLDER - 1, current):
            if any(one.source.identity == source.identity for one in self._files):
                source.close()
                continue
            generation = Generation(source, now, now)
            self._files.older.append(generation)
            for jail in last.cursors:
                self._place(jail, generation, 0)

    def _notice_changes(self, generation: Generation, now: float) -> None:
        source, size = generation.source, generation.source.size
        if not source.has_changed():
            return
        generation.quiet_since = now
        cursors = generation.cursors.values()
        if (
            any(cursor.offset > source.size for cursor in cursors)
            or not source.begins_as_before()
            or not all(source.has_mark(*place) for place in {(c.offset, c.mark) for c in cursors})
        ):
            self._start_over(generation, size, now)

    def _start_over(self, generation: Generation, size: int, now: float) -> None:
        """The file was truncated; what it held, up to `size`, may stand in a copy."""
        source, cursors = generation.source, generation.cursors
        log.info("%s was truncated", self.path)
        marks = [(cursor.offset, cursor.mark) for cursor in cursors.values()]
        copy = open_copy(self.path, source.fingerprint, *min(marks)) if marks else None
        if copy is not None:
            older = self._files.find(copy.identity)
            if older is None:
                older = Generation(copy, now, now, is_copy=True)
                self._files.older.insert(self._files.index(generation), older)
            else:  # some jails read it already, for what stood there before
                copy.close()
            for jail, cursor in cursors.items():
                offset = min(cursor.offset, older.source.size)
                if jail not in older.cursors and self._place(jail, older, offset):
                    older.cursors[jail].reminder = cursor.reminder
        elif marks and (lost := size - min(marks)[0]) > 0:
            log.warning("%s was truncated; %d bytes of it were not read yet", self.path, lost)
        self._sharing.forget()
        generation.cursors = {
            jail: Cursor(must_tell=cursor.is_moved, last=cursor.last)
            for jail, cursor in cursors.items()
        }
        generation.told = -1
        source.start_over()

    def _fail(self, generation: Generation, error: OSError) -> str:
        """Give the file up for now; what cannot be read on is opened anew, at the same place."""
        for jail, cursor in generation.cursors.items():
            member, position = self._members[jail], generation.source.position(cursor.offset)
            member.reminder = 0
            self._delivery.hand_held(jail, generation)
            if generation is self._files.current:
                member.resume = position
            else:
                member.older = position
        self._close(generation)
        return _text(error)

    def _say(self, problem: str) -> None:
        """Note what is wrong; tell of it once."""
        if problem:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE) if self.problem else _FIRST_PAUSE
        if problem != self.problem:
            if problem:
                log.warning("%s cannot be read: %s", self.path, problem)
            else:
                log.info("%s can be read again", self.path)
        self.problem = problem

    # -- where the jails begin -------------------------------------------------------------------

    def _admit(self, now: float) -> None:
        """Give each jail its cursor in the file at the path, if it is to read that."""
        for jail, member in self._members.items():
            if member.resume is not None:
                self._resume(jail, member, member.resume, now)
            if member.older is not None and member.resume is None:
                self._resume_older(jail, member.older, now)
                member.older = None
            current = self._files.current
            if current is None or jail in current.cursors:
                continue
            if member.is_globbed and self._may_be_copy(jail, current.source, now):
                continue
            offset = current.source.last_line_start() if member.is_tail else 0
            if self._place(jail, current, offset):
                member.is_tail = False

    def _place(self, jail: str, generation: Generation, offset: int) -> bool:
        """Put a cursor there, or where another path left off; False where that one still reads."""
        handed = self._claims.take(jail, generation.source, self)
        if handed is None:
            return False
        source, offset = generation.source, max(offset, handed)
        begin = self._members[jail].inbox.begin(source, offset)
        if begin > offset:
            log.info(
                "[%s] of %s the first %d MiB are older than findtime, and passed over",
                jail, source.path, begin >> 20,
            )  # fmt: skip
        generation.cursors[jail] = Cursor(begin, source.mark_at(begin))
        return True

    def _may_be_copy(self, jail: str, source: Source, now: float) -> bool:
        """Whether `source` may be a copy that is being made before its original is truncated.

        Of a copy only that is read which the original was not yet, by the original's own tail.
        """
        for original in self._originals(jail):
            original.check(now)  # it may have been truncated just now
            held = original._files.current
            if held and (not source.fingerprint or source.is_copy_of(held.source)):
                return True
            original.check(now)  # or while the two were compared
        return False

    def _resume(self, jail: str, member: Member, position: Position, now: float) -> None:
        """Go on at `position`, which an earlier run of the server left."""
        if generation := self._files.at(position):
            copied = self._read_copies_first(jail, member, position, generation, now)
            if self._place(jail, generation, position.offset) and not copied:
                self._go_on(jail, generation, position.offset)
            for later in self._files.older[self._files.index(generation) + 1 :]:
                self._place(jail, later, 0)
            if generation is not self._files.current:  # and what the others have read and let go
                self._read_between(jail, generation.source, now)
        else:
            source = self._left_behind(position)
            if source is None and self._files.current is None:
                return  # it may come back
            if source is None:
                log.info("%s is another file now, and the earlier one is not beside it", self.path)
            else:
                self._finish_first(jail, position.offset, source, now)
        member.resume, member.is_tail = None, False

    def _read_copies_first(
        self, jail: str, member: Member, position: Position, generation: Generation, now: float
    ) -> bool:
        """Read what was written to a file that was empty, and copied away; False if nothing was."""
        if generation is not self._files.current or member.is_globbed:
            return False
        copies = open_copies_since(self.path, position, generation.source, OLDER - 1)
        for number, copy in enumerate(copies):
            older = self._files.find(copy.identity)
            if older is None:
                older = Generation(copy, now, now, is_copy=True)
                self._files.older.append(older)
            else:
                copy.close()
            if self._place(jail, older, 0) and not number:
                self._have_reminded(jail, older, 0)
        return bool(copies)

    def _go_on(self, jail: str, generation: Generation, offset: int) -> None:
        """Its cursor is where an earlier run has got to: `offset`, if no less is passed over."""
        generation.cursors[jail].is_moved = True
        self._have_reminded(jail, generation, offset)

    def _have_reminded(self, jail: str, generation: Generation, offset: int) -> None:
        """An earlier run has got to `offset`: what it read before is handed out again, as known."""
        cursor = generation.cursors[jail]
        if cursor.offset == offset:
            cursor.reminder = self._members[jail].reminder

    def _resume_older(self, jail: str, position: Position, now: float) -> None:
        """Read what was added to a rotated file after its successor had been begun."""
        generation = self._files.at(position)
        if generation is None:
            source = open_renamed(self.path, position)
            if source is None:
                return
            if source.size <= position.offset:
                source.close()
                return
            generation = Generation(source, now, now)
            self._files.older.insert(self._files.rank(source), generation)
        if jail in generation.cursors or not self._place(jail, generation, position.offset):
            return
        self._have_reminded(jail, generation, position.offset)
        for later in self._files:  # so that nothing is handed out twice
            if later is not generation and (cursor := later.cursors.get(jail)):
                cursor.reminder = min(cursor.reminder, cursor.offset)

    def _left_behind(self, position: Position) -> Source | None:
        """The file of `position` where it now has another name, or a copy where it was cut."""
        is_elsewhere = (
            self._files.current is None or self._files.current.source.inode != position.inode
        )
        if is_elsewhere and (renamed := open_renamed(self.path, position)) is not None:
            return renamed
        # It was copied and cut where it stands, or under whatever name it has got since.
        return open_copy(self.path, position.fingerprint, position.offset)

    def _finish_first(self, jail: str, offset: int, source: Source, now: float) -> None:
        """Read `source` before the file at the path, and whatever came between the two."""
        generation = self._files.find(source.identity)
        if generation is not None:
            source.close()
        else:
            generation = Generation(source, now, now)
            self._files.older.insert(self._files.rank(source), generation)
        if self._place(jail, generation, offset):
            self._go_on(jail, generation, offset)
        self._read_between(jail, generation.source, now)

    def _read_between(self, jail: str, source: Source, now: float) -> None:
        """Read what stood at the path after `source` and does no longer."""
        if self._members[jail].is_globbed:  # then they are followed themselves
            return
        current = self._files.current.source if self._files.current else None
        for one in open_rotated_since(self.path, source, OLDER - 1, current):
            generation = self._files.find(one.identity)
            if generation is None and (current is None or one.identity != current.identity):
                generation = Generation(one, now, now)
                self._files.older.insert(self._files.rank(one), generation)
            else:
                one.close()
            if generation is not None and jail not in generation.cursors:
                self._place(jail, generation, 0)

    # -- reading ---------------------------------------------------------------------------------

    def read(self, now: float) -> bool:
        """Hand out a block from every place where cursors stand; True if there is more to read."""
        behind: set[str] = set()  # the jails that have not finished an older file
        is_more, self._delivery.now = False, now
        for generation in self._files:
            try:
                is_more |= self._read(generation, behind)
                self._tell_progress(generation, now)
            except Overwritten:
                self._start_over(generation, generation.source.size, now)
                is_more = True
            except OSError as error:
                self._read_problem = self._fail(generation, error)
                self._say(self._read_problem)
        if not is_more:
            self._sharing.forget()
        return is_more

    def _tell_progress(self, generation: Generation, now: float) -> None:
        """Tell of the jails that have far to go, now and then, and when they are there."""
        source = generation.source
        for jail, cursor in generation.cursors.items():
            left = source.size - cursor.offset
            if left > FAR and (cursor.told is None or now - cursor.told >= TELLING):
                log.info("[%s] %s: %s", jail, source.path, progress(left, source.size))
                cursor.told = now
            elif cursor.told is not None and cursor.seen == source.size:
                log.info("[%s] %s: read up to its end", jail, source.path)
                cursor.told = None

    def _read(self, generation: Generation, behind: set[str]) -> bool:
        places: dict[int, list[str]] = {}
        for jail, cursor in generation.cursors.items():
            is_late = cursor.passed > 0 and cursor.tell_by <= self._delivery.now
            if self._members[jail].inbox.is_full or (
                is_late and not self._delivery.hand_passed(jail, generation)
            ):
                behind.add(jail)
            elif jail not in behind and (cursor.must_tell or cursor.seen != generation.source.size):
                if cursor.reminder and not self._remind(jail, generation):
                    behind.add(jail)
                    continue
                places.setdefault(cursor.offset, []).append(jail)
        is_more, last = False, -math.inf
        for at in sorted(places):
            # Jails a little apart are led together: then one read and one search do for all of them.
            if at - last > _APART:
                if self._serve(generation, at, places[at], behind):
                    is_more, last = True, at
            else:
                behind.update(places[at])
                is_more = True
        return is_more

    def _serve(self, generation: Generation, at: int, jails: list[str], behind: set[str]) -> bool:
        """Read once at `at` for all `jails`; whether there is more."""
        place = (*generation.source.identity, at)
        cursors = [generation.cursors[jail] for jail in jails]
        is_plain = not any(cursor.is_inside or cursor.searched for cursor in cursors)
        piece = self._sharing.kept(place) if is_plain else None
        if piece is None:
            piece = self._piece(generation, at, cursors)
        found, wanted = None, dict[str, Wanted | None]()
        # To make ready what finds lines takes a jail longer than to read a block: one alone does it.
        if piece.data and (len(self._members) > 1 or cursors[0].is_moved):
            wanted = {jail: member.inbox.wanted() for jail, member in self._members.items()}
            found = self._sharing.found(place, piece, list(wanted.values()), self._clock())
        self._read_problem = ""
        for jail in jails:
            cursor = generation.cursors[jail]
            is_due = piece.length > 0 or cursor.must_tell or cursor.can_wait
            is_refused = is_due and not self._delivery.hand(
                jail, generation, piece, found, wanted.get(jail)
            )
            if is_refused or piece.is_more:
                behind.add(jail)
            else:
                cursor.seen = generation.source.size
        return piece.is_more

    def _piece(self, generation: Generation, at: int, cursors: list[Cursor]) -> Piece:
        """What is to be handed out at `at`, where all of `cursors` stand."""
        source, mark = generation.source, cursors[0].mark
        searched = min(cursor.searched for cursor in cursors)
        if at + searched > source.size:  # what was written of the line was taken back
            searched = 0
            for cursor in cursors:
                cursor.search_anew()
        if at + searched >= source.size:
            return Piece(mark)
        is_long = searched or cursors[0].is_inside
        is_full = source.size - at - searched >= BLOCK
        limit = source.room(at) if is_full and not is_long else BLOCK
        data = source.read(at, mark, limit, searched)
        self.reads += 1
        is_more = is_full and len(data) == limit
        length = whole_lines(data)
        if is_long or (is_more and not length):
            return self._piece_of_long(generation, at, cursors, searched, data)
        if length < len(data):
            data = data[:length]
        for begin in long_lines(data):
            self._tell_long(generation, at + begin)
        return Piece((mark + data[-MARK:])[-MARK:], data, length, is_more)

    def _piece_of_long(
        self, generation: Generation, at: int, cursors: list[Cursor], searched: int, data: bytes
    ) -> Piece:
        """Of a line longer than a block the beginning, once its end is found: in `data`, if at all.

        Until then no cursor moves, so that after a restart, too, its rest is not taken for a line.
        The rest of a line of which a part was handed out earlier is passed over.
        """
        source, is_more = generation.source, len(data) == BLOCK
        blank = min(cursor.blank for cursor in cursors)
        found = data.find(b"\n") + 1
        text = data[:found] if found else data
        if blank == searched:  # a service goes on where it was, in a file that was emptied
            blank += len(text) - len(text.lstrip(b"\0"))
        end = searched + len(text)
        if end - blank > LONG + bool(found) and not cursors[0].is_inside:
            self._tell_long(generation, at + blank)
        if not found:
            for cursor in cursors:
                cursor.searched, cursor.blank = end, blank
            return Piece(cursors[0].mark, is_more=is_more)
        line = b""
        if not cursors[0].is_inside:
            line = os.pread(source.fileno(), min(LONG, end - 1 - blank), at + blank) + b"\n"
        return Piece(text[-MARK:], line, end, at + end < source.size)

    def _tell_long(self, generation: Generation, begin: int) -> None:
        """A line is too long: count it, and tell of the first, the second, the fourth, …"""
        if begin <= generation.told:
            return
        generation.told = begin
        self.long_lines += 1
        if self.long_lines.bit_count() == 1:
            log.warning(
                "%s has a line longer than %d KiB, at byte %d: its rest is not looked at (%d so far)",
                self.path, LONG >> 10, begin, self.long_lines,
            )  # fmt: skip

    def _remind(self, jail: str, generation: Generation) -> bool:
        """Hand out what an earlier run has read last; False if the jail refuses."""
        source, cursor = generation.source, generation.cursors[jail]
        length = min(cursor.offset, cursor.reminder)
        data = source.read(cursor.offset, cursor.mark, length, -length)
        if length < cursor.reminder:  # what is open may have begun before the log was rotated
            before = last_before(self.path, source, cursor.reminder - length)
            is_whole, data = len(before) < cursor.reminder - length, before + data
        else:
            is_whole = length == cursor.offset
        start = 0 if is_whole else data.find(b"\n") + 1
        data = data[start : whole_lines(data)]
        end, _ = self._delivery.ends(jail, generation, cursor.offset)
        begin = source.position(cursor.offset - length)
        block = LogBlock(self.path, data, begin, end, is_known=True)
        if data and not self._members[jail].inbox.offer(block):
            return False
        cursor.reminder = 0
        return True

    # -- letting go ------------------------------------------------------------------------------

    def _let_go(self, now: float) -> None:
        for generation in list(self._files.older):
            if self._is_done(generation, now) and self._finish(generation):
                self._close(generation)
        for generation in self._files.older[:-OLDER]:
            size = generation.source.size
            lost = max((size - one.offset for one in generation.cursors.values()), default=0)
            if lost > 0:
                log.warning("%s was rotated too often; %d bytes stay unread", self.path, lost)
            self._close(generation)
        if self._files.current is not None:
            for jail, cursor in self._files.current.cursors.items():
                if not cursor.is_moved and not self._is_findable(jail):
                    cursor.must_tell = True

    def _is_findable(self, jail: str) -> bool:
        """Whether the older file that the jail's position is in would be found after a restart."""
        held = [one for one in self._files.older if jail in one.cursors]
        return bool(held) and held[-1].source.status.st_nlink > 0

    def _is_done(self, generation: Generation, now: float) -> bool:
        if generation.is_copy or not generation.cursors:
            return True
        quiet = now - generation.quiet_since
        if self._files.current is not None:
            return min(quiet, now - self._files.current.since) >= GRACE
        is_kept = generation.source.status.st_nlink and not self._is_globbed
        return quiet >= ABANDONED and not is_kept

    @property
    def _is_globbed(self) -> bool:
        return all(member.is_globbed for member in self._members.values())

    def _finish(self, generation: Generation) -> bool:
        """Hand out a last line that nobody will end; False while there is something to read."""
        size = generation.source.size
        for jail, cursor in generation.cursors.items():
            if cursor.offset >= size:
                continue
            if cursor.seen != size or self._members[jail].inbox.is_full:
                return False
            try:
                data = generation.source.read(cursor.offset, cursor.mark)
            except (OSError, Overwritten):
                return True
            rest = b"" if cursor.is_inside else data
            if not self._delivery.hand(jail, generation, Piece(data[-MARK:], rest, len(data))):
                return False
        return True

    def _close(self, generation: Generation) -> None:
        for jail in list(generation.cursors):
            self._withdraw(jail, generation)
        generation.source.close()
        self._sharing.forget()
        self._files.remove(generation)

    def _withdraw(self, jail: str, generation: Generation) -> None:
        cursor = generation.cursors.pop(jail, None)
        if cursor is not None:
            is_wanted = generation.is_copy and self._is_globbed  # it stands under the same glob
            self._claims.give_back(jail, generation.source, self, cursor.offset, is_wanted)


def _text(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
