"""Documents cut into chunks at headings, paragraphs and sentences, each with its place in the text.

Pure functions of the text: sizes are words, as a tokenizer need not be there when a recipe is checked. With
SmolLM2's, a word of English prose is 1.2 to 1.4 tokens, one of documentation full of code and addresses 2.7:
300 words are about 390 and 820 tokens. A model that rewrites or asks about a long text loses more of it than
of a short one (WRAP, Maini et al. 2024, arXiv 2401.16380, works with chunks of about 300 tokens).
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple, TypeAlias

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
"""A run without white space; a Chinese or Japanese character is one by itself."""
LINE = re.compile(r"[^\n]*\n|[^\n]+")
FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})(.*)")
HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
SENTENCE_END = re.compile(
    r"[.!?\u2026][\"'\u201d\u2019)\]*_]*(\s+)"  # what follows a full stop
    r"|[\u3002\uff01\uff1f][\u300d\u300f\u201d]*(\s*)"
    r"|(\n)(?=[ \t]*(?:[-*+|]|\d+[.)])[ \t])"  # the next item of a list, the next row of a table
)
WHOLE = re.compile(r"(?:[.!?\u2026][\"'\u201d\u2019)\]*_]*|[\u3002\uff01\uff1f][\u300d\u300f\u201d]*)\Z")
TABLE = re.compile(r"[ \t]*\|")
LINE_END = re.compile(r"(\n)")
WORD_END = re.compile(rf"(\s+)|(?<=[{CJK}])()|()(?=[{CJK}])")
SECTION, PARAGRAPH, SENTENCE, INSIDE, GLUED = range(5)
"""What begins with a piece, from the best place for a cut to the worst; GLUED: right below a heading."""
Kind: TypeAlias = Literal["heading", "paragraph", "code"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a text: `text` is `whole[start:end]`."""

    start: int
    end: int
    text: str


class _Piece(NamedTuple):
    """What is never cut: a sentence, a line of a list, a short block of code, a word of a long sentence."""

    start: int
    end: int
    words: int
    rank: int


def chunks(text: str, size: int, overlap: int = 0) -> list[Chunk]:
    """The chunks of a text, in order: at most `size` words each; together they hold every word.

    A chunk ends before a heading, else a paragraph, else a sentence, whichever of these lies in its second
    half. Fenced code (``` or ~~~) is cut only where it is longer than a chunk, at its lines. A chunk that
    goes on with the section of the one before repeats up to `overlap` words of its end, in whole sentences.

    Raises:
        ValueError: `overlap` is negative, or not smaller than `size`.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"needs 0 <= overlap < size, got overlap {overlap} and size {size}")
    pieces = list(_pieces(text, size))
    before = [0, *accumulate(piece.words for piece in pieces)]
    found: list[Chunk] = []
    start = fresh = 0  # the first piece of a chunk, and the first that is in no chunk yet
    while fresh < len(pieces):
        full = bisect_right(before, before[start] + size) - 1
        end = full if full == len(pieces) else _end(pieces, before, start, fresh, full)
        first, last = pieces[start].start, pieces[end - 1].end
        found.append(Chunk(first, last, text[first:last]))
        begun, start, fresh = start, end, end
        while (
            end < len(pieces)
            and start - 1 > begun
            and pieces[start].rank != SECTION
            and before[end] - before[start - 1] <= overlap
            and before[end + 1] - before[start - 1] <= size
        ):
            start -= 1
    return found


def find(text: str, quote: str) -> tuple[int, int] | None:
    """Where `quote` first stands in `text` as whole words, any white space equal to any other."""
    parts = quote.split()
    if not parts:
        return None
    left = r"(?<!\w)" if parts[0][0].isalnum() else ""
    right = r"(?!\w)" if parts[-1][-1].isalnum() else ""
    match = re.search(left + r"\s+".join(map(re.escape, parts)) + right, text)
    return match.span() if match else None


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the whole sentences of a text stand: what ends in a full stop or the like; no table or code."""
    found: list[tuple[int, int]] = []
    for begin, until, kind in _blocks(text):
        for start, end in _spans(text, begin, until, SENTENCE_END) if kind == "paragraph" else ():
            end = start + len(text[start:end].rstrip())
            if WHOLE.search(text, start, end) and not TABLE.match(text, start, end):
                found.append((start, end))
    return found


def _end(pieces: list[_Piece], before: list[int], start: int, fresh: int, full: int) -> int:
    """The piece before which a chunk ends, of those from `fresh + 1` to `full`."""
    half = before[start] + (before[full] - before[start]) / 2
    for rank in (SECTION, PARAGRAPH, SENTENCE):
        for end in range(full, fresh, -1):
            if before[end] < half:
                break
            if pieces[end].rank <= rank:
                return end
    return next((end for end in range(full, fresh, -1) if pieces[end].rank != GLUED), full)


def _pieces(text: str, size: int) -> Iterator[_Piece]:
    """The pieces of a text, none longer than `size` words."""
    glued = False
    for start, end, kind in _blocks(text):
        rank = GLUED if glued else SECTION if kind == "heading" else PARAGRAPH
        for first, last, inner in _split(text, start, end, size, code=kind == "code"):
            last = first + len(text[first:last].rstrip())
            if words := _words(text, first, last):
                yield _Piece(first, last, words, inner if rank < 0 else rank)
                rank = -1
        glued = kind == "heading"


def _blocks(text: str) -> Iterator[tuple[int, int, Kind]]:
    """Start, end and kind of every heading, paragraph and fenced block of code."""
    begin, end, fence = -1, 0, ""
    for line in LINE.finditer(text):
        mark = FENCE.match(line[0])
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                yield begin, line.end(), "code"
                begin, fence = -1, ""
            end = line.end()
            continue
        heading = HEADING.match(line[0])
        if mark and "`" in mark[1] and "`" in mark[2]:
            mark = None  # code within a line
        if begin >= 0 and (mark or heading or not line[0].strip()):
            yield begin, end, "paragraph"
            begin = -1
        if heading:
            yield line.start(), line.end(), "heading"
        elif begin < 0 and line[0].strip():
            begin = line.start()
        fence, end = mark[1] if mark else "", line.end()
    if begin >= 0:
        yield begin, end, "code" if fence else "paragraph"


def _split(text: str, start: int, end: int, size: int, *, code: bool) -> Iterator[tuple[int, int, int]]:
    """A block's pieces: start, end and what begins there if it is not the block's first."""
    if code and _words(text, start, end) <= size:
        yield start, end, SENTENCE
        return
    for first, last in _spans(text, start, end, LINE_END if code else SENTENCE_END):
        if _words(text, first, last) <= size:
            yield first, last, SENTENCE
            continue
        rank = SENTENCE
        for begin, until in _spans(text, first, last, WORD_END):
            yield begin, until, rank
            rank = INSIDE


def _spans(text: str, start: int, end: int, ends: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """What lies between the groups that `ends` finds."""
    for found in ends.finditer(text, start, end):
        first, last = found.span(found.lastindex or 0)
        yield start, first
        start = last
    yield start, end


def _words(text: str, start: int, end: int) -> int:
    return sum(1 for _ in WORD.finditer(text, start, end))
