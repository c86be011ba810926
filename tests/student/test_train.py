"""Real training runs of a tiny student: what they write, and that a killed one goes on undisturbed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from synth.errors import TrainError
from synth.student.batches import collate
from synth.student.data import digest
from synth.student.job import Job
from synth.student.loss import answer_nll
from synth.student.train import Trained, train
from synth.student.watch import TrainStep
from synth.tables import Train

CONFIG = Train(epochs=4, learning_rate=5e-3, batch_size=8, max_length=64, lora_rank=8, save_steps=5)


class Killed(BaseException):
    """Stands for kill -9 in the middle of a run."""


class Steps(list[TrainStep]):
    """Collects steps; dies at `die_at`."""

    def __init__(self, die_at: int = 0) -> None:
        super().__init__()
        self.die_at = die_at

    def __call__(self, step: TrainStep) -> None:
        self.append(step)
        if step.step == self.die_at:
            raise Killed


@pytest.fixture
def data(rows: list[dict[str, Any]], write: Callable[..., Path]) -> Path:
    """Forty rows to train on and eight held out."""
    write(rows[:8], "validation")
    return write(rows)


def manifest(out: Path) -> dict[str, Any]:
    """The manifest of a student."""
    return dict(orjson.loads((out / "manifest.json").read_bytes()))


def test_training_learns_and_leaves_a_student_that_loads_and_answers(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    out, steps = tmp_path / "student", Steps()
    done = train(Job(CONFIG, model_folder, data, out), on_step=steps)

    assert (done.rows, done.left_out_rows, done.steps) == (40, 0, 20)
    assert [step.step for step in steps] == list(range(1, 21))
    assert {step.steps for step in steps} == {20}
    assert done.final_loss < 0.9 * done.first_loss
    assert done.validation_loss is not None
    assert done.base_validation_loss is not None
    assert done.validation_loss < 0.9 * done.base_validation_loss

    base, student = load_file(model_folder / "model.safetensors"), load_file(out / "model.safetensors")
    assert base.keys() == student.keys()
    assert {tensor.dtype for tensor in student.values()} == {torch.bfloat16}
    changed = {name for name in base if not torch.equal(base[name], student[name])}
    assert changed == {name for name in base if "_proj" in name}

    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(model_folder).chat_template
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is it late?"}], add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > prompt["input_ids"].shape[1]
    assert sorted(path.name for path in (out / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert not (out / "checkpoints").exists()
    assert not out.with_name("student.part").exists()


def test_the_manifest_names_the_dataset_the_base_and_the_versions(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "student"
    done = train(Job(CONFIG.model_copy(update={"epochs": 0.4}), model_folder, data, out), on_step=Steps())
    written = manifest(out)
    assert written["dataset"]["files"] == digest(data)
    assert written["dataset"]["files"]["train-00000.parquet"]["rows"] == 40
    assert written["base"]["name"] == model_folder.name
    assert written["versions"].keys() == {"torch", "transformers", "trl", "peft"}
    assert Trained(**written["trained"]) == done
    assert len(written["losses"]) == done.steps == 2
    assert written["dataset"]["sha256"] in (out / "README.md").read_text(encoding="utf-8")


def test_a_killed_run_goes_on_with_the_losses_of_an_undisturbed_one(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(Job(CONFIG, model_folder, data, whole), on_step=Steps())
    with pytest.raises(Killed):
        train(Job(CONFIG, model_folder, data, killed), on_step=Steps(die_at=13))
    assert not (killed / "manifest.json").exists()
    cut_off = killed / "checkpoints" / "checkpoint-12"
    cut_off.mkdir()
    (cut_off / "adapter_model.safetensors").write_bytes(b"half")

    rest = Steps()
    train(Job(CONFIG, model_folder, data, killed), on_step=rest)

    assert [step.step for step in rest] == list(range(11, 21))
    assert manifest(killed)["losses"] == manifest(whole)["losses"]
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_run_killed_while_the_student_is_written_writes_it_without_training_again(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    out, short = tmp_path / "student", CONFIG.model_copy(update={"epochs": 1.2})
    with monkeypatch.context() as patch:
        patch.setattr("synth.student.train.publish", die)
        with pytest.raises(Killed):
            train(Job(short, model_folder, data, out), on_step=Steps())
    rest = Steps()
    done = train(Job(short, model_folder, data, out), on_step=rest)
    assert rest == []
    assert (done.steps, len(manifest(out)["losses"])) == (6, 6)
    whole = tmp_path / "whole"
    train(Job(short, model_folder, data, whole), on_step=Steps())
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_finished_student_is_not_trained_again_and_other_settings_start_afresh(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    out, short = tmp_path / "student", CONFIG.model_copy(update={"epochs": 1.2})
    first = train(Job(short, model_folder, data, out), on_step=Steps())
    again = Steps()
    assert train(Job(short, model_folder, data, out), on_step=again) == first
    assert again == []
    with pytest.raises(Killed):
        train(Job(CONFIG, model_folder, data, out), on_step=Steps(die_at=6))
    assert not (out / "manifest.json").exists()
    other = Steps()
    train(Job(short, model_folder, data, out), on_step=other)
    assert [step.step for step in other] == list(range(1, 7))
    assert manifest(out)["config"] == short.model_dump(mode="json")


def test_the_loss_is_the_mean_over_the_trained_tokens_whatever_the_padding(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    rows: list[dict[str, list[int]]] = [
        {"input_ids": [20, 21, 22, 23, 1], "labels": [-100, -100, 22, 23, 1]},
        {"input_ids": [30, 31, 1], "labels": [-100, 31, 1]},
    ]
    batch = collate(rows)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    total, count = answer_nll(model, batch)
    expected = model(**batch).loss
    assert count == 5
    assert (total / count).item() == pytest.approx(expected.item(), rel=1e-5)
    alone = sum(answer_nll(model, collate([row]))[0].item() for row in rows)
    assert total.item() == pytest.approx(alone, rel=1e-5)


def test_a_batch_cut_into_parts_has_the_loss_of_the_whole_batch(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    short = CONFIG.model_copy(update={"epochs": 0.4})
    train(Job(short, model_folder, data, tmp_path / "whole"), on_step=Steps())
    cut = short.model_copy(update={"micro_batch": 2})
    train(Job(cut, model_folder, data, tmp_path / "parts"), on_step=Steps())
    whole, parts = (manifest(tmp_path / name)["losses"] for name in ("whole", "parts"))
    assert parts == pytest.approx(whole, rel=1e-2)


def test_a_loss_that_is_not_finite_stops_the_run(model_folder: Path, data: Path, tmp_path: Path) -> None:
    wild = CONFIG.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainError, match=r"lower \[train\] learning_rate"):
        train(Job(wild, model_folder, data, tmp_path / "student"), on_step=Steps())


def test_a_dataset_without_a_short_enough_row_is_refused(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainError, match="none of its 40 rows has at most 4 tokens"):
        tight = CONFIG.model_copy(update={"max_length": 4})
        train(Job(tight, model_folder, data, tmp_path / "student"), on_step=Steps())


def test_a_folder_that_is_no_model_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="is no model folder"):
        train(Job(CONFIG, tmp_path / "nothing", data, tmp_path / "student"), on_step=Steps())


def test_a_folder_of_other_files_is_not_overwritten(model_folder: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    with pytest.raises(TrainError, match="holds files that are no student"):
        train(Job(CONFIG, model_folder, data, tmp_path / "letters"), on_step=Steps())
    assert (tmp_path / "letters" / "dear.txt").read_text() == "dear"


def test_nothing_is_printed_while_it_trains(
    model_folder: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    short = CONFIG.model_copy(update={"epochs": 0.4})
    train(Job(short, model_folder, data, tmp_path / "student"), on_step=Steps())
    assert capfd.readouterr() == ("", "")
