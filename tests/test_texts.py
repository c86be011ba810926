from dataclasses import replace

import pyarrow as pa
import pytest
from rows import calling, record

from synth.store import to_table
from synth.texts import On, texts
from synth.types import Record, said

TURNS = [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(("system", "user", "assistant"))]
ROWS = [
    record("Because."),
    Record(messages=TURNS, seed_id="s"),  # type: ignore[arg-type]
    Record(messages=TURNS[:2], seed_id="s"),  # type: ignore[arg-type]
    Record(messages=TURNS[:1], seed_id="s"),  # type: ignore[arg-type]
    Record(messages=(), seed_id="s"),
]


def whole(row: Record, on: On) -> str:
    if on == "question":
        return row.question
    return row.answer if on == "answer" else "\n\n".join(map(said, row.messages))


@pytest.mark.parametrize("on", ["question", "answer", "conversation"])
@pytest.mark.parametrize("rows", [ROWS, [*ROWS, calling()]], ids=["plain", "with tools"])
@pytest.mark.parametrize("start", [0, 2])
def test_columns_say_what_records_say(on: On, rows: list[Record], start: int) -> None:
    named = [replace(row, id=str(n)) for n, row in enumerate(rows)]
    [batch] = to_table(named).combine_chunks().to_batches()
    column = texts(batch.slice(start), on)
    assert column.to_pylist() == [whole(row, on) for row in named[start:]]
    assert column.type == pa.string()
