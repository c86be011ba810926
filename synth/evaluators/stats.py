"""Intervals and tests for scores from 0 to 1: Wilson 1927, McNemar 1947, Miller 2024 (arXiv 2411.00640).

All intervals are at 95%. The bootstrap draws from a fixed seed: the same scores give the same figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap, t

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 20240601


@dataclass(frozen=True, slots=True)
class Paired:
    """Base against student on the same questions.

    `base`, `student` and `difference` (student minus base) are means from 0 to 1; times 100 they are points.
    `low` and `high` bound the difference. `wins` and `losses` count the questions on which the student
    scored higher and lower; `p` is two-sided, from the exact McNemar test for 0/1 scores and the sign test
    (the same test on wins and losses) for others.
    """

    n: int
    base: float
    student: float
    difference: float
    low: float
    high: float
    wins: int
    losses: int
    p: float


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927), from 0 to 1; right for small n and shares near 0 or 1."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    interval = binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(scores: Sequence[float]) -> tuple[float, float]:
    """The t interval of a mean, in the scores' unit. Of one score nothing can be said: it is infinite."""
    if not scores:
        raise ValueError("needs at least one score")
    if len(scores) == 1:
        return -np.inf, np.inf
    mean, error = float(np.mean(scores)), float(np.std(scores, ddof=1)) / len(scores) ** 0.5
    half = error * float(t.ppf((1 + LEVEL) / 2, len(scores) - 1))
    return mean - half, mean + half


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """The interval of the mean of scores from 0 to 1: Wilson's where all are 0 or 1, else t's."""
    if not scores:
        raise ValueError("needs at least one score")
    if all(score in (0, 1) for score in scores):
        return wilson(round(sum(scores)), len(scores))
    low, high = mean_interval(scores)
    return max(0.0, low), min(1.0, high)


def paired(base: Sequence[float], student: Sequence[float]) -> Paired:
    """Compares two systems question by question; the order of both must be the same.

    The interval is the percentile bootstrap of the mean difference over questions. Where all differences
    are equal there is nothing to resample; it then falls back to the smallest step a share can make, the
    rule of three (Hanley 1983): 3/n on both sides, cut to [-1, 1].

    Raises:
        ValueError: the lengths differ, or there is no question.
    """
    if len(base) != len(student) or not base:
        raise ValueError(
            f"needs as many base as student scores, at least one; got {len(base)}, {len(student)}"
        )
    differences = np.asarray(student, dtype=float) - np.asarray(base, dtype=float)
    n, difference = len(differences), float(differences.mean())
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    if np.ptp(differences) == 0:
        low, high = max(-1.0, difference - 3 / n), min(1.0, difference + 3 / n)
    else:
        found = bootstrap(
            (differences,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method="percentile",
            batch=1000,
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return Paired(n, float(np.mean(base)), float(np.mean(student)), difference, low, high, wins, losses, p)
