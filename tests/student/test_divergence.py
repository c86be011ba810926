"""Top-k divergences beside the whole ones."""

import pytest
import torch
from torch.nn.functional import kl_div
from transformers import AutoModelForCausalLM

from synth.student.divergence import answer_logits, divergence, top_tensors

VOCABULARY = 30


def drawn(seed: int, scale: float = 2.0) -> torch.Tensor:
    """Logits at five places."""
    return scale * torch.randn(5, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def dense(student: torch.Tensor, teacher: torch.Tensor, beta: float) -> torch.Tensor:
    """The generalised divergence over the whole vocabulary, by torch's own KL."""
    log_q, log_p = student.log_softmax(-1), teacher.log_softmax(-1)

    def kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return kl_div(second, first, reduction="none", log_target=True).sum(-1)

    if beta in (0, 1):
        return kl(log_q, log_p) if beta else kl(log_p, log_q)
    mixture = (beta * log_p.exp() + (1 - beta) * log_q.exp()).log()
    return beta * kl(log_p, mixture) + (1 - beta) * kl(log_q, mixture)


def told(teacher: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's `k` likeliest tokens."""
    logprobs, ids = teacher.log_softmax(-1).topk(k, -1)
    return ids, logprobs


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_with_the_whole_vocabulary_told_it_is_the_whole_divergence_and_so_is_its_gradient(
    beta: float,
) -> None:
    student, teacher = drawn(1).requires_grad_(), drawn(2)
    found = divergence(student, *told(teacher, VOCABULARY), beta)
    wanted = dense(student, teacher, beta)
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-5)
    [ours], [theirs] = (torch.autograd.grad(each.sum(), student) for each in (found, wanted))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_with_some_tokens_told_it_is_that_of_the_distributions_with_one_bucket_for_the_rest(
    beta: float,
) -> None:
    student, teacher = drawn(3), drawn(4)
    ids, logprobs = told(teacher, 4)

    def coarse(logits: torch.Tensor) -> torch.Tensor:
        shares = logits.softmax(-1).gather(1, ids)
        return torch.cat([shares, 1 - shares.sum(-1, keepdim=True)], -1).log()

    found = divergence(student, ids, logprobs, beta)
    assert found.tolist() == pytest.approx(dense(coarse(student), coarse(teacher), beta).tolist(), abs=1e-5)
    assert (found <= dense(student, teacher, beta) + 1e-6).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_gradients_are_finite_where_either_is_certain_and_where_places_have_no_token(beta: float) -> None:
    student, teacher = drawn(5, scale=60.0).requires_grad_(), drawn(6, scale=60.0)
    ids, logprobs = told(teacher, 4)
    logprobs[0, 2:] = -torch.inf
    logprobs[1] = -torch.inf
    found = divergence(student, ids, logprobs.round(decimals=4), beta)
    assert torch.isfinite(found).all()
    [gradient] = torch.autograd.grad(found.sum(), student)
    assert torch.isfinite(gradient).all()


def test_a_student_that_is_its_teacher_is_not_pulled() -> None:
    student = drawn(7).requires_grad_()
    for beta in (0.0, 0.5, 1.0):
        found = divergence(student, *told(student.detach(), 6), beta)
        [gradient] = torch.autograd.grad(found.sum(), student)
        assert found.abs().max() < 1e-5
        assert gradient.abs().max() < 1e-5


def test_what_is_told_becomes_tensors_whatever_its_length() -> None:
    ids, logprobs = top_tensors([{7: -0.5, 3: -1.5}, {}, {2: -0.1}])
    assert ids.tolist() == [[7, 3], [0, 0], [2, 0]]
    assert logprobs.tolist() == [[-0.5, -1.5], [-float("inf")] * 2, [pytest.approx(-0.1), -float("inf")]]


def test_logits_at_wanted_places_are_those_of_the_whole_batch(model_folder: object) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    inputs = {"input_ids": torch.tensor([[20, 21, 22, 1], [30, 31, 1, 0]])}
    wanted = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]]).bool()
    with torch.no_grad():
        assert torch.allclose(answer_logits(model, inputs, wanted), model(**inputs).logits[wanted], atol=1e-5)
