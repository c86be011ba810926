"""Intervals and tests for scores: Wilson 1927, McNemar 1947, Holm 1979, Miller 2024 (arXiv 2411.00640).

All intervals are at 95%. The bootstrap draws from a fixed seed: the same scores give the same figures.

Questions that share a cluster, those about one text, say, are not independent: a mean's error is then the
clustered one (CR0 with C/(C-1) for C clusters), with C-1 degrees of freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap, norm, t

LEVEL = 0.95
POWER = 0.8
RESAMPLES = 10_000
SEED = 20240601


@dataclass(frozen=True, slots=True)
class Paired:
    """Base against student on the same questions.

    `base`, `student` and `difference` (student minus base) are means in the scores' unit; those of shares,
    times 100, are points. `low` and `high` bound the difference. `wins` and `losses` count the questions on
    which the student did better and worse; `p` is two-sided, from `test`: the exact McNemar test for 0/1
    scores, the sign test (the same on wins and losses) for others, the t test with the clustered error where
    questions share clusters. `needed` is the number of questions with which a difference as large as
    this one, spread as here, would be shown in 4 of 5 evaluations; None where there is no difference or no
    spread.
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
    test: str
    needed: int | None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927), from 0 to 1; right for small n and shares near 0 or 1."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    interval = binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(scores: Sequence[float], clusters: Sequence[str] = ()) -> tuple[float, float]:
    """The t interval of a mean, in the scores' unit; `clusters`, if given, names each score's.

    Of one score, or one cluster, nothing can be said: it is infinite.
    """
    if not scores:
        raise ValueError("needs at least one score")
    values = np.asarray(scores, dtype=float)
    error, freedom = _error(values, clusters)
    if not freedom:
        return -np.inf, np.inf
    half = error * float(t.ppf((1 + LEVEL) / 2, freedom))
    return float(values.mean()) - half, float(values.mean()) + half


def _error(values: NDArray[np.float64], clusters: Sequence[str]) -> tuple[float, int]:
    """The standard error of the mean and its degrees of freedom."""
    n = len(values)
    if not clusters:
        return (float(np.std(values, ddof=1)) / n**0.5 if n > 1 else math.inf), n - 1
    if len(clusters) != n:
        raise ValueError(f"needs a cluster for each score; got {len(clusters)} for {n}")
    _, of = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(of, weights=values - values.mean())
    count = len(sums)
    return (float((sums @ sums * count / (count - 1)) ** 0.5 / n) if count > 1 else math.inf), count - 1


def interval(scores: Sequence[float], clusters: Sequence[str] = ()) -> tuple[float, float]:
    """The interval of the mean of scores from 0 to 1: Wilson's where all are 0 or 1, else t's.

    With `clusters` it is the clustered t's, but Wilson's where no cluster has two questions or all scores are
    the same.
    """
    if not scores:
        raise ValueError("needs at least one score")
    shared = len(set(clusters)) < len(clusters) and len(set(scores)) > 1
    if all(score in (0, 1) for score in scores) and not shared:
        return wilson(round(sum(scores)), len(scores))
    low, high = mean_interval(scores, clusters)
    return max(0.0, low), min(1.0, high)


def paired(
    base: Sequence[float],
    student: Sequence[float],
    clusters: Sequence[str] = (),
    *,
    bounded: bool = True,
    higher_is_better: bool = True,
) -> Paired:
    """Compares two systems question by question; the order of both must be the same.

    The interval is the percentile bootstrap of the mean difference over questions, or, where questions share
    clusters, the clustered t interval. Where all differences are equal there is nothing to resample: for
    scores from 0 to 1 (`bounded`) it then falls back to the smallest step that a share can make, the rule of
    three (Hanley 1983), 3/n on both sides, cut to [-1, 1].

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
    if not higher_is_better:
        wins, losses = losses, wins
    error, freedom = _error(differences, clusters)
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    test = "exact McNemar" if {*base, *student} <= {0, 1} else "sign test"
    if np.ptp(differences) == 0:
        step = 3 / n if bounded else 0.0 if n > 1 else math.inf
        low, high = difference - step, difference + step
    elif len(set(clusters)) < len(clusters):
        low, high = mean_interval(differences.tolist(), clusters)
        p, test = _p(difference, error, freedom), "clustered t test"
    else:
        low, high = _resampled(differences)
    if bounded:
        low, high = max(-1.0, low), min(1.0, high)
    needed = questions_needed(difference, error * n**0.5)
    means = float(np.mean(base)), float(np.mean(student))
    return Paired(n, *means, difference, low, high, wins, losses, p, test, needed)


def _p(difference: float, error: float, freedom: int) -> float:
    """Of the two-sided t test."""
    if not freedom or not difference:
        return 1.0
    return float(2 * t.sf(abs(difference) / error, freedom)) if error else 0.0


def _resampled(differences: NDArray[np.float64]) -> tuple[float, float]:
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        batch=1000,
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def questions_needed(difference: float, spread: float) -> int | None:
    """Questions with which a mean paired difference is shown with 80% power at 5%, two-sided.

    `spread` is the standard deviation of a question's difference (of clustered ones, the error times the root
    of the questions). None where one of the two is 0 or unknown. For 0/1 scores that is Miller's
    7.85 p / d^2 with p the share of questions on which the two disagree, less d^2.
    """
    if not difference or not spread or not math.isfinite(spread):
        return None
    reach = float(norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER))
    return math.ceil((reach * spread / difference) ** 2)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values of several tests, adjusted so that 5% bounds the chance of any false one (Holm 1979)."""
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted
