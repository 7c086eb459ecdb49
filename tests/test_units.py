# SPDX-License-Identifier: GPL-2.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("600", 600), ("10m", 600), ("1d 12h", 129600), ("1d12h", 129600), ("-1", -1), ("5w", 3024000),
        ("1.5h", 5400), ("1mo", 2629800), ("1y6mo", 47336400), (" 5 min ", 300), ("1D", 86400),
        ("10*60", 600), ("1year - 6mo", 15778800), ("2 * 1h 5m", 7500), ("1h/2", 1800), ("0", 0),
    ],
)  # fmt: skip
def test_times_are_written_in_many_ways(text, seconds):
    assert units.seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "10q", "1d-", "1h,", "soon", "10**9", "1/0", "(1)", "1e3", "9" * 400, "*5"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a time"):
        units.seconds(text)


def test_whole_seconds_are_whole_numbers():
    assert isinstance(units.seconds("1d 12h"), int)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_clearly_none(text):
    try:
        assert isinstance(units.seconds(text), int | float)
    except ValueError as error:
        assert "is not a time" in str(error)


@pytest.mark.parametrize(
    ("text", "answer"), [("yes", True), ("ON", True), ("0", False), (" no ", False)]
)
def test_a_switch_is_on_or_off(text, answer):
    assert units.switch(text) is answer


def test_a_switch_is_nothing_else():
    with pytest.raises(ValueError, match="neither yes nor no"):
        units.switch("perhaps")


@pytest.mark.parametrize("text", ["", "three", "0", "-1", "1.5"])
def test_a_count_is_a_whole_number_from_one_on(text):
    with pytest.raises(ValueError, match="whole number of 1 or more"):
        units.whole(text, 1)
