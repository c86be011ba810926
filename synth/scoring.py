"""Scores: each system's mean, the student's gain on the same questions, each with its 95% interval.

A question that a system could not be asked, or that no verdict was given on, is left out for all systems and
counted by reason.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synth import gains
from synth.steps import Evaluation
from synth.store import write_parquet, write_whole
from synth.systems import SYSTEMS as SYSTEMS
from synth.systems import Plan

NAMES = {"trained": "kinds that were trained", "held_out": "kinds that were never trained"}
"""What the groups of questions are called to a person."""
SCHEMA = pa.schema(
    [
        ("evaluator", pa.string()),
        ("question_id", pa.string()),
        ("group", pa.string()),
        ("cluster", pa.string()),
        ("kind", pa.string()),
        ("system", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("score", pa.float64()),
        ("details", pa.map_(pa.string(), pa.float64())),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("seconds", pa.float64()),
    ]
)
"""`score` is null where the question is left out; `finish_reason` then says why. `seconds` is a request's
latency among all others of its system, null where no answer was asked for."""
Answers = list[dict[str, Any]]
Scores = dict[str, Any]
"""`scores.json`: see `write`."""


def write(folder: Path, plan: Plan, answers: Answers, about: Mapping[str, Any]) -> list[Path]:
    """`scores.parquet`, a row a question and system, and `scores.json`, the totals by group and kind.

    `about` goes in beside the totals.
    """
    table = folder / "scores.parquet"
    rows = [{**answer, "details": list(answer["details"].items())} for answer in answers]
    write_parquet(table, pa.Table.from_pylist(rows, schema=SCHEMA))
    lost = {_question(answer): answer["finish_reason"] for answer in answers if answer["score"] is None}
    groups: dict[tuple[str, str], Answers] = defaultdict(list)
    for answer in answers:
        groups[answer["evaluator"], answer["group"]].append(answer)
    totals = []
    for (name, group), every in sorted(
        groups.items(), key=lambda item: (item[0][0], item[0][1] != "trained")
    ):
        scored, of = [row for row in every if _question(row) not in lost], plan.of(name)
        kinds = sorted({row["kind"] for row in scored})
        reasons = Counter(lost[each] for each in dict.fromkeys(map(_question, every)) if each in lost)
        totals.append(
            {
                "evaluator": name,
                "group": group,
                "unit": of.unit,
                "higher_is_better": of.higher_is_better,
                "left_out_as_trained_on": plan.seen[name],
                "contaminated": plan.contaminated[name],
                "not_scored": dict(sorted(reasons.items())),
                **_totals(scored, of),
                "by_kind": {kind: _totals(_of(scored, "kind", kind), of) for kind in kinds},
            }
        )
    for other in SYSTEMS[:-1]:
        gains.adjust(total[name] for total in totals if (name := f"student_minus_{other}") in total)
    scores = {"interval": "95%", **about, "evaluations": totals}
    write_whole(folder / "scores.json", json.dumps(scores, indent=1, ensure_ascii=False).encode() + b"\n")
    return [table, folder / "scores.json"]


def _question(answer: Mapping[str, Any]) -> tuple[str, str]:
    return answer["evaluator"], answer["question_id"]


def read(folder: Path) -> Scores:
    """What `write` wrote as `scores.json`."""
    scores: Scores = json.loads((folder / "scores.json").read_bytes())
    return scores


def _of(rows: Iterable[dict[str, Any]], key: str, value: str) -> Answers:
    return [row for row in rows if row[key] == value]


def _totals(rows: Answers, of: Evaluation) -> dict[str, Any]:
    from synth.evaluators import stats

    by_system = {name: its for name in SYSTEMS if (its := _of(rows, "system", name))}
    totals: dict[str, Any] = {"questions": len(next(iter(by_system.values()), [])), "systems": {}}
    for name, its in by_system.items():
        details = sorted({key for row in its for key in row["details"]})
        totals["systems"][name] = {
            **_mean([row["score"] for row in its], of.unit, clusters_of(its)),
            "cut_by_max_tokens": sum(row["finish_reason"] == "length" for row in its) / len(its),
            "mean_tokens": sum(row["completion_tokens"] for row in its) / len(its),
            "mean_prompt_tokens": sum(row["prompt_tokens"] for row in its) / len(its),
            "seconds": _latency([row["seconds"] for row in its if row["seconds"] is not None]),
            "details": {
                key: _mean(found, of.unit) | {"questions": len(found)}
                for key in details
                if (found := [row["details"][key] for row in its if key in row["details"]])
            },
        }
    for other in SYSTEMS[:-1]:
        if other in by_system and "student" in by_system:
            before, after = ([row["score"] for row in by_system[name]] for name in (other, "student"))
            ways = {"bounded": not of.unit, "higher_is_better": of.higher_is_better}
            gain = stats.paired(before, after, clusters_of(by_system["student"]), **ways)
            if isfinite(gain.low):  # one question alone bounds nothing
                totals[f"student_minus_{other}"] = asdict(gain)
    return totals


def clusters_of(answers: Iterable[Mapping[str, Any]]) -> list[str]:
    """The cluster of each answer's question; one that names none is its own."""
    return [answer["cluster"] or answer["question_id"] for answer in answers]


