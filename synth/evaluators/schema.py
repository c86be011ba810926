"""`schema`: is the answer the JSON object that was asked for? Its fields are counted as slots
are, after Makhoul et al. 1999, "Performance measures for information extraction".
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from synth import schemas
from synth.answers import json_of
from synth.errors import DataError
from synth.evaluators.lines import content_id, read_lines
from synth.steps import Evaluator, Question
from synth.types import JSON


class Schema(Evaluator):
    """Scores 1 where the answer is one JSON object that the schema allows and that says what the reference
    says, else 0.

    `path` is a JSONL file. Each line has `prompt` (what the student gets) and `answer` (the right object);
    its own `schema`, where the recipe names none; if wanted `kind`, and `group` ("trained" or "held_out"):
    both are reported apart. JSON may stand alone or in the one fenced block of a text. Texts are the same up
    to case, white space, an article in front and the marks at their ends; numbers are equal or not.
    """

    path: str
    json_schema: schemas.Schema | None = Field(default=None, alias="schema")
    """The path of a JSON file, or the schema itself as a table; a line's own `schema` goes before it."""
    score: Literal["exact", "valid"] = "exact"
    """What scores 1: an object that is valid and right in every field, or any that is valid. With `valid` a
    line needs no `answer`."""

    def questions(self) -> Iterable[Question]:
        """Every line as one user turn, in file order.

        Raises:
            DataError: names file, line and mend.
        """
        for number, fields in read_lines(self.path, ("prompt",)):
            where = f"{self.path}:{number}"
            for key in ("kind", "group"):
                if not isinstance(fields.get(key, ""), str):
                    raise DataError(where, f'"{key}" must be a text; put it in quotes')
            try:
                schema = self._schema(fields)
            except ValueError as error:
                raise DataError(where, f'"schema" {error}') from error
            if "answer" in fields or self.score == "exact":
                _check_reference(where, schema, fields.get("answer"))
            yield Question(
                id=content_id(fields),
                messages=[{"role": "user", "content": str(fields["prompt"])}],
                kind=str(fields.get("kind", "")),
                fields=fields,
            )

    def grade(self, question: Question, answer: str) -> float:
        """1 where the object is valid and, unless `score` is "valid", right in every field; else 0."""
        return self._measured(question, answer)[self.score]

    def details(self, question: Question, answer: str) -> Mapping[str, float]:
        """What is shown beside the score: of `valid` and `exact` the other; `precision`, `recall`, `f1`.

        Without a reference `valid` alone is known. Precision is the share of the answer's fields that are
        right, recall that of the reference's; each item of a list counts, in any order. An object that breaks
        the schema may still have right fields; what is no object has none, and all three are 0.
        """
        measured = self._measured(question, answer)
        return {name: value for name, value in measured.items() if name != self.score}

    def _measured(self, question: Question, answer: str) -> dict[str, float]:
        try:
            said = json_of(answer)
        except ValueError:
            said = None
        schema = self._schema(question.fields)
        valid = isinstance(said, Mapping) and not schemas.violation(schema, said)
        measured = {"valid": float(valid)}
        if isinstance(reference := question.fields.get("answer"), Mapping):
            wanted = Counter(_fields(reference))
            given = Counter(_fields(said)) if isinstance(said, Mapping) else Counter()
            right = (wanted & given).total()
            measured |= {
                "exact": float(valid and given == wanted),
                "precision": right / max(1, given.total()),
                "recall": right / wanted.total(),
                "f1": 2 * right / (given.total() + wanted.total()),
            }
        return measured

    def _schema(self, fields: Mapping[str, JSON]) -> Mapping[str, Any]:
        """The line's own schema, else the recipe's."""
        if "schema" in fields:
            return schemas.own(fields["schema"])
        if self.json_schema is None:
            raise ValueError("is missing; write one in the line, or name one in the recipe")
        return self.json_schema


def _check_reference(where: str, schema: Mapping[str, Any], answer: JSON) -> None:
    if not isinstance(answer, Mapping) or not answer:
        mend = 'add it, or score = "valid" to the recipe' if answer is None else "write {...}"
        raise DataError(where, f'needs "answer", an object with at least one field; {mend}')
    if reason := schemas.violation(schema, answer):
        raise DataError(where, f'"answer" {reason}; mend one of them')


def _fields(value: object, path: str = "$") -> Iterator[tuple[str, str, object]]:
    """Each value that holds no other, with its place and kind; items of a list share their place."""
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _fields(part, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for part in value:
            yield from _fields(part, f"{path}[]")
    elif isinstance(value, str):
        words = value.casefold().split()
        text = " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)
        yield path, "text", text.strip(" .,;:!?\"'") or text
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, "number", float(value)
    else:
        yield path, "other", repr(value)
