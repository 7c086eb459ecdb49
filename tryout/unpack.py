# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes in, bytes out: compressed ones become plain ones, and any become blocks of whole lines.

In memory there is never more than a bounded piece, whatever stands in an archive.  Opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from common.errors import CommandError

PIECE = 1 << 20  # so much is read at once; and a longer line is cut into as many lines
# 128 KiB can be made of four bytes of Zstandard's, which has no way to say "no more than this".
_ZSTD_PIECE = 1 << 10


class Damaged(CommandError):
    """An archive ends too early, or something in it is wrong; what came before is right."""


class _Format(NamedTuple):
    """What decompresses one member of an archive, and the errors that tell that it is none.

    `make()` gives what takes bytes; `take(it, data)` gives plain bytes and what it did not take of
    `data`.
    """

    name: str
    make: Callable[[], Any]
    take: Callable[[Any, bytes], tuple[bytes, bytes]]
    errors: tuple[type[Exception], ...]
    piece: int = PIECE


def unpacked(chunks: Iterable[bytes], suffix: str) -> Iterator[bytes]:
    """What `chunks` hold, which are compressed if a file's `suffix` says so.

    Raises Damaged, having yielded all that could be read.
    """
    if suffix not in _FORMATS:
        yield from chunks
        return
    form = _FORMATS[suffix]()
    member, is_begun = form.make(), False
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), form.piece):
                rest = chunk[start : start + form.piece]
                while rest or _has_more(member):
                    if member.eof:
                        rest = rest.lstrip(b"\0")  # tapes are filled up with them
                        if not rest:
                            break
                        member, is_begun = form.make(), False
                    is_begun = True
                    data, rest = form.take(member, rest)
                    if data:
                        yield data
    except form.errors as error:
        raise Damaged(f"this is no {form.name} archive, or a damaged one: {error}") from None
    if is_begun and not member.eof:
        raise Damaged(
            f"the {form.name} archive ends before its end: it is cut off, or still written"
        )


def _has_more(member: Any) -> bool:
    """Whether there is more to come of what it has taken."""
    return not member.eof and not getattr(member, "needs_input", True)


def _gzip() -> _Format:
    import zlib

    def take(member: Any, data: bytes) -> tuple[bytes, bytes]:
        plain = member.decompress(data, PIECE)
        return plain, member.unused_data if member.eof else member.unconsumed_tail

    return _Format("gzip", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16), take, (zlib.error,))


def _take_limited(member: Any, data: bytes) -> tuple[bytes, bytes]:
    plain = member.decompress(data, PIECE)
    return plain, member.unused_data if member.eof else b""


def _bzip2() -> _Format:
    import bz2

    return _Format("bzip2", bz2.BZ2Decompressor, _take_limited, (OSError, ValueError))


def _xz() -> _Format:
    import lzma

    # 64 MiB is what `xz -9` needs; a header may ask for gigabytes.
    return _Format("xz", lambda: lzma.LZMADecompressor(memlimit=256 << 20), _take_limited, (lzma.LZMAError,))  # fmt: skip


def _zstandard() -> _Format:
    try:
        import zstandard
    except ImportError:
        raise CommandError(
            "a .zst log needs the Python package zstandard: "
            "pip install zstandard, or your system's python3-zstandard"
        ) from None

    def take(member: Any, data: bytes) -> tuple[bytes, bytes]:
        plain = member.decompress(data)
        return plain, member.unused_data if member.eof else b""

    def make() -> Any:
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()

    return _Format("Zstandard", make, take, (zstandard.ZstdError,), _ZSTD_PIECE)


_FORMATS: dict[str, Callable[[], _Format]] = {
    ".gz": _gzip,
    ".bz2": _bzip2,
    ".xz": _xz,
    ".zst": _zstandard,
}


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines; where a line is longer than a `PIECE`, a block may be a piece of it."""
    rest = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
        else:
            rest += chunk
        while len(rest) >= PIECE:
            yield rest[:PIECE]
            rest = rest[PIECE:]
    if rest:
        yield rest


def lines_of(data: bytes) -> Iterator[bytes]:
    """The lines of a block, and of a longer one than a `PIECE` the pieces."""
    for line in data.split(b"\n"):
        if len(line) <= PIECE:
            yield line
        else:
            yield from (line[start : start + PIECE] for start in range(0, len(line), PIECE))
