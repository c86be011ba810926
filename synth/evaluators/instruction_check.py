"""`instruction_check`: are verifiable instructions followed? IFEval's prompt-level strict score, on your own
questions (Zhou et al. 2023, arXiv 2311.07911).
"""

from collections.abc import Iterable

from synth.constraints import check, constraints_of, split, validate
from synth.errors import DataError
from synth.evaluators.lines import content_id, read_lines
from synth.steps import Evaluator, Question

GROUPS = ("trained", "held_out")


class InstructionCheck(Evaluator):
    """Scores 1 where an answer meets all constraints of its question, else 0. Strict only: nothing but the
    white space around an answer is stripped.

    `path` is a JSONL file. Each line has `prompt` (what the student gets), `kind`, `constraints` (a list of
    `{"kind": ...}`) and `group`: "trained" where the training data has this kind, "held_out" where it hasn't.
    Other fields are carried along, e.g. for the teacher's prompt.
    """

    path: str

    def questions(self) -> Iterable[Question]:
        """Every line as one user turn, in file order.

        Raises:
            DataError: names file, line and mend.
        """
        for number, fields in read_lines(self.path, ("prompt", "kind")):
            where = f"{self.path}:{number}"
            if fields.get("group") not in GROUPS:
                raise DataError(where, f'"group" must be one of {", ".join(GROUPS)}; write it')
            try:
                for constraint in constraints_of(fields):
                    validate(*split(constraint))
            except ValueError as error:
                raise DataError(where, f"{error}") from error
            yield Question(
                id=content_id(fields),
                messages=[{"role": "user", "content": str(fields["prompt"])}],
                kind=str(fields["kind"]),
                fields=fields,
            )

    def grade(self, question: Question, answer: str) -> float:
        """1 where all constraints are met, else 0."""
        return float(check(answer, constraints_of(question.fields))[0])
