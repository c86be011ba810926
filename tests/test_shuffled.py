"""Real trainings of a tiny model: right answers pass the gate, shuffled answers are refused."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from projects import jsonl
from tiny import WORDS, saved

from synth import ablation, gate, pipeline
from synth.llm import server
from synth.pipeline import Run, open_run
from synth.store import read_parquet, write_parquet
from synth.students import Students
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
max_model_len = 64
max_tokens = 3

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
def run(tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A curated run of 240 right answers, and 80 held-out questions."""
    monkeypatch.setattr(server, "build_of_vllm", lambda: None)
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


def held(run: Run) -> gate.Decision:
    """Trained, evaluated in this process, and held against the gate."""
    ablation.fit_with(lambda _: None)(run)
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
