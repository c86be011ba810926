"""Evaluation: the same questions to the untrained base, the base with the teacher's prompt, and the student.

No question that was trained on is asked. Each difference is paired, question by question, and carries its
95% interval.
"""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from synth import gains
from synth.errors import DataError, RequestFailed
from synth.prompts import Prompts
from synth.recipe import Recipe
from synth.steps import Evaluator, Question
from synth.store import Dataset, message, read_parquet, write_parquet, write_whole
from synth.texts import fold
from synth.types import Ask, Message

SYSTEMS = ("base", "teacher_prompt", "student")
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
        ("completion_tokens", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Item:
    """A question, who grades it, and the messages that each system gets."""

    name: str
    evaluator: Evaluator
    question: Question
    messages: Mapping[str, Sequence[Message]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked. `seen` counts, by evaluator, the questions left out because they were trained on."""

    items: Sequence[Item]
    seen: Mapping[str, int]
    digest: str


Answers = list[dict[str, Any]]
Scores = dict[str, Any]
"""`scores.json`: see `write`."""


def plan(recipe: Recipe, prompts: Prompts, dataset: Dataset) -> Plan:
    """Every question of every evaluator that no training row asks.

    Raises:
        DataError: all questions of an evaluator were trained on.
    """
    trained = {
        fold(turn["content"])
        for shard in dataset.shards("train")
        for messages in read_parquet(shard)["messages"].to_pylist()
        for turn in map(message, messages)
        if turn["role"] == "user"
    }
    privileged = recipe.student.teacher_prompt if recipe.student else None
    items: list[Item] = []
    seen: dict[str, int] = {}
    for index, (name, evaluator) in enumerate(zip(recipe.evaluations, recipe.evaluate, strict=True)):
        questions = list(evaluator.questions())
        unseen = [q for q in questions if not any(fold(turn["content"]) in trained for turn in q.messages)]
        seen[name] = len(questions) - len(unseen)
        if not unseen:
            raise DataError(recipe.file, f"evaluate[{index}]: every question was trained on; hold some out")
        for question in unseen:
            messages: dict[str, Sequence[Message]] = {"base": question.messages, "student": question.messages}
            if privileged:
                messages["teacher_prompt"] = prompts.render(privileged, question.fields)
            items.append(Item(name, evaluator, question, messages))
    digest = hashlib.sha256(
        orjson.dumps([[i.name, i.question.id, dict(i.messages)] for i in items])
    ).hexdigest()
    return Plan(items, seen, digest[:16])


async def ask(plan: Plan, systems: Mapping[str, Ask]) -> Answers:
    """The graded answers of these systems, in the plan's order."""

    async def one(system: str, item: Item) -> dict[str, Any]:
        question = item.question
        try:
            reply = await systems[system](item.messages[system])
            text, reason, tokens = reply.text.strip(), reply.finish_reason, reply.completion_tokens
        except RequestFailed as failed:
            text, reason, tokens = "", f"failed: {failed}", 0
        return {
            "evaluator": item.name,
            "question_id": question.id,
            "group": str(question.fields.get("group", "")),
            "cluster": str(question.fields.get("cluster", "")),
            "kind": question.kind,
            "system": system,
            "question": "\n\n".join(turn["content"] for turn in question.messages),
            "answer": text,
            "finish_reason": reason,
            "score": item.evaluator.grade(question, text),
            "completion_tokens": tokens,
        }

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one(system, item))
            for system in systems
            for item in plan.items
            if system in item.messages
        ]
    return [task.result() for task in tasks]


def write(folder: Path, plan: Plan, answers: Answers) -> list[Path]:
    """`scores.parquet`, a row a question and system, and `scores.json`, the totals by group and kind."""
    table = folder / "scores.parquet"
    write_parquet(table, pa.Table.from_pylist(answers, schema=SCHEMA))
    groups: dict[tuple[str, str], Answers] = defaultdict(list)
    for answer in answers:
        groups[answer["evaluator"], answer["group"]].append(answer)
    totals = [
        {
            "evaluator": evaluator,
            "group": group,
            "left_out_as_trained_on": plan.seen[evaluator],
            **_totals(rows),
            "by_kind": {
                kind: _totals(_of(rows, "kind", kind)) for kind in sorted({row["kind"] for row in rows})
            },
        }
        for (evaluator, group), rows in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][1] != "trained")
        )
    ]
    for other in ("base", "teacher_prompt"):
        gains.adjust(total[name] for total in totals if (name := f"student_minus_{other}") in total)
    scores = {"interval": "95%", "evaluations": totals}
    write_whole(folder / "scores.json", json.dumps(scores, indent=1, ensure_ascii=False).encode() + b"\n")
    return [table, folder / "scores.json"]


def read(folder: Path) -> Scores:
    """What `write` wrote as `scores.json`."""
    scores: Scores = json.loads((folder / "scores.json").read_bytes())
    return scores


def _of(rows: Iterable[dict[str, Any]], key: str, value: str) -> Answers:
    return [row for row in rows if row[key] == value]


def _totals(rows: Answers) -> dict[str, Any]:
    from synth.evaluators import stats

    by_system = {name: of for name in SYSTEMS if (of := _of(rows, "system", name))}
    totals: dict[str, Any] = {"questions": len(by_system["base"]), "systems": {}}
    clusters = [row["cluster"] or row["question_id"] for row in by_system["base"]]
    for name, of in by_system.items():
        scores = [row["score"] for row in of]
        low, high = stats.interval(scores, clusters)
        totals["systems"][name] = {
            "mean": sum(scores) / len(scores),
            "low": low,
            "high": high,
            "cut_by_max_tokens": sum(row["finish_reason"] == "length" for row in of) / len(of),
            "mean_tokens": sum(row["completion_tokens"] for row in of) / len(of),
        }
    for other in ("base", "teacher_prompt"):
        if other in by_system and "student" in by_system:
            before, after = ([row["score"] for row in by_system[name]] for name in (other, "student"))
            totals[f"student_minus_{other}"] = asdict(stats.paired(before, after, clusters))
    return totals


def sentences(scores: Scores) -> list[str]:
    """The totals as lines for a person, shares in percent with 95% intervals."""
    lines = []
    for total in scores["evaluations"]:
        name = total["evaluator"] + (f", {NAMES.get(group, group)}" if (group := total["group"]) else "")
        shares = []
        for system in SYSTEMS:
            if (of := total["systems"].get(system)) is not None:
                shares.append(f"{system} {_share(of['mean'])} [{_share(of['low'])}, {_share(of['high'])}]")
        lines.append(f"{name}, {total['questions']} held-out questions: " + " · ".join(shares))
        for other in ("base", "teacher_prompt"):
            if (gain := total.get(f"student_minus_{other}")) is not None:
                lines.append(f"  student - {other}: {gains.sentence(gain, total)}")
    return lines


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"
