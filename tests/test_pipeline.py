import json
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from endpoint import Endpoint, answer_of, number_of
from projects import edit, hashes, make_project, start_synth

from synth.errors import BusyError, DataError, RecipeError, TeacherError
from synth.llm import client
from synth.pipeline import Run, curate, generate, open_run
from synth.previews import preview


def made(target: Path, *, rows: int | None = None) -> Run:
    """The run, generated and curated."""
    run = open_run(target, rows=rows)
    generate(run)
    curate(run)
    return run


def test_a_rerun_asks_nothing_and_leaves_every_byte(recipe: Path, endpoint: Endpoint) -> None:
    run = made(recipe)
    asked, before = endpoint.requests, hashes(run.folder)
    times = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.parquet")}
    assert len(before) == 5 + 5 + 2
    made(recipe)
    made(run.folder)
    assert endpoint.requests == asked
    assert hashes(run.folder) == before
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.parquet")} == times


def test_another_machine_makes_the_same_bytes(tmp_path: Path, recipe: Path, endpoint: Endpoint) -> None:
    run = made(recipe)
    with Endpoint(delay=0.01) as other:
        again = made(make_project(tmp_path / "elsewhere", other.url))
        assert other.asked == endpoint.asked
    assert again.folder.name == run.folder.name
    assert hashes(again.folder) == hashes(run.folder)


def test_counts_reconcile_through_every_stage(recipe: Path) -> None:
    run = open_run(recipe)
    raw = generate(run)
    counts = curate(run)
    assert raw.planned == counts.planned == 40
    assert counts.planned == sum(counts.of(status) for status in ("kept", "rejected", "failed"))
    assert set(counts.by_step("rejected")) == {"length", "rubric", "exact"}
    assert raw.of("kept") - counts.of("kept") == counts.by_step("rejected")["exact"]
    frame = run.dataset.to_pandas()
    repeats = frame[frame["rejected_by"] == "exact"]
    kept = set(frame[frame["status"] == "kept"]["id"])
    assert len(repeats) and set(repeats["duplicate_of"]) <= kept
    assert len(pd.read_parquet(run.folder / "train")) == counts.of("kept") == len(kept)


def test_an_edited_filter_asks_for_what_it_newly_keeps_and_nothing_else(
    recipe: Path, endpoint: Endpoint
) -> None:
    first = made(recipe)
    asked = endpoint.requests
    edit(recipe, "min_words = 3", "min_words = 4")
    second = made(recipe)
    assert second.folder != first.folder and endpoint.requests == asked
    edit(recipe, "min_words = 4", "min_words = 1")
    before = endpoint.asked.copy()
    made(recipe)
    new = endpoint.asked - before
    assert new.total() == sum(answer_of(prompt) == "Too short" for prompt in before) > 0
    assert all(prompt.startswith("Judge this.") for prompt in new)
    assert max(endpoint.asked.values()) == 1
    meter = second.dataset.manifest["stages"]["generate"]["asked"]["teacher"]
    assert meter["requests"] == 0 and meter["from_journal"] == 40


def test_a_run_is_whole_without_the_earlier_run_that_it_took_replies_from(
    recipe: Path, endpoint: Endpoint
) -> None:
    first = made(recipe)
    edit(recipe, "min_words = 3", "min_words = 4")
    second = made(recipe)
    asked, before = endpoint.requests, hashes(second.folder)
    shutil.rmtree(first.folder)
    shutil.rmtree(second.folder / "raw")
    made(recipe)
    assert endpoint.requests == asked
    assert hashes(second.folder) == before


def test_an_edited_judges_prompt_asks_the_judge_alone(recipe: Path, endpoint: Endpoint) -> None:
    made(recipe)
    judged = sum(prompt.startswith("Judge this.") for prompt in endpoint.asked)
    before = endpoint.asked.copy()
    edit(recipe.parent / "prompts" / "judge.jinja", "Judge this.", "Judge it.")
    made(recipe)
    new = endpoint.asked - before
    assert new.total() == judged
    assert all(prompt.startswith("Judge it.") for prompt in new)


