"""What rows say, as Arrow strings: a batch at a time and without Python objects where no tools are called."""

import unicodedata
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from synth.store import message
from synth.types import said

On: TypeAlias = Literal["question", "answer", "conversation"]
"""All turns before the last answer, the last answer, or all turns."""
BETWEEN = "\n\n"
"""What stands between turns."""


def texts(batch: pa.RecordBatch, on: On) -> pa.StringArray:
    """The text of each row of a batch with the column `messages`; turns are joined by blank lines.

    As in `Record.question` and `Record.answer`, a row that ends with no assistant's turn has no answer, and
    its question is all of it but, where there are several turns, the last.
    """
    turns = batch["messages"]
    values = turns.flatten()
    if "tool_calls" in [field.name for field in values.type]:
        return pa.array([_said(row, on) for row in turns.to_pylist()], pa.string())
    counts = np.asarray(pa.compute.fill_null(pa.compute.list_value_length(turns), 0))
    ends = np.cumsum(counts)
    contents, roles = values.field("content"), values.field("role")
    some = counts > 0
    answered = np.zeros(len(counts), np.bool_)
    last = roles.take(pa.array(ends[some] - 1))
    answered[some] = pa.compute.equal(last, "assistant").to_numpy(zero_copy_only=False)
    if on == "answer":
        at = pa.array(np.where(answered, ends - 1, 0), mask=~answered)
        return pa.compute.fill_null(contents.take(at), "")
    if on == "question":
        without = answered | (counts > 1)
        keep = np.ones(len(contents), np.bool_)
        keep[ends[without] - 1] = False
        contents, ends = contents.filter(pa.array(keep)), ends - np.cumsum(without)
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, contents)
    return pa.compute.binary_join(lists, BETWEEN)


def _said(row: list[dict[str, object]], on: On) -> str:
    turns = [message(turn) for turn in row]
    answered = bool(turns) and turns[-1]["role"] == "assistant"
    if on == "answer":
        return said(turns[-1]) if answered else ""
    if on == "question" and (answered or len(turns) > 1):
        turns = turns[:-1]
    return BETWEEN.join(map(said, turns))


def fold(text: str) -> str:
    """Text in NFKC and lower case, punctuation and white space folded to single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split()) or folded.strip()
