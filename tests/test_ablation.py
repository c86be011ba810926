"""Students that differ in one step, or in the seed alone; rows and judgements are real, students are not."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from endpoint import Endpoint
from projects import edit
from students import QUESTIONS, score, with_student

from synth import ablation, edits, gate, report
from synth.errors import DataError, RecipeError
from synth.pipeline import Run, curate, generate, open_run
from synth.variants import training_rows, with_rows, with_seed

POOR = [0.0] * QUESTIONS


def make(run: Run) -> None:
    generate(run)
    curate(run)


def ids(run: Run) -> list[str]:
    files = sorted((run.folder / "train").glob("train-*.parquet"))
    return [row for file in files for row in pq.read_table(file)["id"].to_pylist()]


def fit(run: Run) -> None:
    """A student that learns more where the rubric judged its rows; the seed moves a question or two."""
    assert run.recipe.train is not None
    judged = any(step.name == "rubric" for step in run.recipe.judges)
    right = (40 if judged else 20) + run.recipe.train.seed
    scores = [1.0] * right + [0.0] * (QUESTIONS - right)
    random.Random(0).shuffle(scores)
    score(run, POOR, scores, f"{judged} {run.recipe.train.seed} {ids(run)}".encode())


def test_steps_are_compared_on_equally_many_rows(recipe: Path, endpoint: Endpoint) -> None:
    variants = ablation.ablate(with_student(recipe), ["rubric", "exact"], fit, make)
    whole, rubric, exact = variants
    assert [variant.dropped for variant in variants] == ["", "rubric", "exact"]
    assert {variant.used for variant in variants} == {whole.available}
    assert rubric.available > whole.available < exact.available
    assert whole.folder != rubric.folder != exact.folder
    runs = recipe.parent / "data" / "runs"
    drawn = ids(
        Run(
            open_run(recipe).checked,
            type(open_run(recipe).dataset)(runs / f"{rubric.folder}-{rubric.used}-rows"),
            print,
        )
    )
    assert len(drawn) == rubric.used
    (row,) = rubric.rows
    assert row["gain"]["difference"] == pytest.approx(20 / 60) and ablation.verdict(row) == "pays"
    assert row["gain"]["p_holm"] == pytest.approx(2 * row["gain"]["p"])
    (same,) = exact.rows
    assert (same["gain"]["difference"], ablation.verdict(same)) == (0.0, "not shown")
    held = json.loads((runs / whole.folder / "ablation.json").read_text())
    assert [variant["dropped"] for variant in held["variants"]] == ["", "rubric", "exact"]

    asked = endpoint.requests
    assert ablation.ablate(recipe, ["rubric", "exact"], fit, make) == variants
    assert endpoint.requests == asked


def test_what_a_dropped_filter_had_rejected_is_judged_and_nothing_is_asked_twice(
    recipe: Path, endpoint: Endpoint
) -> None:
    whole = open_run(with_student(recipe))
    make(whole)
    before = endpoint.requests
    _, length = ablation.ablate(recipe, ["length"], fit, make)
    rejected = whole.dataset.counts("raw").by_step("rejected")["length"]
    # of rows that the length filter had rejected, those that say the same are one question to the judge
    assert 0 < endpoint.requests - before <= rejected
    assert length.available >= training_rows(whole)
    assert all(times == 1 for times in endpoint.asked.values())


def test_a_step_that_is_not_there_is_named(recipe: Path) -> None:
    with pytest.raises(RecipeError, match='no filter, judge or selector "rubrik"; did you mean "rubric"'):
        ablation.ablate(with_student(recipe), ["rubrik"], fit, make)
    edit(recipe, "[train]\nepochs = 1\n", "")
    edit(recipe, "[gate]\n", "")
    with pytest.raises(RecipeError, match=r"train: trains and evaluates; add \[train\]"):
        ablation.ablate(recipe, ["rubric"], fit, make)


def test_dropping_leaves_the_other_steps_and_the_comments(recipe: Path) -> None:
    edit(recipe, '[[filter]]\nuse = "length"', '# short ones\n[[filter]]\nuse = "length"')
    text = edits.without(recipe, "exact")(recipe.read_text())
    assert "[[select]]" not in text and "# short ones" in text
    text = edits.without(recipe, "truncated")(recipe.read_text())
    assert 'use = "length"' in text and 'use = "rubric"' in text and "truncated" not in text


def test_rows_are_drawn_by_their_ids_alone(recipe: Path) -> None:
    run = open_run(with_student(recipe))
    with pytest.raises(DataError, match="run `synth curate` first"):
        with_seed(run, 1)
    make(run)
    ten, five = with_rows(run, 10), with_rows(run, 5)
    assert training_rows(ten) == 10 and set(ids(five)) < set(ids(ten)) < set(ids(run))
    assert ids(ten) == sorted(ids(ten), key=ids(run).index)
    assert with_rows(run, training_rows(run)) is run
    held_out = list((run.folder / "train").glob("validation-*"))
    assert held_out and {f.name for f in (ten.folder / "train").glob("validation-*")} == {
        f.name for f in held_out
    }


def test_another_seed_trains_on_the_same_bytes(recipe: Path) -> None:
    run = open_run(with_student(recipe))
    make(run)
    other = with_seed(run, 3)
    assert other.recipe.train is not None and other.recipe.train.seed == 3
    assert other.folder.name == f"{run.folder.name}-seed-3" and ids(other) == ids(run)
    again = open_run(other.folder)
    assert again.recipe.train == other.recipe.train and again.folder == other.folder
    assert report.summary(other.dataset)[0] == f"training rows: those of {run.folder.name}, or some of them"


def test_a_gain_must_exceed_what_seeds_alone_make(recipe: Path) -> None:
    run = open_run(with_student(recipe))
    make(run)
    (row,) = ablation.repeat(run, 3, fit)
    assert row["means"] == pytest.approx([40 / 60, 41 / 60, 42 / 60])
    assert row["seed_range"] == pytest.approx(2 / 60) and row["shown"]
    decision = gate.hold(run)
    assert decision.passed and "3 seeds differ by +3.3 points" in decision.findings[0].said

    def lucky(run: Run) -> None:
        assert run.recipe.train is not None
        right = 12 if run.recipe.train.seed == 0 else 0
        score(run, POOR, [1.0] * right + [0.0] * (QUESTIONS - right), str(run.recipe.train.seed).encode())

    (row,) = ablation.repeat(run, 3, lucky)
    gain = row["gain"]
    assert gain["low"] > 0 and row["seed_range"] == pytest.approx(0.2) and not row["shown"]
    refused = gate.hold(run).findings[0]
    assert not refused.holds and "which it must exceed" in refused.said
    score(run, POOR, [1.0] * 60, b"another student")
    assert ablation.repeated(run.folder) == {}
