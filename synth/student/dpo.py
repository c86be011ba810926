"""Direct preference optimisation on pairs, through TRL's DPOTrainer (Rafailov et al. 2023, arXiv:2305.18290).

`-log sigmoid(beta ((log pi / ref)(chosen) - (log pi / ref)(rejected)))`; with `length_normalised` each
log-ratio is divided by its answer's tokens (Tulu 3, Lambert et al. 2024, arXiv:2411.15124). The reference is
the base: the model with its adapter off, or a frozen copy where all weights are trained.

The pairs come tokenized from here, so TRL renders, cuts and drops nothing: an answer ends with the token that
ends the turn, what a template puts behind it is not trained, and a pair that is too long is left out whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import DataError, TrainError
from synth.store import message
from synth.student import settings
from synth.student.batches import collate
from synth.student.data import check, encode, files
from synth.student.divergence import answer_logits
from synth.student.held import base_of, mean, share
from synth.student.job import Job, Prepared
from synth.student.loading import has_bf16
from synth.student.shards import IGNORED, Counted
from synth.types import Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOTrainer

AT_ONCE = 8
"""Held-out answers of one forward pass."""
BETA, BETA_NORMALISED = 0.1, 5.0
"""Rafailov et al.'s, and Tulu 3's where log-ratios are divided by lengths."""
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        *((name, pa.list_(pa.int32())) for name in ("prompt_ids", "chosen_ids", "rejected_ids")),
    ]
)


def prepare(job: Job, tokenizer: "PreTrainedTokenizerBase") -> Prepared:
    """Every pair of the folder `job.beside`.

    Raises:
        DataError: a file is no Parquet of pairs.
        TrainError: there is no pair; none is short enough; as `data.encode`.
    """
    from datasets import Dataset

    paths = files(job.beside, "train") if job.beside else []
    pairs, counts = tokenize(tokenizer, paths, job.config.max_length)
    if not counts.rows:
        raise TrainError(
            f"{job.beside}: none of its {counts.left_out} pairs has at most {job.config.max_length} tokens "
            "in each answer with its prompt; raise [train] max_length"
            if counts.left_out
            else f"{job.beside or job.data}: there are no pairs (prompt, chosen, rejected); make some with "
            'the strategy "preference", or train with method = "sft"'
        )
    return Prepared(Dataset(pairs), counts, counts.longest)


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", paths: Sequence[Path], max_length: int
) -> tuple[pa.Table, Counted]:
    """Pairs as `prompt_ids`, `chosen_ids` and `rejected_ids`. A pair of which an answer is longer than
    `max_length` tokens, its prompt included, is left out. `trained` counts the tokens of both answers.

    Raises:
        DataError: a file is no Parquet of pairs.
        TrainError: an answer is not one assistant turn; as `data.encode`.
    """
    check(tokenizer)
    rows: list[dict[str, Any]] = []
    left_out = total = trained = longest = 0
    ends: set[int] = set()
    for row_id, prompt, chosen, rejected in _pairs(paths):
        try:
            (start, better), (_, worse) = (_answer(tokenizer, prompt, turns) for turns in (chosen, rejected))
        except TrainError as error:
            raise TrainError(f"pair {row_id}: {error}") from error
        if len(start) + max(len(better), len(worse)) > max_length:
            left_out += 1
            continue
        total += 2 * len(start) + len(better) + len(worse)
        trained += len(better) + len(worse)
        longest = max(longest, len(start) + max(len(better), len(worse)))
        ends |= {better[-1], worse[-1]}
        rows.append(
            {"row": len(rows), "id": row_id, "prompt_ids": start, "chosen_ids": better, "rejected_ids": worse}
        )
    counts = Counted(len(rows), left_out, 0, total, trained, longest, frozenset(ends))
    return pa.Table.from_pylist(rows, SCHEMA), counts


def _pairs(paths: Sequence[Path]) -> Iterator[tuple[str, list[Message], list[Message], list[Message]]]:
    for path in paths:
        try:
            with pq.ParquetFile(path) as parquet:
                for batch in parquet.iter_batches(1024, columns=["id", "prompt", "chosen", "rejected"]):
                    for row in batch.to_pylist():
                        prompt, chosen, rejected = (
                            [*map(message, row[name])] for name in ("prompt", "chosen", "rejected")
                        )
                        yield row["id"], prompt, chosen, rejected
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise DataError(path, f"holds no pairs that can be read ({error}); curate again") from error


def _answer(
    tokenizer: "PreTrainedTokenizerBase", prompt: Sequence[Message], turns: Sequence[Message]
) -> tuple[list[int], list[int]]:
    """The tokens of the prompt, and of the answer up to the one that ends the turn."""
    if [turn["role"] for turn in turns] != ["assistant"]:
        raise TrainError("chosen and rejected must each be one turn of the assistant")
    ids, labels = encode(tokenizer, [*prompt, *turns])
    last = max(place for place, label in enumerate(labels) if label != IGNORED)
    first = next(place for place in range(last, -1, -1) if labels[place - 1] == IGNORED)
    return ids[:first], ids[first : last + 1]


def _rows(table: pa.Table) -> Iterator[tuple[list[int], list[int], list[int]]]:
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            yield row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]


def trainer(
    job: Job, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prepared: Prepared
) -> "DPOTrainer":
    """The trainer, silent and offline. A batch of `batch_size` pairs is twice as many sequences."""
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
        """DPOTrainer whose rows are tokens already."""

        def _prepare_dataset(self, dataset: object, *_: object) -> object:
            return dataset

    config = job.config
    beta = config.beta or (BETA_NORMALISED if config.length_normalised else BETA)
    made = TokenizedDPOTrainer(
        model=model,
        args=DPOConfig(
            beta=beta,
            loss_type="sigmoid_norm" if config.length_normalised else "sigmoid",
            max_length=None,
            **settings.arguments(config, model, job.checkpoints),
        ),
        train_dataset=prepared.rows.remove_columns("id"),
        processing_class=tokenizer,
        peft_config=settings.lora(config),
    )
    made.remove_callback(PrinterCallback)
    return made


def measure(job: Job, trained: "DPOTrainer", tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """What the student makes of the pairs of the validation split, and its base; {} where there are none.

    `ratio_chosen` and `ratio_rejected` are log-ratios of student to base (nats an answer; before training
    0), `margin` is beta times their difference (of log-ratios by token where `length_normalised`), `accuracy`
    the share of pairs whose margin is positive. `base_likelier` and `likelier` are the shares of pairs whose
    chosen answer is the likelier one by token, for the base and for the student.
    """
    held_out = files(job.beside, "validation") if job.beside else []
    pairs, counts = tokenize(tokenizer, held_out, job.config.max_length)
    rows = list(_rows(pairs))
    if not rows:
        return {}
    with base_of(job, trained.model) as base:
        before = _logps(base, rows)
    after = _logps(trained.model, rows)
    lengths = [(len(chosen), len(rejected)) for _, chosen, rejected in rows]
    ratios = [(a[0] - b[0], a[1] - b[1]) for a, b in zip(after, before, strict=True)]
    by = lengths if job.config.length_normalised else [(1, 1)] * len(rows)
    margins = [
        trained.beta * (better / long - worse / other)
        for (better, worse), (long, other) in zip(ratios, by, strict=True)
    ]

    def likelier(logps: Sequence[tuple[float, float]]) -> dict[str, Any]:
        return share([a / m > b / n for (a, b), (m, n) in zip(logps, lengths, strict=True)])

    return {
        "pairs": len(rows),
        "left_out_pairs": counts.left_out,
        "margin": mean(margins),
        "accuracy": share([margin > 0 for margin in margins]),
        "ratio_chosen": mean([better for better, _ in ratios]),
        "ratio_rejected": mean([worse for _, worse in ratios]),
        "base_likelier": likelier(before),
        "likelier": likelier(after),
    }


def _logps(
    model: "torch.nn.Module", rows: Sequence[tuple[list[int], list[int], list[int]]]
) -> list[tuple[float, float]]:
    """Log-probabilities of both answers of each pair, in nats."""
    import torch

    model.eval()
    device = next(model.parameters()).device
    sequences = [
        {"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}
        for prompt, *answers in rows
        for answer in answers
    ]
    sums: list[float] = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=has_bf16()):
        for start in range(0, len(sequences), AT_ONCE):
            sums += _sums(model, collate(sequences[start : start + AT_ONCE]), device)
    return list(zip(sums[::2], sums[1::2], strict=True))


def _sums(
    model: "torch.nn.Module", batch: Mapping[str, "torch.Tensor"], device: "torch.device"
) -> list[float]:
    """The log-probability of the labels of each sequence of a batch."""
    import torch

    inputs = {name: tensor.to(device) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    wanted = torch.zeros_like(labels, dtype=torch.bool)
    wanted[:, :-1] = labels[:, 1:] != IGNORED
    logps = answer_logits(model, inputs, wanted).log_softmax(-1)
    each = logps.gather(1, labels[:, 1:][wanted[:, :-1]].unsqueeze(1)).squeeze(1)
    rows = wanted.nonzero()[:, 0]
    sums: list[float] = torch.zeros(len(labels), device=device).index_add_(0, rows, each).tolist()
    return sums
