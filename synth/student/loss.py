"""The loss: negative log-likelihood of what the assistant says, scored on those positions alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synth.student.data import IGNORED, Tokens
from synth.student.loading import has_bf16

if TYPE_CHECKING:
    import torch


def collate(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, "torch.Tensor"]:
    """Pad on the right to the longest row. The attention mask comes from lengths: padding may equal eos."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)

    def pad(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (width - len(values))]

    return {
        "input_ids": torch.tensor([pad(row["input_ids"], 0) for row in rows]),
        "labels": torch.tensor([pad(row["labels"], IGNORED) for row in rows]),
        "attention_mask": torch.tensor([pad([1] * len(row["input_ids"]), 0) for row in rows]),
    }


def answer_nll(model: "torch.nn.Module", inputs: Mapping[str, "torch.Tensor"]) -> tuple["torch.Tensor", int]:
    """Negative log-likelihood of the trained tokens of a batch, summed (nats, float32), and their number.

    A hook hands the output head the positions that have a label and no others, so whatever a model does
    behind its head (soft-capping, scaling) stays its own. `inputs` are (batch, length).
    """
    import torch

    labels = inputs["labels"]
    wanted = torch.zeros_like(labels, dtype=torch.bool)
    wanted[:, :-1] = labels[:, 1:] != IGNORED
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, arguments: (arguments[0][wanted],)
    )
    try:
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).logits
    finally:
        hook.remove()
    targets = labels[:, 1:][wanted[:, :-1]]
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"), len(targets)


def mean_loss(model: "torch.nn.Module", tokens: Tokens, rows: int) -> float:
    """Mean loss over all trained tokens, in nats, `rows` at a time."""
    import torch

    model.eval()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=has_bf16()):
        for batch in tokens.table.to_batches(max_chunksize=rows):
            inputs = {name: tensor.to(device) for name, tensor in collate(batch.to_pylist()).items()}
            nll, number = answer_nll(model, inputs)
            total, count = total + nll.item(), count + number
    return total / count
