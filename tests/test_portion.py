# SPDX-License-Identifier: GPL-2.0-or-later
import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.packing import Packer
from server.portion import Parts, Portion, SpoiltError, together
from server.records import Failure
from tests.support import BOB, EVE, NOON, failures
from tests.test_packing import FAILURES, TEXTS

MANY = st.lists(st.builds(lambda one, host: one._replace(host=host), FAILURES, TEXTS), min_size=1)


def unpacked(data):
    return list(Parts.of(data).unpacked())


@given(MANY)
def test_a_portion_explains_itself(happened):
    portion = Portion.of(happened)

    assert unpacked(portion.data) == happened == list(portion)
    assert len(portion) == len(happened)
    moments = [one.when for one in happened]
    assert (portion.oldest, portion.newest) == (min(moments), max(moments))


@given(st.lists(MANY, min_size=1, max_size=3))
def test_portions_that_are_put_together_hold_the_same(several):
    parts = [Portion.of(happened).parts for happened in several]

    assert [one for portion in together(parts) for one in portion] == sum(several, [])


def test_what_is_put_together_is_neither_small_nor_without_end():
    line = "x" * 1000
    parts = [Portion.of([Failure(EVE, NOON + n, (line,))]).parts for n in range(2000)]

    sizes = [len(portion.data) for portion in together(parts)]

    assert 2 < len(sizes) < 10
    assert max(sizes) < 600_000


def test_of_a_portion_those_are_kept_that_somebody_wants():
    happened = [*failures(EVE, at=[0, 1]), *failures(BOB, at=[2])]

    kept = Portion.of(happened).parts.kept(lambda host, when: host == BOB or when > NOON)

    assert list(kept.unpacked()) == happened[1:]


@given(MANY, st.data())
def test_whatever_byte_is_spoilt_it_is_noticed(happened, data):
    whole = Portion.of(happened).data
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))

    for spoilt in (
        whole[:at] + bytes([whole[at] ^ other]) + whole[at + 1 :],
        whole[:at],
        whole + bytes([other]),
    ):
        with pytest.raises(SpoiltError):
            unpacked(spoilt)


HEAD = struct.Struct("<BIIII")


def made_up(kinds, hosts, packed, many=None, lengths=None):
    """A portion whose checksum is right, whatever it holds."""
    told, whose = json.dumps(kinds).encode(), json.dumps(hosts).encode()
    lengths = [len(one) for one in packed] if lengths is None else lengths
    rest = told + whose + struct.pack(f"<{len(lengths)}I", *lengths) + b"".join(packed)
    counts = struct.pack("<III", len(packed) if many is None else many, len(told), len(whose))
    return struct.pack("<BI", 1, zlib.crc32(counts + rest)) + counts + rest


KIND = [0, "/log", 0, False, 1, ["user"]]
PACKED = Packer().pack(Failure(EVE, NOON, ("line",), fields={"user": "root"}))


def test_what_is_made_up_rightly_is_read():
    (failure,) = unpacked(made_up([KIND], [EVE], [PACKED]))

    assert failure == Failure(EVE, NOON, ("line",), False, 1, {"user": "root"}, "/log", -1, 0)


@pytest.mark.parametrize(
    "data",
    [
        made_up([KIND], [EVE], [PACKED], many=2**32 - 1),
        made_up([KIND], [EVE], [PACKED], lengths=[2**32 - 1]),
        made_up([KIND], [EVE], [PACKED], lengths=[len(PACKED) - 1]),
        made_up([KIND], [EVE, BOB], [PACKED]),
        made_up([KIND], [7], [PACKED]),
        made_up([KIND], {EVE: 1}, [PACKED]),
        made_up([], [EVE], [PACKED]),
        made_up([[1, *KIND[1:]]], [EVE], [PACKED]),
        made_up([KIND[:-1]], [EVE], [PACKED]),
        made_up([[*KIND[:-1], ["user", "more"]]], [EVE], [PACKED]),
        made_up([[*KIND[:-1], None]], [EVE], [PACKED]),
        made_up([KIND], [EVE], [PACKED[:5]]),
        made_up([KIND], [EVE], [PACKED[:20] + b"\xff\xff\xff\xff" + PACKED[24:]]),
        made_up([KIND], [EVE], [PACKED[:-1] + b"\xff"]),
        b"",
        b"\x02" + made_up([KIND], [EVE], [PACKED])[1:],
        "[" * 100_000,
        None,
    ],
)
def test_what_makes_no_sense_is_told_as_that(data):
    with pytest.raises(SpoiltError):
        unpacked(data)
