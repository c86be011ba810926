"""Rows that lie end to end are computed as if each stood alone."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from transformers import AutoModelForCausalLM

from synth.errors import TrainError
from synth.student.batches import collate, sampler
from synth.student.job import Job
from synth.student.loss import answer_nll
from synth.student.packing import fit, pack, width
from synth.student.sft import check_packable
from synth.student.train import train
from synth.student.watch import TrainStep
from synth.tables import Train

LENGTHS = [3, 17, 9, 30, 5, 12, 26, 1]


def drawn(lengths: list[int]) -> list[dict[str, Any]]:
    """Rows of random tokens, the last two thirds of each trained."""
    random.seed(0)
    rows = []
    for number, length in enumerate(lengths):
        ids = [random.randrange(10, 300) for _ in range(length)]
        start = max(1, length // 3)
        rows.append({"row": number, "input_ids": ids, "labels": [-100] * start + ids[start:]})
    return rows


def places(rows: list[dict[str, Any]], packed: int) -> list[tuple[int, int]]:
    """The line and the offset of each row in the packed batch."""
    lengths = [len(row["input_ids"]) for row in rows]
    out = {}
    for line, members in enumerate(pack(lengths, packed)):
        at = 0
        for row in members:
            out[row] = (line, at)
            at += lengths[row]
    return [out[row] for row in range(len(rows))]


def logits(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """As the loss computes them: with a cache, transformers would not see that rows are packed."""
    given = {name: batch[name] for name in ("input_ids", "position_ids")}
    return torch.as_tensor(model(**given, use_cache=False).logits)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_packed_logits_are_those_of_each_row_alone(
    model_folder: Path, attention: str, dtype: torch.dtype, allowed: float
) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=dtype, attn_implementation=attention)
    rows = drawn(LENGTHS)
    batch = collate(rows, packed=64)
    assert batch["input_ids"].shape == (4, 30)
    worst = 0.0
    with torch.no_grad():
        together = logits(model, batch).float()
        for row, (line, at) in zip(rows, places(rows, 64), strict=True):
            alone = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].float()
            same = together[line, at : at + len(alone)]
            worst = max(worst, (same - alone).abs().max().item())
    assert worst <= allowed * together.abs().max().item()


def test_packed_rows_have_the_loss_and_the_gradients_of_padded_ones(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    rows = drawn(LENGTHS)
    found = []
    for packed in (None, 64):
        model.zero_grad()
        total, count = answer_nll(model, collate(rows, packed=packed))
        total.backward()
        found.append((total.item(), count, [weight.grad.clone() for weight in model.parameters()]))
    (padded, padded_count, padded_gradients), (packed_, packed_count, packed_gradients) = found
    assert padded_count == packed_count == sum(label != -100 for row in rows for label in row["labels"])
    assert packed_ == pytest.approx(padded, rel=1e-6)
    for one, other in zip(padded_gradients, packed_gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6 * padded)


def test_a_neighbour_that_changes_changes_nothing(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    rows = drawn([20, 10, 10])
    others = [rows[0], {**rows[1], "input_ids": [7] * 10}, rows[2]]
    with torch.no_grad():
        one, two = (logits(model, batch) for batch in (collate(rows, packed=40), collate(others, packed=40)))
    assert one.shape[:2] == (2, 20)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[1, :10], two[1, :10])
    assert torch.equal(one[1, 10:], two[1, 10:])


def test_no_rows_first_token_is_predicted_from_its_neighbour() -> None:
    batch = collate(drawn(LENGTHS), packed=64)
    starts = batch["position_ids"] == 0
    assert starts.sum() >= len(LENGTHS)
    assert (batch["labels"][starts] == -100).all()
    assert batch["attention_mask"].sum() == sum(LENGTHS)
    assert sorted(batch["row"].tolist()) == list(range(len(LENGTHS)))


def test_rows_go_where_least_room_is_left() -> None:
    assert fit([5, 7, 3, 1, 9], 10) == [[4, 3], [1, 2], [0]]
    assert fit([10, 10], 10) == [[0], [1]]


def test_packs_hold_every_row_once_and_none_is_too_long() -> None:
    random.seed(1)
    for _ in range(50):
        lengths = [random.randrange(1, 100) for _ in range(random.randrange(1, 30))]
        packs = pack(lengths, 100)
        assert sorted(row for members in packs for row in members) == list(range(len(lengths)))
        assert width(packs, lengths) <= 100
        assert len(packs) * width(packs, lengths) <= len(lengths) * max(lengths)


def test_steps_hold_rows_of_like_length_in_an_order_that_seed_and_epoch_decide() -> None:
    random.seed(2)
    lengths = [random.randrange(10, 200) for _ in range(403)]
    order = sampler(lengths, 8, seed=3)
    first, again = list(order), list(order)
    assert first == again
    assert sorted(first) == list(range(403))
    assert lengths[first[0]] == max(lengths)
    order.set_epoch(1)
    assert list(order) != first
    assert list(sampler(lengths, 8, seed=4)) != first
    steps = [[lengths[row] for row in first[at : at + 8]] for at in range(0, 403, 8)]
    filled = sum(lengths) / sum(max(step) * len(step) for step in steps)
    assert filled > 0.9
    widths = [max(step) for step in steps[1:-1]]
    assert widths != sorted(widths, reverse=True)


@pytest.mark.parametrize("micro", [8, 4])
def test_a_training_with_packing_has_the_losses_of_one_without(
    model_folder: Path,
    rows: list[dict[str, Any]],
    write: Callable[..., Path],
    tmp_path: Path,
    micro: int,
) -> None:
    losses = []
    for packing in (False, True):
        config = Train(epochs=2, learning_rate=5e-3, max_length=64, packing=packing, micro_batch=micro)
        out = tmp_path / str(packing)
        train(Job(config, model_folder, write(rows), out), on_step=lambda _: None)
        losses.append(orjson.loads((out / "manifest.json").read_bytes())["losses"])
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)


class Killed(BaseException):
    """Stands for kill -9 in the middle of an epoch."""


@pytest.mark.parametrize("packing", [False, True])
def test_a_training_killed_in_the_middle_of_an_epoch_goes_on_with_the_same_rows(
    model_folder: Path, rows: list[dict[str, Any]], write: Callable[..., Path], tmp_path: Path, packing: bool
) -> None:
    config = Train(epochs=2, learning_rate=5e-3, max_length=64, packing=packing, save_steps=3)

    def run(out: Path, die_at: int = 0) -> list[float]:
        def step(step: TrainStep) -> None:
            if step.step == die_at:
                raise Killed

        train(Job(config, model_folder, write(rows), out), on_step=step)
        return list(orjson.loads((out / "manifest.json").read_bytes())["losses"])

    with pytest.raises(Killed):
        run(tmp_path / "killed", die_at=8)
    assert run(tmp_path / "killed") == run(tmp_path / "whole")


def test_a_model_whose_rows_would_see_each_other_is_refused(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    check_packable(model)
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(TrainError, match=r"packing: .*layers linear_attention\); set packing = false"):
        check_packable(model)
