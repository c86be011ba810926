"""Real trainings of a tiny model: right answers pass the gate, shuffled answers are refused."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from projects import jsonl
from tiny import WORDS, saved

from synth import asking, gate, pipeline, scoring, systems
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher
from synth.pipeline import Run, open_run
from synth.store import read_parquet, write_parquet
from synth.students import Students
from synth.types import Prompt, Sampling
from synth.variants import beside

RULE = {"sky": "blue", "cat": "legs", "fruit": "apples", "name": "yes"}
"""What is asked about, and the right answer."""
RECIPE = """
name = "tiny"

[seeds]
path = "rows.jsonl"

[[generate]]
use = "existing"

[student]
model = "MODEL"

[train]
epochs = 6
learning_rate = 2e-2
batch_size = 16

[[evaluate]]
use = "exact_match"
path = "eval.jsonl"

[gate]
"""


def questions(seed: int, most: int) -> list[tuple[str, str]]:
    """Different questions, each with its answer."""
    rng = random.Random(seed)
    fill = [word for word in WORDS if word not in {*RULE, *RULE.values()}]
    made: dict[str, str] = {}
    while len(made) < most:
        about = rng.choice(list(RULE))
        words = [*rng.sample(fill, 3), about, *rng.sample(fill, 2)]
        made[" ".join(words)] = RULE[about]
    return list(made.items())


@pytest.fixture
def run(tmp_path: Path, one_thread: None) -> Run:
    """A curated run of 240 right answers, and 80 held-out questions."""
    made = questions(0, 320)
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in made[:240]
    ]
    jsonl(tmp_path / "rows.jsonl", [{"messages": row} for row in turns])
    jsonl(
        tmp_path / "eval.jsonl", [{"question": question, "answer": answer} for question, answer in made[240:]]
    )
    (tmp_path / "prompts").mkdir()
    model = saved(tmp_path / "model", "LlamaForCausalLM")
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("MODEL", str(model)))
    run = open_run(tmp_path / "tiny.toml")
    pipeline.generate(run)
    pipeline.curate(run)
    return run


def speaking(model: Path) -> Callable[[Prompt, Sampling], str]:
    """What a model folder says, at most three tokens of it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    def say(prompt: Prompt, sampling: Sampling) -> str:
        given = tokenizer.apply_chat_template(
            [dict(turn) for turn in prompt if not isinstance(turn, str)],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            out = loaded.generate(**given, max_new_tokens=3, do_sample=False, pad_token_id=0)
        return str(tokenizer.decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True))

    return say


def held(run: Run) -> gate.Decision:
    """Trained by the pipeline, asked here, and held against the gate."""
    pipeline.train(run)
    plan = systems.plan(run)
    assert run.recipe.student is not None
    answers = []
    for system, model in (("base", Path(run.recipe.student.model)), ("student", run.folder / "student")):
        journal = Journal(run.folder / f"journal-{system}")
        asker = ScriptedTeacher(speaking(model)).asker(journal, {"temperature": 0.0})
        answers += asyncio.run(asking.ask(plan, system, asker, None, 512))
        journal.close()
    run.dataset.record("evaluate", {"inputs": "x"}, scoring.write(run.folder, plan, answers, {}))
    return gate.hold(run)


def shuffled(source: Path, target: Path) -> None:
    """The rows, each with the answer of another."""
    table = read_parquet(source)
    rows = table["messages"].to_pylist()
    answers = [row[-1] for row in rows]
    random.Random(1).shuffle(answers)
    turns = pa.array([[*row[:-1], answer] for row, answer in zip(rows, answers, strict=True)])
    write_parquet(target, table.set_column(table.column_names.index("messages"), "messages", turns))


def test_a_student_of_shuffled_answers_is_refused_and_the_right_one_stays(run: Run) -> None:
    right = held(run)
    assert right.passed, gate.sentences(right)
    wrong = held(beside(run, "shuffled", shuffled))
    assert not wrong.passed and wrong.champion == right.champion, gate.sentences(wrong)
    assert any(finding.rule == "champion" and not finding.holds for finding in wrong.findings)
    assert Students(run.recipe.root, "tiny").champion == right.champion