def test_an_edit_of_the_users_own_step_makes_another_run(
    recipe: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = recipe.parent / "own_filter_of_a_test.py"
    own.write_text(
        "from synth import Filter, Record, Verdict\n\n\nclass Own(Filter):\n"
        "    def check(self, record: Record) -> Verdict:\n"
        "        return Verdict(self.name, True)\n"
    )
    monkeypatch.syspath_prepend(str(recipe.parent))
    edit(recipe, 'use = "truncated"', 'use = "own_filter_of_a_test:Own"')
    first = made(recipe)
    asked = endpoint.requests
    edit(own, "True", "bool(record.answer)")
    second = made(recipe)
    assert second.folder != first.folder and endpoint.requests == asked


def test_a_deleted_shard_is_rebuilt_from_the_journal_with_the_same_bytes(
    recipe: Path, endpoint: Endpoint
) -> None:
    run = made(recipe)
    asked, before = endpoint.requests, hashes(run.folder)
    (run.folder / "raw" / "part-00002.parquet").unlink()
    (run.folder / "train" / "train-00000.parquet").unlink()
    with pytest.raises(DataError, match="run `synth generate` first"):
        curate(run)
    made(recipe)
    assert endpoint.requests == asked
    assert hashes(run.folder) == before


def test_a_corrupt_raw_file_is_named_until_it_is_removed(recipe: Path, endpoint: Endpoint) -> None:
    run = made(recipe)
    asked, before = endpoint.requests, hashes(run.folder)
    shard = run.folder / "raw" / "part-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"raw.*synth generate"):
        curate(run)
    with pytest.raises(DataError, match=r"part-00001\.parquet: is no readable Parquet .* remove it"):
        generate(run)
    shard.unlink()
    made(recipe)
    assert endpoint.requests == asked
    assert hashes(run.folder) == before


def test_curate_before_generate_says_so(recipe: Path) -> None:
    run = open_run(recipe)
    assert not (recipe.parent / "data").exists()
    with pytest.raises(DataError, match=r"raw: is not complete; run `synth generate` first"):
        curate(run)


def test_a_training_set_loads_everywhere_as_chat_messages(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    run = made(recipe)
    frame = pd.read_parquet(run.folder / "train")
    whole = datasets.load_dataset(str(run.folder / "train"), cache_dir=str(tmp_path / "cache"))
    card = datasets.load_dataset(str(run.folder), cache_dir=str(tmp_path / "cache"))
    for loaded in (whole, card):
        assert set(loaded) == {"train", "validation"}
        assert sum(len(split) for split in loaded.values()) == len(frame)
        assert sorted(row["id"] for split in loaded.values() for row in split) == sorted(frame["id"])
        for row in loaded["train"]:
            assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
            assert [set(turn) for turn in row["messages"]] == [{"role", "content"}] * 3
    seeds = [set(split["seed_id"]) for split in whole.values()]
    assert not seeds[0] & seeds[1]


def test_rows_that_the_endpoint_poisons_fail_alone_and_the_rest_recovers(tmp_path: Path) -> None:
    poisoned = {"Say something about topic 3.", "Say something about topic 21."}
    passing = {0: "429", 1: "malformed", 2: "reset", 3: "truncated"}

    def fault(prompt: str, times: int) -> str | None:
        if prompt in poisoned:
            return "400"
        return passing.get(number_of(prompt) % 12) if times == 0 else None

    with Endpoint() as good:
        healthy = made(make_project(tmp_path / "good", good.url))
    with Endpoint(fault) as bad:
        run = made(make_project(tmp_path / "bad", bad.url))
    assert bad.asked.total() > good.requests
    sick, well = run.dataset.to_pandas(), healthy.dataset.to_pandas()
    assert Counter(sick["status"])["failed"] == 2
    assert set(sick[sick["status"] == "failed"]["reason"]) == {"HTTP 400: told to answer 400"}
    same = set(sick["id"]) & set(well["id"])
    assert len(same) == 38
    retries = run.dataset.manifest["stages"]["generate"]["waste"]["retries"]
    assert set(retries) >= {"HTTP 429", "malformed reply", "truncated body"}


def test_a_dead_endpoint_keeps_the_replies_and_the_rerun_asks_only_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_PATIENCE", 0.2)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    with Endpoint() as first:
        path = make_project(tmp_path, first.url)
        preview(open_run(path), 7)
        known = set(first.answered)
    with pytest.raises(TeacherError, match=r"can't be reached .* every reply so far is kept") as caught:
        made(path)
    assert caught.value.exit_code == 3
    assert len(known) > 7
    with Endpoint(port=first.port) as second:
        run = made(path)
        assert not known & set(second.asked)
        assert max(second.asked.values()) == 1
    assert run.dataset.counts().planned == 40


def test_a_run_folder_remembers_its_rows_and_refuses_another_plan(recipe: Path, endpoint: Endpoint) -> None:
    run = open_run(recipe, rows=10)
    assert generate(run).planned == 10
    asked = endpoint.requests
    again = made(run.folder)
    assert again.recipe.seeds.rows == 10 and again.dataset.counts().planned == 10
    assert endpoint.requests == asked
    with pytest.raises(RecipeError, match="name the recipe file to start a new run"):
        made(run.folder, rows=12)
    edit(recipe.parent / "prompts" / "ask.jinja", "terse", "wordy")
    with pytest.raises(RecipeError, match="its seeds, prompts or --rows changed since"):
        made(run.folder)
    assert endpoint.requests == asked


def test_two_processes_can_not_work_on_one_run(recipe: Path) -> None:
    run = open_run(recipe)
    with run.dataset.lock(), pytest.raises(BusyError, match="works here; wait for it"):
        generate(open_run(recipe))


def test_the_key_follows_what_decides_the_bytes_and_nothing_else(recipe: Path) -> None:
    first = open_run(recipe).folder
    edit(recipe, 'model = "local"', '# a comment\nmodel = "local"\nmax_model_len = 99\nflags = ["--x"]')
    edit(recipe, "[run]\n", "[run]\nmax_failed = 0.5\n")
    assert open_run(recipe).folder == first
    folders = {first}
    for old, new in (
        ("max_tokens = 64", "max_tokens = 65"),
        ("threshold = 2", "threshold = 3"),
        ("shard_rows = 8", "shard_rows = 9"),
        ('"local"', '"other"'),
    ):
        edit(recipe, old, new)
        folders.add(open_run(recipe).folder)
    with (recipe.parent / "seeds.jsonl").open("a") as file:
        file.write('{"topic": "one more"}\n')
    folders.add(open_run(recipe).folder)
    assert len(folders) == 6


def test_the_manifest_describes_every_file(recipe: Path) -> None:
    run = made(recipe)
    stages = json.loads((run.folder / "manifest.json").read_bytes())["stages"]
    listed = {name: file for stage in stages.values() for name, file in stage["files"].items()}
    for name, digest in hashes(run.folder).items():
        assert listed[name]["sha256"] == digest
        assert listed[name]["rows"] == len(pd.read_parquet(run.folder / name))
    assert stages["generate"]["counts"]["planned"] == 40
    assert stages["generate"]["torn_journal_lines"] == 0


@pytest.mark.parametrize("replies", [3, 30, 55])
def test_kill_9_costs_only_the_requests_in_flight(tmp_path: Path, replies: int) -> None:
    with Endpoint() as calm:
        whole = made(make_project(tmp_path / "calm", calm.url))
    with Endpoint(delay=0.05) as endpoint:
        path = make_project(tmp_path / "killed", endpoint.url)
        process = start_synth("generate", path, cwd=path.parent)
        end = time.monotonic() + 30
        while endpoint.answered.total() < replies and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        [journal] = path.parent.glob("data/runs/*/journal/replies.jsonl")
        kept = journal.read_bytes().count(b"\n")
        time.sleep(0.1)  # what was in flight is answered to nobody
        first = endpoint.asked.copy()
        run = made(path)
        again = endpoint.asked - first
    assert hashes(run.folder) == hashes(whole.folder)
    assert set(endpoint.asked) == set(calm.asked)
    assert again.total() == calm.requests - kept
    twice = [prompt for prompt, times in endpoint.asked.items() if times > 1]
    assert len(twice) == first.total() - kept <= 32
