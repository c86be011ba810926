"""Real processes, killed by SIGKILL at any moment of a training: what is taken up ends as if undisturbed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from killing import NEVER, killed

from synth.student.job import Job
from synth.tables import Train

# Five steps an epoch: what is gone on from lies in the middle of one.
CONFIG = Train(epochs=4, learning_rate=5e-3, batch_size=8, max_length=64, lora_rank=8, save_steps=3)
MOMENTS = (
    ("step 2", range(1, 3)),
    ("step 8", range(1, 9)),
    ("transformers.trainer:Trainer._save_rng_state", range(7, 10)),
    ("transformers.trainer_callback:TrainerState.save_to_json", range(7, 10)),
    ("transformers.trainer:rotate_checkpoints", range(7, 10)),
    ("step 17", range(10, 18)),
    ("synth.student.publish:merged", range(16, 21)),
    ("synth.student.train:card", ()),
    (NEVER, ()),
)
"""Where a process is killed in turn, and the steps that it took: those since the last whole checkpoint."""


@pytest.mark.parametrize(
    "settings",
    [{}, {"adapter": "none"}, {"packing": True}, {"micro_batch": 2}],
    ids=["lora", "full", "packed", "in_parts"],
)
def test_a_training_killed_again_and_again_ends_as_an_undisturbed_one(
    model_folder: Path,
    rows: list[dict[str, Any]],
    write: Callable[..., Path],
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    write(rows[:8], "validation")
    data, config = write(rows), Train(**{**CONFIG.model_dump(), **settings})
    whole, broken = (Job(config, model_folder, data, tmp_path / name) for name in ("whole", "broken"))
    every = killed(whole, NEVER)
    moments = MOMENTS if settings == {} else [("step 8", None), MOMENTS[3], (NEVER, None)]
    for moment, expected in moments:
        steps = killed(broken, moment)
        assert expected is None or len(every) != 20 or steps == list(expected), moment

    whole_manifest, manifest = (
        orjson.loads((job.out / "manifest.json").read_bytes()) for job in (whole, broken)
    )
    assert manifest["losses"] == whole_manifest["losses"]
    assert len(manifest["losses"]) == len(every)
    for measured in ("base_validation_loss", "validation_loss"):
        assert manifest["trained"][measured] == whole_manifest["trained"][measured]
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja"):
        assert (broken.out / name).read_bytes() == (whole.out / name).read_bytes(), name
    assert not (broken.out / "checkpoints").exists()
