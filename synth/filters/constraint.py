"""`constraint`: does the answer meet the constraints that its seed asks for? See `synth.constraints`."""

from synth.constraints import check, constraints_of
from synth.errors import DataError
from synth.steps import Filter
from synth.types import Record, Verdict


class Constraint(Filter):
    """Rejects an answer that misses one of the constraints in the seed's field `constraints`, naming it."""

    def missing(self, fields: frozenset[str]) -> str:
        """The field that the rows lack."""
        if "constraints" in fields:
            return ""
        return 'needs the field "constraints", a list of {"kind": ...}, of every seed or of the strategy'

    def check(self, record: Record) -> Verdict:
        """Keep where all constraints are met; no score.

        Raises:
            DataError: the seed has no list of constraints, or one of an unknown kind or with wrong arguments.
        """
        try:
            keep, reason = check(record.answer, constraints_of(record.fields))
        except ValueError as error:
            raise DataError(f"seed {record.seed_id}", str(error)) from error
        return Verdict(self.name, keep, None, reason)
