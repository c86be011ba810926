"""The base beside the student, and means over held-out rows with 95% intervals (t; shares: Wilson 1927)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synth.student.job import Job

if TYPE_CHECKING:
    import torch


@contextmanager
def base_of(job: Job, model: Any) -> "Iterator[torch.nn.Module]":  # noqa: ANN401
    """The untrained model: the student with its adapter off, or loaded anew where all weights are trained."""
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            yield model
    else:
        from transformers import AutoModelForCausalLM

        yield AutoModelForCausalLM.from_pretrained(job.model, dtype=model.dtype).to(model.device)


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
