"""Differences of scores as a person reads them, and what several tests make of each other's p."""

from collections.abc import Iterable, Mapping
from typing import Any

OTHERS = ("base", "teacher_prompt", "retrieval")
Gain = Mapping[str, Any]
"""A `stats.Paired` as `scores.json` has it."""


def name_of(total: Mapping[str, Any]) -> str:
    """An evaluation's name, with its group where it has one: `instruction_check/held_out`."""
    return f"{total['evaluator']}/{total['group']}" if total["group"] else str(total["evaluator"])


def against(total: Mapping[str, Any]) -> str | None:
    """The system that an evaluation's student is held against: its base, else the one it was paired with.

    None where no question was scored for both.
    """
    return next((name for name in OTHERS if f"student_minus_{name}" in total), None)


def in_unit(value: float, total: Mapping[str, Any], *, sign: bool = True) -> str:
    """A figure of an evaluation: shares in percent, differences of shares in points, others in their unit."""
    plus = "+" if sign else ""
    if unit := total.get("unit"):
        return f"{value:{plus}.3f} {unit}"
    return f"{100 * value:{plus}.1f}" + (" points" if sign else "%")


def lower_is_better(total: Mapping[str, Any]) -> bool:
    """Whether an evaluation counts what there should be little of, nats a token for one."""
    return total.get("higher_is_better") is False


def difference(gain: Gain, total: Mapping[str, Any]) -> str:
    """`+12.0 points [+3.1, +20.9]`."""
    factor, digits = (1, 3) if total.get("unit") else (100, 1)
    low, high = (f"{factor * gain[end]:+.{digits}f}" for end in ("low", "high"))
    way = ", lower is better" if lower_is_better(total) else ""
    return f"{in_unit(gain['difference'], total)} [{low}, {high}]{way}"


def sentence(gain: Gain, total: Mapping[str, Any]) -> str:
    """The difference with its interval, wins and losses, the test, and what would show it where it is not."""
    counts = f"{gain['wins']} better, {gain['losses']} worse"
    return f"{difference(gain, total)}, {counts}, {test(gain)}{needs(gain)}"


def test(gain: Gain) -> str:
    """The test's p, and what Holm makes of it where there are several evaluations."""
    p, adjusted = gain["p"], gain.get("p_holm", gain["p"])
    by_holm = f", {adjusted:.2g} by Holm" if adjusted != p else ""
    return f"{gain.get('test', 'exact McNemar')} p = {p:.2g}{by_holm}"


def needs(gain: Gain) -> str:
    """Of a difference that is not shown: how many questions would show it."""
    needed = gain.get("needed")
    if gain["low"] > 0 or gain["high"] < 0 or not needed:
        return ""
    return f"; needs about {needed:,} questions to show this difference"


def adjust(gains: Iterable[dict[str, Any]]) -> None:
    """Beside each p, what Holm makes of it over all of them."""
    from synth.evaluators.stats import holm

    held = list(gains)
    for gain, p in zip(held, holm([gain["p"] for gain in held]), strict=True):
        gain["p_holm"] = p
