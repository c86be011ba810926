"""[novelty] in whole runs: what is asked, what a rerun writes, what kill -9 leaves."""

import signal
import time
from pathlib import Path

import pytest
from endpoint import Endpoint
from projects import edit, hashes, start_synth

from synth.pipeline import Run, curate, generate, open_run

TABLE = "[novelty]\nthreshold = 0.9\n\n[[generate]]"


@pytest.fixture
def novel(recipe: Path) -> Path:
    """The small recipe, whose every tenth seed asks what the one before it asked."""
    edit(recipe, "[[generate]]", TABLE)
    return recipe


def made(recipe: Path) -> Run:
    run = open_run(recipe)
    generate(run)
    curate(run)
    return run


def test_a_question_that_repeats_another_is_rejected_before_it_is_judged(
    novel: Path, endpoint: Endpoint
) -> None:
    frame = made(novel).dataset.to_pandas()
    repeats = frame[frame["rejected_by"] == "novelty"]
    assert len(repeats) and set(repeats["reason"]) == {"repeats an earlier question"}
    assert "exact" not in set(frame["rejected_by"])
    answered = frame[~frame["rejected_by"].isin(["length", "truncated", "novelty"])]
    assert sum(prompt.startswith("Judge this.") for prompt in endpoint.asked) == len(answered)
    verdicts = [verdict for row in repeats["verdicts"] for verdict in row if verdict["by"] == "novelty"]
    assert all(verdict["score"] == 1.0 for verdict in verdicts) and len(verdicts) == len(repeats)


def test_a_rerun_of_a_run_with_novelty_asks_nothing_and_writes_the_same_bytes(
    novel: Path, endpoint: Endpoint
) -> None:
    run = made(novel)
    asked, before = endpoint.requests, hashes(run.folder)
    for file in (*(run.folder / "raw").iterdir(), run.folder / "manifest.json"):
        file.unlink()
    made(novel)
    assert endpoint.requests == asked and hashes(run.folder) == before


def test_an_edited_filter_finds_no_other_question_new_and_asks_nothing(
    novel: Path, endpoint: Endpoint
) -> None:
    first = made(novel)
    asked = endpoint.requests
    edit(novel, "min_words = 3", "min_words = 4")
    second = made(novel)
    assert second.folder != first.folder and endpoint.requests == asked
    assert second.checked.questions_key == first.checked.questions_key
    edit(novel.parent / "prompts" / "ask.jinja", "You are terse.", "You are brief.")
    assert open_run(novel).checked.questions_key != first.checked.questions_key


def test_kill_9_changes_nothing_that_was_decided(tmp_path: Path, novel: Path, endpoint: Endpoint) -> None:
    edit(novel, "[run]\n", "[run]\ntarget = 20\n")
    endpoint.delay = 0.05
    for _ in range(3):
        process = start_synth("generate", novel, cwd=tmp_path)
        time.sleep(1.6)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    logs = list((tmp_path / "data" / "runs").glob("small-*/novelty.jsonl"))
    decided = logs[0].read_bytes() if logs else b""
    run = made(novel)
    assert (run.folder / "novelty.jsonl").read_bytes().startswith(decided[: decided.rfind(b"\n") + 1])
    assert run.dataset.counts().of("kept") == 20
    before, asked, rows = hashes(run.folder), endpoint.requests, run.dataset.counts("raw").planned
    (run.folder / "manifest.json").unlink()
    made(novel)
    assert hashes(run.folder) == before
    assert endpoint.requests - asked < rows / 2  # those of units that were given up when the target was met


def test_next_weeks_run_makes_nothing_like_this_weeks(novel: Path) -> None:
    edit(novel, "threshold = 0.9", 'threshold = 0.9\nshared = "data/asked.jsonl"')
    first = made(novel)
    kept = first.dataset.to_pandas("raw")["status"].eq("kept").sum()
    lines = (novel.parent / "data" / "asked.jsonl").read_text().splitlines()
    assert 0 < len(lines) <= kept
    edit(novel, "[[filter]]", '[[filter]]\nuse = "repetition"\n[[filter]]')
    frame = made(novel).dataset.to_pandas("raw")
    again = frame[frame["rejected_by"] == "novelty"]
    assert sum(f'"run":"{first.folder.name}"' in fields for fields in again["fields"]) >= len(lines)
    assert not frame["status"].eq("kept").any() or len(lines) < 36
