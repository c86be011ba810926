"""LoRA fine-tuning of the student on the kept rows, through TRL's SFTTrainer and PEFT.

LoRA (Hu et al. 2021, arXiv:2106.09685) on every linear layer but the head. The rows come tokenized from
`student.data`, so TRL prepares, cuts and drops nothing; the loss is the mean over all trained tokens of an
optimizer step. A run that was killed goes on from its last complete checkpoint with the same losses.
`out/manifest.json` is written last: where it is, the student is whole.
"""

import importlib
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.compute as pc

from synth.errors import TrainError
from synth.student.checkpoint import base_files, card, digest_of, last_complete, publish, read_json
from synth.student.data import digest, files, tokenize
from synth.student.loss import answer_nll, collate, mean_loss
from synth.tables import Train

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTTrainer

MICRO_BATCH = 8
"""Rows of one forward pass; a larger `batch_size` is cut into equal parts of at most this many."""
CHECKPOINTING_ABOVE = 1_000_000_000
"""Parameters from which activations are recomputed to save memory; below, that only costs time."""
EAGER_UP_TO = 256
"""Longest row, in tokens, for which a CPU computes attention plainly: 1.3 times as many tokens a CPU second
as its fused kernel (135M parameters, batch 8), for memory that grows with the square of the length."""
VERSIONS = ("torch", "transformers", "trl", "peft")


