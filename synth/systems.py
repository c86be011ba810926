"""What an evaluation asks: the questions that were not trained on, and what each system gets for them.

The systems are the untrained base, the base with the teacher's prompt, the base with passages of the seeds
(retrieval), and the student.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import orjson
import pyarrow as pa

from synth import items
from synth.compute.contamination import Items
from synth.errors import DataError
from synth.evaluators.bases import HeldOut, LikelihoodEvaluator, PairEvaluator
from synth.passages import Passages
from synth.recipe import Recipe
from synth.runs import Run
from synth.steps import Evaluation, Question
from synth.store import Dataset, message, read_parquet
from synth.texts import fold
from synth.types import Message

SYSTEMS = ("base", "teacher_prompt", "retrieval", "student")
RETRIEVAL = "evaluate/retrieval"
"""The prompt file that shows `passages` before a `question`."""
ROWS = 4096
"""Training rows that are held against the questions at once."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question, its evaluation's name, and the messages that each system gets."""

    name: str
    question: Question
    messages: Mapping[str, Sequence[Message]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked. By evaluation: `seen` counts the questions left out because they were trained on,
    `contaminated` those asked that stand word for word inside a training row's turns."""

    evaluations: Mapping[str, Evaluation]
    items: Sequence[Item]
    seen: Mapping[str, int]
    contaminated: Mapping[str, int]
    digest: str
    notes: Sequence[str] = field(default=())

    def of(self, name: str) -> Evaluation:
        """The evaluation that an item or an answer names."""
        return self.evaluations[name]


def plan(run: Run) -> Plan:
    """Every question of every evaluation that no training row asks.

    Raises:
        DataError: all questions of an evaluation were trained on, or it has none.
    """
    recipe, trained = run.recipe, set(map(fold, _trained(run.dataset)))
    evaluations = dict(zip(recipe.evaluations, recipe.evaluate, strict=True))
    asked: dict[str, list[Question]] = {}
    seen: dict[str, int] = {}
    for index, (name, evaluation) in enumerate(evaluations.items()):
        questions = _questions(run, index, evaluation)
        asked[name] = [q for q in questions if not any(fold(turn) in trained for turn in _users(q.messages))]
        seen[name] = len(questions) - len(asked[name])
        if questions and not asked[name]:
            raise DataError(recipe.file, f"evaluate[{index}]: every question was trained on; hold some out")
    prompts = _Prompts(run)
    planned = [
        Item(name, question, prompts.of(name, evaluations[name], question))
        for name, questions in asked.items()
        for question in questions
    ]
    decided = [
        [[name, e.model_dump(mode="json", exclude={"path"})] for name, e in evaluations.items()],
        [[i.name, i.question.id, {name: list(turns) for name, turns in i.messages.items()}] for i in planned],
        _judged_by(recipe, evaluations, run),
    ]
    digest = hashlib.sha256(orjson.dumps(decided)).hexdigest()[:16]
    found = _contaminated(run.dataset, asked)
    return Plan(evaluations, planned, seen, found, digest, tuple(prompts.notes))


def held_out(dataset: Dataset) -> Iterator[HeldOut]:
    """The rows that [run] validation kept out of the training set."""
    for shard in _split(dataset, "validation"):
        for row in read_parquet(shard).to_pylist():
            tools = row.get("tools")
            yield row["id"], [*map(message, row["messages"])], orjson.loads(tools) if tools else ()


def _questions(run: Run, index: int, evaluation: Evaluation) -> list[Question]:
    if evaluation.known or not isinstance(evaluation, LikelihoodEvaluator):
        return list(evaluation.questions())
    found = list(evaluation.of_rows(held_out(run.dataset)))
    if not found:
        mend = "no row was held out; set [run] validation, or its path"
        raise DataError(run.recipe.file, f"evaluate[{index}]: {mend}")
    return found


def _split(dataset: Dataset, split: str) -> list[Path]:
    return sorted((dataset.folder / "train").glob(f"{split}-*.parquet"))


def _trained(dataset: Dataset) -> Iterator[str]:
    """What users say in training rows."""
    for shard in _split(dataset, "train"):
        for turns in read_parquet(shard, ["messages"])["messages"].to_pylist():
            yield from _users(map(message, turns))


def _users(turns: Iterable[Message]) -> Iterator[str]:
    return (turn["content"] for turn in turns if turn["role"] == "user")


def _contaminated(dataset: Dataset, asked: Mapping[str, Sequence[Question]]) -> dict[str, int]:
    """How many questions of each evaluation are, word for word, a part of what a training row's user says."""
    of = [
        (name, items.asked(question.messages)) for name, questions in asked.items() for question in questions
    ]
    known = Items(items.Item(str(number), text) for number, (_, text) in enumerate(of))
    texts, found = _trained(dataset), set[str]()
    while batch := list(islice(texts, ROWS)):
        matches = known.by_words(pa.array(batch, pa.string()))
        found |= {known.items[match.item].text for match in matches if match.rule == "exact"}
    return {name: sum(text in found for other, text in of if other == name) for name in asked}


def _judged_by(recipe: Recipe, evaluations: Mapping[str, Evaluation], run: Run) -> list[str]:
    """What decides a judge's verdicts, where one is asked."""
    pairs = [each for each in evaluations.values() if isinstance(each, PairEvaluator)]
    files = [run.checked.prompts.file(name).version for pair in pairs for name in pair.prompt_names()]
    return [recipe.roles["judge"].model, *files] if pairs else []


class _Prompts:
    """What each system gets for a question. `notes` say which systems an evaluation goes without."""

    def __init__(self, run: Run) -> None:
        student = run.recipe.student
        assert student is not None
        self._file, self._prompts, self._student = run.recipe.file, run.checked.prompts, student
        self._passages = Passages.of_seeds(run.checked.seeds) if student.retrieval else None
        self.notes: dict[str, None] = {}

    def of(self, name: str, evaluation: Evaluation, question: Question) -> dict[str, Sequence[Message]]:
        messages: dict[str, Sequence[Message]] = {"base": question.messages, "student": question.messages}
        if isinstance(evaluation, LikelihoodEvaluator) and not evaluation.prompted:
            return messages
        if self._student.teacher_prompt and (
            turns := self._told(name, self._student.teacher_prompt, question)
        ):
            messages["teacher_prompt"] = turns
        if self._passages is not None:
            messages["retrieval"] = self._with_passages(question.messages)
        if not isinstance(evaluation, PairEvaluator):
            return messages
        if evaluation.against not in messages:
            why = f"{name}: questions lack what {evaluation.against} is asked with; add it, or change against"
            raise DataError(self._file, why)
        return {system: messages[system] for system in (evaluation.against, "student")}

    def _told(self, name: str, prompt: str, question: Question) -> list[Message]:
        """The teacher's prompt; nothing, and a note, where the question lacks a variable of it."""
        if lacks := self._prompts.file(prompt).variables - question.fields.keys():
            self.notes[f"{name}: not asked with {prompt}, as questions lack {', '.join(sorted(lacks))}"] = (
                None
            )
            return []
        return self._prompts.render(prompt, question.fields)

    def _with_passages(self, turns: Sequence[Message]) -> list[Message]:
        """The turns with the best passages before what the user says last."""
        assert self._passages is not None and self._student.retrieval is not None
        last = max(at for at, turn in enumerate(turns) if turn["role"] == "user")
        question = turns[last]["content"]
        [passages] = self._passages.best([question], self._student.retrieval)
        if not passages:
            return list(turns)
        shown = self._prompts.render(RETRIEVAL, {"passages": passages, "question": question})
        return [*turns[:last], *shown, *turns[last + 1 :]]
