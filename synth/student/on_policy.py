"""On-policy distillation: the student answers, the teacher says what it thinks of each token of that answer
(Agarwal et al. 2024, arXiv:2306.13649).

The loss is the generalised Jensen-Shannon divergence at each place of the student's own answer, over the
teacher's likeliest tokens, the one that the student said, and a tail (`student.divergence`). A server tells
no more than some tokens: the per-token policy gradient on the sampled one (the other way that needs no more)
has the same reverse divergence for its mean, and the variance of a single draw. As in GKD no gradient flows
through the sampling.

Answers are drawn by TRL's DistillationTrainer, whose own teacher is a model in this process that reads the
student's prompt; here it is a server with a prompt of its own. Draws come from torch's generator, which
checkpoints keep: a killed run goes on with the answers that it would have drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import DataError, TrainError
from synth.store import message
from synth.student import settings
from synth.student.data import check, encode, files, read
from synth.student.divergence import answer_logits, divergence, top_tensors
from synth.student.job import Job, Prepared
from synth.student.shards import IGNORED, Counted
from synth.student.vocabulary import teachers_tokenizer
from synth.types import Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DistillationTrainer

BETA = 0.5
"""Half way between the two divergences, as in the paper's summarisation."""
ANSWER = 256
"""Tokens that the student may write; [train.trainer] max_completion_length."""
SCHEMA = pa.schema([("id", pa.string()), ("prompt", pa.list_(pa.int32())), ("teacher", pa.list_(pa.int32()))])


def prepare(job: Job, tokenizer: "PreTrainedTokenizerBase") -> Prepared:
    """The prompt of each row, up to its last answer, as the student gets it and as the teacher does.

    Raises:
        DataError: a file is missing, or is not of these rows.
        TrainError: nobody scores; teacher and student have other tokens; there are fewer short enough prompts
            than a batch has.
    """
    from datasets import Dataset

    if job.teacher is None:
        raise TrainError("on_policy needs a teacher that scores; train from a run's recipe")
    check(tokenizer)
    teachers = teachers_tokenizer(job.tokenizer, tokenizer)
    room = job.config.max_length - _answer_tokens(job)
    rows, left_out = [], 0
    ends: set[int] = set()
    for row_id, turns, own in _prompts(job):
        ids = _rendered(tokenizer, turns[:-1])
        if not ends:  # how a turn ends is the template's, not the row's
            ends.add(next(label for label in reversed(encode(tokenizer, turns)[1]) if label != IGNORED))
        if len(ids) > room:
            left_out += 1
            continue
        rows.append({"id": row_id, "prompt": ids, "teacher": _rendered(teachers, own or turns[:-1])})
    if len(rows) < job.config.batch_size:
        raise TrainError(
            f"{job.data}: {len(rows)} of its {len(rows) + left_out} prompts have at most {room} tokens, "
            f"which leaves {_answer_tokens(job)} for an answer, and a step takes {job.config.batch_size}; "
            "raise [train] max_length, or lower batch_size or [train.trainer] max_completion_length"
        )
    table = pa.Table.from_pylist(rows, SCHEMA)
    longest = max(len(row["prompt"]) for row in rows)
    total = sum(len(row["prompt"]) for row in rows)
    counted = Counted(len(rows), left_out, 0, total, 0, longest, frozenset(ends))
    left_over = {"rows_left_over_each_epoch": len(rows) % job.config.batch_size}
    return Prepared(Dataset(table), counted, longest + _answer_tokens(job), notes=left_over)


def _answer_tokens(job: Job) -> int:
    asked = job.config.trainer.get("max_completion_length")
    return asked if isinstance(asked, int) else ANSWER


def _prompts(job: Job) -> Iterator[tuple[str, list[Message], list[Message]]]:
    """`(id, turns, the teacher's turns)` of each row; the teacher's are empty where it has no others."""
    rows = ((row_id, turns) for row_id, turns, _ in read(files(job.data, "train")))
    if job.beside is None:
        yield from ((row_id, turns, []) for row_id, turns in rows)
        return
    for (row_id, turns), (other, own) in zip(rows, _privileged(job.beside), strict=True):
        if other != row_id:
            raise DataError(job.beside, f"has row {other} where {job.data} has {row_id}; curate again")
        yield row_id, turns, own


def _privileged(folder: Any) -> Iterator[tuple[str, list[Message]]]:  # noqa: ANN401
    for path in files(folder, "train"):
        for row in pq.read_table(path).to_pylist():
            yield row["id"], [*map(message, row["messages"])]


