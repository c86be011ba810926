"""`choice`: is the answer one of the labels, or the right one?"""

from pydantic import model_validator

from synth.answers import choice, folded_label
from synth.errors import DataError
from synth.steps import Filter
from synth.types import Record, Verdict


class Choice(Filter):
    """Rejects an answer that chooses none of the labels, or another than the record's field says.

    An answer chooses a label where it is the label, opens with it and a mark or a line's end ("B) Paris",
    "Yes, because ..."), or says it after `####`, in `\\boxed{}` or after "answer is" or "Answer:". Case, bold
    and the marks around don't count. One that says a second label in the same place chooses none.
    """

    labels: tuple[str, ...] = ()
    """All labels; without them only the right one is known."""
    field: str | None = None
    """The record's field with the right label; without it every label is right."""

    @model_validator(mode="after")
    def _some(self) -> "Choice":
        if not self.labels and self.field is None:
            raise ValueError("needs labels or field; give one or both")
        names = {folded_label(label) for label in self.labels}
        if "" in names or len(names) != len(self.labels):
            raise ValueError("labels must be different, up to case and marks, and none empty")
        return self

    def check(self, record: Record) -> Verdict:
        """Keep a label, or the right one; no score.

        Raises:
            DataError: the record's field holds no label, or one that is not among `labels`.
        """
        right = None if self.field is None else self._right(record)
        chosen = choice(record.answer, self.labels or ([right] if right else []))
        if chosen is None:
            return Verdict(self.name, False, None, "chooses no label" if self.labels else "is another label")
        keep = right is None or folded_label(chosen) == folded_label(right)
        return Verdict(self.name, keep, None, "" if keep else "chooses another label")

    def _right(self, record: Record) -> str:
        value = record.fields.get(self.field or "")
        right = str(value) if isinstance(value, str | int | float) else ""
        if not right.strip() or (self.labels and folded_label(right) not in map(folded_label, self.labels)):
            known = f"one of: {', '.join(self.labels)}" if self.labels else "a label"
            mend = f'choice needs {known} in the field "{self.field}", but it is {value!r}; mend it'
            raise DataError(f"seed {record.seed_id}", mend)
        return right
