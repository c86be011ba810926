"""The loss: negative log-likelihood of what the assistant says, scored on those positions alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from synth.student.batches import collate
from synth.student.loading import has_bf16
from synth.student.shards import IGNORED

if TYPE_CHECKING:
    import torch
    from datasets import Dataset


def answer_nll(model: "torch.nn.Module", inputs: Mapping[str, "torch.Tensor"]) -> tuple["torch.Tensor", int]:
    """Negative log-likelihood of the trained tokens of a batch, summed (nats, float32), and their number.

    A hook hands the output head the positions that have a label and no others, so whatever a model does
    behind its head (soft-capping, scaling) stays its own. `inputs` are what `batches.collate` makes; the
    mask of packed rows is made from their positions.
    """
    import torch

    labels = inputs["labels"]
    wanted = torch.zeros_like(labels, dtype=torch.bool)
    wanted[:, :-1] = labels[:, 1:] != IGNORED
    seen = "position_ids" if "position_ids" in inputs else "attention_mask"
    head = getattr(model, "module", model).get_output_embeddings()  # DDP holds the model as `module`
    hook = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][wanted],))
    try:
        logits = model(input_ids=inputs["input_ids"], **{seen: inputs[seen]}, use_cache=False).logits
    finally:
        hook.remove()
    targets = labels[:, 1:][wanted[:, :-1]]
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"), len(targets)


def mean_loss(model: "torch.nn.Module", dataset: "Dataset", rows: int) -> float:
    """Mean loss over all trained tokens of tokenized rows, in nats, `rows` at a time."""
    import torch

    model.eval()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=has_bf16()):
        for start in range(0, len(dataset), rows):
            batch = collate([dataset[row] for row in range(start, min(start + rows, len(dataset)))])
            nll, number = answer_nll(model, {name: tensor.to(device) for name, tensor in batch.items()})
            total, count = total + nll.item(), count + number
    return total / count
