"""Runs whose student learns from more than words: the pipeline, and an endpoint as the teacher."""

from pathlib import Path

import orjson
import pytest
from endpoint import Able, Endpoint
from projects import edit
from test_teaching import made

from synth import pipeline
from synth.errors import TrainError
from synth.pipeline import Run, open_run


def run_of(root: Path, url: str, method: str, model: Path, *, top: int | None = None) -> Run:
    """A curated run of a teacher and a student that are the tiny model."""
    made(root, url, method, top=top)
    edit(root / "recipe.toml", 'model = "local"\nendpoint', f'model = "{model}"\nendpoint')
    edit(root / "recipe.toml", '[student]\nmodel = "local"', f'[student]\nmodel = "{model}"')
    tail = "epochs = 1\nbatch_size = 4\nlearning_rate = 1e-3\n[train.trainer]\nmax_completion_length = 4\n"
    with (root / "recipe.toml").open("a") as file:
        file.write(tail if method == "on_policy" else tail.partition("[train")[0])
    run = open_run(root / "recipe.toml")
    pipeline.generate(run)
    pipeline.curate(run)
    return run


def test_a_student_is_trained_on_what_a_served_teacher_says_of_its_answers(
    tmp_path: Path, model_folder: Path
) -> None:
    with Endpoint(able=Able(models=("local", str(model_folder)))) as endpoint:
        run = run_of(tmp_path, endpoint.url, "on_policy", model_folder)
        before = len(endpoint.bodies)
        entry = pipeline.train(run)
        asked = endpoint.bodies[before:]
        assert entry["steps"] == entry["rows"] // 4 > 0
        assert len(asked) == 4 * entry["steps"]
        assert all(body["prompt_logprobs"] == 20 and isinstance(body["prompt"], list) for body in asked)
        again = pipeline.train(run)
        assert again["steps"] == entry["steps"]
        assert len(endpoint.bodies) == before + len(asked)
    manifest = orjson.loads((run.folder / "student" / "manifest.json").read_bytes())
    assert len(manifest["losses"]) == entry["steps"]
    assert str(20) in manifest["teacher"]
    assert (run.folder / "student" / "model.safetensors").is_file()


def test_a_run_without_pairs_and_one_in_other_tokens_are_refused_with_the_mend(
    tmp_path: Path, model_folder: Path
) -> None:
    with Endpoint(able=Able(models=("local", str(model_folder)))) as endpoint:
        pairs = run_of(tmp_path / "dpo", endpoint.url, "dpo", model_folder)
        with pytest.raises(TrainError, match='make some with the strategy "preference"'):
            pipeline.train(pairs)
        told = run_of(tmp_path / "kd", endpoint.url, "logit_kd", model_folder, top=2)
        with pytest.raises(TrainError, match="the teacher's probabilities are known of none of its"):
            pipeline.train(told)
