"""The passages of a recipe's seeds that fit a question best, by BM25 (Robertson and Zaragoza 2009,
doi:10.1561/1500000019), in Lucene's variant as bm25s computes it (Lù 2024, arXiv 2407.03618).
"""

from collections.abc import Iterable, Sequence

from synth.errors import DataError
from synth.seeds import Seeds

TEXT = "text"
"""The field of a seed that is a passage."""


class Passages:
    """An index over texts: words of two letters or more in lower case, English stop words left out.

    All texts are held in memory, and some 20 bytes for each distinct word of each of them.

    Raises:
        DataError: no text has such a word.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        import bm25s

        self._texts = list(dict.fromkeys(texts))
        self._index = bm25s.BM25()
        words = bm25s.tokenize(self._texts, return_ids=False, show_progress=False)
        if not any(words):
            raise DataError("[seeds]", f"no `{TEXT}` has a word to search by; remove [student] retrieval")
        self._index.index(words, show_progress=False)

    @classmethod
    def of_seeds(cls, seeds: Seeds) -> "Passages":
        """Of the field `text` of all seeds; equal ones count once."""
        return cls(str(seed.fields[TEXT]) for seed in seeds)

    def best(self, questions: Sequence[str], most: int) -> list[list[str]]:
        """For each question at most so many passages that share a word with it, the best first."""
        import bm25s

        if not questions:
            return []
        words = bm25s.tokenize(list(questions), return_ids=False, show_progress=False)
        found, scores = self._index.retrieve(
            words, k=min(most, len(self._texts)), show_progress=False, backend_selection="numpy"
        )
        return [
            [self._texts[place] for place, score in zip(row, by, strict=True) if score > 0]
            for row, by in zip(found, scores, strict=True)
        ]
