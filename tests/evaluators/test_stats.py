"""Intervals and tests against known values."""

import math
import random

import numpy as np
import pytest
from scipy.stats import norm

from synth.evaluators.stats import holm, interval, mean_interval, paired, questions_needed, wilson


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


def test_the_clustered_interval_is_the_one_computed_by_hand() -> None:
    # mean 3; the clusters' sums of deviations are -3, 0 and 3: CR0 = sqrt(18) / 6, C/(C-1) = 3/2, so the
    # error is sqrt(27) / 6 = 0.8660 and t(0.975, 2) = 4.3027: 3 +- 3.7262
    scores, clusters = [1.0, 2.0, 2.0, 4.0, 4.0, 5.0], ["a", "a", "b", "b", "c", "c"]
    assert mean_interval(scores, clusters) == pytest.approx((-0.7262, 6.7262), abs=1e-4)


def test_a_cluster_each_gives_the_interval_of_questions_that_share_none() -> None:
    scores = [0.1, 0.4, 0.35, 0.8, 0.2]
    assert mean_interval(scores, list("abcde")) == pytest.approx(mean_interval(scores))
    assert interval([1.0, 0.0, 1.0], list("abc")) == wilson(2, 3)


def test_one_cluster_bounds_nothing() -> None:
    assert mean_interval([0.0, 1.0, 1.0], ["a"] * 3) == (-math.inf, math.inf)
    result = paired([0.0, 1.0, 1.0], [1.0, 1.0, 1.0], ["a"] * 3)
    assert (result.low, result.high, result.p, result.needed) == (-1.0, 1.0, 1.0, None)


def test_every_score_needs_its_cluster() -> None:
    with pytest.raises(ValueError, match="a cluster for each score; got 2 for 3"):
        mean_interval([1.0, 2.0, 3.0], ["a", "b"])


def test_answers_that_repeat_each_other_widen_the_difference() -> None:
    # 40 questions about each of 10 texts, all won or all lost together: 7 texts won, 3 lost
    base, student = [0.0] * 280 + [1.0] * 120, [1.0] * 280 + [0.0] * 120
    texts = [str(number // 40) for number in range(400)]
    alone, shared = paired(base, student), paired(base, student, texts)
    assert alone.difference == shared.difference == pytest.approx(0.4)
    # by text: mean 0.4, s = sqrt(0.84 * 10 / 9) = 0.9661, t(0.975, 9) = 2.2622: 0.4 +- 0.6911
    assert (shared.low, shared.high) == pytest.approx((-0.2911, 1.0), abs=1e-4)
    assert alone.shown and not shared.shown
    assert alone.p < 1e-10 < 0.2 < shared.p


def test_scores_without_bounds_keep_their_unit() -> None:
    result = paired([2.0, 3.0, 2.5, 4.0], [4.0, 5.5, 4.0, 7.0], bounded=False)
    assert result.difference == pytest.approx(2.25) and result.high > 2.25 > result.low > 1
    same = paired([2.0, 3.0], [2.0, 3.0], bounded=False)
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)


def test_holm_gives_the_values_computed_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.03]) == [0.03] and holm([]) == []


def test_the_questions_needed_are_those_of_the_formula() -> None:
    # (1.95996 + 0.84162)^2 = 7.8489 times the variance of a difference, over its square
    assert questions_needed(0.1, 0.5) == math.ceil(7.8489 * 0.25 / 0.01) == 197
    assert questions_needed(0.03, 0.15**0.5) == math.ceil(7.8489 * 0.15 / 0.0009)
    assert questions_needed(0.0, 0.5) is questions_needed(0.1, 0.0) is questions_needed(0.1, math.inf) is None


def drawn(seed: int, n: int, gain: float) -> tuple[list[float], list[float]]:
    """0/1 scores of two systems on `n` questions that differ in difficulty."""
    rng = np.random.default_rng(seed)
    ease = rng.uniform(0.1, 0.8, n)
    return (
        (rng.random(n) < ease).astype(float).tolist(),
        (rng.random(n) < ease + gain).astype(float).tolist(),
    )


def test_the_interval_of_a_difference_holds_it_in_95_of_100_draws() -> None:
    draws, gain = 200, 0.12
    held = [(r := paired(*drawn(seed, 150, gain))).low <= gain <= r.high for seed in range(draws)]
    assert 0.90 <= sum(held) / draws <= 0.985  # 95% of 200 draws, within three standard errors


def test_the_clustered_interval_holds_the_mean_in_95_of_100_draws_and_the_plain_one_does_not() -> None:
    draws, held, plain = 1000, 0, 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        texts = np.repeat(np.arange(20), 10)
        scores = (rng.normal(0.5, 0.1, 20)[texts] + rng.normal(0, 0.1, 200)).tolist()
        for clusters in ([], [str(text) for text in texts]):
            low, high = mean_interval(scores, clusters)
            hit = low <= 0.5 <= high
            held, plain = (held + hit, plain) if clusters else (held, plain + hit)
    assert 0.93 <= held / draws <= 0.97
    assert plain / draws < 0.7


def test_with_the_questions_needed_a_difference_is_shown_in_4_of_5_draws() -> None:
    draws, gain, rng = 4000, 0.1, np.random.default_rng(1)
    spread = 0.5
    n = questions_needed(gain, spread)
    assert n is not None
    means = rng.normal(gain, spread, (draws, n)).mean(axis=1)
    shown = (means - norm.ppf(0.975) * spread / n**0.5 > 0).mean()
    assert 0.78 <= shown <= 0.82


def test_the_test_is_named_by_the_scores() -> None:
    assert paired([0.0, 1.0], [1.0, 1.0]).test == "exact McNemar"
    assert paired([0.2, 1.0], [0.4, 1.0]).test == "sign test"
    assert paired([0.0, 1.0, 0.0], [1.0, 1.0, 1.0], ["a", "a", "b"]).test == "clustered t test"