def _rendered(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Message]) -> list[int]:
    """What a server makes of these turns."""
    ids: list[int] = tokenizer.apply_chat_template(
        [{**turn} for turn in turns], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    return ids


def trainer(
    job: Job, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prepared: Prepared
) -> "DistillationTrainer":
    """The trainer, silent and offline; the student is sampled at temperature 1."""
    from transformers import PrinterCallback
    from trl import DistillationConfig

    config = job.config
    made = _trainer_class(job)(
        model=model,
        args=DistillationConfig(
            **{
                "beta": BETA if config.beta is None else config.beta,
                "max_completion_length": ANSWER,
                **settings.arguments(config, model, job.checkpoints),
            }
        ),
        train_dataset=prepared.rows.remove_columns("id"),
        processing_class=tokenizer,
        peft_config=settings.lora(config),
    )
    made.remove_callback(PrinterCallback)
    return made


def measure(job: Job, trained: "DistillationTrainer", tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """How long the student's answers were (tokens), and the share (0 to 1) that was cut, over the last tenth
    of the steps."""
    log = [entry for entry in trained.state.log_history if "completions/mean_length" in entry]
    last = log[-max(1, len(log) // 10) :]

    def average(name: str) -> float:
        return float(sum(entry[f"completions/{name}"] for entry in last)) / len(last)

    return {"answer_tokens": average("mean_length"), "cut_answers": average("clipped_ratio")}


@contextmanager
def _without_vllm() -> Iterator[None]:
    """While TRL's trainer is imported, which imports any vLLM that it finds; here that is another process."""
    from trl import import_utils

    found = import_utils.is_vllm_available
    import_utils.is_vllm_available = lambda min_version=None: False
    try:
        yield
    finally:
        import_utils.is_vllm_available = found


def _trainer_class(job: Job) -> type["DistillationTrainer"]:
    import torch

    with _without_vllm():
        from trl import DistillationTrainer
        from trl.trainer.utils import RepeatSampler

    assert job.teacher is not None  # `prepare` has seen it
    score = job.teacher.score

    class EpochSampler(RepeatSampler):  # type: ignore[misc]
        """TRL's own, whose order is that of the epoch: a run that goes on in a later one finds its place."""

        def set_epoch(self, epoch: int) -> None:
            self.generator.manual_seed(self.seed + epoch)

    class ScoredTrainer(DistillationTrainer):  # type: ignore[misc]
        """DistillationTrainer whose prompts are tokens already, and whose teacher is asked."""

        def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return prompts, None, {}

        def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:  # noqa: ANN401
            return EpochSampler(
                data_source=self.train_dataset if dataset is None else dataset,
                mini_repeat_count=1,
                batch_size=self.args.train_batch_size
                * self.args.gradient_accumulation_steps
                * self.accelerator.num_processes,
                repeat_count=self.args.gradient_accumulation_steps,
                seed=self.args.seed,
            )

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            said = batch["completion_mask"].bool()
            answers = [ids[mask].tolist() for ids, mask in zip(batch["completion_ids"], said, strict=True)]
            scores = score([row["teacher"] for row in inputs], answers)
            ids, logprobs = top_tensors([step for answer in scores for step in answer])
            width = ids.shape[-1]
            places = said.nonzero(as_tuple=True)
            for name, told, blank in (("top_ids", ids, 0), ("top_logprobs", logprobs, -torch.inf)):
                whole = torch.full((*said.shape, width), blank, dtype=told.dtype, device=said.device)
                whole[places] = told.to(said.device)
                batch[name] = whole
            return batch

        def _compute_loss(
            self,
            student: "torch.nn.Module",
            inputs: Mapping[str, "torch.Tensor"],
            num_items_in_batch: "torch.Tensor | None",
        ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
            mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
            said = inputs["completion_mask"].bool()
            wanted = torch.zeros_like(mask, dtype=torch.bool)
            wanted[:, -said.shape[1] - 1 : -1] = said
            whole = {
                "input_ids": torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
                "attention_mask": mask,
                "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
            }
            logits = answer_logits(student, whole, wanted)
            each = divergence(logits, inputs["top_ids"][said], inputs["top_logprobs"][said], self.beta)
            total = each.sum() / (len(each) if num_items_in_batch is None else num_items_in_batch)
            entropy = torch.distributions.Categorical(logits=logits.detach()).entropy().sum()
            return total, entropy, said.sum()

    return ScoredTrainer
