"""`exact_match`: is the final answer right? Extraction as for GSM8K (Cobbe et al. 2021, arXiv 2110.14168)."""

from collections.abc import Iterable

from synth.answers import same_answer
from synth.errors import DataError
from synth.evaluators.lines import content_id, read_lines
from synth.steps import Evaluator, Question


class ExactMatch(Evaluator):
    """Scores 1 where the final answer equals the reference, else 0.

    `path` is a JSONL file with `question` and `answer`; the optional field `kind` groups the report. A
    reference may end in `#### 42`, as in GSM8K. `synth.answers.same_answer` says what counts as equal.
    """

    path: str

    def questions(self) -> Iterable[Question]:
        """Every line as one user turn, in file order.

        Raises:
            DataError: names file, line and mend.
        """
        for number, fields in read_lines(self.path, ("question", "answer")):
            if not isinstance(fields.get("kind", ""), str):
                raise DataError(f"{self.path}:{number}", '"kind" must be a text; put it in quotes')
            yield Question(
                id=content_id(fields),
                messages=[{"role": "user", "content": str(fields["question"])}],
                kind=str(fields.get("kind", "")),
                fields=fields,
            )

    def grade(self, question: Question, answer: str) -> float:
        """1 where the final answers are the same, else 0."""
        return float(same_answer(answer, str(question.fields["answer"])))
