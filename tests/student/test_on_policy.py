"""The student answers and a teacher scores: real runs of the tiny model, with another tiny model to score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from student.conftest import row
from student.test_logit_kd import QUESTION, teacher
from student.test_train import Killed, Steps
from synth.errors import TrainError
from synth.student import on_policy
from synth.student.job import Job
from synth.student.train import train
from synth.tables import Train
from synth.teaching import PROMPTS

CONFIG = Train(
    method="on_policy",
    epochs=4,
    learning_rate=1e-2,
    batch_size=4,
    max_length=96,
    save_steps=5,
    trainer={"max_completion_length": 8},
)


@dataclass
class Dense:
    """A scripted teacher: the `top` likeliest tokens of a model in this process."""

    model: torch.nn.Module
    top: int = 6
    identity: str = "dense"
    wants: dict[int, float] = field(default_factory=dict)
    """What it would say at every place, in the model's stead."""
    prompts: list[list[int]] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)

    def score(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[list[dict[int, float]]]:
        """Prompt by prompt."""
        out = []
        for prompt, answer in zip(prompts, answers, strict=True):
            self.prompts.append([*prompt])
            self.answers.append([*answer])
            with torch.no_grad():
                logits = self.model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
            logprobs = logits.float().log_softmax(-1)
            best = logprobs.topk(self.top)
            steps = []
            for place, own in enumerate(answer):
                if self.wants:
                    steps.append({own: -9.0, **self.wants})
                    continue
                told = dict(zip(best.indices[place].tolist(), best.values[place].tolist(), strict=True))
                steps.append({**told, own: logprobs[place, own].item()})
            out.append(steps)
        return out


@pytest.fixture
def job(model_folder: Path, tmp_path: Path, write: Callable[..., Path]) -> Job:
    """Twenty-two prompts; the teacher reads longer ones."""
    rows = [row(n, QUESTION.format(n), "The sky is blue.") for n in range(22)]
    write(rows[:4], "validation")
    data, beside = write(rows), tmp_path / "teacher"
    beside.mkdir()
    own = [
        {"id": each["id"], "messages": [{"role": "system", "content": "Be kind."}, each["messages"][0]]}
        for each in rows
    ]
    pq.write_table(pa.Table.from_pylist(own, PROMPTS), beside / "train-00000.parquet")
    scorer = Dense(teacher(model_folder))
    return Job(
        CONFIG,
        model_folder,
        data,
        tmp_path / "student",
        beside=beside,
        teacher=scorer,
        tokenizer=model_folder,
    )


def test_the_student_comes_nearer_to_its_teacher_in_its_own_words(
    job: Job, tokenizer: PreTrainedTokenizerBase
) -> None:
    sky, blue = (tokenizer(f" {word}")["input_ids"][0] for word in ("sky", "blue"))
    config = CONFIG.model_copy(update={"beta": 0.0, "learning_rate": 2e-2})
    job = replace(job, config=config, teacher=Dense(teacher(job.model), wants={sky: -0.7, blue: -0.8}))
    done = train(job, on_step=Steps())
    assert (done.rows, done.left_out_rows, done.steps) == (22, 0, 20)
    assert done.method["rows_left_over_each_epoch"] == 2
    assert 1 <= done.method["answer_tokens"] <= 8
    assert done.final_loss < 0.9 * done.first_loss
    assert isinstance(job.teacher, Dense)
    assert len(job.teacher.answers) == 80
    prompt = tokenizer.decode(job.teacher.prompts[0])
    assert prompt.startswith("<|im_start|>system\nBe kind.<|im_end|>")
    assert prompt.endswith("<|im_start|>assistant\n")


def test_the_loss_is_the_divergence_at_each_token_that_the_student_said(
    job: Job, tokenizer: PreTrainedTokenizerBase
) -> None:
    whole = Dense(teacher(job.model), top=len(tokenizer))
    config = CONFIG.model_copy(update={"beta": 1.0, "adapter": "none"})
    same = replace(job, config=config, teacher=whole, beside=None)
    prepared = on_policy.prepare(same, tokenizer)
    student = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    made = on_policy.trainer(same, student, tokenizer, prepared)
    batch = made._generate_and_score_completions([prepared.rows[n] for n in (0, 5, 9)])
    with torch.no_grad():
        found = made._compute_loss(student, batch, None)[0].item()
    total, count = 0.0, 0
    for prompt, answer in zip(whole.prompts, whole.answers, strict=True):
        ids, begin = torch.tensor([prompt + answer]), len(prompt) - 1
        with torch.no_grad():
            ours, theirs = (each(ids).logits[0, begin:-1].log_softmax(-1) for each in (student, whole.model))
        total += (ours.exp() * (ours - theirs)).sum().item()
        count += len(answer)
    assert found == pytest.approx(total / count, rel=1e-3)


def test_a_killed_run_draws_the_answers_of_an_undisturbed_one(job: Job, tmp_path: Path) -> None:
    whole = replace(job, out=tmp_path / "whole", teacher=Dense(teacher(job.model)))
    train(whole, on_step=Steps())
    with pytest.raises(Killed):
        train(job, on_step=Steps(die_at=13))
    rest = replace(job, teacher=Dense(teacher(job.model)))
    train(rest, on_step=Steps())
    assert isinstance(whole.teacher, Dense) and isinstance(rest.teacher, Dense)
    assert rest.teacher.answers == whole.teacher.answers[40:]
    losses = [orjson.loads((each.out / "manifest.json").read_bytes())["losses"] for each in (whole, job)]
    assert losses[0] == losses[1]


def test_a_set_without_enough_short_prompts_or_without_a_teacher_is_refused(
    job: Job, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(TrainError, match="0 of its 22 prompts have at most 4 tokens, which leaves 8 for an"):
        on_policy.prepare(replace(job, config=CONFIG.model_copy(update={"max_length": 12})), tokenizer)
    with pytest.raises(TrainError, match="on_policy needs a teacher that scores"):
        on_policy.prepare(replace(job, teacher=None), tokenizer)


def test_a_batch_cut_into_parts_has_the_loss_of_the_whole_batch(job: Job, tmp_path: Path) -> None:
    short = replace(job, config=CONFIG.model_copy(update={"epochs": 0.2}), out=tmp_path / "whole")
    train(short, on_step=Steps())
    smaller = short.config.model_copy(update={"micro_batch": 2})
    parts = replace(short, config=smaller, out=tmp_path / "parts")
    train(parts, on_step=Steps())
    whole, cut = (
        orjson.loads((each.out / "manifest.json").read_bytes())["losses"] for each in (short, parts)
    )
    assert cut == pytest.approx(whole, rel=1e-2)
