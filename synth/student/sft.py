"""Supervised fine-tuning through TRL's SFTTrainer: the loss is on what the assistant says.

The rows come tokenized from `student.data`, so TRL prepares, cuts and drops nothing; the loss is the mean
over all trained tokens of an optimizer step. On a teacher's answers this is sequence-level distillation (Kim
and Rush 2016, arXiv:1606.07947).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from synth.errors import TrainError
from synth.student import settings
from synth.student.data import files, tokenize
from synth.student.job import Job, Prepared
from synth.student.loss import answer_nll, collate

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer


def prepare(job: Job, tokenizer: "PreTrainedTokenizerBase") -> Prepared:
    """Every conversation of the training set.

    Raises:
        DataError, TrainError: as `data.tokenize`; or no row is short enough.
    """
    from datasets import Dataset

    tokens = tokenize(tokenizer, files(job.data, "train"), job.config.max_length)
    if not tokens.table.num_rows:
        raise TrainError(
            f"{job.data}: none of its {tokens.left_out} rows has at most {job.config.max_length} tokens; "
            "raise [train] max_length"
        )
    longest = max(pc.list_value_length(tokens.table["input_ids"]).to_pylist())
    return Prepared(Dataset(tokens.table), tokens, longest)


def trainer(
    job: Job, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prepared: Prepared
) -> "SFTTrainer":
    """The trainer, silent and offline. Base weights bfloat16, adapter float32, forward pass in bfloat16."""
    from transformers import PrinterCallback
    from trl import SFTConfig

    made = _trainer_class()(
        model=model,
        args=SFTConfig(
            **settings.arguments(job.config, model, job.checkpoints),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        ),
        train_dataset=prepared.rows.select_columns(["input_ids", "labels"]),
        processing_class=tokenizer,
        data_collator=collate,
        peft_config=settings.lora(job.config),
    )
    made.remove_callback(PrinterCallback)
    return made


def measure(job: Job, trained: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """Nothing beside the loss."""
    return {}


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
