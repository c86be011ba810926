"""The same recipe with one thing changed, in run folders beside each other: fewer rows, or another seed.

A variant has a folder of its own, `<run>-<what>`, so that every verb takes it up where it was left; its
journal reads those beside it, so that what was asked once, of the base for one, is not asked again.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from synth import edits, gains, scoring
from synth.errors import DataError, TrainError
from synth.runs import Run
from synth.store import Dataset, read_parquet, write_parquet, write_whole
from synth.takeover import link

FOLDERS = ("train", "preference")
Fit: TypeAlias = "Callable[[Run], None]"
"""Trains and evaluates the student of a run, as far as that is not done."""
Question: TypeAlias = "tuple[str, str]"
"""The name of an evaluation (with its group) and the id of a question."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What students of one kind scored: a score for each seed of their training, by question.

    `totals` are the evaluations of the first; `other` has the scores of the system that each is held against.
    """

    student: Mapping[Question, Sequence[float]]
    other: Mapping[Question, float]
    clusters: Mapping[Question, str]
    totals: Mapping[str, Mapping[str, Any]]

    def questions(self, name: str) -> list[Question]:
        """Those of an evaluation."""
        return [question for question in self.student if question[0] == name]

    def means(self, questions: Sequence[Question]) -> list[float]:
        """The mean of each training over these questions, in the order of the seeds."""
        columns = zip(*(self.student[question] for question in questions), strict=True)
        return [sum(scores) / len(scores) for scores in columns]

    def scores(self, questions: Sequence[Question]) -> list[float]:
        """The mean of each question over the trainings."""
        return [sum(scores) / len(scores) for scores in map(self.student.__getitem__, questions)]


def training_rows(run: Run) -> int:
    """Rows that the recipe's method trains on."""
    return sum(pq.read_metadata(file).num_rows for file in _training(run, _trained_on(run)))


def with_rows(run: Run, rows: int) -> Run:
    """The run, trained on so many of its rows, those whose ids hash lowest; itself where it has no more.

    Raises:
        TrainError: it has fewer.
    """
    held = training_rows(run)
    if held < rows:
        raise TrainError(f"{run.folder}: has {held:,} training rows, not {rows:,}")
    if held == rows:
        return run
    ids = [
        i for file in _training(run, _trained_on(run)) for i in read_parquet(file, ["id"])["id"].to_pylist()
    ]
    drawn = pa.array(sorted(ids, key=_hash)[:rows], pa.string())

    def place(source: Path, target: Path) -> None:
        table = read_parquet(source)
        write_parquet(target, table.filter(pa.compute.is_in(table["id"], drawn)))

    return beside(run, f"{rows}-rows", place)


def with_seed(run: Run, seed: int) -> Run:
    """The run, trained with another seed on the same rows.

    Raises:
        RecipeError: its recipe has no [train].
    """
    text = edits.with_value(run.recipe.file, "train", "seed", seed)(run.recipe.text)
    assert run.recipe.train is not None
    train = run.recipe.train.model_copy(update={"seed": seed})
    recipe = run.recipe.model_copy(update={"train": train, "text": text})
    return beside(Run(replace(run.checked, recipe=recipe), run.dataset, run.say), f"seed-{seed}", link)


def measure(run: Run, seeds: Sequence[int], fit: Fit) -> Measured:
    """Train and evaluate the run's student with each of these seeds.

    Raises:
        DataError: two of them were not asked the same questions.
    """
    assert run.recipe.train is not None
    student: dict[Question, list[float]] = {}
    other: dict[Question, float] = {}
    clusters: dict[Question, str] = {}
    totals: dict[str, Mapping[str, Any]] = {}
    for number, seed in enumerate(seeds, 1):
        variant = run if seed == run.recipe.train.seed else with_seed(run, seed)
        fit(variant)
        if not totals:
            found = scoring.read(variant.folder)["evaluations"]
            totals = {gains.name_of(total): total for total in found if gains.against(total)}
        answers = [a for a in answers_of(variant.folder) if a["score"] is not None]
        for answer, cluster in zip(answers, scoring.clusters_of(answers), strict=True):
            name = gains.name_of(answer)
            key = name, answer["question_id"]
            if name in totals and answer["system"] == gains.against(totals[name]):
                other[key], clusters[key] = answer["score"], cluster
            elif name in totals and answer["system"] == "student":
                student.setdefault(key, []).append(answer["score"])
        if odd := [key for key, scores in student.items() if len(scores) != number]:
            raise DataError(variant.folder, f"has other questions with a score than its like: {odd[0][1]}")
    return Measured(student, other, clusters, totals)


def answers_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of `scores.parquet` but what was said."""
    columns = ["evaluator", "group", "cluster", "question_id", "system", "score"]
    rows: list[dict[str, Any]] = read_parquet(folder / "scores.parquet", columns).to_pylist()
    return rows


def _trained_on(run: Run) -> str:
    return "preference" if run.recipe.train is not None and run.recipe.train.method == "dpo" else "train"


def _training(run: Run, folder: str) -> list[Path]:
    return sorted((run.folder / folder).glob("train-*.parquet"))


def _hash(row_id: str) -> str:
    return hashlib.sha256(row_id.encode()).hexdigest()


def beside(run: Run, what: str, place: Callable[[Path, Path], None]) -> Run:
    """A run in the folder `<run>-<what>`, whose training files `place` makes of the run's.

    Validation files are linked. What is there already, of the same files, is left as it is.

    Raises:
        DataError: the run has no training set yet.
    """
    source = run.dataset.manifest.get("stages", {}).get("curate")
    if source is None:
        raise DataError(run.folder / "train", "is not there; run `synth curate` first")
    made = Dataset(run.folder.with_name(f"{run.folder.name}-{what}"))
    with made.lock():
        if made.done("curate", source["inputs"]) is None:
            for folder in FOLDERS:
                made.clear(folder)
            files = []
            for name in source["files"]:
                folder, _, file = name.partition("/")
                if folder in FOLDERS:
                    (place if file.startswith("train-") else link)(run.folder / name, made.folder / name)
                    files.append(made.folder / name)
            write_whole(made.folder / "recipe.toml", run.recipe.text.encode())
            made.record("curate", {"inputs": source["inputs"], "from": run.folder.name}, files)
    return Run(run.checked, made, run.say)