@dataclass(frozen=True, slots=True)
class TrainStep:
    """One optimizer step. `loss` is in nats a trained token; tokens a second are over this session, prompts
    included, padding not."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run did. Losses are in nats a trained token.

    `tokens` and `trained_tokens` count one epoch: all tokens, and those with a loss. `first_loss` and
    `final_loss` are means over the first and the last tenth of the steps. `seconds` adds up the time in
    training steps of all sessions. The validation losses, of the base model and of the student, are there
    where the data folder has `validation-*.parquet`.
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


def train(
    config: Train, model: Path, data: Path, out: Path, *, on_step: Callable[[TrainStep], None]
) -> Trained:
    """Fine-tune `model` on `data/train-*.parquet` into `out`, or take up what is already there.

    `out` gets the merged model in bfloat16 with its tokenizer, chat template and generation config (loadable
    by transformers and vLLM), `adapter/`, `README.md` and `manifest.json`. While it trains, `checkpoints/`
    holds the last two checkpoints; it is deleted at the end. A checkpoint or a finished student of another
    config, dataset or base model is deleted, one of the same is used.

    Raises:
        DataError: the dataset can't be read.
        TrainError: `model` is no model folder; `out` holds something else than a student; a row can't be
            tokenized; no row is short enough; the loss is not finite.
    """
    if not (model / "config.json").is_file():
        raise TrainError(f"{model} is no model folder: it has no config.json")
    identity: dict[str, Any] = {
        "base": {"name": model.name, "files": base_files(model)},
        "dataset": {"files": digest(data)},
        "config": config.model_dump(mode="json"),
    }
    identity["dataset"]["sha256"] = digest_of(identity["dataset"]["files"])
    key = digest_of(identity)
    manifest, checkpoints = out / "manifest.json", out / "checkpoints"
    if (done := read_json(manifest)) and done.get("key") == key:
        shutil.rmtree(checkpoints, ignore_errors=True)
        return Trained(**done["trained"])
    if (read_json(checkpoints / "run.json") or {}).get("key") != key:
        _clear(out)
        checkpoints.mkdir(parents=True)
        (checkpoints / "run.json").write_bytes(orjson.dumps({"key": key}))
    _import_torch()
    with _quiet():
        trained, losses = _train(config, model, data, out, on_step)
    versions = {name: version(name) for name in VERSIONS}
    report = {"key": key, **identity, "versions": versions, "trained": asdict(trained), "losses": losses}
    (out / "README.md").write_text(card(report), encoding="utf-8")
    part = out / "manifest.json.part"
    part.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    part.replace(manifest)
    shutil.rmtree(checkpoints)
    return trained


def _import_torch() -> None:
    """Import torch so that its threads sleep, not spin, while they wait for each other.

    OpenMP reads OMP_WAIT_POLICY when it is loaded. Where another process uses the cores, spinning made
    training more than ten times slower here; processes that are started later don't inherit the setting.
    """
    if "OMP_WAIT_POLICY" in os.environ or "torch" in sys.modules:
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        importlib.import_module("torch")
    finally:
        del os.environ["OMP_WAIT_POLICY"]


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


def _train(
    config: Train, model: Path, data: Path, out: Path, on_step: Callable[[TrainStep], None]
) -> tuple[Trained, list[float]]:
    """Train, measure, and put everything but the manifest and the card into `out`."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokens = tokenize(tokenizer, files(data, "train"), config.max_length)
    if not tokens.table.num_rows:
        raise TrainError(
            f"{data}: none of its {tokens.left_out} rows has at most {config.max_length} tokens; "
            "raise [train] max_length"
        )
    held_out = tokenize(tokenizer, files(data, "validation"), config.max_length)
    longest = max(pc.list_value_length(tokens.table["input_ids"]).to_pylist())
    trainer = _trainer(config, _load(model, longest), tokenizer, Dataset(tokens.table), out / "checkpoints")
    trainer.add_callback(_progress(on_step))
    _run(trainer, last_complete(out / "checkpoints"))
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    losses = [float(entry["loss"]) for entry in log]
    before = after = None
    if held_out.table.num_rows:
        after = mean_loss(trainer.model, held_out, MICRO_BATCH)
        with trainer.model.disable_adapter():
            before = mean_loss(trainer.model, held_out, MICRO_BATCH)
    tenth = max(1, len(losses) // 10)
    publish(trainer, tokenizer, tokens.ends, out)
    return Trained(
        rows=tokens.table.num_rows,
        left_out_rows=tokens.left_out,
        tokens=tokens.tokens,
        trained_tokens=tokens.trained,
        steps=trainer.state.global_step,
        first_loss=sum(losses[:tenth]) / tenth,
        final_loss=sum(losses[-tenth:]) / tenth,
        seconds=log[-1]["seconds"],
        tokens_per_second=trainer.state.num_input_tokens_seen / log[-1]["seconds"],
        base_validation_loss=before,
        validation_loss=after,
    ), losses


def _run(trainer: "SFTTrainer", checkpoint: Path | None) -> None:
    """Train to the end, from `checkpoint` where there is one.

    A checkpoint of the last step is only loaded: the Trainer would take a step too many from it.
    """
    from peft import load_peft_weights, set_peft_model_state_dict
    from transformers import TrainerState

    if checkpoint:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= state.max_steps:
            set_peft_model_state_dict(trainer.model, load_peft_weights(str(checkpoint)))
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _load(model: Path, longest: int) -> "PreTrainedModel":
    """The base model in bfloat16; `longest` is the longest row's tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    if torch.cuda.device_count() > 1:
        raise TrainError(
            f"{torch.cuda.device_count()} GPUs are visible and training uses one; set CUDA_VISIBLE_DEVICES=0"
        )
    plain = not torch.cuda.is_available() and longest <= EAGER_UP_TO
    return AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.bfloat16, attn_implementation="eager" if plain else "sdpa"
    )


def _trainer(
    config: Train,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Any,  # noqa: ANN401 (a datasets.Dataset)
    folder: Path,
) -> "SFTTrainer":
    """The trainer, silent and offline. Base weights bfloat16, adapter float32, forward pass in bfloat16."""
    import torch
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig

    parts = next(
        n
        for n in range(1, config.batch_size + 1)
        if config.batch_size / n <= MICRO_BATCH and config.batch_size % n == 0
    )
    arguments = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size // parts,
        gradient_accumulation_steps=parts,
        lr_scheduler_type="constant_with_warmup" if config.schedule == "constant" else config.schedule,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        seed=config.seed,
        data_seed=config.seed,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=model.num_parameters() > CHECKPOINTING_ABOVE,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
        report_to="none",
    )
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    trainer = _trainer_class()(
        model=model,
        args=arguments,
        train_dataset=rows.select_columns(["input_ids", "labels"]),
        processing_class=tokenizer,
        data_collator=collate,
        peft_config=lora,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _trainer_class() -> type["SFTTrainer"]:
    from trl import SFTTrainer

    class AnswerHeadTrainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer that, without a GPU, runs the head on the trained positions alone.

        TRL's own head skips the prompt only where Triton runs; on a CPU it scores every position.
        """

        def compute_loss(
            self,
            model: "torch.nn.Module",
            inputs: Mapping[str, "torch.Tensor"],
            return_outputs: bool = False,
            num_items_in_batch: "torch.Tensor | None" = None,
        ) -> Any:  # noqa: ANN401
            if inputs["input_ids"].is_cuda or return_outputs:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            total, count = answer_nll(model, inputs)
            return total / (count if num_items_in_batch is None else num_items_in_batch)

    return AnswerHeadTrainer


def _progress(on_step: Callable[[TrainStep], None]) -> "TrainerCallback":
    """Reports each optimizer step, stops at a loss that is not finite, and keeps time across sessions."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Progress(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.begun = time.perf_counter()
            self.before = state.log_history[-1]["seconds"] if state.log_history else 0.0
            self.tokens = state.num_input_tokens_seen

        def on_log(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            entry = state.log_history[-1]
            if "loss" not in entry:
                return
            seconds = time.perf_counter() - self.begun
            entry["seconds"] = self.before + seconds
            for name in ("loss", "grad_norm"):
                if not math.isfinite(entry[name]):
                    raise TrainError(
                        f"step {state.global_step}: {name} is {entry[name]}; lower [train] learning_rate"
                    )
            speed = (state.num_input_tokens_seen - self.tokens) / seconds
            on_step(TrainStep(state.global_step, state.max_steps, entry["loss"], speed))

    return Progress()


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no chatter from transformers inside; its settings are put back afterwards."""
    from transformers.utils import logging as chatter

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity(logging.ERROR)
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
