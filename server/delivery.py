# SPDX-License-Identifier: GPL-2.0-or-later
"""What a jail gets of a piece of its log: the block, the lines it wants of it, or nothing yet.

And the position with which it gets it, which tells the next run where to go on.  Knows not when a file
is read, nor how it came to stand at the path.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from server.generations import Cursor, Generation, Generations, Member, Piece
from server.records import Excerpt, LogBlock, Position
from server.sharing import Found, Wanted
from server.source import position_in_blank

log = logging.getLogger("fail2ban.delivery")

_LITTLE = 32  # lines of a block that a jail need not be woken for while it catches up
_TOLD_WITHIN = 5.0  # seconds after which a jail is told of what had no line for it


class Delivery:
    """To all jails that follow one path."""

    def __init__(self, path: str, files: Generations, members: Mapping[str, Member]) -> None:
        self.path = path
        self.now = 0.0  # of this reading
        self._files = files
        self._members = members

    def hand(
        self,
        jail: str,
        generation: Generation,
        piece: Piece,
        found: Found | None = None,
        wanted: Wanted | None = None,
    ) -> bool:
        """Deliver `piece` at the jail's cursor, and move that on; False if the jail refuses.

        Of what is `found` in it the jail gets what it has `wanted`, if that will do.
        """
        cursor = generation.cursors[jail]
        read = found and wanted and self._read_for(jail, wanted, found)
        if wanted and read:
            lines, last = read
            must_tell = cursor.must_tell or (cursor.can_wait and not piece.is_more)
            if not lines and not must_tell:
                cursor.tell_by = cursor.tell_by if cursor.passed else self.now + _TOLD_WITHIN
                cursor.passed += piece.length
                cursor.last = cursor.last if last is None else last
            elif not self._hand_lines(jail, generation, piece, wanted.filter, lines, last):
                return False
        else:
            has_passed = cursor.passed > 0
            if has_passed and not self.hand_passed(jail, generation):
                return False
            is_due = piece.length > 0 or not has_passed
            if is_due and not self._hand_block(jail, generation, piece, found):
                return False
        cursor.offset, cursor.mark = cursor.offset + piece.length, piece.mark
        cursor.search_anew()
        return True

    def hand_passed(self, jail: str, generation: Generation) -> bool:
        """Tell of what was passed over."""
        mark, wanted = generation.cursors[jail].mark, self._members[jail].inbox.wanted()
        filter = wanted and wanted.filter
        return self._hand_lines(jail, generation, Piece(mark), filter, (), None)

    def hand_held(self, jail: str, generation: Generation) -> None:
        """No more is to come: have the jail do what waits for it, by telling it where it has got to."""
        cursor = generation.cursors.get(jail)
        if cursor is not None and (cursor.is_moved or cursor.passed) and not cursor.is_inside:
            self.hand(jail, generation, Piece(cursor.mark))

    def ends(
        self, jail: str, generation: Generation, offset: int
    ) -> tuple[Position, Position | None]:
        """Where the jail is when it gets to `offset`: in the newest file of which it has had lines, and
        in the file before that.

        A straggler's line in an older file must not take the position back to that.
        """
        place, source = generation, generation.source
        if generation is not self._files.current:
            for newer in reversed([*self._files]):
                if newer is generation:
                    break
                if (cursor := newer.cursors.get(jail)) and cursor.is_moved:
                    place = newer
                    break
        if place is not generation:
            end = place.source.position(place.cursors[jail].offset)
        elif not offset and not source.fingerprint:
            end = position_in_blank(self.path, source)
        else:
            end = source.position(offset)
        return end, self._older_position(jail, place, generation, offset)

    def _older_position(
        self, jail: str, place: Generation, generation: Generation, offset: int
    ) -> Position | None:
        """Where the jail is in the file before `place`, when it gets to `offset` in `generation`."""
        if not self._files.older or self._members[jail].is_globbed:
            return None
        for older in reversed(self._files.older[: self._files.index(place)]):
            cursor = older.cursors.get(jail)
            if cursor is not None and not older.is_copy and older.source.fingerprint:
                return older.source.position(offset if older is generation else cursor.offset)
        return None

    def _read_for(
        self, jail: str, wanted: Wanted, found: Found
    ) -> tuple[list[tuple[Any, ...]], float | None] | None:
        """The lines that the jail wants, if they do for it."""
        try:
            return found.lines_for(wanted)
        except Exception:  # then it gets the block, and one jail's fault does not end all reading
            log.exception("[%s] failed to read lines of %s", jail, self.path)
            return None

    def _hand_block(
        self, jail: str, generation: Generation, piece: Piece, found: Found | None
    ) -> bool:
        cursor = generation.cursors[jail]
        start = generation.source.position(cursor.offset)
        end, older = self.ends(jail, generation, cursor.offset + piece.length)
        block = LogBlock(self.path, piece.data, start, end, False, older, found)
        return self._offer(jail, cursor, block)

    def _hand_lines(
        self,
        jail: str,
        generation: Generation,
        piece: Piece,
        filter: Any,
        lines: Sequence[tuple[Any, ...]],
        last: float | None,
    ) -> bool:
        """Deliver those `lines` that `filter` wants of `piece`, in which `last` is the last date."""
        cursor = generation.cursors[jail]
        end, older = self.ends(jail, generation, cursor.offset + piece.length)
        size, can_wait = cursor.passed + piece.length, piece.is_more and len(lines) <= _LITTLE
        excerpt = Excerpt(self.path, lines, cursor.last, last, end, older, size, filter, can_wait)
        return self._offer(jail, cursor, excerpt)

    def _offer(self, jail: str, cursor: Cursor, block: LogBlock | Excerpt) -> bool:
        if not self._members[jail].inbox.offer(block):
            return False
        cursor.passed, cursor.last = 0, None
        cursor.can_wait = isinstance(block, Excerpt) and block.can_wait
        cursor.is_moved, cursor.must_tell = True, False
        return True
