"""The templates that ship, one example each with what is trained marked; and a student that keeps its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Words
from tokenizers import models
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers import PreTrainedTokenizerBase as Tokenizer

from synth.errors import TrainError
from synth.student import templates
from synth.student.data import encode, preview
from synth.student.job import Job
from synth.student.train import train
from synth.tables import Train
from synth.types import Message

TALK: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the sky?"},
    {"role": "assistant", "content": "Blue."},
    {"role": "user", "content": "And a cat?"},
    {"role": "assistant", "content": "It has four legs."},
]
MARKED = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is the sky?<|im_end|>\n"
        "<|im_start|>assistant\n⟦Blue.<|im_end|>⟧\n<|im_start|>user\nAnd a cat?<|im_end|>\n"
        "<|im_start|>assistant\n⟦It has four legs.<|im_end|>⟧\n"
    ),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhat is the sky?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Blue.<|eot_id|>⟧"
        "<|start_header_id|>user<|end_header_id|>\n\nAnd a cat?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦It has four legs.<|eot_id|>⟧"
    ),
    "gemma": (
        "<|begin_of_text|><start_of_turn>user\nBe brief.\n\nWhat is the sky?<end_of_turn>\n"
        "<start_of_turn>model\n⟦Blue.<end_of_turn>⟧\n<start_of_turn>user\nAnd a cat?<end_of_turn>\n"
        "<start_of_turn>model\n⟦It has four legs.<end_of_turn>⟧\n"
    ),
}


@pytest.mark.parametrize("name", templates.NEEDED)
def test_each_answer_and_its_end_of_turn_are_trained(tokenizer: Tokenizer, name: str) -> None:
    tokenizer.bos_token = None if name == "chatml" else "<|begin_of_text|>"
    templates.apply(tokenizer, name)
    assert preview(tokenizer, TALK) == MARKED[name]


@pytest.mark.parametrize("name", templates.NEEDED)
def test_the_generation_prompt_is_how_the_trained_turn_begins(tokenizer: Tokenizer, name: str) -> None:
    tokenizer.bos_token = "<|begin_of_text|>"
    templates.apply(tokenizer, name)
    prompt = tokenizer.apply_chat_template(TALK[:-1], add_generation_prompt=True, return_dict=False)
    ids, labels = encode(tokenizer, TALK)
    assert ids[: len(prompt)] == prompt
    assert labels[len(prompt)] == ids[len(prompt)]


def with_tokens(*special: str) -> Tokenizer:
    """A tokenizer of these special tokens and nothing else."""
    words = models.WordLevel({token: number for number, token in enumerate(special)}, unk_token=special[0])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Words(words), name_or_path="plain")
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def test_a_template_whose_special_token_is_missing_is_refused() -> None:
    chatml = with_tokens("<|im_start|>", "<|im_end|>", "<start_of_turn>")
    missing = r"template gemma: the tokenizer of plain lacks the special token <end_of_turn>; chatml fits it"
    with pytest.raises(TrainError, match=missing):
        templates.apply(chatml, "gemma")
    missing = r"lacks the special token <\|im_start\|>, <\|im_end\|>; write a .jinja file with tokens it has"
    with pytest.raises(TrainError, match=missing):
        templates.apply(with_tokens("<s>"), "chatml")


def test_a_template_from_a_file_goes_with_the_student(
    model_folder: Path, rows: list[dict[str, Any]], write: Callable[..., Path], tmp_path: Path
) -> None:
    own = tmp_path / "own.jinja"
    own.write_text(templates.text("chatml") + "{# ours #}")
    config, out = Train(epochs=0.2, learning_rate=5e-3, max_length=64), tmp_path / "student"
    train(Job(config, model_folder, write(rows), out, str(own)), on_step=lambda _: None)
    assert AutoTokenizer.from_pretrained(out).chat_template == own.read_text()


def test_a_file_that_is_not_there_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"none\.jinja: can't be read .*name chatml, llama3, gemma"):
        templates.apply(tokenizer, str(tmp_path / "none.jinja"))
