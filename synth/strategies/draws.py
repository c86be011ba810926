"""Values that are drawn, not written: weighted categories, numbers and dates, one depending on another.

A draw is a hash of the seed, the row's number and the field's name, never chance: it is the same
each time.
"""

import datetime as dt
import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from synth.types import JSON

Scalar: TypeAlias = str | bool | int | float
Weight = Annotated[float, Field(gt=0)]


class Draw(BaseModel):
    """How one field is drawn: a table `[[generate.draw]]` of the recipe, with one of `values`, `integer`,
    `number` and `date`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    """A property of the schema's root. Where several tables draw it, the first whose `when` is met does."""
    values: Annotated[dict[str, Weight] | tuple[Scalar, ...], Field(min_length=1)] | None = None
    """A list, all equally likely, or a table of words and their weights."""
    integer: tuple[int, int] | None = None
    """The lowest and the highest."""
    number: tuple[float, float] | None = None
    """The lowest and the highest."""
    decimals: int = Field(default=2, ge=0)
    """Of a `number`."""
    date: tuple[dt.date, dt.date] | None = None
    """The first day and the last; in the object it is a text, 2026-01-31."""
    when: dict[str, Scalar | tuple[Scalar, ...]] = {}
    """Draw only where these fields, drawn before or of the seed, have this value, or one of these."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Draw":
        kinds = [kind for kind in (self.values, self.integer, self.number, self.date) if kind is not None]
        if len(kinds) != 1:
            raise ValueError("needs one of values, integer, number and date")
        for ends in (self.integer, self.number, self.date):
            if ends is not None and ends[0] > ends[1]:  # type: ignore[operator]
                raise ValueError("the lowest comes first")
        return self

    def applies(self, known: Mapping[str, JSON]) -> bool:
        """Whether `when` is met."""
        return all(
            name in known and known[name] in (wanted if isinstance(wanted, tuple) else (wanted,))
            for name, wanted in self.when.items()
        )

    def value(self, share: float) -> Scalar:
        """The value at this share, from 0 to below 1, of all that may be drawn."""
        if isinstance(self.values, dict):
            ends = list(accumulate(self.values.values()))
            return list(self.values)[bisect_right(ends, share * ends[-1])]
        if self.values is not None:
            return self.values[int(share * len(self.values))]
        if self.integer is not None:
            low, high = self.integer
            return low + int(share * (high - low + 1))
        if self.number is not None:
            least, most = self.number
            return round(least + share * (most - least), self.decimals)
        assert self.date is not None
        first, last = self.date
        return (first + dt.timedelta(days=int(share * ((last - first).days + 1)))).isoformat()

    def extremes(self) -> list[Scalar]:
        """Values that stand for all: every one of a list, the ends of a range."""
        if self.values is not None:
            return list(self.values)
        return [self.value(0.0), self.value(1 - 2**-53)]


def drawn(draws: Sequence[Draw], seed: str, number: int, fields: Mapping[str, JSON]) -> dict[str, Scalar]:
    """What is drawn for row `number` of the seed with this id and these fields, in the tables' order."""
    values: dict[str, Scalar] = {}
    for draw in draws:
        if draw.field not in values and draw.applies({**fields, **values}):
            digest = hashlib.sha256(f"{seed}:{number}:{draw.field}".encode()).digest()
            values[draw.field] = draw.value((int.from_bytes(digest[:8], "big") >> 11) / 2**53)
    return values


def unknown_to(draws: Sequence[Draw], fields: frozenset[str]) -> str:
    """The first field that a `when` names and that is neither of the seeds nor drawn before; "" if none."""
    known = set(fields)
    for draw in draws:
        for name in draw.when:
            if name not in known:
                return name
        known.add(draw.field)
    return ""
