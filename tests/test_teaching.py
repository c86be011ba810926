"""What a run's teacher gives its student beside the rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from endpoint import Able, Endpoint
from projects import edit, make_project

from synth import teaching
from synth.errors import RecipeError, TeacherError
from synth.pipeline import curate, generate, open_run
from synth.recipe import load_recipe
from synth.runs import Run

STUDENT = """
[student]
model = "local"
teacher_prompt = "ask"

[train]
method = "METHOD"
"""


def made(root: Path, url: str, method: str, *, top: int | None = 2) -> Run:
    """A curated run whose student is trained by a method."""
    recipe = make_project(root, url)
    with recipe.open("a") as file:
        file.write(STUDENT.replace("METHOD", method))
    if top is not None:
        edit(recipe, "max_tokens = 64", f"max_tokens = 64\ntop_logprobs = {top}")
    run = open_run(recipe)
    generate(run)
    curate(run)
    return run


def test_what_the_teacher_thought_of_kept_rows_is_read_from_the_journal(tmp_path: Path) -> None:
    with Endpoint(able=Able()) as endpoint:
        run = made(tmp_path, endpoint.url, "logit_kd")
    folder = teaching.beside(run)
    assert folder is not None
    assert sorted(file.name for file in folder.iterdir()) == [
        "train-00000.parquet",
        "validation-00000.parquet",
    ]
    for file in folder.iterdir():
        rows = pq.read_table(run.folder / "train" / file.name).to_pylist()
        told = pq.read_table(file).to_pylist()
        assert [each["id"] for each in told] == [row["id"] for row in rows]
        for row, each in zip(rows, told, strict=True):
            words = len(row["messages"][-1]["content"].split())
            assert each["tokens"] == list(range(words))
            assert each["ids"] == [[place, 999] for place in range(words)]
            assert each["logprobs"] == [[-0.5, -1.5]] * words


def test_judges_are_not_asked_for_candidates_and_other_runs_keep_their_names(tmp_path: Path) -> None:
    with Endpoint(able=Able()) as endpoint:
        run = made(tmp_path / "a", endpoint.url, "logit_kd")
        judged = [body for body in endpoint.bodies if body["messages"][-1]["content"].startswith("Judge")]
        assert judged and not any("logprobs" in body for body in judged)
        assert sum("logprobs" in body for body in endpoint.bodies) == len(endpoint.bodies) - len(judged)
    plain = load_recipe(make_project(tmp_path / "b", endpoint.url))
    assert "top_logprobs" not in run.recipe.roles["judge"].sampling()
    keys = {plain.key({}), plain.model_copy(update={"teacher": run.recipe.teacher}).key({})}
    assert len(keys) == 2


def test_rows_of_a_teacher_that_keeps_nothing_are_not_made(tmp_path: Path) -> None:
    with Endpoint(able=Able()) as endpoint:
        with pytest.raises(RecipeError, match=r"teacher\.top_logprobs: missing; .* set it to 20"):
            made(tmp_path / "a", endpoint.url, "logit_kd", top=None)
        assert endpoint.requests == 0
    with Endpoint(able=Able(logprobs=False)) as endpoint:
        with pytest.raises(TeacherError, match=r"\[teacher\] top_logprobs needs logprobs"):
            made(tmp_path / "b", endpoint.url, "logit_kd")
        assert endpoint.requests == 0


def test_a_row_that_is_no_reply_of_the_teacher_is_told_as_such(tmp_path: Path) -> None:
    with Endpoint(able=Able()) as endpoint:
        run = made(tmp_path, endpoint.url, "logit_kd")
    [shard] = [file for file in run.dataset.shards("train") if file.name.startswith("train-")]
    rows = pq.read_table(shard).to_pylist()
    rows[0]["messages"][-1]["content"] += " And so on."
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(shard)), shard)
    folder = teaching.beside(run)
    assert folder is not None
    told = pq.read_table(folder / shard.name)["tokens"].to_pylist()
    assert told[0] is None and all(told[1:])


def test_on_policy_the_teacher_has_its_own_prompt_and_scores_what_is_said(tmp_path: Path) -> None:
    with Endpoint(able=Able()) as endpoint:
        run = made(tmp_path, endpoint.url, "on_policy", top=None)
        folder = teaching.beside(run)
        assert folder is not None
        rows = pq.read_table(run.folder / "train" / "train-00000.parquet").to_pylist()
        told = pq.read_table(folder / "train-00000.parquet").to_pylist()
        assert [each["id"] for each in told] == [row["id"] for row in rows]
        assert {each["messages"][0]["content"] for each in told} == {"You are terse."}
        with teaching.scorer(run) as scorer:
            assert scorer is not None
            assert scorer.identity == str(teaching.identity(run))
            scored = scorer.score([[3, 4], [5]], [[30, 31], [1]])
        assert [len(each) for each in scored] == [2, 1]
        assert scored[0][0] == {**{token: -float(token) for token in range(1, 21)}, 30: -9.5}
        assert endpoint.bodies[-1]["prompt_logprobs"] == teaching.TOP


def test_a_teacher_that_cannot_score_is_named(tmp_path: Path) -> None:
    with Endpoint(able=Able(completions=False)) as endpoint:
        run = made(tmp_path, endpoint.url, "on_policy", top=None)
        with teaching.scorer(run) as scorer, pytest.raises(TeacherError, match="HTTP 404"):
            assert scorer is not None
            scorer.score([[3]], [[4]])
    with Endpoint(able=Able(logprobs=False)) as endpoint:
        run = made(tmp_path / "b", endpoint.url, "on_policy", top=None)
        with (
            teaching.scorer(run) as scorer,
            pytest.raises(TeacherError, match=r"can't score .* prompt_logprobs = 20, as vLLM gives them"),
        ):
            assert scorer is not None
            scorer.score([[3]], [[4]])


def test_methods_that_need_nothing_are_given_nothing(tmp_path: Path) -> None:
    with Endpoint(able=Able()) as endpoint:
        run = made(tmp_path, endpoint.url, "sft", top=None)
        assert teaching.beside(run) is None
        assert teaching.identity(run) is None
        with teaching.scorer(run) as scorer:
            assert scorer is None
        assert teaching.sources(run) == ("train/",)


def test_what_a_method_measured_is_said_with_its_unit_its_number_and_its_interval() -> None:
    margin = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 1200}
    alone = {"mean": 1.0, "low": None, "high": None, "n": 1}
    assert teaching.sentences({"taught_rows": 1234, "margin": margin, "divergence": alone, "pairs": 9}) == [
        "train: rows learned from the teacher's probabilities: 1,234",
        "train: margin of chosen over rejected, times beta (nats): 0.500 [0.250, 0.750] over 1,200 held out",
        "train: the same, the student: 1.000 over 1 held out",
    ]
