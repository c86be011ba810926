"""What was asked before: questions that are too near an earlier one are found before they are answered.

Near is ROUGE-L (Lin 2004, aclanthology.org/W04-1013), the F measure of the longest common subsequence of
words, as Self-Instruct has it (Wang et al. 2022, arXiv 2212.10560: at most 0.7). Only texts that share enough
rare words are compared (prefix filtering, Chaudhuri et al. 2006, doi:10.1109/ICDE.2006.9): none is missed.
"""

import fcntl
import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from math import floor
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson
from rapidfuzz.distance import LCSseq

from synth.errors import DataError, Repeated
from synth.types import Record

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""A word in lower case; a Chinese or Japanese character counts as one."""


def words(text: str) -> list[str]:
    """The words that ROUGE-L compares."""
    return WORD.findall(text.lower())


class Index:
    """Texts, and for another one the nearest of them above a ROUGE-L of `threshold` (0 to 1).

    Memory: about 120 bytes a word. Text that has no words is near nothing.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.texts: list[str] = []
        self._words: list[tuple[int, ...]] = []
        self._ids: dict[str, int] = {}
        self._ranks: dict[tuple[int, int], int] = {}
        """A word and which of its occurrences in a text, by the order in which they were first seen."""
        self._having: defaultdict[int, list[int]] = defaultdict(list)
        """The texts that have an element among their rarest."""

    def __len__(self) -> int:
        return len(self.texts)

    def nearest(self, text: str) -> tuple[int, float] | None:
        """Number and ROUGE-L of the nearest text, the earlier of equals; None under the threshold."""
        found = [self._ids.get(word, -1 - place) for place, word in enumerate(words(text))]
        best: tuple[int, float] | None = None
        candidates = {number for each in self._rarest(found) for number in self._having.get(each, ())}
        for number in sorted(candidates):
            other = self._words[number]
            least = (best[1] if best else self.threshold) * (len(found) + len(other)) / 2
            if min(len(found), len(other)) <= least:
                continue
            rouge_l = 2 * LCSseq.similarity(found, other) / (len(found) + len(other))
            if rouge_l > (best[1] if best else self.threshold):
                best = number, rouge_l
        return best

    def add(self, text: str) -> None:
        """Take a text in."""
        found = [self._ids.setdefault(word, len(self._ids)) for word in words(text)]
        for element in _elements(found):
            self._ranks.setdefault(element, len(self._ranks))
        for each in self._rarest(found):
            self._having[each].append(len(self.texts))
        self.texts.append(text)
        self._words.append(tuple(found))

    def _rarest(self, found: list[int]) -> list[int]:
        """So many of a text's rarest elements that whatever is near has one of them among its own.

        Texts of n and m words with F = 2 LCS / (n + m) above t share more than t (n + m) / 2 elements, and
        m is more than t n / (2 - t): so they share more than t n / (2 - t). Late comers are taken for rare.
        """
        unknown = len(self._ranks)
        ranks = sorted((self._ranks.get(each, unknown) for each in _elements(found)), reverse=True)
        shared = floor(self.threshold * len(found) / (2 - self.threshold)) + 1
        return ranks[: max(0, len(ranks) - shared + 1)]


def _elements(found: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Each word with the number of times that it stood before."""
    seen: Counter[int] = Counter()
    for word in found:
        yield word, seen[word]
        seen[word] += 1


def asked(record: Record) -> str:
    """What a record's user asked: its field `question`, or its last user turn."""
    if isinstance(question := record.fields.get("question"), str):
        return question
    return next((turn["content"] for turn in reversed(record.messages) if turn["role"] == "user"), "")


class Novelty:
    """The questions of a run, and those of the runs that share its index.

    What is decided follows the order in which replies came; it is written down (`novelty.jsonl` of the run
    folder) before it counts, and holds in each rerun. A context manager.
    """

    def __init__(self, folder: Path, threshold: float, shared: Path | None = None) -> None:
        self.run, self.shared = folder.name, shared
        self._path = folder / "novelty.jsonl"
        self._index = Index(threshold)
        self._runs: list[str] = []
        self._own: list[str] = []
        self._known: set[str] = set()
        self._decided: dict[str, list[Any]] = {}
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        lines = list(_lines(self._path))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        self._file.truncate(_whole(self._path))
        if not lines:
            size = self.shared.stat().st_size if self.shared and self.shared.is_file() else 0
            lines = [{"shared_bytes": size}]
            self._write(lines[0])
        if self.shared and (size := lines[0]["shared_bytes"]):
            for line in _lines(self.shared, size):
                if line["run"] != self.run:
                    self._add(line["text"], line["run"])
        for line in lines[1:]:
            self._decided[line["key"]] = line["decided"]
            if line["decided"] == [] and "text" in line:
                self._add(line["text"], self.run)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        """Texts known, those of other runs too."""
        return len(self._index)

    def repeats(self, key: str, text: str) -> Repeated | None:
        """What a text repeats, or None: then it is taken in. `key` names the occasion, alike in reruns."""
        key = _hash(key, text)
        if (decided := self._decided.get(key)) is None:
            near = self._index.nearest(text)
            decided = [] if near is None else [self._index.texts[near[0]], near[1], self._runs[near[0]]]
            self._decide(key, {"text": text, "decided": decided})
            if near is None:
                self._add(text, self.run)
        return Repeated(text, *decided) if decided else None

    def know(self, texts: Iterable[str]) -> None:
        """Take in texts of the seeds, which nobody asked."""
        for text in texts:
            if text not in self._known:
                self._known.add(text)
                self._add(text, "seeds")

    def earlier(self, key: str, most: int) -> list[str]:
        """At most so many texts of this run, drawn by `key` from those known now."""
        key = _hash(key, f"earlier {most}")
        if (drawn := self._decided.get(key)) is None:
            drawn = random.Random(key).sample(self._own, min(most, len(self._own)))
            self._decide(key, {"decided": drawn})
        return drawn

    def share(self, kept: Iterable[Record]) -> int:
        """Append the questions of this run's kept rows to the index that runs share, once; returns how many.

        Raises:
            DataError: the index can't be written.
        """
        if self.shared is None:
            return 0
        try:
            self.shared.parent.mkdir(parents=True, exist_ok=True)
            with self.shared.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                there = {line["text"] for line in _lines(self.shared) if line["run"] == self.run}
                new = dict.fromkeys(text for record in kept if (text := asked(record)) not in there)
                file.write(b"".join(orjson.dumps({"run": self.run, "text": text}) + b"\n" for text in new))
        except OSError as error:
            raise DataError(
                self.shared, f"can't be written ({error.strerror}); mend it and run again"
            ) from error
        return len(new)

    def _add(self, text: str, run: str) -> None:
        self._index.add(text)
        self._runs.append(run)
        if run == self.run:
            self._own.append(text)

    def _decide(self, key: str, line: dict[str, Any]) -> None:
        self._decided[key] = line["decided"]
        self._write({"key": key, **line})

    def _write(self, line: dict[str, Any]) -> None:
        assert self._file is not None, "novelty is used inside its `with`"
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()


def _whole(path: Path) -> int:
    """Bytes up to the end of the last whole line: a crash may have torn the one after it."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1


def _lines(path: Path, size: int | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a file, of its first `size` bytes; a last line that was torn by a crash is left out.

    Raises:
        DataError: another line is no JSON.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        read = 0
        for number, line in enumerate(file, 1):
            read += len(line)
            if not line.endswith(b"\n") or (size is not None and read > size):
                return
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DataError(f"{path}:{number}", f"is no JSON ({error}); remove the line") from error


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
