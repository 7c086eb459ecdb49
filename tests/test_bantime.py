# SPDX-License-Identifier: GPL-2.0-or-later
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.bantime import formula, length_of


def lengths(extra, seconds=600, count=5, chance=0.0):
    return [
        length_of(seconds, earlier, {"increment": True, **extra}, chance)
        for earlier in range(count)
    ]


def test_without_increment_every_ban_is_as_long_as_the_first():
    assert lengths({"increment": False, "factor": "9"}) == [600] * 5


def test_each_further_ban_is_twice_as_long():
    assert lengths({}) == [600, 1200, 2400, 4800, 9600]


def test_multipliers_say_how_much_longer_and_the_last_one_stays():
    assert lengths({"multipliers": "1 2 5"}) == [600, 1200, 3000, 3000, 3000]


def test_a_formula_has_the_say():
    assert lengths(
        {"formula": "ban.Time * (ban.Count + 1) * banFactor", "factor": "2"}, count=3
    ) == [
        600,
        2400,
        3600,
    ]


def test_no_ban_is_longer_than_maxtime():
    assert lengths({"maxtime": 3000})[-1] == 3000


def test_chance_adds_up_to_rndtime():
    assert lengths({"rndtime": 60}, count=1, chance=0.5) == [630]


def test_for_ever_stays_for_ever():
    assert lengths({}, seconds=math.inf) == [math.inf] * 5


def test_a_formula_that_gets_out_of_hand_gives_a_long_ban():
    assert 0 < lengths({"formula": "ban.Time * math.exp(ban.Count * 1000)"})[2] < 11 * 366 * 86400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ban.Time *",
        "__import__('os').system('id')",
        "ban.__class__",
        "().__class__",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "'a' * 99999999",
        "9 ** 9 ** 9 ** 9",
        "open",
        "1 << -1",
        "(" * 300 + "1" + ")" * 300,
    ],
)
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(ValueError, match="formula"):
        formula(text)


@given(st.text(alphabet="banTimeCoutFr.*+-/%()<>=0123456789 ", max_size=60))
def test_any_text_gives_a_formula_or_a_clear_refusal(text):
    try:
        formula(text)
    except ValueError as error:
        assert "is not a formula" in str(error)


# Arithmetic as other people's configurations have it.
FORMULAS = [
    "",
    "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor",
    "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)",
    "ban.Time * math.pow(2, ban.Count)",
    "ban.Time + 600 * ban.Count",
]
COUNTS = st.integers(0, 2000)
SECONDS = st.floats(1, 1e8)


def extra_of(formula="", **more):
    return {"increment": True, **({"formula": formula} if formula else {}), **more}


@given(st.sampled_from(FORMULAS), SECONDS, COUNTS, st.sampled_from(["1", "2.5", "24"]))
def test_bans_never_get_shorter_and_have_an_end(formula, seconds, earlier, factor):
    extra = extra_of(formula, factor=factor)

    lengths = [length_of(seconds, earlier + more, extra, 0.0) for more in range(3)]

    assert seconds <= lengths[0] <= lengths[1] <= lengths[2] < 11 * 366 * 86400


@given(st.sampled_from(FORMULAS), SECONDS, COUNTS, st.floats(1, 1e8))
def test_maxtime_is_the_limit_whatever_comes_of_the_formula(formula, seconds, earlier, most):
    unlimited = length_of(seconds, earlier, extra_of(formula), 0.0)

    assert length_of(seconds, earlier, extra_of(formula, maxtime=most), 0.0) == min(unlimited, most)


@given(SECONDS, st.integers(0, 30), st.floats(1, 1e5), st.floats(0, 1))
def test_chance_only_adds_and_no_more_than_rndtime(seconds, earlier, most, chance):
    without = length_of(seconds, earlier, extra_of(), 0.0)

    length = length_of(seconds, earlier, extra_of(rndtime=most), chance)

    assert min(without, length) == without and length <= without + most * 1.000001


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), COUNTS)
def test_the_last_multiplier_goes_on_for_ever(numbers, earlier):
    words = " ".join(map(str, numbers))

    length = length_of(600, earlier, extra_of(multipliers=words), 0.0)

    assert length == 600 * (numbers[min(earlier, len(numbers) - 1)] if earlier else 1)


def test_a_formula_may_make_bans_shorter():
    assert lengths({"formula": "ban.Time / (ban.Count + 1)"}, count=3) == [600, 300, 200]
    assert lengths({"formula": "0 - ban.Time"}, count=2) == [600, 600]
    assert lengths({"formula": FORMULAS[2], "factor": "math.log(2)"}, count=4) == pytest.approx([600, 1200, 2400, 4800])  # fmt: skip
