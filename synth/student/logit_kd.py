"""Distillation from the teacher's likeliest tokens, kept while it wrote the rows (Hinton et al. 2015,
arXiv:1503.02531; top-k with a tail: `student.divergence`).

`L = (1/N) sum_t (1 - alpha) CE_t + alpha KL_t(teacher, student)` over the N trained tokens of a step, at
temperature 1. The teacher's probabilities are those behind its own prompt, worked examples and all, which the
student never sees: they can't be had of it afterwards without that prompt. Where a row's tokens are not those
that the teacher said (white space that was stripped, an earlier turn), the loss is that on the words alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import DataError, TrainError
from synth.student import settings
from synth.student.batches import collate
from synth.student.data import check, encode, files, read
from synth.student.divergence import answer_logits, divergence, top_tensors
from synth.student.held import base_of, mean
from synth.student.job import Job, Prepared
from synth.student.loading import has_bf16
from synth.student.shards import IGNORED, Counted
from synth.student.vocabulary import teachers_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("top_ids", pa.list_(pa.list_(pa.int32()))),
        ("top_logprobs", pa.list_(pa.list_(pa.float32()))),
    ]
)
"""`top_ids` and `top_logprobs` have a list for each trained token, empty where the teacher said another."""
Row = dict[str, Any]
AT_ONCE = 8
"""Held-out rows of one forward pass."""


def prepare(job: Job, tokenizer: "PreTrainedTokenizerBase") -> Prepared:
    """Every conversation of the training set, with what the teacher thought at each token of its last answer.

    Raises:
        DataError: a file is missing, or is not of these rows.
        TrainError: teacher and student have other tokens; no row is short enough; the teacher's probabilities
            are known of none; as `data.encode`.
    """
    from datasets import Dataset

    teachers_tokenizer(job.tokenizer, tokenizer)
    number = taught = longest = tokens = trained = left_out = 0
    ends: set[int] = set()
    file = job.checkpoints / "taught.arrow"
    part = file.with_suffix(".part")  # another process may read the file already
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        for row in _rows(job, tokenizer, "train"):
            ids, labels = row["input_ids"], row["labels"]
            if len(ids) > job.config.max_length:
                left_out += 1
                continue
            longest = max(longest, len(ids))
            tokens, trained = tokens + len(ids), trained + sum(label != IGNORED for label in labels)
            taught += any(row["top_ids"])
            ends.add(next(label for label in reversed(labels) if label != IGNORED))
            writer.write_batch(pa.RecordBatch.from_pylist([{**row, "row": number}], SCHEMA))
            number += 1
    part.replace(file)
    rows = Dataset.from_file(str(file))
    if not len(rows):
        raise TrainError(
            f"{job.data}: none of its {left_out} rows has at most {job.config.max_length} tokens; "
            "raise [train] max_length"
        )
    if not taught:
        raise TrainError(
            f"{job.data}: the teacher's probabilities are known of none of its {len(rows)} rows; make them "
            "with [teacher] top_logprobs = 20, served by vLLM"
        )
    counted = Counted(len(rows), left_out, 0, tokens, trained, longest, frozenset(ends))
    return Prepared(
        rows, counted, longest, notes={"taught_rows": taught, "untaught_rows": len(rows) - taught}
    )


def _rows(job: Job, tokenizer: "PreTrainedTokenizerBase", split: str) -> Iterator[Row]:
    """The rows of a split in the columns of SCHEMA, whatever their length."""
    if job.beside is None:
        raise TrainError(
            f"{job.data}: nothing is known of what the teacher thought; train from a run's recipe"
        )
    check(tokenizer)
    beside = files(job.beside, split)
    for (row_id, messages, tools), thought in zip(
        read(files(job.data, split)), _thoughts(beside), strict=True
    ):
        if thought["id"] != row_id:
            raise DataError(
                job.beside, f"has row {thought['id']} where {job.data} has {row_id}; curate again"
            )
        try:
            ids, labels = encode(tokenizer, messages, tools)
        except TrainError as error:
            raise TrainError(f"row {row_id}: {error}") from error
        trained = [label for label in labels if label != IGNORED]
        answer = trained[len(trained) - _last_run(labels) :]
        untold: list[list[Any]] = [[] for _ in range(len(trained) - len(answer))]
        same = thought["tokens"] == answer
        yield {
            "id": row_id,
            "input_ids": ids,
            "labels": labels,
            "top_ids": untold + (thought["ids"] if same else [[] for _ in answer]),
            "top_logprobs": untold + (thought["logprobs"] if same else [[] for _ in answer]),
        }


def _last_run(labels: Sequence[int]) -> int:
    """How many tokens the last answer has."""
    count = 0
    for label in reversed(labels):
        if label != IGNORED:
            count += 1
        elif count:
            break
    return count


def _thoughts(paths: Sequence[Path]) -> Iterator[Row]:
    for path in paths:
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(256, columns=["id", "tokens", "ids", "logprobs"]):
                yield from batch.to_pylist()


def taught_batch(rows: Sequence[Mapping[str, Any]]) -> dict[str, "torch.Tensor"]:
    """A padded batch; `top_ids` and `top_logprobs` are (trained tokens, width), row after row."""
    steps = [
        dict(zip(ids, logprobs, strict=True))
        for row in rows
        for ids, logprobs in zip(row["top_ids"], row["top_logprobs"], strict=True)
    ]
    ids, logprobs = top_tensors(steps)
    return {**collate(rows), "top_ids": ids, "top_logprobs": logprobs}


def losses(
    model: "torch.nn.Module", batch: Mapping[str, "torch.Tensor"]
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """For each trained token: its cross-entropy, KL(teacher, student), and whether it is taught."""
    import torch

    labels = batch["labels"]
    wanted = torch.zeros_like(labels, dtype=torch.bool)
    wanted[:, :-1] = labels[:, 1:] != IGNORED
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    logits = answer_logits(model, inputs, wanted)
    words = torch.nn.functional.cross_entropy(logits, labels[:, 1:][wanted[:, :-1]], reduction="none")
    taught = (batch["top_logprobs"] > -torch.inf).any(-1)
    return words, divergence(logits, batch["top_ids"], batch["top_logprobs"], 0.0), taught


def trainer(
    job: Job, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prepared: Prepared
) -> "SFTTrainer":
    """The trainer, silent and offline."""
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    alpha = job.config.alpha

    class TaughtTrainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer with the loss of this module."""

        def compute_loss(
            self,
            model: "torch.nn.Module",
            inputs: Mapping[str, "torch.Tensor"],
            return_outputs: bool = False,
            num_items_in_batch: "torch.Tensor | None" = None,
        ) -> "torch.Tensor":
            words, thoughts, taught = losses(model, inputs)
            weight = alpha * taught
            total = ((1 - weight) * words + weight * thoughts).sum()
            if num_items_in_batch is None:
                return total / len(words)
            return total / num_items_in_batch * self.accelerator.num_processes

    made = TaughtTrainer(
        model=model,
        args=SFTConfig(
            **settings.arguments(job.config, model, job.checkpoints),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        ),
        train_dataset=prepared.rows.remove_columns("id"),
        processing_class=tokenizer,
        data_collator=taught_batch,
        peft_config=settings.lora(job.config),
    )
    made.remove_callback(PrinterCallback)
    return made


def measure(job: Job, trained: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """On taught rows of the validation split: `base_divergence` and `divergence`, KL(teacher, student) by top
    tokens and tail in nats a token, means over rows; {} where there are none."""
    rows = [
        row
        for row in _rows(job, tokenizer, "validation")
        if any(row["top_ids"]) and len(row["input_ids"]) <= job.config.max_length
    ]
    if not rows:
        return {}
    with base_of(job, trained.model) as base:
        before = _divergences(base, rows)
    return {"base_divergence": mean(before), "divergence": mean(_divergences(trained.model, rows))}


def _divergences(model: "torch.nn.Module", rows: Sequence[Row]) -> list[float]:
    import torch

    model.eval()
    device = next(model.parameters()).device
    found: list[float] = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=has_bf16()):
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            batch = {name: tensor.to(device) for name, tensor in taught_batch(part).items()}
            _, thoughts, taught = losses(model, batch)
            counts = [sum(label != IGNORED for label in row["labels"]) for row in part]
            for each, told in zip(thoughts.split(counts), taught.split(counts), strict=True):
                found.append(each[told].mean().item())
    return found
