"""A whole evaluation of tiny models in this process, as where vLLM is not installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from endpoint import Able, Endpoint
from projects import edit, jsonl, make_project
from tiny import saved

from synth.errors import DataError, RecipeError, ShareFailedError
from synth.llm import server
from synth.pipeline import Run, curate, evaluate, generate, open_run
from synth.scoring import read, sentences
from synth.systems import plan

EVALUATE = """
[student]
model = "MODEL"
max_model_len = 64
max_tokens = 6
retrieval = 2

[[evaluate]]
use = "exact_match"
path = "exact.jsonl"

[[evaluate]]
use = "multiple_choice"
path = "choices.jsonl"

[[evaluate]]
use = "perplexity"
path = "rows.jsonl"

[[evaluate]]
use = "pairwise"
path = "pairs.jsonl"
read = "choice"

[run]
"""
QUESTIONS = ["what is the colour of the sky?", "what is a cat?", "name a fruit.", "is it late?"]


@pytest.fixture
def judge() -> Iterator[Endpoint]:
    """Teacher and judge at once; between two answers it always prefers the first."""
    with Endpoint(able=Able()) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, judge: Endpoint, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Run:
    """A curated run whose student is a copy of its base, a tiny random model."""
    monkeypatch.setattr(server, "build_of_vllm", lambda: None)
    recipe = make_project(tmp_path, judge.url)
    edit(recipe, 'path = "seeds.jsonl"', 'path = "seeds.jsonl"\ntext = "topic"')
    (recipe.parent / "prompts" / "ask.jinja").write_text("Say something about {{ text }} in a sentence.")
    base = saved(tmp_path / "base", "LlamaForCausalLM")
    edit(recipe, "[run]\n", EVALUATE.replace("MODEL", str(base)))
    jsonl(tmp_path / "exact.jsonl", [{"question": q, "answer": "4"} for q in QUESTIONS])
    choices = ["blue", "a cat has four legs", "no"]
    lines = [{"question": q, "choices": choices, "answer": "ABC"[n % 3]} for n, q in enumerate(QUESTIONS)]
    jsonl(tmp_path / "choices.jsonl", lines)
    jsonl(tmp_path / "pairs.jsonl", [{"question": q} for q in QUESTIONS])
    jsonl(tmp_path / "rows.jsonl", [{"prompt": q, "completion": "the sky is blue."} for q in QUESTIONS])
    made = open_run(recipe)
    generate(made)
    curate(made)
    shutil.copytree(base, made.folder / "student")
    return made


def total_of(scores: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [total for total in scores["evaluations"] if total["evaluator"] == name]
    return dict(found)


def test_a_student_that_is_its_base_differs_from_it_in_nothing(run: Run) -> None:
    scores = evaluate(run)
    assert scores["served_by"] == "transformers" and scores["judge_is_teacher"] is True
    for name in ("exact_match", "multiple_choice", "perplexity", "pairwise"):
        total = total_of(scores, name)
        gain = total["student_minus_base"]
        assert total["questions"] == gain["n"] == 4
        assert gain["difference"] == 0 and gain["wins"] == gain["losses"] == 0
        assert total["not_scored"] == {} and total["contaminated"] == 0
    assert total_of(scores, "perplexity")["higher_is_better"] is False
    assert total_of(scores, "perplexity")["unit"] == "nats a token"
    assert set(total_of(scores, "perplexity")["systems"]) == {"base", "student"}
    assert set(total_of(scores, "multiple_choice")["systems"]) == {"base", "retrieval", "student"}
    assert total_of(scores, "pairwise")["systems"]["base"]["mean"] == 0.5
    took = total_of(scores, "exact_match")["systems"]["base"]["seconds"]
    assert took["requests"] == 4 and 0 < took["p50"] <= took["p95"]


def test_the_totals_as_lines_name_unit_denominator_and_what_an_answer_takes(run: Run) -> None:
    lines = sentences(evaluate(run))
    [loss] = [line for line in lines if line.startswith("perplexity, 4 held-out questions")]
    assert loss.count("nats a token") == 2
    assert any(
        "+0.000 nats a token" in line and "lower is better, 0 better, 0 worse" in line for line in lines
    )
    assert any("bits_per_byte (mean over 4 questions): base " in line for line in lines)
    assert any("an answer takes (prompt + completion, latency): base " in line for line in lines)


def test_retrieval_gets_the_best_passages_before_the_same_question(run: Run) -> None:
    edit(run.recipe.file, "max_model_len = 64", 'max_model_len = 64\nteacher_prompt = "ask"')
    asked = open_run(run.recipe.file)
    said: list[str] = []
    evaluate(Run(asked.checked, asked.dataset, said.append))
    table = pq.read_table(run.folder / "scores.parquet").to_pylist()
    tokens = {row["system"]: row["prompt_tokens"] for row in table if row["evaluator"] == "exact_match"}
    assert tokens["retrieval"] == tokens["base"]  # no passage has a word of the last question
    assert set(tokens) == {"base", "retrieval", "student"}
    assert "evaluate: exact_match: not asked with ask, as questions lack text" in said


def test_retrieval_puts_passages_before_the_question(run: Run) -> None:
    lines = [{"question": "topic 7 ?", "answer": "4"}]
    jsonl(run.recipe.root / "exact.jsonl", lines)
    edit(run.recipe.file, "max_model_len = 64", "max_model_len = 512")
    [item] = [item for item in plan(open_run(run.recipe.file)).items if item.name == "exact_match"]
    [turn] = item.messages["retrieval"]
    assert turn["content"].startswith("These passages may help:\n\n[1] ")
    assert turn["content"].endswith("\n\ntopic 7 ?") and "\n\n[2] topic" in turn["content"]
    assert item.messages["base"] == [{"role": "user", "content": "topic 7 ?"}] == item.messages["student"]


def test_pairs_against_a_system_that_their_questions_do_not_fit_are_refused(run: Run) -> None:
    edit(run.recipe.file, "max_model_len = 64", 'max_model_len = 64\nteacher_prompt = "ask"')
    edit(run.recipe.file, 'read = "choice"', 'read = "choice"\nagainst = "teacher_prompt"')
    with pytest.raises(DataError, match="pairwise: questions lack what teacher_prompt is asked with"):
        evaluate(open_run(run.recipe.file))


def test_an_evaluation_is_not_done_twice_and_a_worse_student_shows(run: Run) -> None:
    first = evaluate(run)
    asked = (run.folder / "journal" / "replies.jsonl").stat().st_size
    assert evaluate(run) == first
    assert (run.folder / "journal" / "replies.jsonl").stat().st_size == asked
    import torch
    from safetensors.torch import load_file, save_file

    weights = run.folder / "student" / "model.safetensors"
    tensors = load_file(weights)
    torch.manual_seed(1)
    save_file({n: t + 2 * torch.randn_like(t) for n, t in tensors.items()}, weights, {"format": "pt"})
    gain = total_of(evaluate(run), "perplexity")["student_minus_base"]
    assert gain["difference"] > 0 and gain["losses"] == 4 and gain["wins"] == 0


def test_the_runs_own_held_out_rows_are_measured_by_default(run: Run) -> None:
    edit(run.recipe.file, 'use = "perplexity"\npath = "rows.jsonl"', 'use = "perplexity"')
    total = total_of(evaluate(open_run(run.recipe.file)), "perplexity")
    rows = sum(pq.read_metadata(f).num_rows for f in (run.folder / "train").glob("validation-*"))
    assert total["questions"] + total["left_out_as_trained_on"] == rows > 0


def test_questions_that_training_rows_hold_are_left_out_or_counted(run: Run) -> None:
    rows = pq.read_table(next((run.folder / "train").glob("train-*")))["messages"].to_pylist()
    whole, part = (next(turn["content"] for turn in row if turn["role"] == "user") for row in rows[:2])
    root = run.recipe.root
    lines = [{"question": q, "answer": "4"} for q in (whole, part.removesuffix(" sentence."), *QUESTIONS)]
    jsonl(root / "exact.jsonl", lines)
    total = total_of(evaluate(open_run(run.recipe.file)), "exact_match")
    assert total["left_out_as_trained_on"] == 1 and total["questions"] == 5
    assert total["contaminated"] == 1
    assert any("1 asked stand word for word in training rows" in line for line in sentences(read(run.folder)))


OWN = """
from pathlib import Path
from synth.evaluators.bases import ModelEvaluator
from synth.steps import Graded, Question

