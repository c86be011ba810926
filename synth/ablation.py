"""What a step or a seed does to the student: trainings that differ in one thing, compared by question.

A difference is called shown only where its 95% interval leaves out 0 and it exceeds the range that the seeds
alone make; of several differences, where its p holds by Holm too (Miller 2024, arXiv 2411.00640; Tulu 3 saw
seeds differ by 0.3 to 2.6 points, arXiv 2411.15124).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synth import edits, gains, pipeline
from synth.errors import RecipeError, TrainError
from synth.runs import Run, open_run
from synth.store import sha256, write_whole
from synth.students import fingerprint
from synth.variants import Fit, Measured, measure, training_rows, with_rows

ALPHA = 0.05
"""Bounds the chance that any of the differences of an ablation is called shown where there is none."""
Row = dict[str, Any]
"""One evaluation: `evaluator`, `group`, `means` by seed, `seed_range`, `gain` (`stats.Paired`), `shown`."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The recipe without one step ("" is the whole recipe): rows that it makes, rows used, a `Row` an
    evaluation. Gains are those of the whole recipe over this one: what the step brings."""

    dropped: str
    folder: str
    available: int
    used: int
    rows: Sequence[Row]


def repeat(run: Run, seeds: int, fit: Fit) -> list[Row]:
    """Train and evaluate with so many seeds, the recipe's and those behind it; write `seeds.json`.

    Each question's score is its mean over the trainings; gains are those over the untrained base.

    Raises:
        RecipeError: there is no [train] or no [[evaluate]].
    """
    found = measure(run, _seeds(run, seeds), fit)
    rows = [_row(found, name, found.other) for name in found.totals]
    _write(
        run.folder / "seeds.json", {**_about(run.folder), "seeds": _seeds(run, seeds), "evaluations": rows}
    )
    return rows


def repeated(folder: Path) -> dict[str, Row]:
    """What `repeat` found of the student and scores that a run folder has now, by evaluation; or nothing."""
    file = folder / "seeds.json"
    held = json.loads(file.read_bytes()) if file.is_file() else {}
    if not held or any(held[key] != value for key, value in _about(folder).items()):
        return {}
    return {gains.name_of(row): row for row in held["evaluations"]}


def ablate(
    target: Path,
    drop: Sequence[str],
    fit: Fit,
    make: Callable[[Run], None],
    *,
    seeds: int = 1,
    rows: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Variant]:
    """Train and evaluate the recipe with and without each of these steps, on equally many rows.

    `make` makes the rows of a run. Teacher and judges are asked only what no run of the recipe was asked.
    Writes `ablation.json` into the run of the whole recipe, which comes first.

    Raises:
        RecipeError: the recipe has no such step, or lacks [train] or [[evaluate]].
        TrainError: a variant has no training row.
    """
    whole = open_run(target, rows=rows, say=say)
    _seeds(whole, seeds)
    changed = [open_run(target, rows=rows, say=say, change=edits.without(target, step)) for step in drop]
    runs = dict(zip(("", *drop), (whole, *changed), strict=True))
    for step, run in runs.items():
        say(f"ablate: {f'without {step}' if step else 'the whole recipe'}")
        make(run)
    available = {step: training_rows(run) for step, run in runs.items()}
    used = min(available.values())
    if not used:
        empty = next(step for step, held in available.items() if not held)
        raise TrainError(f"{runs[empty].folder}: no row to train on; `synth show` says why")
    measured: dict[str, Measured] = {}
    for step, run in runs.items():
        say(f"ablate: {f'without {step}' if step else 'the whole recipe'}, {used:,} rows")
        measured[step] = measure(with_rows(run, used), _seeds(run, seeds), fit)
    variants = [
        Variant(step, run.folder.name, available[step], used, _rows(measured[""], measured[step], step))
        for step, run in runs.items()
    ]
    compared = [row for variant in variants[1:] for row in variant.rows]
    gains.adjust(row["gain"] for row in compared)
    for row in compared:
        row["shown"] = row["shown"] and row["gain"]["p_holm"] < ALPHA
    _write(whole.folder / "ablation.json", {"variants": [asdict(variant) for variant in variants]})
    return variants


def fit_with(on_step: Callable[[Any], None]) -> Fit:
    """Trains and evaluates by the verbs of the pipeline."""

    def fit(run: Run) -> None:
        pipeline.train(run, on_step)
        pipeline.evaluate(run)

    return fit


def verdict(row: Row) -> str:
    """Whether a step pays its way, in words."""
    if not row["shown"]:
        return "not shown"
    up = row["gain"]["difference"] > 0
    return "costs" if up == gains.lower_is_better(row) else "pays"


def _about(folder: Path) -> dict[str, str]:
    return {"student": fingerprint(folder / "student"), "scores": sha256(folder / "scores.json")}


def _rows(whole: Measured, without: Measured, step: str) -> list[Row]:
    """What the whole recipe has over a variant; over the untrained base where it is itself."""
    if not step:
        return [_row(whole, name, whole.other) for name in whole.totals]
    out = []
    for name in whole.totals:
        both = [question for question in whole.questions(name) if question in without.student]
        if not both:
            continue  # trained on in one of the two, all of them
        theirs = dict(zip(both, without.scores(both), strict=True))
        row = _row(whole, name, theirs, both)
        means = without.means(both)
        spread = max(row["seed_range"], max(means) - min(means))
        out.append({**row, "means": means, "seed_range": spread, "shown": _shown(row["gain"], spread)})
    return out


def _row(
    found: Measured,
    name: str,
    others: Mapping[tuple[str, str], float],
    questions: Sequence[tuple[str, str]] | None = None,
) -> Row:
    from synth.evaluators import stats

    asked = found.questions(name) if questions is None else questions
    total, means = found.totals[name], found.means(asked)
    clusters = [found.clusters[question] for question in asked]
    before = [others[question] for question in asked]
    ways = {"bounded": not total["unit"], "higher_is_better": bool(total["higher_is_better"])}
    gain = stats.paired(before, found.scores(asked), clusters, **ways)
    spread = max(means) - min(means)
    return {
        **{key: total[key] for key in ("evaluator", "group", "unit", "higher_is_better")},
        "against": gains.against(total),
        "means": means,
        "seed_range": spread,
        "gain": asdict(gain),
        "shown": _shown(asdict(gain), spread),
    }


def _shown(gain: gains.Gain, spread: float) -> bool:
    return bool(gain["low"] > 0 or gain["high"] < 0) and abs(float(gain["difference"])) > spread


def _seeds(run: Run, seeds: int) -> list[int]:
    if run.recipe.train is None or not run.recipe.evaluate:
        raise RecipeError(run.recipe.file, "train", "trains and evaluates; add [train] and [[evaluate]]")
    return [run.recipe.train.seed + number for number in range(seeds)]


def _write(file: Path, value: object) -> None:
    write_whole(file, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")
