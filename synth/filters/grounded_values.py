"""`grounded_values`: does JSON say only what its text says? For extraction whose answers nobody knows."""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from synth.answers import json_of, numbers
from synth.chunks import CJK
from synth.errors import DataError
from synth.steps import Filter
from synth.texts import fold
from synth.types import Record, Verdict

WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
"""A word of folded text, or a Chinese or Japanese character."""
CLOCK = re.compile(r"\d+(?::\d+)+")
"""A time, or a ratio: its parts are no numbers of the text."""


class GroundedValues(Filter):
    """Rejects JSON with a value that the text of its row has not.

    Words must stand in the text in a row, whatever their case and the marks between; a number in the same
    figures, or be equal to one of its numbers. `true`, `false` and `null` quote nothing and are not looked
    for. Whether a value stands in the right place of the object is not seen.
    """

    field: str = "text"
    """The record's field with the text."""
    distinct: bool = False
    """Reject an object that has one value twice: a model that is lost repeats itself."""

    def missing(self, fields: frozenset[str]) -> str:
        """The field that the rows lack."""
        return "" if self.field in fields else f'needs the field "{self.field}", a text; or set field'

    def check(self, record: Record) -> Verdict:
        """Keep where the text has all values; no score.

        Raises:
            DataError: the record's field holds no text.
        """
        text = record.fields.get(self.field)
        if not isinstance(text, str) or not text.strip():
            mend = f'grounded_values needs a text in the field "{self.field}", but it is {text!r}; mend it'
            raise DataError(f"seed {record.seed_id}", mend)
        reason = self._wrong(record.answer, text)
        return Verdict(self.name, not reason, None, reason)

    def _wrong(self, answer: str, text: str) -> str:
        try:
            found = list(_values(json_of(answer)))
        except ValueError:
            return "the answer is no JSON"
        if not found:
            return "the object has no value"
        known, plain = _words(text), CLOCK.sub(" ", text)
        sums, figures = set(numbers(plain)), _words(plain)
        for path, value in found:
            if isinstance(value, str):
                stands = value.strip() != "" and _words(value) in known
            else:
                stands = Fraction(str(value)) in sums or _words(str(value)) in figures
            if not stands:
                return f"the text has no such value as {path}"
        if self.distinct and len({_words(str(value)) for _, value in found}) < len(found):
            return "one value stands twice"
        return ""


def _values(value: object, path: str = "$") -> Iterator[tuple[str, str | int | float]]:
    """Each text and number of a value, with its place; items of a list share theirs."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _values(part, f"{path}.{name}")
    elif isinstance(value, list):
        for part in value:
            yield from _values(part, f"{path}[]")
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _words(text: str) -> str:
    """Folded words between single spaces, one before and one behind."""
    return f" {' '.join(WORD.findall(fold(text)))} "
