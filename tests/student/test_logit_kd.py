"""What the teacher thought, to a student: real runs of the tiny model on the probabilities of another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import saved
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from student.conftest import row
from student.test_train import Killed, Steps
from synth.errors import TrainError
from synth.student import logit_kd
from synth.student.data import encode
from synth.student.job import Job
from synth.student.train import train
from synth.tables import Train
from synth.teaching import THOUGHTS

CONFIG = Train(
    method="logit_kd", epochs=4, learning_rate=5e-3, batch_size=4, max_length=64, save_steps=5, alpha=1.0
)
QUESTION, ANSWER = "What is the colour of the sky {}?", "The sky is blue."
K = 6


def teacher(model_folder: Path) -> Any:  # noqa: ANN401
    """The tiny model with other weights."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    torch.manual_seed(1)
    model.model.embed_tokens.weight.data += 0.2 * torch.randn_like(model.model.embed_tokens.weight)
    return model.eval()


def thoughts(
    model_folder: Path, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], k: int = K
) -> pa.Table:
    """Its `k` likeliest tokens at each place of each answer; in every fifth row it said another word."""
    model, out = teacher(model_folder), []
    for number, each in enumerate(rows):
        ids, labels = encode(tokenizer, each["messages"])
        places = [place for place, label in enumerate(labels) if label >= 0]
        with torch.no_grad():
            top = model(torch.tensor([ids])).logits[0, [p - 1 for p in places]].log_softmax(-1).topk(k)
        said = [ids[place] for place in places]
        out.append(
            {
                "id": each["id"],
                "tokens": said[::-1] if number % 5 == 4 else said,
                "ids": top.indices.tolist(),
                "logprobs": top.values.round(decimals=4).tolist(),
            }
        )
    return pa.Table.from_pylist(out, THOUGHTS)


@pytest.fixture
def job(
    model_folder: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerBase, write: Callable[..., Path]
) -> Job:
    """Twenty rows to train on and eight held out."""
    rows = [row(n, QUESTION.format(n), ANSWER) for n in range(28)]
    write(rows[20:], "validation")
    data, beside = write(rows[:20]), tmp_path / "teacher"
    beside.mkdir()
    for split, some in (("train", rows[:20]), ("validation", rows[20:])):
        pq.write_table(thoughts(model_folder, tokenizer, some), beside / f"{split}-00000.parquet")
    return Job(CONFIG, model_folder, data, tmp_path / "student", beside=beside, tokenizer=model_folder)


def test_the_student_comes_to_think_as_the_teacher_did(job: Job) -> None:
    done = train(job, on_step=Steps())
    assert (done.rows, done.left_out_rows, done.steps) == (20, 0, 20)
    assert (done.method["taught_rows"], done.method["untaught_rows"]) == (16, 4)
    assert done.final_loss < 0.95 * done.first_loss
    before, after = done.method["base_divergence"], done.method["divergence"]
    assert before["n"] == after["n"] == 7
    assert after["high"] < before["low"]


def test_the_loss_of_a_taught_token_is_mixed_and_of_another_that_on_the_word_alone(
    job: Job, tokenizer: PreTrainedTokenizerBase
) -> None:
    job.checkpoints.mkdir(parents=True)
    prepared = logit_kd.prepare(job, tokenizer)
    some = [prepared.rows[3], prepared.rows[4]]
    assert [any(each["top_ids"]) for each in some] == [True, False]
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    batch = logit_kd.taught_batch(some)
    found = {}
    for alpha in (0.0, 0.25, 1.0):
        mixed = replace(job, config=CONFIG.model_copy(update={"alpha": alpha, "adapter": "none"}))
        made = logit_kd.trainer(mixed, model, tokenizer, prepared)
        with torch.no_grad():
            found[alpha] = made.compute_loss(model, batch).item()
    with torch.no_grad():
        words, kl, taught = logit_kd.losses(model, batch)
        plain = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}).loss
    half = len(taught) // 2
    assert taught.tolist() == [True] * half + [False] * half
    assert found[0.0] == pytest.approx(plain.item(), rel=1e-4)
    assert found[1.0] == pytest.approx(
        (kl[taught].sum() + words[~taught].sum()).item() / len(words), rel=1e-4
    )
    assert found[0.25] == pytest.approx(0.75 * found[0.0] + 0.25 * found[1.0], rel=1e-4)


def test_with_the_whole_vocabulary_kept_it_is_the_whole_divergence(
    model_folder: Path, tokenizer: PreTrainedTokenizerBase, job: Job
) -> None:
    rows = [row(n, QUESTION.format(n), ANSWER) for n in range(2)]
    size = len(tokenizer)
    some = []
    for each, thought in zip(rows, thoughts(model_folder, tokenizer, rows, size).to_pylist(), strict=True):
        ids, labels = encode(tokenizer, each["messages"])
        taught = {"top_ids": thought["ids"], "top_logprobs": thought["logprobs"]}
        some.append({"input_ids": ids, "labels": labels, **taught})
    batch = logit_kd.taught_batch(some)
    student = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    wanted = batch["labels"].roll(-1, 1) != -100
    with torch.no_grad():
        _, found, _ = logit_kd.losses(student, batch)
        ours, theirs = (
            each(**inputs).logits[wanted].log_softmax(-1) for each in (student, teacher(model_folder))
        )
    dense = (theirs.exp() * (theirs - ours)).sum(-1)
    assert found.tolist() == pytest.approx(dense.tolist(), abs=2e-3)


def test_a_killed_run_goes_on_with_the_losses_of_an_undisturbed_one(job: Job, tmp_path: Path) -> None:
    whole = replace(job, out=tmp_path / "whole")
    train(whole, on_step=Steps())
    with pytest.raises(Killed):
        train(job, on_step=Steps(die_at=13))
    train(job, on_step=Steps())
    losses = [orjson.loads((each.out / "manifest.json").read_bytes())["losses"] for each in (whole, job)]
    assert losses[0] == losses[1]


def test_a_teacher_with_other_tokens_is_refused(
    job: Job, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    other = saved(tmp_path / "other", "LlamaForCausalLM")
    job.checkpoints.mkdir(parents=True)
    with pytest.raises(
        TrainError, match=r"the tokens of the teacher other \(29, \w+\) are not the student's"
    ):
        logit_kd.prepare(replace(job, tokenizer=other), tokenizer)
    with pytest.raises(TrainError, match=r"the tokenizer of .*/nowhere can't be read"):
        logit_kd.prepare(replace(job, tokenizer=tmp_path / "nowhere"), tokenizer)


def test_rows_of_which_the_teacher_kept_nothing_are_refused(
    job: Job, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert job.beside is not None
    file = job.beside / "train-00000.parquet"
    bare = [
        {**each, "tokens": None, "ids": None, "logprobs": None} for each in pq.read_table(file).to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(bare, THOUGHTS), file)
    job.checkpoints.mkdir(parents=True)
    with pytest.raises(
        TrainError, match=r"known of none of its 20 rows; make them with \[teacher\] top_logprobs"
    ):
        logit_kd.prepare(job, tokenizer)
