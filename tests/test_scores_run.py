"""A run whose rows a local model scores."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from endpoint import Endpoint
from projects import edit
from tiny import saved

from synth.pipeline import Run, curate, generate, open_run


def curated(recipe: Path) -> tuple[Run, list[dict[str, object]]]:
    """The run, and its rows that reached the selector, with its verdict."""
    run = open_run(recipe)
    generate(run)
    curate(run)
    rows = [row for file in run.dataset.shards("curated") for row in pq.read_table(file).to_pylist()]
    said = [(row, verdict) for row in rows for verdict in row["verdicts"] if verdict["by"] == "perplexity"]
    return run, [{"id": row["id"], "status": row["status"], **verdict} for row, verdict in said]


def test_scores_stand_in_the_kept_rows_and_another_bound_asks_and_loads_nothing(
    tmp_path: Path, recipe: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model", "LlamaForCausalLM")
    edit(recipe, "[run]", f'[[select]]\nuse = "perplexity"\nmodel = "{model}"\n\n[run]')
    run, all_kept = curated(recipe)
    assert len(all_kept) == run.dataset.counts().of("kept") > 10
    scores = {row["id"]: row["score"] for row in all_kept}
    assert all(isinstance(score, float) and score > 1 for score in scores.values())
    middle = sorted(scores.values())[len(scores) // 2]  # type: ignore[type-var]

    asked = endpoint.requests
    monkeypatch.setattr("synth.selectors.perplexity.load", None)
    edit(recipe, 'use = "perplexity"\n', f'use = "perplexity"\nmax = {middle}\n')
    other, some_kept = curated(recipe)
    assert other.folder != run.folder and endpoint.requests == asked
    assert {row["id"]: row["score"] for row in some_kept} == scores
    kept = {row["id"] for row in some_kept if row["status"] == "kept"}
    assert kept == {row_id for row_id, score in scores.items() if score <= middle}  # type: ignore[operator]
    assert {row["reason"] for row in some_kept} == {"", f"perplexity above {middle:g}"}
