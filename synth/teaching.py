"""What a run's teacher gives its student beside the words of the rows, as `[train] method` asks for it.

For dpo the pairs of `preference/`. For logit_kd what the teacher thought at each token of its answers, from
the journal. For on_policy its own prompt of each row, and a server that scores what the student says.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import DataError, RequestFailed, TeacherError
from synth.llm.journal import Journal
from synth.models import Models
from synth.runs import Run
from synth.store import MESSAGES, message
from synth.student.job import Job
from synth.tables import Role
from synth.weights import find_model, identify

TOP = 20
"""Tokens that a teacher tells of at each place of a student's answer; [teacher] top_logprobs."""
FOLDER = "teacher"
THOUGHTS = pa.schema(
    [
        ("id", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("ids", pa.list_(pa.list_(pa.int32()))),
        ("logprobs", pa.list_(pa.list_(pa.float32()))),
    ]
)
"""Of a row: the tokens of the teacher's reply, and at each its likeliest ones with their log-probabilities
(nats); null where they were not kept, or no reply of the row is its last answer."""
PROMPTS = pa.schema([("id", pa.string()), ("messages", MESSAGES)])
T = TypeVar("T")


def sources(run: Run) -> tuple[str, ...]:
    """The folders of the run whose files decide the student."""
    method = run.recipe.train.method if run.recipe.train else "sft"
    return ("train/", "preference/") if method == "dpo" else ("train/",)


def identity(run: Run) -> Any:  # noqa: ANN401
    """What decides the student beside the rows: the teacher that scores, and its prompt."""
    recipe = run.recipe
    if recipe.train is None or recipe.student is None or recipe.train.method != "on_policy":
        return None
    prompt = recipe.student.teacher_prompt
    version = run.checked.prompts.file(prompt).version if prompt else ""
    return [identify(recipe.teacher.model), version, recipe.teacher.top_logprobs or TOP]


def beside(run: Run) -> Path | None:
    """The folder of what the method reads beside `train/`, written where it is not there by itself.

    Raises:
        DataError: the journal lacks a reply that a row names.
    """
    recipe = run.recipe
    method = recipe.train.method if recipe.train else "sft"
    if method == "dpo":
        return run.folder / "preference" if run.dataset.shards("preference") else None
    if method == "logit_kd":
        with run.journal() as journal:
            _write(run, THOUGHTS, lambda row: _thought(run, journal, row))
        return run.folder / FOLDER
    name = recipe.student.teacher_prompt if recipe.student else None
    if method == "on_policy" and name is not None:
        kept = {
            record.id: run.checked.prompts.render(name, record.fields)
            for record in run.dataset.scan("curated")
            if record.status == "kept"
        }
        _write(run, PROMPTS, lambda row: {"id": row["id"], "messages": kept[row["id"]]})
        return run.folder / FOLDER
    return None


FIGURES = {
    "taught_rows": "rows learned from the teacher's probabilities",
    "untaught_rows": "rows learned from their words alone: the reply's tokens are not the row's",
    "rows_left_over_each_epoch": "prompts left over in each epoch, too few for a batch",
    "left_out_pairs": "held-out pairs left out as too long",
    "margin": "margin of chosen over rejected, times beta (nats)",
    "accuracy": "share of pairs whose margin is positive",
    "ratio_chosen": "log-ratio of student to base, chosen answers (nats an answer)",
    "ratio_rejected": "the same, rejected answers",
    "base_likelier": "share of pairs whose chosen answer the base finds likelier by token",
    "likelier": "the same, the student",
    "base_divergence": "divergence of the base from the teacher (nats a token)",
    "divergence": "the same, the student",
    "answer_tokens": "tokens of an answer of the student, over the last tenth of the steps",
    "cut_answers": "share of those answers that was cut",
}
"""What a method counts and measures, in words."""


def sentences(found: Mapping[str, Any]) -> list[str]:
    """`Trained.method` as lines for a person; means with their 95% intervals and what they are over."""
    lines = []
    for name, words in FIGURES.items():
        value = found.get(name)
        if isinstance(value, Mapping):
            bounds = f" [{value['low']:.3f}, {value['high']:.3f}]" if value["low"] is not None else ""
            lines.append(f"train: {words}: {value['mean']:.3f}{bounds} over {value['n']:,} held out")
        elif value is not None:
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
            lines.append(f"train: {words}: {shown}")
    return lines


def taught(run: Run, job: Job, teacher: "Scorer | None") -> Job:
    """The training of the run's student with what its method reads of the teacher.

    Raises:
        DataError: as `beside`.
    """
    compared = job.config.method in ("logit_kd", "on_policy")
    tokenizer = find_model(run.recipe.teacher.model, run.say) if compared else None
    return replace(job, beside=beside(run), teacher=teacher, tokenizer=tokenizer)


def _write(run: Run, schema: pa.Schema, made: Any) -> None:  # noqa: ANN401
    """`made(row)` of every row of `train/`, in files of the same names."""
    run.dataset.clear(FOLDER)
    (run.folder / FOLDER).mkdir()
    for shard in run.dataset.shards("train"):
        path = run.folder / FOLDER / shard.name
        part = path.with_name(f".{path.name}")
        with pq.ParquetFile(shard) as rows, pq.ParquetWriter(part, schema) as out:
            for batch in rows.iter_batches(1024, columns=["id", "messages", "replies"]):
                out.write_table(pa.Table.from_pylist([made(row) for row in batch.to_pylist()], schema))
        part.replace(path)


def _thought(run: Run, journal: Journal, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the teacher thought while it said the row's last answer."""
    answer = message(row["messages"][-1])["content"]
    for key in reversed(row["replies"]):
        reply = journal.get(key)
        if reply is None:
            raise DataError(
                run.folder / "journal", f"lacks the reply {key} of row {row['id']}; generate again"
            )
        if reply.tokens and reply.text.strip() == answer:
            return {
                "id": row["id"],
                "tokens": reply.tokens,
                "ids": [[int(token) for token in step] for step in reply.logprobs],
                "logprobs": [[*step.values()] for step in reply.logprobs],
            }
    return {"id": row["id"], "tokens": None, "ids": None, "logprobs": None}


@dataclass(frozen=True, slots=True)
class Scorer:
    """A served teacher that says what it thinks of a student's answers."""

    models: Models
    role: Role
    loop: asyncio.AbstractEventLoop
    identity: str

    def score(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[list[dict[int, float]]]:
        """For each token of each answer the teacher's likeliest ones and the answer's own (nats).

        Raises:
            TeacherError: it can't be asked, or tells no probabilities of what is there already.
        """
        return self.wait(self._scored(prompts, answers))

    async def _scored(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[list[dict[int, float]]]:
        client = await self.models.client(self.role)
        top = self.role.top_logprobs or TOP
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(client.score(prompt, answer, top))
                    for prompt, answer in zip(prompts, answers, strict=True)
                ]
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
            if isinstance(first, RequestFailed):
                raise TeacherError(
                    f"[teacher] {self.role.model} can't score an answer ({first}); on_policy asks "
                    f"/v1/completions for prompt_logprobs = {top}, as vLLM gives them"
                ) from first
            raise first from None
        return [task.result() for task in tasks]

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it in the loop's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


@contextmanager
def scorer(run: Run) -> Iterator[Scorer | None]:
    """The teacher that scores, where the method asks for one; it is served from its first question on."""
    known = identity(run)
    if known is None:
        yield None
        return
    with run.journal() as journal, _loop() as loop:
        made = Scorer(Models(journal, run.folder / "logs", run.say), run.recipe.teacher, loop, str(known))
        try:
            yield made
        finally:
            made.wait(made.models.__aexit__(None, None, None))


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own: the training keeps the first thread, and its Ctrl-C."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="teacher", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
