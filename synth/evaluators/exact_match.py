"""`exact_match`: is the final answer right? Extraction as for GSM8K (Cobbe et al. 2021, arXiv 2110.14168)."""

import re
from collections.abc import Iterable, Mapping

from synth.answers import number, reference_of, same_answer
from synth.errors import DataError
from synth.evaluators.lines import content_id, read_lines
from synth.steps import Evaluator, Question

STRICT = re.compile(r"#### (-?[0-9.,]+)")
FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
"""What lm-evaluation-harness takes for the answer to a GSM8K question: the first match, or the last one."""


class ExactMatch(Evaluator):
    """Scores 1 where the final answer equals the reference, else 0.

    `path` is a JSONL file with `question` and `answer`; the optional field `kind` groups the report. A
    reference may end in `#### 42`, as in GSM8K. `synth.answers.same_answer` says what counts as equal.

    Beside the score, where the reference is a number: `strict`, the number after the first `####`, and
    `flexible`, the last number of the answer, each compared as text without "," and "$", as GSM8K's two
    figures in lm-evaluation-harness are.
    """

    path: str

    def questions(self) -> Iterable[Question]:
        """Every line as one user turn, in file order.

        Raises:
            DataError: names file, line and mend.
        """
        for line, fields in read_lines(self.path, ("question", "answer")):
            if not isinstance(fields.get("kind", ""), str):
                raise DataError(f"{self.path}:{line}", '"kind" must be a text; put it in quotes')
            yield Question(
                id=content_id(fields),
                messages=[{"role": "user", "content": str(fields["question"])}],
                kind=str(fields.get("kind", "")),
                fields=fields,
            )

    def grade(self, question: Question, answer: str) -> float:
        """1 where the final answers are the same, else 0."""
        return float(same_answer(answer, str(question.fields["answer"])))

    def details(self, question: Question, answer: str) -> Mapping[str, float]:
        """`strict` and `flexible`, where the reference is a number."""
        reference = reference_of(str(question.fields["answer"]))
        if number(reference) is None:
            return {}
        strict, flexible = STRICT.search(answer), FLEXIBLE.findall(answer)
        return {
            "strict": float(strict is not None and _plain(strict[1]) == _plain(reference)),
            "flexible": float(bool(flexible) and _plain(flexible[-1]) == _plain(reference)),
        }


def _plain(text: str) -> str:
    return text.replace(",", "").replace("$", "").removesuffix(".")
