"""Differences as a person reads them."""

from dataclasses import asdict

from synth import gains
from synth.evaluators.stats import paired

SHARES: dict[str, object] = {}
NATS = {"unit": "nats a token", "higher_is_better": False}


def test_a_difference_that_is_shown_has_its_interval_and_its_test() -> None:
    gain = asdict(paired([0.0] * 20, [1.0] * 12 + [0.0] * 8))
    said = gains.sentence(gain, SHARES)
    assert said == "+60.0 points [+40.0, +80.0], 12 better, 0 worse, exact McNemar p = 0.00049"


def test_one_that_is_not_shown_says_how_many_questions_would_show_it() -> None:
    base, student = [0.0] * 3 + [1.0] * 2 + [0.0] * 5, [1.0] * 3 + [0.0] * 2 + [0.0] * 5
    gain = asdict(paired(base, student))
    # 7.849 times the variance of a difference, (0.5 - 0.01) * 10 / 9, over 0.1^2
    assert gains.sentence(gain, SHARES).endswith("; needs about 428 questions to show this difference")


def test_a_figure_of_which_less_is_better_stands_in_its_own_unit() -> None:
    gain = asdict(paired([2.0, 2.5, 3.0], [1.5, 2.0, 2.4], bounded=False, higher_is_better=False))
    said = gains.sentence(gain, NATS)
    assert said.startswith(
        "-0.533 nats a token [-0.600, -0.500], lower is better, 3 better, 0 worse, sign test p = 0.25"
    )
    assert gains.in_unit(2.5, NATS, sign=False) == "2.500 nats a token"


def test_several_tests_say_what_holm_makes_of_them() -> None:
    held = [{"p": 0.02}, {"p": 0.01}, {"p": 0.5}]
    gains.adjust(held)
    assert [gain["p_holm"] for gain in held] == [0.04, 0.03, 0.5]
    assert gains.test(held[0]) == "exact McNemar p = 0.02, 0.04 by Holm"
    assert gains.test(held[2]) == "exact McNemar p = 0.5"
