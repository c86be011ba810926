"""A model in this process that answers as a server would: what a student is evaluated by where vLLM is not.

The same prompts as vLLM's: the tokenizer's chat template, generation to the ids that end a turn. Prompts that
wait together are answered together, shortest first.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from synth.errors import RequestFailed, TeacherError, TrainError
from synth.student.data import check, encode
from synth.types import JSON, Message, Prompt, Reply, Sampling

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

BATCH = 16
"""Prompts that are answered together at most."""
TOKENS = 4096
"""Tokens of all of them, padding included; a longer prompt goes alone."""
KNOWN = frozenset({"temperature", "top_p", "top_k", "max_tokens", "stop", "repetition_penalty", "scored"})
"""What of `Sampling` is understood here."""


def encoder(
    folder: Path | str,
) -> Callable[[Sequence[Message], Sequence[Mapping[str, JSON]]], tuple[list[int], list[int]]]:
    """`student.data.encode` by the tokenizer of a model folder.

    Raises:
        TrainError: it has no chat template, or is no fast one.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    check(tokenizer)
    return lambda messages, tools: encode(tokenizer, messages, tools)


@dataclass(slots=True)
class _Waiting:
    ids: list[int]
    sampling: Sampling
    key: str
    since: float
    reply: "asyncio.Future[Reply]" = field(repr=False)


