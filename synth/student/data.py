"""Kept rows to tokens: the tokenizer's own chat template, and labels on what the assistant says alone.

Trained are each assistant turn's content and the token that ends the turn, so that the student learns to
stop; a turn that calls tools is trained as the template writes it, up to that token. Not trained are the
prompt, tool definitions and replies, the generation prompt, and what a template puts behind the end of a turn
(ChatML's newline). Nothing here knows a template: spans are found by rendering a conversation up to each
answer with `add_generation_prompt=True`, which is what a server sends to the model.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import TemplateError

from synth.errors import DataError, TrainError
from synth.store import message
from synth.student import shards
from synth.student.shards import IGNORED as IGNORED
from synth.student.shards import Counted, Encoded
from synth.types import JSON, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOOL_TEMPLATE = "train a model whose template takes tools, or put a chat_template.jinja that does beside it"
Tools: TypeAlias = "Sequence[Mapping[str, JSON]]"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenized dataset: a `datasets.Dataset` of `shards.SCHEMA` that lies on disk, and its counts."""

    rows: Any
    counts: Counted


def files(folder: Path, split: str) -> list[Path]:
    """The Parquet files of a split (`train` or `validation`), in order; none where there are none."""
    return sorted(folder.glob(f"{split}-*.parquet"))


