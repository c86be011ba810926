"""`regex`: does the answer match a regular expression?"""

from functools import lru_cache
from typing import ClassVar

import regex
from pydantic import field_validator, model_validator

from synth.errors import DataError
from synth.steps import Filter
from synth.types import Record, Verdict

SECONDS = 0.5
"""How long one match may take: a pattern that goes through an answer in ever more ways is ended there."""


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> "regex.Pattern[str]":
    """Raises ValueError where a text is no regular expression."""
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"is no regular expression ({error}); mend it") from error


class Regex(Filter):
    """Rejects an answer that a pattern doesn't match; the pattern is the recipe's, or the record's own.

    Patterns are those of Python's `re`, and what the package `regex` adds.
    """

    blocking: ClassVar[bool] = True

    pattern: str | None = None
    field: str | None = None
    """The record's field with a pattern."""
    search: bool = False
    """Whether a part of the answer is enough; else the whole must match."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            _compiled(pattern)
        return pattern

    @model_validator(mode="after")
    def _one(self) -> "Regex":
        if (self.pattern is None) == (self.field is None):
            raise ValueError("needs either pattern or field; give one")
        return self

    def check(self, record: Record) -> Verdict:
        """Keep what matches; no score.

        Raises:
            DataError: the record's field holds no pattern.
        """
        pattern = self.pattern if self.field is None else record.fields.get(self.field)
        try:
            if not isinstance(pattern, str):
                raise ValueError("is missing or no text; add it")
            compiled = _compiled(pattern)
        except ValueError as error:
            raise DataError(f"seed {record.seed_id}", f'the field "{self.field}" {error}') from error
        match = compiled.search if self.search else compiled.fullmatch
        try:
            keep = match(record.answer.strip(), timeout=SECONDS, concurrent=True) is not None
        except TimeoutError:
            return Verdict(self.name, False, None, "the pattern takes too long")
        return Verdict(self.name, keep, None, "" if keep else "the pattern does not match")
