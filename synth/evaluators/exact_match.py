"""`exact_match`: is the final answer right? Extraction as for GSM8K (Cobbe et al. 2021, arXiv 2110.14168)."""

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from synth.errors import DataError
from synth.evaluators.lines import content_id, read_lines
from synth.steps import Evaluator, Question

MARKED = re.compile(r"####[ \t]*(\S[^\n]*)")
NUMBER = re.compile(r"(?<![\w.])-?\$?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?![\d])")


class ExactMatch(Evaluator):
    """Scores 1 where the final answer equals the reference, else 0.

    `path` is a JSONL file with `question` and `answer`; the optional field `kind` groups the report. A
    reference may end in `#### 42`, as in GSM8K. Where the reference is a number, the answer's is what stands
    after its last `####`, else its last number, compared without "," and "$". Other references must equal
    the whole answer, or what stands after `####`, up to case, white space, articles and a full stop.
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
        reference = marked(str(question.fields["answer"]))
        value = number(reference)
        if value is not None:
            return float(last_number(answer) == value)
        return float(normalised(marked(answer)) == normalised(reference) != "")


def marked(text: str) -> str:
    """What stands after the last `####` on its line, else the whole text."""
    found = MARKED.findall(text)
    return str(found[-1]).strip() if found else text.strip()


def number(text: str) -> Decimal | None:
    """A text that is one number, as "$1,234.50" or "18." are; None where it is anything else."""
    try:
        value = Decimal(re.sub(r"[,$\s]", "", text).rstrip("."))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def last_number(answer: str) -> Decimal | None:
    """The number after the last `####`, else the answer's last number, else None."""
    found = NUMBER.findall(marked(answer))
    return number(found[-1]) if found else None


def normalised(text: str) -> str:
    """Lower case, single spaces, without articles and the marks around it."""
    words = re.sub(r"\b(?:a|an|the)\b", " ", text.lower().strip(" .,;:!?\"'\n")).split()
    return " ".join(words)
