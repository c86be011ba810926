"""A finished run without a model: rows, a student's files and graded answers, as the verbs leave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from projects import edit, jsonl

from synth import scoring, systems
from synth.pipeline import Run, open_run
from synth.store import write_parquet

TABLES = """
[student]
model = "smollm2-135m-instruct"

[train]
epochs = 1

[[evaluate]]
use = "exact_match"
path = "eval.jsonl"

[gate]

[run]"""
QUESTIONS = 60


def with_student(recipe: Path, gate: str = "") -> Path:
    """The recipe of a small project, with a student, an evaluation of 60 questions and a gate."""
    jsonl(
        recipe.parent / "eval.jsonl",
        [{"question": f"What is {n} times {n}?", "answer": str(n * n)} for n in range(QUESTIONS)],
    )
    edit(recipe, "\n[run]", TABLES.replace("[gate]\n", f"[gate]\n{gate}\n"))
    return recipe


def finished(
    recipe: Path,
    base: Sequence[float],
    student: Sequence[float],
    *,
    asked: Sequence[str] = ("What is bread?",),
    weights: bytes = b"weights",
    folder: str | None = None,
) -> Run:
    """The run of a recipe, as if its student had scored this; `asked` are the questions of training rows."""
    run = open_run(recipe)
    if folder is not None:
        run = moved(run, folder)
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}] for text in asked]
    rows = [{"id": str(number), "messages": turn} for number, turn in enumerate(turns)]
    write_parquet(run.folder / "train" / "train-00000.parquet", pa.Table.from_pylist(rows))
    score(run, base, student, weights)
    return run


def score(run: Run, base: Sequence[float], student: Sequence[float], weights: bytes) -> None:
    """Leave in a run folder what training and evaluation would: a student of these weights, and scores."""
    place = run.folder
    (place / "student").mkdir(exist_ok=True)
    (place / "student" / "config.json").write_text("{}")
    (place / "student" / "README.md").write_text("# A student\n")
    (place / "student" / "model.safetensors").write_bytes(weights)
    files = sorted((place / "student").iterdir())
    entry = {"inputs": "x", "rows": 1, "steps": 1, "seconds": 1.0, "first_loss": 2.0, "final_loss": 1.0}
    run.dataset.record("train", entry, files)
    questions = [question for step in run.recipe.evaluate for question in step.questions()]
    answers = [
        answer(question.id, question.messages[0]["content"], system, score)
        for system, scores in (("base", base), ("student", student))
        for question, score in zip(questions, scores, strict=True)
    ]
    plan = systems.plan(run)
    run.dataset.record("evaluate", {"inputs": "x"}, scoring.write(place, plan, answers, {}))


def moved(run: Run, folder: str) -> Run:
    """The same in another folder beside it."""
    return Run(run.checked, type(run.dataset)(run.folder.with_name(folder)), run.say)


def answer(question_id: str, question: str, system: str, score: float) -> dict[str, Any]:
    """One graded answer of `scores.parquet`."""
    return {
        "evaluator": "exact_match",
        "question_id": question_id,
        "group": "",
        "cluster": "",
        "kind": "",
        "system": system,
        "question": question,
        "answer": "",
        "finish_reason": "stop",
        "score": score,
        "details": {},
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "seconds": None,
    }
