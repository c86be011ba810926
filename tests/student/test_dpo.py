"""Pairs to a student that prefers: real runs of the tiny model through TRL's trainer."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from student.conftest import row
from student.test_train import Killed, Steps
from synth.errors import TrainError
from synth.student import dpo
from synth.student.job import Job
from synth.student.train import train
from synth.tables import Train

CONFIG = Train(
    method="dpo", epochs=4, learning_rate=5e-3, batch_size=4, max_length=64, save_steps=5, beta=0.5
)
BETTER, WORSE = "The sky is blue.", "No cat has a fruit."


def pair(number: int, chosen: str = BETTER, rejected: str = WORSE) -> dict[str, Any]:
    """A pair of answers to one question."""
    turn = {"role": "user", "content": f"What is the colour of the sky {number}?"}
    said = [[{"role": "assistant", "content": text}] for text in (chosen, rejected)]
    return {"id": f"row-{number:03}", "prompt": [turn], "chosen": said[0], "rejected": said[1]}


@pytest.fixture
def job(model_folder: Path, tmp_path: Path, write: Callable[..., Path]) -> Job:
    """Twenty pairs to train on and eight held out; the chosen answers as rows."""
    rows = [row(n, f"What is the colour of the sky {n}?", BETTER) for n in range(28)]
    write(rows[20:], "validation")
    data = write(rows[:20])
    beside = tmp_path / "preference"
    beside.mkdir()
    pairs = [pair(n) for n in range(28)]
    pq.write_table(pa.Table.from_pylist(pairs[:20]), beside / "train-00000.parquet")
    pq.write_table(pa.Table.from_pylist(pairs[20:]), beside / "validation-00000.parquet")
    return Job(CONFIG, model_folder, data, tmp_path / "student", beside=beside)


def test_the_student_comes_to_prefer_the_chosen_answers(job: Job) -> None:
    done = train(job, on_step=Steps())
    assert (done.rows, done.left_out_rows, done.steps) == (20, 0, 20)
    assert done.first_loss <= math.log(2) + 0.01
    assert done.final_loss < 0.5 * done.first_loss
    measured = done.method
    assert measured["pairs"] == 8
    assert measured["accuracy"]["mean"] == 1.0
    assert measured["margin"]["low"] > 0
    assert measured["ratio_chosen"]["mean"] > measured["ratio_rejected"]["mean"]
    assert measured["likelier"]["n"] == measured["base_likelier"]["n"] == 8
    assert (job.out / "model.safetensors").is_file()


def test_the_loss_is_that_of_the_paper_and_with_lengths_that_of_tulu(
    job: Job, tokenizer: PreTrainedTokenizerBase
) -> None:
    prepared = dpo.prepare(job, tokenizer)
    for normalised in (False, True):
        config = CONFIG.model_copy(update={"length_normalised": normalised, "beta": None, "adapter": "none"})
        policy = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
        made = dpo.trainer(replace(job, config=config), policy, tokenizer, prepared)
        made.model.model.embed_tokens.weight.data += 0.02 * torch.randn_like(policy.lm_head.weight)
        batch = made.data_collator([prepared.rows[n] for n in range(3)])
        rows = [tuple(prepared.rows[n][name] for name in ROW) for n in range(3)]
        with torch.no_grad():
            found = made.compute_loss(made.model, batch).item()
            after, before = (dpo._logps(model, rows) for model in (made.model, made.ref_model))
        expected = 0.0
        for (a, b), (c, d), (_, better, worse) in zip(after, before, rows, strict=True):
            long, other = (len(better), len(worse)) if normalised else (1, 1)
            beta = dpo.BETA_NORMALISED if normalised else dpo.BETA
            expected += math.log1p(math.exp(-beta * ((a - c) / long - (b - d) / other))) / 3
        assert found == pytest.approx(expected, rel=0.02)


ROW = ("prompt_ids", "chosen_ids", "rejected_ids")


def test_an_answer_ends_with_the_token_that_ends_the_turn_and_no_pair_is_cut(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    file = tmp_path / "train-00000.parquet"
    pq.write_table(pa.Table.from_pylist([pair(1), pair(2, rejected=WORSE * 20)]), file)
    pairs, counts = dpo.tokenize(tokenizer, [file], 64)
    assert (pairs.num_rows, counts.rows, counts.left_out) == (1, 1, 1)
    (kept,) = pairs.to_pylist()
    assert tokenizer.decode(kept["chosen_ids"]) == BETTER + "<|im_end|>"
    assert tokenizer.decode(kept["rejected_ids"]) == WORSE + "<|im_end|>"
    assert tokenizer.decode(kept["prompt_ids"]).endswith("<|im_start|>assistant\n")
    assert counts.trained == len(kept["chosen_ids"]) + len(kept["rejected_ids"])
    assert counts.ends == {tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_a_killed_run_goes_on_with_the_losses_of_an_undisturbed_one(job: Job, tmp_path: Path) -> None:
    whole = replace(job, out=tmp_path / "whole")
    train(whole, on_step=Steps())
    with pytest.raises(Killed):
        train(job, on_step=Steps(die_at=13))
    train(job, on_step=Steps())
    losses = [orjson.loads((each.out / "manifest.json").read_bytes())["losses"] for each in (whole, job)]
    assert losses[0] == losses[1]


def test_a_dataset_without_pairs_is_refused(job: Job, tokenizer: PreTrainedTokenizerBase) -> None:
    alone = Job(CONFIG, job.model, job.data, job.out)
    with pytest.raises(TrainError, match=r"there are no pairs \(prompt, chosen, rejected\)"):
        dpo.prepare(alone, tokenizer)
    tight = replace(job, config=CONFIG.model_copy(update={"max_length": 9}))
    with pytest.raises(TrainError, match="none of its 20 pairs has at most 9 tokens in each answer"):
        dpo.prepare(tight, tokenizer)