def _mean(scores: Sequence[float], unit: str, clusters: Sequence[str] = ()) -> dict[str, float | None]:
    """Mean and interval; that of shares is cut to [0, 1], and one score alone in another unit has none."""
    from synth.evaluators import stats

    mean = sum(scores) / len(scores)
    low, high = (stats.mean_interval if unit else stats.interval)(scores, clusters)
    return (
        {"mean": mean, "low": low, "high": high}
        if isfinite(low)
        else {"mean": mean, "low": None, "high": None}
    )


def _latency(seconds: Sequence[float]) -> dict[str, float] | None:
    """Seconds a request: mean, median and 95th percentile, over so many; None without any."""
    if not seconds:
        return None
    p50, p95 = np.percentile(seconds, [50, 95])
    mean = sum(seconds) / len(seconds)
    return {"mean": mean, "p50": float(p50), "p95": float(p95), "requests": len(seconds)}


def sentences(scores: Scores) -> list[str]:
    """The totals as lines for a person, shares in percent, all with 95% intervals."""
    lines = []
    for total in scores["evaluations"]:
        name = total["evaluator"] + (f", {NAMES.get(group, group)}" if (group := total["group"]) else "")
        systems = {system: total["systems"][system] for system in SYSTEMS if system in total["systems"]}
        means = [f"{system} {shown(total, of)}" for system, of in systems.items()]
        lines.append(f"{name}, {total['questions']} held-out questions: " + " · ".join(means))
        for other in SYSTEMS[:-1]:
            if (gain := total.get(f"student_minus_{other}")) is not None:
                lines.append(f"  student - {other}: {gains.sentence(gain, total)}")
        lines += [f"  {line}" for line in (*_beside(systems), *_left_out(total))]
    return lines


def shown(total: Mapping[str, Any], of: Mapping[str, Any]) -> str:
    """A mean and its interval in the evaluation's unit: of shares `61.0% [55.1%, 66.7%]`."""
    if unit := total.get("unit"):
        return f"{_bounded(of)} {unit}"
    return f"{_share(of['mean'])} [{_share(of['low'])}, {_share(of['high'])}]"


def _bounded(of: Mapping[str, Any]) -> str:
    if of["low"] is None:
        return f"{of['mean']:.3f} (one alone has no interval)"
    return f"{of['mean']:.3f} [{of['low']:.3f}, {of['high']:.3f}]"


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"


def _beside(systems: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each figure beside the score, and what an answer cost, of all systems."""
    lines = []
    for key in dict.fromkeys(key for of in systems.values() for key in of.get("details", ())):
        found = {name: of["details"][key] for name, of in systems.items() if key in of["details"]}
        means = [f"{name} {_bounded(it)}" for name, it in found.items()]
        counts = "/".join(str(count) for count in dict.fromkeys(it["questions"] for it in found.values()))
        lines.append(f"{key} (mean over {counts} questions): " + " · ".join(means))
    if costs := [_cost(name, of) for name, of in systems.items() if of.get("seconds")]:
        lines.append("an answer takes (prompt + completion, latency): " + " · ".join(costs))
    return lines


def _cost(name: str, of: Mapping[str, Any]) -> str:
    took = of["seconds"]
    latency = f"{took['mean']:.2f} s (median {took['p50']:.2f}, p95 {took['p95']:.2f})"
    return f"{name} {of['mean_prompt_tokens']:.0f} + {of['mean_tokens']:.0f} tokens, {latency}"


def _left_out(total: Mapping[str, Any]) -> list[str]:
    """What of the questions is not in the totals, and what in them should not be."""
    lines = []
    if seen := total.get("left_out_as_trained_on"):
        lines.append(f"{seen} more were trained on, and not asked")
    if found := total.get("contaminated"):
        lines.append(
            f"{found} asked stand word for word in training rows; [[select]] decontaminate removes such"
        )
    lines += [f"{count} more not scored: {why}" for why, count in total.get("not_scored", {}).items()]
    return lines
