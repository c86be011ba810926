"""How the systems of an evaluation are asked: base and student one after the other, then the judge.

Each is served by vLLM where it is installed, else by transformers in this process, from the same prompts.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from synth.engine import first_of
from synth.errors import DataError, RequestFailed, ShareFailedError
from synth.evaluators.bases import LikelihoodEvaluator, ModelEvaluator, PairEvaluator
from synth.llm import server
from synth.llm.asker import Asker
from synth.models import Models
from synth.runs import Run
from synth.scoring import Answers
from synth.steps import Evaluator, Graded, Question
from synth.store import sha256
from synth.student.data import IGNORED
from synth.systems import SYSTEMS, Item, Plan
from synth.tables import Student
from synth.types import Ask, Message, Reply
from synth.weights import find_model, identify

Encode = Callable[[Sequence[Message], Sequence[Mapping[str, Any]]], tuple[list[int], list[int]]]
"""Turns and tools to token ids and labels, as for training: `IGNORED` is not measured."""
T = TypeVar("T")
FAILED = "failed: "
NO_VERDICT = "no verdict in the judge's replies"
TOO_LONG = "has more tokens than [student] max_model_len"


async def evaluate(run: Run, plan: Plan, identity: str) -> tuple[Answers, dict[str, Any]]:
    """The answers of all systems, graded, and what was asked of which model.

    `identity` stands for the student's weights. Models are served one at a time.

    Raises:
        TeacherError: a model can't be served.
        ShareFailedError: more questions than [run] max_failed can't be asked.
    """
    student = run.recipe.student
    assert student is not None
    folder = run.folder / "student"
    encode = _encoder(plan, folder)
    tuned = student.model_copy(update={"model": str(folder), "endpoint": ()})
    local = None if server.build_of_vllm() else folder
    answers: Answers = []
    with run.journal() as journal:
        async with Models(journal, run.folder / "logs", run.say) as models:
            base, named = _untrained(student, folder)
            for role, model, systems in ((base, named, SYSTEMS[:-1]), (tuned, identity, SYSTEMS[-1:])):
                asker = models.asker(systems[0], role, identity=model, local=local)
                for system in systems:
                    answers += await ask(plan, system, asker.of("evaluate"), encode, role.max_model_len)
                    refuse(plan, answers, run.recipe.run.max_failed)
                await models.release()
                answers += await asyncio.to_thread(measure, run, plan, systems[0], role.model)
            if any(isinstance(each, PairEvaluator) for each in plan.evaluations.values()):
                answers = await judge(plan, answers, _judge(run, plan, models), run)
        asked = {name: asker.meter.to_json() for name, asker in models.askers.items()}
    return answers, asked


def _untrained(student: Student, folder: Path) -> tuple[Student, str]:
    """The base, with the chat template that the student was given, and what it is called in request keys."""
    name, template = identify(student.model), folder / "chat_template.jinja"
    if student.template is None or student.endpoint:
        return student, name
    flags = (*student.flags, "--chat-template", str(template))
    return student.model_copy(update={"flags": flags}), f"{name}+{sha256(template)[:8]}"


def _encoder(plan: Plan, folder: Path) -> Encode | None:
    """The student's tokenizer, where one is needed; the base's differs in its template at most."""
    if not any(isinstance(each, LikelihoodEvaluator) for each in plan.evaluations.values()):
        return None
    from synth.student.local import encoder

    return encoder(folder)


async def ask(plan: Plan, system: str, ask: Ask, encode: Encode | None, context: int) -> Answers:
    """One system's answers in the plan's order, graded but where a judge is to do that."""

    async def one(item: Item) -> dict[str, Any]:
        evaluation, messages = plan.of(item.name), item.messages[system]
        try:
            if isinstance(evaluation, LikelihoodEvaluator):
                assert encode is not None
                return await _measured(evaluation, item, system, ask, encode, context)
            reply = await ask(messages)
        except RequestFailed as failed:
            return _row(item.name, item.question, system, None, f"{FAILED}{failed}")
        text, graded = reply.text.strip(), None
        if isinstance(evaluation, Evaluator):
            score = evaluation.grade(item.question, text)
            graded = Graded(score, evaluation.details(item.question, text))
        return _row(item.name, item.question, system, graded, reply.finish_reason, reply)

    return await _all([one(item) for item in plan.items if system in item.messages])


async def _all(work: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """The results in order; where one fails, the rest is given up."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None
    return [task.result() for task in tasks]


async def _measured(
    evaluation: LikelihoodEvaluator, item: Item, system: str, ask: Ask, encode: Encode, context: int
) -> dict[str, Any]:
    tools = item.question.fields.get("tools") or ()
    assert isinstance(tools, list | tuple)
    texts = evaluation.conversations(item.question, item.messages[system])
    encoded = [encode(turns, tools) for turns in texts]
    if max(len(ids) for ids, _ in encoded) >= context:
        return _row(item.name, item.question, system, None, TOO_LONG)
    replies = await asyncio.gather(*(ask("", scored=ids) for ids, _ in encoded))
    found = [_turns(*both, reply) for both, reply in zip(encoded, replies, strict=True)]
    row = _row(item.name, item.question, system, evaluation.weigh(item.question, found), "measured")
    return row | {"prompt_tokens": sum(len(ids) for ids, _ in encoded)}


