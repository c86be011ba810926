"""`multiple_choice`: does a model find the right answer the likeliest? Normalised as lm-evaluation-harness
does (Gao et al. 2021, doi:10.5281/zenodo.5371628).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from synth.errors import DataError
from synth.evaluators.bases import Likelihood, LikelihoodEvaluator
from synth.evaluators.lines import content_id, read_lines
from synth.steps import Graded, Question
from synth.types import JSON, Message


class MultipleChoice(LikelihoodEvaluator):
    """Scores 1 where the right choice is the likeliest, by the log-likelihood of its tokens as an answer.

    `path` is a JSONL file with `question`, `choices` (two texts or more) and `answer`: a choice's index from
    0, its letter from A, or its text; the optional field `kind` groups the report. The choices aren't shown
    to the model unless the question names them. The token that ends an answer is left out.
    """

    path: str
    per: Literal["byte", "character", "token", "answer"] = "byte"
    """What log-likelihoods are divided by before they are compared: longer choices are less likely as such.
    "answer" divides by nothing. The others are shown beside the score."""

    def questions(self) -> Iterable[Question]:
        """Every line as one user turn, in file order.

        Raises:
            DataError: names file, line and mend.
        """
        for number, fields in read_lines(self.path, ("question",)):
            where = f"{self.path}:{number}"
            choices = _choices(where, fields)
            yield Question(
                id=content_id(fields),
                messages=[{"role": "user", "content": str(fields["question"])}],
                kind=str(fields.get("kind", "")),
                fields={**fields, "choices": choices, "answer": _right(where, fields.get("answer"), choices)},
            )

    def conversations(self, question: Question, prompt: Sequence[Message]) -> list[list[Message]]:
        """The prompt with each choice as its answer."""
        return [[*prompt, {"role": "assistant", "content": choice}] for choice in _texts(question)]

    def weigh(self, question: Question, found: Sequence[Likelihood]) -> Graded:
        """1 where the right choice is the likeliest, else 0; the first of equal ones counts."""
        choices, answers = _texts(question), [turns[-1][:-1] for turns in found]
        sizes: Mapping[str, list[int]] = {
            "byte": [len(choice.encode()) for choice in choices],
            "character": [len(choice) for choice in choices],
            "token": [len(answer) for answer in answers],
            "answer": [1] * len(choices),
        }
        chosen = {}
        for per, by in sizes.items():
            weighed = [sum(answer) / size for answer, size in zip(answers, by, strict=True)]
            chosen[per] = weighed.index(max(weighed))
        details = {f"per_{per}": float(at == question.fields["answer"]) for per, at in chosen.items()}
        return Graded(details[f"per_{self.per}"], details, choices[chosen[self.per]], sum(sizes["token"]))


def _texts(question: Question) -> list[str]:
    choices = question.fields["choices"]
    assert isinstance(choices, list)
    return [str(choice) for choice in choices]


def _choices(where: str, fields: Mapping[str, JSON]) -> list[str]:
    choices = fields.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        raise DataError(where, 'needs "choices", a list of two texts or more; add them')
    texts = [choice.strip() if isinstance(choice, str) else "" for choice in choices]
    if not all(texts) or len(set(texts)) < len(texts):
        raise DataError(where, '"choices" must be texts, none empty or like another; mend them')
    return texts


def _right(where: str, answer: JSON, choices: Sequence[str]) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    if isinstance(answer, str):
        if answer.strip() in choices:
            return choices.index(answer.strip())
        at = ord(answer.strip().upper()) - ord("A") if len(answer.strip()) == 1 else -1
        if 0 <= at < len(choices):
            return at
    last = len(choices) - 1
    mend = f"write an index from 0 to {last}, a letter from A to {chr(ord('A') + last)}, or a choice"
    raise DataError(where, f'"answer" names no choice, it is {answer!r}; {mend}')
