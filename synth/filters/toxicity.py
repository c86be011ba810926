"""`toxicity`: insults, slurs and profanity in English, by the model of alt-profanity-check (a linear SVM).

Its probability is that of the package's `predict_prob`, computed for one text at a time without its overhead.
"""

import functools
import math
import re
from collections import Counter
from typing import Literal

from pydantic import Field

from synth.steps import Filter
from synth.types import Record, Verdict

SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
WORD = re.compile(r"\b\w\w+\b")


class Toxicity(Filter):
    """Flags answers that are likely toxic, or rejects them: it reads words one by one, not what they mean.

    An answer is as toxic as its worst sentence: in a whole answer of 60 words one insult is lost. Words that
    also have an innocent sense (nuts, a bitch with pups) are flagged too, and what is no English is not.
    """

    action: Literal["flag", "reject"] = "flag"
    """A flagged row is kept, with the reason "flagged"."""
    threshold: float = Field(default=0.9, gt=0, le=1)

    def check(self, record: Record) -> Verdict:
        """Score: the probability, from 0 to 1, of the worst sentence."""
        score = max(map(toxic, SENTENCE.split(record.answer)))
        if score < self.threshold:
            return Verdict(self.name, True, score)
        reason = "flagged" if self.action == "flag" else "likely toxic"
        return Verdict(self.name, self.action == "flag", score, reason)


def toxic(text: str) -> float:
    """The probability, from 0 to 1, that a text is toxic."""
    weights, base, curves = _model()
    known = [
        (n, *weights[word]) for word, n in Counter(WORD.findall(text.lower())).items() if word in weights
    ]
    norm = math.sqrt(sum((n * idf) ** 2 for n, idf, _ in known)) or 1.0
    total = 0.0
    for fold, (slope, shift) in enumerate(curves):
        margin = base[fold] + sum(n * idf * coefficients[fold] for n, idf, coefficients in known) / norm
        total += 1 / (1 + math.exp(slope * margin + shift))
    return total / len(curves)


@functools.cache
def _model() -> tuple[dict[str, tuple[float, tuple[float, ...]]], list[float], list[tuple[float, float]]]:
    """Each word's inverse document frequency and weights, and each fold's intercept and calibration."""
    from profanity_check.profanity_check import model, vectorizer

    folds = [each.estimator for each in model.calibrated_classifiers_]
    columns = zip(*(fold.coef_[0].tolist() for fold in folds), strict=True)
    idf, by_column = vectorizer.idf_.tolist(), list(columns)
    weights = {word: (idf[i], by_column[i]) for word, i in vectorizer.vocabulary_.items()}
    curves = [each.calibrators[0] for each in model.calibrated_classifiers_]
    return (
        weights,
        [float(fold.intercept_[0]) for fold in folds],
        [(float(curve.a_), float(curve.b_)) for curve in curves],
    )