def _turns(ids: Sequence[int], labels: Sequence[int], reply: Reply) -> list[list[float]]:
    """The log-probabilities of the labelled tokens, turn by turn."""
    turns: list[list[float]] = []
    for at in range(1, len(ids)):
        if labels[at] != IGNORED:
            if labels[at - 1] == IGNORED:
                turns.append([])
            turns[-1].append(reply.logprobs[at - 1][str(ids[at])])
    return turns


def _row(
    name: str, question: Question, system: str, graded: Graded | None, reason: str, reply: Reply | None = None
) -> dict[str, Any]:
    return {
        "evaluator": name,
        "question_id": question.id,
        "group": str(question.fields.get("group", "")),
        "cluster": str(question.fields.get("cluster", "")),
        "kind": question.kind,
        "system": system,
        "question": "\n\n".join(turn["content"] for turn in question.messages),
        "answer": reply.text.strip() if reply else graded.answer if graded else "",
        "finish_reason": reason,
        "score": graded.score if graded else None,
        "details": dict(graded.details) if graded else {},
        "prompt_tokens": reply.prompt_tokens if reply else 0,
        "completion_tokens": reply.completion_tokens if reply else graded.tokens if graded else 0,
        "seconds": reply.seconds if reply else None,
    }


def refuse(plan: Plan, answers: Answers, most: float) -> None:
    """Raise `ShareFailedError` where a system failed on more than this share of an evaluation's questions."""
    asked = Counter((row["evaluator"], row["system"]) for row in answers)
    failed = [row for row in answers if row["finish_reason"].startswith(FAILED)]
    for (name, system), count in Counter((row["evaluator"], row["system"]) for row in failed).items():
        if count > most * asked[name, system]:
            why = next(
                row["finish_reason"] for row in failed if row["evaluator"] == name and row["system"] == system
            )
            raise ShareFailedError(
                f"evaluate: {count} of {asked[name, system]} questions of {name} can't be asked of {system} "
                f"({why}), more than [run] max_failed allows; every reply so far is kept"
            )


def measure(run: Run, plan: Plan, system: str, model: str) -> Answers:
    """What the programs of model evaluators find of a model, which is not served meanwhile."""
    rows: Answers = []
    for name, evaluation in plan.evaluations.items():
        if isinstance(evaluation, ModelEvaluator):
            out = run.folder / "measured" / name / system
            out.mkdir(parents=True, exist_ok=True)
            found = evaluation.measure(find_model(model, run.say), out)
            rows += [_row(name, question, system, graded, "measured") for question, graded in found]
    return rows


def about(run: Run, plan: Plan) -> dict[str, Any]:
    """What to know of the scores beside them: who served and who judged."""
    found: dict[str, Any] = {"served_by": "vLLM" if server.build_of_vllm() else "transformers"}
    if any(isinstance(each, PairEvaluator) for each in plan.evaluations.values()):
        found |= {"judge": run.recipe.roles["judge"].model, "judge_is_teacher": is_teacher(run)}
    return found


def _judge(run: Run, plan: Plan, models: Models) -> Asker:
    recipe = run.recipe
    if is_teacher(run):
        run.say(
            "evaluate: the judge is the teacher, and may like its own words in the student's; add [judge]"
        )
    needs = {
        ability: name
        for name, evaluation in plan.evaluations.items()
        if isinstance(evaluation, PairEvaluator)
        for ability in evaluation.needs
    }
    return models.asker("judge", recipe.roles["judge"], needs=needs)


def is_teacher(run: Run) -> bool:
    """Whether the judge is a model that made training rows."""
    teachers = {role.model for name, role in run.recipe.roles.items() if name != "judge"}
    return run.recipe.roles["judge"].model in teachers


async def judge(plan: Plan, answers: Answers, asker: Asker, run: Run) -> Answers:
    """The answers with the judge's verdicts on pairs.

    Raises:
        DataError: it gave no verdict on any question of an evaluation.
    """
    places = [(row["evaluator"], row["question_id"], row["system"]) for row in answers]
    by = dict(zip(places, answers, strict=True))
    pairs = [item for item in plan.items if isinstance(plan.of(item.name), PairEvaluator)]

    async def one(item: Item) -> None:
        evaluation = plan.of(item.name)
        assert isinstance(evaluation, PairEvaluator)
        keys = [(item.name, item.question.id, system) for system in ("student", evaluation.against)]
        mine, other = (by[key] for key in keys)
        texts, judge, graded = (mine["answer"], other["answer"]), asker.of(item.name), None
        reasons = [row["finish_reason"] for row in (mine, other) if row["finish_reason"].startswith(FAILED)]
        try:
            if not reasons:
                graded = await evaluation.compare(item.question, *texts, judge, run.checked.prompts)
            why = [*reasons, NO_VERDICT][0]
        except RequestFailed as failed:
            why = f"the judge {FAILED}{failed}"
        if graded is None:
            rows = zip(keys, (mine, other), strict=True)
            by.update((key, row | {"finish_reason": why}) for key, row in rows)
        else:
            by[keys[0]] = mine | {"score": graded.score, "details": dict(graded.details)}
            by[keys[1]] = other | {"score": 0.5}

    await _all([one(item) for item in pairs])
    for name in dict.fromkeys(item.name for item in pairs):
        if not any(row["score"] is not None for row in by.values() if row["evaluator"] == name):
            raise DataError(run.recipe.file, f'{name}: {NO_VERDICT} on any question; set read = "choice"')
    return [by[place] for place in places]
