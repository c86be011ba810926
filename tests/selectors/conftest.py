"""Tiny random models with a tokenizer made here: one that writes, one that rewards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

WORDS = [
    *("what", "is", "the", "colour", "of", "sky", "a", "cat", "has", "four", "legs", "name", "fruit"),
    *("apples", "are", "blue", "no", "yes", "it", "late"),
]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model gains nothing by threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _saved(folder: Path, kind: str, *, template: bool = True) -> Path:
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = ["<pad>", "<unk>", "<user>", "<assistant>", "<system>", "<end>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS, ".", "?", ","])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[2:5]})
    if template:
        tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        pad_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        num_labels=1,
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers over words, with a chat template and 64 positions."""
    return _saved(tmp_path_factory.mktemp("writer"), "LlamaForCausalLM")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a chat template."""
    return _saved(tmp_path_factory.mktemp("base"), "LlamaForCausalLM", template=False)


@pytest.fixture(scope="session")
def rewarder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of that size."""
    return _saved(tmp_path_factory.mktemp("rewarder"), "LlamaForSequenceClassification")
