import random

import pyarrow as pa
import pytest

from synth.compute.folding import folded
from synth.texts import fold

BLOCKS = {
    "ascii": (0x20, 0x7F),
    "latin": (0xA0, 0x250),
    "combining marks": (0x2F0, 0x370),
    "indic": (0x900, 0xE00),
    "hangul jamo": (0x1100, 0x1200),
    "kana and halves": (0xFF00, 0xFFF0),
    "ligatures": (0xFB00, 0xFE00),
    "all planes": (0x20, 0x30000),
}


@pytest.mark.parametrize("block", list(BLOCKS))
def test_columns_are_folded_as_texts_are(block: str) -> None:
    draw = random.Random(block)
    low, high = BLOCKS[block]
    letters = [chr(code) for code in range(low, high) if not 0xD800 <= code < 0xE000] + [*"aE?! ,"] * 9
    said = ["".join(draw.choices(letters, k=draw.randrange(30))) for _ in range(2000)]
    column = folded(pa.array(said))
    assert [column.text(row) for row in range(len(said))] == [fold(text) for text in said]


def test_what_grows_and_what_is_empty_keeps_its_place() -> None:
    said = ["", "\ufdfa" * 40, " ?!", None, "e\u0301t\u00e9", "\U0001f600", "a"]
    column = folded(pa.array(["before", *said, "after"]).slice(1, len(said)))
    assert [column.text(row) for row in range(len(said))] == [fold(text or "") for text in said]


def test_no_rows_are_no_texts() -> None:
    assert len(folded(pa.array([], pa.string())).starts) == 0
