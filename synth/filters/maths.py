"""`maths`: does an answer come to the right number? As GSM8K checks (Cobbe et al. 2021, 2110.14168)."""

from synth.answers import last_number, number, reference_of
from synth.errors import DataError
from synth.steps import Filter
from synth.types import Record, Verdict


class Maths(Filter):
    """Rejects an answer whose final number isn't that of the record's field.

    The final number is the one after the last `####`, in the last `\\boxed{}` or after the last "answer is";
    without any of these the last number. Numbers are equal or not, there is no tolerance; commas, currencies,
    units and percent signs don't count, 1/2 is 0.5 and 2 million is 2,000,000.
    """

    field: str = "answer"
    """The record's field with the right number, alone or at the end of a solution, as GSM8K writes them."""

    def check(self, record: Record) -> Verdict:
        """Keep where the numbers are equal; no score.

        Raises:
            DataError: the field is missing, or holds no number.
        """
        reference = record.fields.get(self.field)
        solution = str(reference) if isinstance(reference, str | int | float) else ""
        wanted = number(reference_of(solution))
        if wanted is None:
            wanted = last_number(solution)
        if wanted is None:
            mend = f'maths needs a number in the field "{self.field}", but it is {reference!r}; mend it'
            raise DataError(f"seed {record.seed_id}", mend)
        got = last_number(record.answer)
        if got is None:
            return Verdict(self.name, False, None, "comes to no number")
        return Verdict(self.name, got == wanted, None, "" if got == wanted else "comes to another number")
