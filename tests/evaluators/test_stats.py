"""Intervals and tests against known values."""

import math
import random

import pytest

from synth.evaluators.stats import interval, mean_interval, paired, wilson


def test_wilson_gives_the_published_interval() -> None:
    assert wilson(37, 300) == pytest.approx((0.091, 0.165), abs=5e-4)
    assert wilson(202, 300) == pytest.approx((0.618, 0.724), abs=5e-4)


def test_wilson_is_right_at_the_ends() -> None:
    assert wilson(0, 200) == pytest.approx((0.0, 0.0188), abs=1e-4)
    assert wilson(200, 200) == pytest.approx((0.9812, 1.0), abs=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        wilson(successes, n)


def test_the_t_interval_gives_the_textbook_value() -> None:
    # mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776: 3 +- 1.963
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((1.037, 4.963), abs=1e-3)


def test_one_score_bounds_nothing() -> None:
    assert mean_interval([0.5]) == (-math.inf, math.inf)
    assert interval([0.5]) == (0.0, 1.0)


def test_shares_get_wilson_and_other_scores_the_t_interval() -> None:
    assert interval([1.0] * 37 + [0.0] * 263) == wilson(37, 300)
    assert interval([0.2, 0.4, 0.6]) == pytest.approx((0.0, 0.8968), abs=1e-3)


def test_no_scores_are_an_error() -> None:
    for function in (interval, mean_interval):
        with pytest.raises(ValueError, match="at least one"):
            function([])


def test_the_reference_experiment_gives_its_figures() -> None:
    # 300 questions: 181 wins, 16 losses, 21 right in both: base 12.3%, student 67.3%
    base = [0.0] * 181 + [1.0] * 16 + [1.0] * 21 + [0.0] * 82
    student = [1.0] * 181 + [0.0] * 16 + [1.0] * 21 + [0.0] * 82
    result = paired(base, student)
    assert (result.n, result.wins, result.losses) == (300, 181, 16)
    assert (result.base, result.student) == pytest.approx((37 / 300, 202 / 300))
    assert (result.difference, result.low, result.high) == pytest.approx((0.55, 0.48, 0.617), abs=0.01)
    assert 1e-37 < result.p < 1e-34


def test_the_order_of_questions_and_a_second_call_change_nothing() -> None:
    base, student = [0.0, 1.0, 0.0, 0.0] * 20, [1.0, 1.0, 0.0, 1.0] * 20
    pairs = list(zip(base, student, strict=True))
    random.Random(1).shuffle(pairs)
    shuffled = paired([b for b, _ in pairs], [s for _, s in pairs])
    assert paired(base, student) == paired(base, student)
    assert shuffled.low == pytest.approx(paired(base, student).low, abs=0.02)


def test_mcnemar_is_exact() -> None:
    # 8 discordant, 1 against: 2 * (1 + 8) / 2**8
    assert paired([0.0] * 7 + [1.0], [1.0] * 7 + [0.0]).p == pytest.approx(18 / 256)


def test_no_difference_at_all_has_p_one_and_a_width() -> None:
    result = paired([1.0, 0.0] * 15, [1.0, 0.0] * 15)
    assert (result.difference, result.p, result.wins, result.losses) == (0.0, 1.0, 0, 0)
    assert (result.low, result.high) == pytest.approx((-0.1, 0.1))


def test_all_won_stays_within_one() -> None:
    result = paired([0.0] * 30, [1.0] * 30)
    assert (result.difference, result.low, result.high) == pytest.approx((1.0, 0.9, 1.0))


def test_one_question_says_nothing_sure() -> None:
    result = paired([0.0], [1.0])
    assert (result.low, result.high, result.p) == (-1.0, 1.0, 1.0)


def test_scores_between_0_and_1_are_compared_too() -> None:
    result = paired([0.2, 0.4, 0.5, 0.1], [0.3, 0.6, 0.5, 0.3])
    assert result.difference == pytest.approx(0.125)
    assert result.low < result.difference < result.high
    assert (result.wins, result.losses) == (3, 0)


@pytest.mark.parametrize(("base", "student"), [([], []), ([1.0], [1.0, 0.0])])
def test_scores_that_do_not_pair_are_an_error(base: list[float], student: list[float]) -> None:
    with pytest.raises(ValueError, match="as many base as student"):
        paired(base, student)
