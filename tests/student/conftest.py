"""A tiny random student with a tokenizer trained here: no network, no weights shipped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedTokenizerBase

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
]
CORPUS = [
    "What is the colour of the sky? The sky is blue.",
    "How many legs has a cat? A cat has four legs.",
    "Name a fruit, please. Apples are a fruit, and so are pears.",
]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """In all tests here."""


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers and hidden size 64 with a byte-level BPE tokenizer and ChatML."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|im_end|>", model_max_length=512
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.chat_template = CHATML
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).to(torch.bfloat16)
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer(model_folder: Path) -> PreTrainedTokenizerBase:
    """The tiny model's tokenizer, loaded afresh."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder)


def row(number: int, *turns: str) -> dict[str, Any]:
    """A row of alternating user and assistant turns."""
    roles = ("user", "assistant")
    return {
        "id": f"row-{number:03}",
        "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)],
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as `data/<split>-00000.parquet` and returns the folder."""

    def write_rows(rows: list[dict[str, Any]], split: str = "train") -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000.parquet")
        return folder

    return write_rows


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Forty short conversations."""
    texts = [
        ("What is the colour of the sky?", "The sky is blue."),
        ("How many legs has a cat?", "A cat has four legs."),
        ("Name a fruit, please.", "Apples are a fruit."),
        ("Is it late?", "No."),
    ]
    return [row(i, *texts[i % 4]) for i in range(40)]
