import random
from itertools import pairwise

import pytest

from synth.chunks import WORD, Chunk, chunks, find, sentences


def words(text: str) -> int:
    return len(WORD.findall(text))


def texts(found: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in found]


def test_a_chunk_ends_before_a_heading_else_a_paragraph_else_a_sentence() -> None:
    text = "# One\n\na b c\n\nd e f\n\n# Two\n\ng h i j k\n"
    assert texts(chunks(text, 10)) == ["# One\n\na b c\n\nd e f", "# Two\n\ng h i j k"]
    assert texts(chunks("a b c\n\nd e f. g h\n\ni j", 7)) == ["a b c", "d e f. g h\n\ni j"]
    assert texts(chunks("a b c. d e f. g h i.", 7)) == ["a b c. d e f.", "g h i."]
    assert texts(chunks("a b c d e", 2)) == ["a b", "c d", "e"]


def test_a_heading_is_never_the_end_of_a_chunk_that_has_more() -> None:
    text = "a b c d e f\n\n## Two\n\ng h i j k"
    assert texts(chunks(text, 9)) == ["a b c d e f", "## Two\n\ng h i j k"]


@pytest.mark.parametrize("fence", ["```", "~~~", "````", "   ```", "> ```"])
def test_fenced_code_is_whole_where_it_fits(fence: str) -> None:
    code = f"{fence}python\na = 1\n\n# no heading\nb = 2\n{fence}"
    text = f"one two three four five. six seven.\n\n{code}\n\neight nine ten"
    found = texts(chunks(text, 14))
    assert len(found) > 1
    assert sum(code.strip() in chunk for chunk in found) == 1


def test_fenced_code_longer_than_a_chunk_is_cut_at_its_lines() -> None:
    lines = [f"    line {n} of code" for n in range(6)]
    text = "```\n" + "\n".join(lines) + "\n```\n"
    found = texts(chunks(text, 10))
    assert [line for chunk in found for line in chunk.split("\n")] == ["```", *lines, "```"]


def test_a_fence_that_is_never_closed_goes_to_the_end() -> None:
    assert texts(chunks("a b\n\n```\nc\n\nd\n\ne", 6)) == ["a b\n\n```\nc\n\nd\n\ne"]
    assert texts(chunks("a b c\n\n```\nd\n\ne\n\nf", 6)) == ["a b c", "```\nd\n\ne\n\nf"]


def test_the_overlap_is_of_whole_sentences_within_a_section() -> None:
    text = "a b c. d e. f g. h i. j k."
    assert texts(chunks(text, 6, 3)) == ["a b c. d e.", "d e. f g. h i.", "h i. j k."]
    assert texts(chunks(text, 6, 1)) == ["a b c. d e.", "f g. h i. j k."]
    assert texts(chunks("# A\n\nb c. d e.\n\n# F\n\ng h.", 6, 3)) == ["# A\n\nb c. d e.", "# F\n\ng h."]


def test_characters_of_languages_without_spaces_are_words() -> None:
    text = "\u732b\u306f\u5bdd\u308b\u3002\u72ac\u306f\u8d70\u308b\u3002"
    assert texts(chunks(text, 6)) == [text[:5], text[5:]]


@pytest.mark.parametrize("text", ["", " \n\n "])
def test_a_blank_text_has_no_chunks(text: str) -> None:
    assert chunks(text, 5) == []


@pytest.mark.parametrize(("size", "overlap"), [(5, 5), (5, -1), (0, 0)])
def test_an_overlap_as_long_as_a_chunk_is_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap < size"):
        chunks("a", size, overlap)


@pytest.mark.parametrize("number", range(200))
def test_chunks_of_any_text_fit_and_hold_every_word_in_order(number: int) -> None:
    draw = random.Random(number)
    bits = [
        "word",
        "a.",
        "b! ",
        "\n",
        "\n\n",
        "# h\n",
        "```\n",
        "~~~\n",
        "- x",
        "\u732b\u3002",
        "  ",
        "\r\n",
        "| c ",
    ]
    text = "".join(draw.choice(bits) + draw.choice(["", " ", " "]) for _ in range(draw.randrange(120)))
    size = draw.randrange(1, 20)
    found = chunks(text, size, draw.randrange(size))
    for chunk in found:
        assert chunk.text == text[chunk.start : chunk.end]
        assert 0 < words(chunk.text) <= size
    for one, other in pairwise(found):
        assert one.start < other.start and one.end < other.end
        assert other.start >= one.end or words(text[other.start : one.end]) < size
        assert not text[one.end : max(one.end, other.start)].strip()
    assert not text[: found[0].start if found else None].strip()
    assert not found or not text[found[-1].end :].strip()


def test_a_quote_is_found_whatever_its_white_space_and_as_whole_words() -> None:
    text = "The shop opens\n  at nine. Cats (two) stay."
    assert find(text, "shop  opens at\tnine.") == (4, 25)
    assert find(text, "Cats (two)") == (26, 36)
    assert find(text, "hop opens") is None
    assert find(text, "at nin") is None
    assert find(text, "the shop") is None
    assert find(text, " ") is None


def test_sentences_are_whole_and_no_headings_tables_or_code() -> None:
    text = "# A heading.\n\nOne is\nhere. (Two!)  No mark\n\n| a | b. |\n\n```\ncode.\n```\n\n"
    text += "\u4e00\u4e8c\u3002\u4e09\u3002"
    found = [text[start:end] for start, end in sentences(text)]
    assert found == ["One is\nhere.", "(Two!)", "\u4e00\u4e8c\u3002", "\u4e09\u3002"]