def digest(folder: Path) -> dict[str, dict[str, Any]]:
    """`{file name: {"rows": n, "sha256": hex}}` of every split's files, for the manifest.

    Raises:
        DataError: there is no `train-*.parquet`, or a file is no Parquet.
    """
    found = [*files(folder, "train"), *files(folder, "validation")]
    if not files(folder, "train"):
        raise DataError(folder, "holds no train-*.parquet; curate first")
    out: dict[str, dict[str, Any]] = {}
    for file in found:
        try:
            rows = pq.read_metadata(file).num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(file, f"is no readable Parquet file ({error}); curate again") from error
        with file.open("rb") as stream:
            out[file.name] = {"rows": rows, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    return out


def read(paths: Sequence[Path]) -> Iterator[tuple[str, list[Message], Tools]]:
    """`(id, messages, tools)` of each row, in file order.

    Raises:
        DataError: a file is no Parquet or lacks the columns `id` and `messages`.
    """
    for path in paths:
        try:
            with pq.ParquetFile(path) as parquet:
                names = set(parquet.schema_arrow.names)
                if missing := {"id", "messages"} - names:
                    raise DataError(path, f"lacks the column {', '.join(sorted(missing))}; curate again")
                for batch in parquet.iter_batches(1024, columns=sorted({"id", "messages", "tools"} & names)):
                    for row in batch.to_pylist():
                        tools = row.get("tools")
                        yield (
                            row["id"],
                            [*map(message, row["messages"])],
                            orjson.loads(tools) if tools else (),
                        )
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(path, f"is no readable Parquet file ({error}); curate again") from error


def tokenize(
    tokenizer: "PreTrainedTokenizerBase",
    paths: Sequence[Path],
    max_length: int,
    folder: Path,
    *,
    cut: bool = False,
) -> Tokens:
    """Tokenize every row of `paths` into `folder`; a file whose rows are there already is not read again.

    Args:
        tokenizer: a fast transformers tokenizer with a chat template.
        paths: Parquet files with `id` and `messages`, of different names.
        max_length: tokens, prompt and answers together; a longer row is left out.
        folder: where the rows of this tokenizer, these files and these settings lie.
        cut: a longer row loses its last turns, up to the last answer that fits, instead of being left out;
            where the first answer doesn't fit, it is left out.

    Raises:
        DataError: a file can't be read.
        TrainError: `encode` refuses a row, or the tokenizer can't say where its tokens are.
    """
    check(tokenizer)
    counts, made = Counted(), []
    for path in paths:
        file = folder / f"{path.stem}.arrow"
        rows = (_encoded(tokenizer, *row, max_length, cut=cut) for row in read([path]))
        counts += shards.counted(file) or shards.write(file, rows, counts.rows)
        made.append(file)
    return Tokens(shards.opened(made), counts)


def _encoded(
    tokenizer: "PreTrainedTokenizerBase",
    row_id: str,
    messages: Sequence[Message],
    tools: Tools,
    max_length: int,
    *,
    cut: bool,
) -> Encoded | None:
    """The row, or what fits of it; None where nothing does."""
    try:
        ids, labels = encode(tokenizer, messages, tools)
        if len(ids) <= max_length:
            return Encoded(row_id, ids, labels)
        answers = [number for number, turn in enumerate(messages) if turn["role"] == "assistant"]
        for last in reversed(answers) if cut else ():
            if last < len(messages) - 1:
                ids, labels = encode(tokenizer, messages[: last + 1], tools)
                if len(ids) <= max_length:
                    return Encoded(row_id, ids, labels, cut=True)
    except TrainError as error:
        raise TrainError(f"row {row_id}: {error}") from error
    return None


def check(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Refuse a tokenizer that can't make training data.

    Raises:
        TrainError: it has no chat template, or is not a fast one and so knows no token positions.
    """
    if not tokenizer.chat_template:
        raise TrainError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template, so a conversation can't be "
            "turned into tokens; name one in [student] template (chatml, llama3, gemma or a .jinja file)"
        )
    if not tokenizer.is_fast:
        raise TrainError(
            f"the tokenizer of {tokenizer.name_or_path} has no tokenizer.json; convert it to a fast tokenizer"
        )


def encode(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], tools: Tools = ()
) -> tuple[list[int], list[int]]:
    """`(input_ids, labels)` of one conversation; a label is the token's id where it is trained, else -100.

    Raises:
        TrainError: there is no assistant turn; the template refuses the turns; the tokens of a prompt are
            not the beginning of the tokens of the conversation, so that training would see another prompt
            than serving does; the template rewrites an answer, or ends it with no special token; it has no
            place for tools, or for calls.
    """
    text = _render(tokenizer, messages, tools, prompt=False)
    if tools and text == _render(tokenizer, messages, (), prompt=False):
        raise TrainError(f"the chat template leaves out the tools; {TOOL_TEMPLATE}")
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = encoded["input_ids"]
    labels = [IGNORED] * len(ids)
    special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    turns = [index for index, turn in enumerate(messages) if turn["role"] == "assistant"]
    if not turns:
        raise TrainError("has no assistant turn to train on")
    for turn in turns:
        prompt = _render(tokenizer, messages[:turn], tools, prompt=True)
        prompt_ids = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        start = len(prompt_ids)
        if not text.startswith(prompt) or ids[:start] != prompt_ids:
            raise TrainError(
                f"turn {turn}: the chat template's generation prompt is not how it begins the answer "
                f"(the prompt ends with {prompt[-40:]!r}), so training and serving would differ"
            )
        offsets = encoded["offset_mapping"]
        places = [i for i in range(start, len(ids)) if ids[i] in special]
        if "tool_calls" in messages[turn]:
            until = _end_of_calls(tokenizer, messages[: turn + 1], tools, text, len(prompt))
            end = next((i for i in reversed(places) if offsets[i][1] <= until), None)
        else:
            content = messages[turn]["content"].strip()
            found = text.find(content, len(prompt))
            if found < 0:
                raise TrainError(f"turn {turn}: the chat template rewrites the answer {content[:40]!r}")
            after = found + len(content)
            end = next((i for i in places if offsets[i][0] >= after), None)
        if end is None:
            raise TrainError(
                f"turn {turn}: the chat template puts no special token behind the answer, so a student "
                "could not learn to stop"
            )
        labels[start : end + 1] = ids[start : end + 1]
    labels[0] = IGNORED  # nothing stands before it that it could be predicted from
    return ids, labels


def _end_of_calls(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], tools: Tools, text: str, start: int
) -> int:
    """Where in `text` the last of these turns ends, which calls tools and begins behind `start`.

    Raises:
        TrainError: the template leaves a call out, or writes the turn in another way where others follow.
    """
    turn = len(messages) - 1
    whole = _render(tokenizer, messages, tools, prompt=False)
    if not all(call["function"]["name"] in whole[start:] for call in messages[turn]["tool_calls"]):
        raise TrainError(f"turn {turn}: the chat template leaves out the tool calls; {TOOL_TEMPLATE}")
    if not text.startswith(whole):
        raise TrainError(
            f"turn {turn}: the chat template writes the tool calls in another way where turns follow, so "
            "training and serving would differ; put a chat_template.jinja that does not beside the model"
        )
    return len(whole)


def preview(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], tools: Tools = ()) -> str:
    """The conversation as the student reads it, with what is trained between ⟦ and ⟧.

    Raises:
        TrainError: as `encode`.
    """
    check(tokenizer)
    return marked(tokenizer, *encode(tokenizer, messages, tools))


def marked(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], labels: Sequence[int]) -> str:
    """The tokens decoded, with what is trained between ⟦ and ⟧."""
    return "".join(
        f"⟦{text}⟧" if trained else text for trained, text in _runs(tokenizer, ids, labels) if text
    )


def _runs(
    tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], labels: Sequence[int]
) -> Iterator[tuple[bool, str]]:
    """Decoded stretches of equal label state, with whether they are trained."""
    start = 0
    for i in range(1, len(ids) + 1):
        if i == len(ids) or (labels[i] == IGNORED) != (labels[start] == IGNORED):
            yield labels[start] != IGNORED, tokenizer.decode(ids[start:i], skip_special_tokens=False)
            start = i


def _render(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], tools: Tools, *, prompt: bool
) -> str:
    turns: list[dict[str, object]] = [{**turn} for turn in messages]
    given = {"tools": list(tools)} if tools else {}
    try:
        text: str = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=prompt, **given
        )
    except (TemplateError, IndexError, ValueError) as error:
        roles = ", ".join(turn["role"] for turn in messages) or "none"
        raise TrainError(f"the chat template refuses the turns ({roles}): {error}") from error
    return text
