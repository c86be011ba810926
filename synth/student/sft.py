"""Supervised fine-tuning through TRL's SFTTrainer: the loss is on what the assistant says.

The rows come tokenized from `student.data`, so TRL prepares, cuts and drops nothing; the loss is the mean
over all trained tokens of an optimizer step. On a teacher's answers this is sequence-level distillation (Kim
and Rush 2016, arXiv:1606.07947).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from synth.errors import TrainError
from synth.student import ranks, replay, settings
from synth.student.batches import collate, sampler
from synth.student.data import files, tokenize
from synth.student.job import Job, Prepared
from synth.student.loss import answer_nll
from synth.tables import Train

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from torch.utils.data import Sampler
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer


def prepare(job: Job, tokenizer: "PreTrainedTokenizerBase") -> Prepared:
    """Every conversation of the training set, and those drawn of [train.replay].

    Raises:
        DataError, TrainError: as `data.tokenize` and `replay.draw`; or no row is short enough.
    """
    config, own = job.config, files(job.data, "train")
    rows = sum(pq.read_metadata(file).num_rows for file in own)
    mixed = [job.tokens / f"replay-{number:02}.parquet" for number in range(len(config.replay))]
    drawn = [
        replay.draw(each, rows, config.seed, file) for each, file in zip(config.replay, mixed, strict=True)
    ]
    cut = config.longer == "cut_turns"
    tokens = tokenize(tokenizer, [*own, *mixed], config.max_length, job.tokens, cut=cut)
    if not tokens.counts.rows:
        raise TrainError(
            f"{job.data}: none of its {tokens.counts.left_out} rows has at most {config.max_length} tokens; "
            "raise [train] max_length"
        )
    return Prepared(tokens.rows, tokens.counts, tokens.counts.longest, tuple(drawn))


def trainer(
    job: Job, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prepared: Prepared
) -> "SFTTrainer":
    """The trainer, silent and offline.

    Raises:
        TrainError: rows are to be packed, and the model could not keep them apart.
    """
    from transformers import PrinterCallback
    from trl import SFTConfig

    if job.config.packing:
        check_packable(model)
    made = _trainer_class(job.config)(
        model=model,
        args=SFTConfig(
            **settings.arguments(job.config, model, job.checkpoints),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        ),
        train_dataset=prepared.rows.remove_columns(["id"]),
        processing_class=tokenizer,
        data_collator=partial(collate, packed=job.config.max_length if job.config.packing else None),
        peft_config=None if job.config.adapter == "none" else settings.lora(job.config),
    )
    made.remove_callback(PrinterCallback)
    return made


def check_packable(model: "PreTrainedModel") -> None:
    """Refuse a model in which a packed row would see its neighbour.

    transformers keeps rows apart by a mask made from their positions, for its eager and SDPA attention alone
    (its FlashAttention looks for rows in batches of one line), and in no layer that hands on a state.

    Raises:
        TrainError: the model's attention is another, or a layer hands on a state.
    """
    attention = model.config._attn_implementation
    kinds = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if attention not in ("eager", "sdpa") or kinds or model._is_stateful:
        layers = ", ".join(sorted(kinds)) or model.config.model_type
        raise TrainError(
            f"[train] packing: rows of {model.name_or_path} could see each other (attention {attention}, "
            f"layers {layers}); set packing = false"
        )


def measure(job: Job, trained: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """Nothing beside the loss."""
    return {}


def _trainer_class(config: Train) -> type["SFTTrainer"]:
    from trl import SFTTrainer

    class AnswerHeadTrainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer that, without a GPU, runs the head on the trained positions alone.

        TRL's own head skips the prompt only where Triton runs; on a CPU it scores every position. The mean
        is over all trained tokens of the step, of every process, and no row counts twice.
        """

        def compute_loss(
            self,
            model: "torch.nn.Module",
            inputs: Mapping[str, "torch.Tensor"],
            return_outputs: bool = False,
            num_items_in_batch: "torch.Tensor | None" = None,
        ) -> Any:  # noqa: ANN401
            unread = {"row", "place", *(["attention_mask"] if "position_ids" in inputs else [])}
            given = {name: tensor for name, tensor in inputs.items() if name not in unread}
            if inputs["input_ids"].is_cuda or return_outputs:
                return super().compute_loss(model, given, return_outputs, num_items_in_batch)
            total, count = answer_nll(model, given)
            if num_items_in_batch is None:
                return total / count
            return total * ranks.processes() / num_items_in_batch  # gradients are averaged over processes

        def get_batch_samples(
            self,
            epoch_iterator: "Iterator[dict[str, torch.Tensor]]",
            num_batches: int,
            device: "torch.device",
        ) -> "tuple[list[dict[str, torch.Tensor]], torch.Tensor | int | None]":
            batches, counted = super().get_batch_samples(epoch_iterator, num_batches, device)
            if batches and self.accelerator.gradient_state.end_of_dataloader:
                ranks.ignore_repeats(batches, len(self.train_dataset), self.args.per_device_train_batch_size)
                counted = self._get_num_items_in_batch(batches, device)
            return batches, counted

        def _get_train_sampler(self, train_dataset: "Dataset | None" = None) -> "Sampler[int] | None":
            """Rows of like length together, packed or not: the steps are the same."""
            lengths = self.train_dataset.data.column("length").to_numpy()
            return sampler(lengths, config.batch_size, config.seed)

    return AnswerHeadTrainer
