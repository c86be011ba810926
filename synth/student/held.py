"""Means over held-out rows, with their 95% intervals (t; for shares Wilson 1927)."""

from collections.abc import Sequence
from typing import Any


def mean(values: Sequence[float]) -> dict[str, Any]:
    """`{"mean", "low", "high", "n"}` of a measure, in its own unit; no bounds for fewer than two values."""
    import numpy as np
    from scipy.stats import t

    n, middle = len(values), float(np.mean(values))
    half = float(np.std(values, ddof=1) / n**0.5 * t.ppf(0.975, n - 1)) if n > 1 else None
    bounds = (None, None) if half is None else (middle - half, middle + half)
    return {"mean": middle, "low": bounds[0], "high": bounds[1], "n": n}


def share(flags: Sequence[bool]) -> dict[str, Any]:
    """`{"mean", "low", "high", "n"}` of the share (0 to 1) of those that are true."""
    from scipy.stats import binomtest

    interval = binomtest(sum(flags), len(flags)).proportion_ci(0.95, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return {"mean": sum(flags) / len(flags), "low": low, "high": high, "n": len(flags)}
