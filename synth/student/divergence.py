"""How far a student is from its teacher's likeliest tokens: top-k divergences with a tail.

Of the teacher only some tokens' probabilities are known at each place, those of its `k` likeliest. What is
left of it is one bucket, the tail, and so is what is left of the student: `sum_k p_k log(p_k / q_k) + tail
log(tail / (1 - sum q_k))` (TRL's `loss_add_tail`). That is the divergence of two coarser distributions, never
more than that of the whole ones, and equal to it where `k` is the vocabulary. Generalised Jensen-Shannon:
Agarwal et al. 2024, arXiv:2306.13649.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FLOOR = 1e-4
"""The least tail that is believed: the teacher's log-probabilities come with four places."""
NEVER = -1e4
"""The logarithm of what has no probability; finite, so that its gradient is."""


def answer_logits(
    model: "torch.nn.Module", inputs: Mapping[str, "torch.Tensor"], wanted: "torch.Tensor"
) -> "torch.Tensor":
    """The logits (float32) at the `wanted` places of a batch, (places, vocabulary), row after row.

    The output head is given these places alone. `inputs` and `wanted` are (batch, length).
    """
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, arguments: (arguments[0][wanted],)
    )
    try:
        return model(**inputs, use_cache=False).logits.float()
    finally:
        hook.remove()


def top_tensors(
    steps: Sequence[Mapping[int, float]], width: int | None = None
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Token ids and log-probabilities, (places, width); where a place has fewer, -inf fills it up."""
    import torch

    width = max([width or 1, *map(len, steps)])
    ids = torch.zeros((len(steps), width), dtype=torch.long)
    logprobs = torch.full((len(steps), width), -torch.inf)
    for place, step in enumerate(steps):
        if step:
            ids[place, : len(step)] = torch.tensor(list(step.keys()))
            logprobs[place, : len(step)] = torch.tensor(list(step.values()))
    return ids, logprobs


def divergence(
    logits: "torch.Tensor", ids: "torch.Tensor", logprobs: "torch.Tensor", beta: float
) -> "torch.Tensor":
    """Generalised Jensen-Shannon divergence of student and teacher at each place, in nats: (places,).

    Args:
        logits: the student's, (places, vocabulary).
        ids: tokens whose probability the teacher told, (places, width).
        logprobs: their log-probabilities in nats; -inf where there is no token.
        beta: 0 is KL(teacher, student), which wants all that the teacher may say; 1 is KL(student, teacher),
            which wants nothing that it would not say; between them `beta KL(teacher, m) + (1 - beta)
            KL(student, m)` of the mixture `m = beta teacher + (1 - beta) student`.
    """
    import torch

    told = logprobs > -torch.inf
    whole = logits.float().log_softmax(-1)
    inside = torch.zeros_like(whole, dtype=torch.uint8).scatter_add_(1, ids, told.to(torch.uint8)) > 0
    student_tail = whole.masked_fill(inside, NEVER).logsumexp(-1, keepdim=True)
    tail = 1 - logprobs.exp().sum(-1, keepdim=True)
    counts = torch.cat([told, torch.ones_like(tail, dtype=torch.bool)], -1)
    log_q = torch.cat([whole.gather(1, ids), student_tail], -1).masked_fill(~counts, 0.0)
    log_p = torch.cat([logprobs, tail.clamp(min=FLOOR).log()], -1).masked_fill(~counts, 0.0)
    p = torch.cat([logprobs.exp(), torch.where(tail > FLOOR, tail, 0.0)], -1)
    q = log_q.exp().masked_fill(~counts, 0.0)
    if beta == 0:
        return (p * (log_p - log_q)).sum(-1)
    if beta == 1:
        return (q * (log_q - log_p)).sum(-1)
    mixture = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return (beta * p * (log_p - mixture) + (1 - beta) * q * (log_q - mixture)).sum(-1)