class Weighs(ModelEvaluator):
    unit = "bytes"
    higher_is_better = False

    def measure(self, model, out):
        (out / "kept").write_text("x")
        size = (Path(model) / "model.safetensors").stat().st_size
        yield Question("1", [{"role": "user", "content": "How big?"}]), Graded(float(size), {}, "so big")
        yield Question("2", [{"role": "user", "content": "And now?"}]), Graded(float(size))
"""


def test_a_program_that_measures_folders_gets_base_and_student(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.recipe.root / "own_measure_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(run.recipe.root))
    edit(run.recipe.file, 'use = "exact_match"\npath = "exact.jsonl"', 'use = "own_measure_of_a_test:Weighs"')
    total = total_of(evaluate(open_run(run.recipe.file)), "Weighs")
    assert set(total["systems"]) == {"base", "student"} and total["student_minus_base"]["difference"] == 0
    assert {file.parent.name for file in (run.folder / "measured").rglob("kept")} == {"base", "student"}


def test_a_judge_without_verdicts_ends_the_evaluation(run: Run) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = run.folder / "student" / "model.safetensors"
    save_file({n: t + torch.randn_like(t) for n, t in load_file(weights).items()}, weights, {"format": "pt"})
    edit(run.recipe.file, 'read = "choice"', 'read = "text"')
    with pytest.raises(DataError, match="pairwise: no verdict in the judge's replies on any question"):
        evaluate(open_run(run.recipe.file))


def test_too_many_questions_that_can_not_be_asked_end_the_evaluation(run: Run) -> None:
    edit(run.recipe.file, "max_tokens = 6\n", "max_tokens = 60\n")
    with pytest.raises(
        ShareFailedError, match=r"4 of 4 questions of exact_match can't be asked of base \(failed"
    ):
        evaluate(open_run(run.recipe.file))


def test_what_an_evaluation_lacks_is_named_before_anything_is_asked(run: Run) -> None:
    edit(run.recipe.file, 'read = "choice"', 'read = "choice"\nagainst = "teacher_prompt"')
    with pytest.raises(
        RecipeError, match=r"evaluate\[3\]\.against: is a system that \[student\] teacher_prompt"
    ):
        open_run(run.recipe.file)
    edit(run.recipe.file, 'against = "teacher_prompt"', "")
    edit(run.recipe.file, 'text = "topic"', "")
    (run.recipe.root / "prompts" / "ask.jinja").write_text("Say something about {{ topic }}.")
    with pytest.raises(RecipeError, match=r'student\.retrieval: not every seed has the field "text"'):
        open_run(run.recipe.file)


def test_a_run_without_held_out_rows_says_what_to_set(run: Run) -> None:
    for file in (run.folder / "train").glob("validation-*"):
        file.unlink()
    edit(run.recipe.file, 'use = "perplexity"\npath = "rows.jsonl"', 'use = "perplexity"')
    with pytest.raises(DataError, match=r"evaluate\[2\]: no row was held out; set \[run\] validation"):
        evaluate(open_run(run.recipe.file))