class LocalModel:
    """Answers with a model folder's weights and another folder's tokenizer. Use as an async context manager.

    `context` is the most tokens of prompt and reply together. It computes in bfloat16, as vLLM on the CPU.
    """

    def __init__(self, model: Path | str, tokenizer: Path | str, context: int) -> None:
        self._places, self._context = (model, tokenizer), context
        self._waiting: list[_Waiting] = []
        self._work: asyncio.Task[None] | None = None
        self._model: Any = None
        self._tokenizer: PreTrainedTokenizerBase

    async def __aenter__(self) -> "LocalModel":
        await asyncio.to_thread(self._load)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        self._model = None

    async def ask(self, prompt: Prompt, sampling: Sampling, keys: Sequence[str]) -> list[Reply]:
        """One reply; `keys` is one key.

        Raises:
            RequestFailed: the prompt is too long, or the sampling is asked in a way that only a server knows.
        """
        [key] = keys
        if unknown := sampling.keys() - KNOWN:
            raise RequestFailed(f"transformers can't take {', '.join(sorted(unknown))}; install vLLM")
        ids = self._ids(prompt, sampling)
        most = 1 if "scored" in sampling else sampling.get("max_tokens", 512)
        if len(ids) + most > self._context:
            raise RequestFailed(f"{len(ids)} + {most} tokens are more than max_model_len = {self._context}")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(ids, sampling, key, time.monotonic(), future))
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._answer_all())
        return [await future]

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        model, tokenizer = self._places
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(tokenizer, padding_side="left")
            check(self._tokenizer)
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).to(device).eval()
        except (OSError, ValueError, TrainError) as error:
            why = str(error).strip().splitlines()[0]
            raise TeacherError(f"{model}: transformers can't load it ({why})") from error
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def _ids(self, prompt: Prompt, sampling: Sampling) -> list[int]:
        if "scored" in sampling:
            return sampling["scored"]
        text = prompt
        if not isinstance(text, str):
            turns = [dict(turn) for turn in text]
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        raw = isinstance(prompt, str)
        ids: list[int] = self._tokenizer(text, add_special_tokens=raw, verbose=False)["input_ids"]
        return ids

    async def _answer_all(self) -> None:
        await asyncio.sleep(0)  # what is asked in this breath goes together
        while self._waiting:
            batch = self._next()
            try:
                replies = await asyncio.to_thread(self._answer, batch)
            except BaseException as error:
                for each in (*batch, *self._waiting):
                    if not each.reply.done():
                        each.reply.set_exception(error)
                        each.reply.exception()  # nobody may be left to take it
                self._waiting.clear()
                raise
            for each, reply in zip(batch, replies, strict=True):
                if not each.reply.done():
                    each.reply.set_result(reply)

    def _next(self) -> list[_Waiting]:
        """The shortest, and those next to it that are asked alike."""
        self._waiting.sort(key=lambda each: len(each.ids))
        batch: list[_Waiting] = []
        left: list[_Waiting] = []
        for each in self._waiting:
            fits = not batch or len(each.ids) * (len(batch) + 1) <= TOKENS
            alike = _alike(each.sampling) == _alike(self._waiting[0].sampling)
            (batch if alike and fits and len(batch) < BATCH else left).append(each)
        self._waiting = left
        return batch

    def _answer(self, batch: Sequence[_Waiting]) -> list[Reply]:
        import torch

        with torch.inference_mode():
            return self._scored(batch) if "scored" in batch[0].sampling else self._written(batch)

    def _tensors(self, batch: Sequence[_Waiting]) -> "dict[str, torch.Tensor]":
        """Ids and mask, padded on the left."""
        padded = self._tokenizer.pad({"input_ids": [each.ids for each in batch]}, return_tensors="pt")
        return {
            name: tensor.to(self._model.device) for name, tensor in padded.items() if name != "token_type_ids"
        }

    def _written(self, batch: Sequence[_Waiting]) -> list[Reply]:
        tensors, asked = self._tensors(batch), batch[0].sampling
        drawn = asked.get("temperature", 1.0) > 0
        options: dict[str, Any] = {"do_sample": drawn, "temperature": None, "top_p": None, "top_k": None}
        if drawn:
            options |= {"temperature": asked.get("temperature", 1.0), "top_p": asked.get("top_p", 1.0)}
            options["top_k"] = asked.get("top_k", 0)
        if "repetition_penalty" in asked:
            options["repetition_penalty"] = asked["repetition_penalty"]
        ends = self._ends()
        out = self._model.generate(
            **tensors,
            max_new_tokens=asked.get("max_tokens", 512),
            eos_token_id=sorted(ends),
            pad_token_id=self._tokenizer.pad_token_id,
            **options,
        )
        written = out[:, tensors["input_ids"].shape[1] :].tolist()
        return [self._reply(each, ids, ends) for each, ids in zip(batch, written, strict=True)]

    def _ends(self) -> set[int]:
        """The ids that end an answer, as vLLM takes them: the tokenizer's, and the generation config's."""
        given = self._model.generation_config.eos_token_id
        ids = given if isinstance(given, list) else [given]
        return {id_ for id_ in (*ids, self._tokenizer.eos_token_id) if id_ is not None}

    def _reply(self, each: _Waiting, ids: list[int], ends: set[int]) -> Reply:
        end = next((at for at, token in enumerate(ids) if token in ends), None)
        while end is None and ids and ids[-1] == self._tokenizer.pad_token_id:
            ids.pop()  # another answer of the batch was longer
        kept, tokens = ids[:end], len(ids) if end is None else end + 1
        text, reason = self._text(kept), "length" if end is None else "stop"
        for stop in each.sampling.get("stop", ()):
            if stop in text:
                tokens = next(at for at in range(1, len(kept) + 1) if stop in self._text(kept[:at]))
                text, reason = text[: text.index(stop)], "stop"
        return self._made(each, text, reason, tokens)

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _scored(self, batch: Sequence[_Waiting]) -> list[Reply]:
        import torch

        tensors = self._tensors(batch)
        ids, mask = tensors["input_ids"], tensors["attention_mask"]
        places = (mask.cumsum(1) - 1).clamp(min=0)
        logits = self._model(**tensors, position_ids=places, use_cache=False).logits
        replies = []
        for row, each in enumerate(batch):
            start = ids.shape[1] - len(each.ids)
            losses = torch.nn.functional.cross_entropy(
                logits[row, start:-1].float(), ids[row, start + 1 :], reduction="none"
            )
            found = zip(each.ids[1:], losses.tolist(), strict=True)
            logprobs = tuple({str(token): -loss} for token, loss in found)
            replies.append(self._made(each, "", "measured", 0, logprobs))
        return replies

    def _made(
        self,
        each: _Waiting,
        text: str,
        reason: str,
        tokens: int,
        logprobs: tuple[Mapping[str, float], ...] = (),
    ) -> Reply:
        name, seconds = Path(str(self._places[0])).name, time.monotonic() - each.since
        return Reply(text, reason, len(each.ids), tokens, name, each.key, logprobs, seconds=seconds)


def _alike(sampling: Sampling) -> dict[str, object]:
    """What must be equal for two prompts to be answered together."""
    return {name: name if name == "scored" else value for name, value in sampling.items()}
