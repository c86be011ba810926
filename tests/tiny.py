"""Tiny random models with a tokenizer of a few words, made here: they write, or they reward."""

from pathlib import Path

WORDS = [
    *("what", "is", "the", "colour", "of", "sky", "a", "cat", "has", "four", "legs", "name", "fruit"),
    *("apples", "are", "blue", "no", "yes", "it", "late"),
]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def saved(folder: Path, kind: str, *, template: bool = True) -> Path:
    """A Llama of two layers over words, of transformers' class `kind`, with 64 positions."""
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
