"""One training from a dataset folder to a whole student: taken up where it was left, measured, published.

How rows become a trainer is the method's: each module of METHODS has `prepare` and `trainer`. A run that was
killed goes on from its last complete checkpoint with the same losses. `out/manifest.json` is written last:
where it is, the student is whole.
"""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import orjson

from synth.errors import TrainError
from synth.student import loading, ranks
from synth.student.checkpoint import base_files, digest_of, last_complete, read_json
from synth.student.data import digest, files, tokenize
from synth.student.job import Job, Prepared
from synth.student.loss import mean_loss
from synth.student.publish import card, publish
from synth.student.settings import MICRO_BATCH
from synth.student.watch import TrainStep, progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

METHODS = {"sft": "synth.student.sft"}
"""The module of each [train] method."""
VERSIONS = ("torch", "transformers", "trl", "peft")


class Method(Protocol):
    """What a method's module offers."""

    def prepare(self, job: Job, tokenizer: "PreTrainedTokenizerBase") -> Prepared:
        """The rows of the job, tokenized; raises `TrainError` where none can be trained on."""

    def trainer(
        self,
        job: Job,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prepared: Prepared,
    ) -> "Trainer":
        """The trainer of these rows, silent and offline, its model the one that is trained."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run did. Losses are in nats a trained token.

    `tokens` and `trained_tokens` count one epoch: all tokens, and those with a loss. `first_loss` and
    `final_loss` are means over the first and the last tenth of the steps. `seconds` adds up the time in
    training steps of all sessions. The validation losses, of the base model and of the student, are there
    where the data folder has `validation-*.parquet`. `processes` trained together in the last session.
    """

    rows: int
    left_out_rows: int
    tokens: int
    trained_tokens: int
    steps: int
    first_loss: float
    final_loss: float
    seconds: float
    tokens_per_second: float
    base_validation_loss: float | None = None
    validation_loss: float | None = None
    processes: int = 1


Runner: TypeAlias = "Callable[[Job, Callable[[TrainStep], None]], tuple[Trained, list[float]]]"
"""Trains a job whose folder is prepared: all but the manifest and the card, and the loss of each step."""


def train_here(job: Job, on_step: Callable[[TrainStep], None]) -> tuple[Trained, list[float]]:
    """The `Runner` of this process, or of each of several that train together."""
    loading.import_torch()
    with loading.quiet():
        return _train(job, on_step)


def train(job: Job, *, on_step: Callable[[TrainStep], None], run: Runner = train_here) -> Trained:
    """Train `job.model` on `job.data` into `job.out`, or take up what is already there.

    `run` does the work: in this process, or by `launch.runner` in several.

    `out` gets the merged model in bfloat16 with its tokenizer, chat template and generation config (loadable
    by transformers and vLLM), `adapter/`, `README.md` and `manifest.json`. While it trains, `checkpoints/`
    holds the last two checkpoints; it is deleted at the end. A checkpoint or a finished student of another
    config, dataset or base model is deleted, one of the same is used.

    Raises:
        DataError: the dataset can't be read.
        TrainError: `model` is no model folder; `out` holds something else than a student; a row can't be
            tokenized; no row is short enough; the loss is not finite.
    """
    model, out, checkpoints = job.model, job.out, job.checkpoints
    if not (model / "config.json").is_file():
        raise TrainError(f"{model} is no model folder: it has no config.json")
    identity: dict[str, Any] = {
        "base": {"name": model.name, "files": base_files(model)},
        "dataset": {"files": digest(job.data)},
        "config": job.config.model_dump(mode="json"),
    }
    identity["dataset"]["sha256"] = digest_of(identity["dataset"]["files"])
    key = digest_of(identity)
    manifest = out / "manifest.json"
    if (done := read_json(manifest)) and done.get("key") == key:
        shutil.rmtree(checkpoints, ignore_errors=True)
        return Trained(**done["trained"])
    if (read_json(checkpoints / "run.json") or {}).get("key") != key:
        _clear(out)
        checkpoints.mkdir(parents=True)
        (checkpoints / "run.json").write_bytes(orjson.dumps({"key": key}))
    trained, losses = run(job, on_step)
    versions = {name: version(name) for name in VERSIONS}
    report = {"key": key, "recipe": job.recipe, **identity, "versions": versions}
    report |= {"trained": asdict(trained), "losses": losses}
    (out / "README.md").write_text(card(report), encoding="utf-8")
    part = out / "manifest.json.part"
    part.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    part.replace(manifest)
    shutil.rmtree(checkpoints)
    return trained


def _clear(out: Path) -> None:
    """Remove another student at `out`, in one rename, so that a kill leaves none half removed."""
    old = out.with_name(f"{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if not out.exists():
        return
    if any(out.iterdir()) and not ((out / "manifest.json").exists() or (out / "checkpoints").exists()):
        raise TrainError(f"{out} holds files that are no student; name an empty folder")
    out.rename(old)
    shutil.rmtree(old)


def _train(job: Job, on_step: Callable[[TrainStep], None]) -> tuple[Trained, list[float]]:
    """Train, measure, and put everything but the manifest and the card into `job.out`."""
    from transformers import AutoTokenizer

    method = cast(Method, importlib.import_module(METHODS[job.config.method]))
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    with ranks.first_alone():
        prepared = method.prepare(job, tokenizer)
        held_out = tokenize(tokenizer, files(job.data, "validation"), job.config.max_length)
    trainer = method.trainer(job, loading.load(job.model, prepared.longest), tokenizer, prepared)
    trainer.add_callback(progress(on_step))
    _run(trainer, last_complete(job.checkpoints))
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    losses = [float(entry["loss"]) for entry in log]
    before = after = None
    if held_out.table.num_rows:
        after = mean_loss(trainer.model, held_out, MICRO_BATCH)
        with trainer.model.disable_adapter():
            before = mean_loss(trainer.model, held_out, MICRO_BATCH)
    tenth = max(1, len(losses) // 10)
    publish(trainer, tokenizer, prepared.tokens.ends, job)
    return Trained(
        rows=prepared.tokens.table.num_rows,
        left_out_rows=prepared.tokens.left_out,
        tokens=prepared.tokens.tokens,
        trained_tokens=prepared.tokens.trained,
        steps=trainer.state.global_step,
        first_loss=sum(losses[:tenth]) / tenth,
        final_loss=sum(losses[-tenth:]) / tenth,
        seconds=log[-1]["seconds"],
        tokens_per_second=trainer.state.num_input_tokens_seen / log[-1]["seconds"],
        base_validation_loss=before,
        validation_loss=after,
        processes=ranks.processes(),
    ), losses


def _run(trainer: "Trainer", checkpoint: Path | None) -> None:
    """Train to the end, from `checkpoint` where there is one.

    A checkpoint of the last step is only loaded: the Trainer would take a step too many from it.
    """
    from peft import load_peft_weights, set_peft_model_state_dict
    from transformers import TrainerState

    if checkpoint:
        sharded = (checkpoint / "pytorch_model_fsdp.bin").is_file()
        if sharded != trainer.is_fsdp_enabled:
            raise TrainError(
                f"{checkpoint} was saved {'with' if sharded else 'without'} --sharding fsdp2; go on as it "
                f"was begun, or delete {checkpoint.parent}"
            )
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= state.max_steps:
            set_peft_model_state_dict(trainer.model, load_peft_weights(str(checkpoint)))
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
