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
    contents, _, offsets = turns(batch, on)
    return pa.compute.binary_join(pa.ListArray.from_arrays(offsets, contents), BETWEEN)


def turns(batch: pa.RecordBatch, on: On) -> tuple[pa.StringArray, pa.StringArray, pa.Int32Array]:
    """What the turns say that `texts` joins, their roles, and where those of each row begin and end."""
    rows = batch["messages"]
    values = rows.flatten()
    contents, roles = values.field("content"), values.field("role")
    if "tool_calls" in [field.name for field in values.type]:
        contents = pa.array([said(message(turn)) for turn in values.to_pylist()], pa.string())
    counts = np.asarray(pa.compute.fill_null(pa.compute.list_value_length(rows), 0))
    ends = np.cumsum(counts)
    if on != "conversation":
        some = counts > 0
        answered = np.zeros(len(counts), np.bool_)
        last = roles.take(pa.array(ends[some] - 1))
        answered[some] = pa.compute.equal(last, "assistant").to_numpy(zero_copy_only=False)
        without = answered | (counts > 1)
        keep = np.full(len(contents), on == "question")
        if on == "question":
            keep[ends[without] - 1] = False
            ends = ends - np.cumsum(without)
        else:
            keep[ends[answered] - 1] = True
            ends = np.cumsum(answered)
        contents, roles = contents.filter(pa.array(keep)), roles.filter(pa.array(keep))
    return contents, roles, pa.array(np.concatenate([[0], ends]), pa.int32())


def fold(text: str) -> str:
    """Text in NFKC and lower case, punctuation and white space folded to single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split()) or folded.strip()
