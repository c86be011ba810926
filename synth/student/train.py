"""One training from a dataset folder to a whole student: taken up where it was left, measured, published.

How rows become a trainer is the method's: each module of METHODS has `prepare` and `trainer`. A run that was
killed goes on from its last complete checkpoint with the same losses. `out/manifest.json` is written last:
where it is, the student is whole.
"""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from synth.errors import TrainError
from synth.student import loading, passthrough, ranks, templates
from synth.student.checkpoint import base_files, digest_of, read_json, write_json
from synth.student.data import digest, files, tokenize
from synth.student.fit import fit
from synth.student.job import Job, Prepared
from synth.student.loss import mean_loss
from synth.student.publish import card, publish
from synth.student.replay import Drawn
from synth.student.speed import Peak, flops_per_token
from synth.student.watch import TrainStep, watch
from synth.tables import Train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

METHODS = {
    "sft": "synth.student.sft",
    "dpo": "synth.student.dpo",
    "logit_kd": "synth.student.logit_kd",
    "on_policy": "synth.student.on_policy",
}
"""The module of each [train] method."""
BASE = "base.json"
"""Beside the checkpoints: the loss of the base model on the held-out rows, measured before the first step."""
HELD_OUT_ROWS = 8
"""Held-out rows of one forward pass."""
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

    def measure(self, job: Job, trained: "Trainer", tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
        """Figures of the method's own on held-out rows, of the base and of the student."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run did. Losses are in nats a trained token.

    `left_out_rows` were longer than `max_length`, `cut_rows` lost their last turns to fit. `tokens` and
    `trained_tokens` count one epoch: all tokens, and those with a loss. `first_loss` and
    `final_loss` are means over the first and the last tenth of the steps. `seconds` adds up the time in
    training steps of all sessions. `micro_batch` is the rows of one forward pass that memory allowed. `mfu`
    is the share (0 to 1) of the peak of `device`, None where it can't be told. The validation losses, of the
    base model and of the student, are there where the data folder has `validation-*.parquet`. `processes`
    trained together in the last session.
    """

    rows: int
    left_out_rows: int
    cut_rows: int
    tokens: int
    trained_tokens: int
    steps: int
    first_loss: float
    final_loss: float
    seconds: float
    tokens_per_second: float
    learning_rate: float
    micro_batch: int
    mfu: float | None
    device: str
    peak_teraflops: float
    base_validation_loss: float | None = None
    validation_loss: float | None = None
    processes: int = 1
    method: dict[str, Any] = field(default_factory=dict)
    """What the method counted and measured; docs/distillation.md says what each figure is."""


OnStep: TypeAlias = Callable[[TrainStep], None]
Say: TypeAlias = Callable[[str], None]
Outcome: TypeAlias = tuple[Trained, list[float], tuple[Drawn, ...]]
"""What was done, the loss of each step, and what was mixed in."""
Runner: TypeAlias = Callable[[Job, OnStep, Say], Outcome]
"""Trains a job whose folder is prepared: all but the manifest and the card."""


def train_here(job: Job, on_step: OnStep, say: Say) -> Outcome:
    """The `Runner` of this process, or of each of several that train together."""
    loading.import_torch()
    with loading.quiet():
        return _train(job, on_step, say)


def train(job: Job, *, on_step: OnStep, say: Say = lambda _: None, run: Runner = train_here) -> Trained:
    """Train `job.model` on `job.data` into `job.out`, or take up what is already there.

    `run` does the work: in this process, or by `launch.runner` in several.

    `out` gets the merged model in bfloat16 with its tokenizer, chat template and generation config (loadable
    by transformers and vLLM), `adapter/`, `README.md` and `manifest.json`. While it trains, `checkpoints/`
    holds the last two checkpoints; it is deleted at the end. A checkpoint or a finished student of another
    config, dataset or base model is deleted, one of the same is used. `say` gets a line where a forward pass
    is made smaller because memory is short.

    Raises:
        DataError: the dataset can't be read.
        TrainError: `model` is no model folder; [train.trainer] has a setting that can't be; `out` holds
            something else than a student; a row can't be tokenized; no row is short enough; the loss is not
            finite; memory does not hold a row.
    """
    model, out, checkpoints = job.model, job.out, job.checkpoints
    if not (model / "config.json").is_file():
        raise TrainError(f"{model} is no model folder: it has no config.json")
    if wrong := passthrough.problem(job.config):
        raise TrainError(": ".join(wrong))
    identity: dict[str, Any] = {
        "base": {"name": model.name, "files": base_files(model)},
        "dataset": {"files": digest(job.data)},
        "config": job.config.model_dump(mode="json"),
        "sources": job.sources(),
        "beside": digest(job.beside) if job.beside else {},
        "teacher": job.teacher.identity if job.teacher else "",
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
        write_json(checkpoints / "run.json", {"key": key})
    trained, losses, mixed = run(job, on_step, say)
    versions = {name: version(name) for name in VERSIONS}
    report = {"key": key, "recipe": job.recipe, **identity, "versions": versions}
    report |= {"trained": asdict(trained), "losses": losses, "replay": [asdict(each) for each in mixed]}
    (out / "README.md").write_text(card(report), encoding="utf-8")
    write_json(manifest, report)
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


def _train(job: Job, on_step: OnStep, say: Say) -> Outcome:
    """Train, measure, and put everything but the manifest and the card into `job.out`."""
    from transformers import AutoTokenizer

    config, peak = job.config, Peak.here()
    method = cast(Method, importlib.import_module(METHODS[config.method]))
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    templates.apply(tokenizer, job.template)
    with ranks.first_alone():
        prepared = method.prepare(job, tokenizer)
        held_out = tokenize(tokenizer, files(job.data, "validation"), config.max_length, job.tokens).rows

    def build(job: Job) -> "Trainer":
        model = loading.load(job.model, prepared.longest, job.config.adapter)
        trainer = method.trainer(job, model, tokenizer, prepared)
        if len(held_out) and read_json(job.checkpoints / BASE) is None:
            loss = {"loss": mean_loss(trainer.model, held_out, HELD_OUT_ROWS)}
            if ranks.is_first():
                write_json(job.checkpoints / BASE, loss)
        watch(trainer, prepared, on_step, _mfu(trainer, prepared, config, peak))
        return trainer

    trainer, micro_batch = fit(job, build, say)
    before = (read_json(job.checkpoints / BASE) or {}).get("loss")
    after = mean_loss(trainer.model, held_out, HELD_OUT_ROWS) if len(held_out) else None
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    losses = [float(entry["loss"]) for entry in log]
    speed = trainer.state.num_input_tokens_seen / log[-1]["seconds"]
    mfu = _mfu(trainer, prepared, config, peak)(speed)
    measured = {**(prepared.notes or {}), **method.measure(job, trainer, tokenizer)}
    tenth = max(1, len(losses) // 10)
    publish(trainer, tokenizer, prepared.counts.ends, job)
    trained = Trained(
        rows=prepared.counts.rows,
        left_out_rows=prepared.counts.left_out,
        cut_rows=prepared.counts.cut,
        tokens=prepared.counts.tokens,
        trained_tokens=prepared.counts.trained,
        steps=trainer.state.global_step,
        first_loss=sum(losses[:tenth]) / tenth,
        final_loss=sum(losses[-tenth:]) / tenth,
        seconds=log[-1]["seconds"],
        tokens_per_second=speed,
        learning_rate=trainer.args.learning_rate,
        micro_batch=micro_batch,
        mfu=mfu,
        device=peak.known,
        peak_teraflops=peak.teraflops,
        base_validation_loss=before,
        validation_loss=after,
        processes=ranks.processes(),
        method=measured,
    )
    return trained, losses, prepared.replay


def _mfu(
    trainer: "Trainer", prepared: Prepared, config: Train, peak: Peak
) -> Callable[[float], float | None]:
    """Makes a share of the peak of all processes of tokens a second.

    None for a method that runs a model over other tokens than those that it counts.
    """
    counts, flops = prepared.counts, None
    if config.method in ("sft", "logit_kd"):
        length, trained = counts.tokens / counts.rows, counts.trained / counts.tokens
        flops = flops_per_token(trainer.model, length, trained)
    most = 1e12 * peak.teraflops * trainer.args.world_size
    return lambda speed: None if flops is None else speed * flops / most
