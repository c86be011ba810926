"""Forward passes of local models over many texts, batched by length so that little is padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth.errors import RecipeError
from synth.types import Message, said
from synth.weights import find_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one forward pass, padding included; a longer row goes alone."""
EMPTY = "has no answer"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready, its tokenizer, and how many tokens of a text it can read."""

    model: Any
    tokenizer: Any
    device: "torch.device"
    positions: int


def load(name: str, kind: str, max_length: int) -> Loaded:
    """A model by its folder, Hub name or "smollm2-135m-instruct": on a GPU as it is stored, else in float32.

    `kind` is transformers' class: "AutoModelForCausalLM" or "AutoModelForSequenceClassification".

    Raises:
        RecipeError: there is no such model, or transformers can't load it as that.
    """
    import torch
    import transformers

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = find_model(name, lambda _: None)
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        dtype = "auto" if device.type == "cuda" else torch.float32
        model = getattr(transformers, kind).from_pretrained(place, dtype=dtype).to(device).eval()
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise RecipeError(name, "model", f"can't be loaded ({why}); name a folder or a Hub model") from error
    positions = getattr(model.config, "max_position_embeddings", None) or max_length
    return Loaded(model, tokenizer, device, min(max_length, positions))


def answered(turns: Sequence[Message]) -> bool:
    """Whether a conversation ends with an answer that says something."""
    return bool(turns) and turns[-1]["role"] == "assistant" and said(turns[-1]).strip() != ""


def prompt_and_answer(loaded: Loaded, turns: Sequence[Message]) -> tuple[list[int], list[int]] | None:
    """The tokens of all that comes before the last answer, as the chat template writes it, and of the answer.

    Without a chat template the turns are joined by line ends, as in Superfiltering. None where there is no
    answer.
    """
    if not answered(turns):
        return None
    answer = said(turns[-1]).strip()
    tokenizer, before = loaded.tokenizer, [dict(turn) for turn in turns[:-1]]
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
    else:
        text = "".join(f"{said(turn)}\n" for turn in turns[:-1])
    return _ids(tokenizer, text), _ids(tokenizer, answer)


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def batches(lengths: Sequence[int], device: "torch.device") -> Iterator[list[int]]:
    """Places of texts of these lengths, longest first, as many at once as `TOKENS` allows when padded."""
    most, batch, width = TOKENS["cuda" if device.type == "cuda" else "cpu"], list[int](), 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and width * (len(batch) + 1) > most:
            yield batch
            batch = []
        width = width if batch else lengths[place]
        batch.append(place)
    if batch:
        yield batch


def padded(texts: Sequence[Sequence[int]], device: "torch.device") -> "dict[str, torch.Tensor]":
    """Token ids and attention mask, padded on the right."""
    import torch

    width = max(map(len, texts))
    ids = [[*text, *[0] * (width - len(text))] for text in texts]
    mask = [[1] * len(text) + [0] * (width - len(text)) for text in texts]
    tensors = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def mean_losses(loaded: Loaded, texts: Sequence[Sequence[int]], firsts: Sequence[int]) -> list[float]:
    """The mean negative log-likelihood (nats a token) of each text's tokens from place `first` > 0 on.

    A hook hands the output head those positions and no others: logits of all would not fit.
    """
    import torch

    found = [0.0] * len(texts)
    for batch in batches([len(text) for text in texts], loaded.device):
        inputs = padded([texts[place] for place in batch], loaded.device)
        wanted = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
        for row, place in enumerate(batch):
            wanted[row, firsts[place] - 1 : len(texts[place]) - 1] = True
        head = loaded.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, given, at=wanted: (given[0][at],))
        try:
            with torch.inference_mode():
                logits = loaded.model(**inputs, use_cache=False).logits
        finally:
            hook.remove()
        targets = inputs["input_ids"][:, 1:][wanted[:, :-1]]
        losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        counts = wanted.sum(1).tolist()
        for place, part in zip(batch, losses.split(counts), strict=True):
            found[place] = float(part.double().mean())
    return found
