"""`instruction_check`: are verifiable instructions followed? IFEval's scores (Zhou et al. 2023, arXiv
2311.07911), on its own questions or on yours.
"""

from collections.abc import Iterable, Mapping, Sequence

from synth.constraints import Arguments, constraints_of, satisfied, split, validate
from synth.errors import DataError
from synth.evaluators.ifeval import KINDS, met, readings
from synth.evaluators.lines import content_id, read_lines
from synth.steps import Evaluator, Question
from synth.types import JSON

GROUPS = ("trained", "held_out")
IDS = "instruction_id_list"
"""The field that tells a line of IFEval's own file."""


class InstructionCheck(Evaluator):
    """Scores 1 where an answer meets all instructions of its question as it is written, else 0: IFEval's
    prompt-level strict score. Beside it stand the loose score and the shares of instructions that were met.

    `path` is a JSONL file of two forms of lines. Ours has `prompt` (what the student gets), `kind`,
    `constraints` (a list of `{"kind": ...}`, the kinds of `synth.constraints`) and `group`: "trained" where
    the training data has this kind, "held_out" where it hasn't. IFEval's own has `prompt`,
    `instruction_id_list` and `kwargs`, an object of arguments for each id; `group` may be added. Other fields
    are carried along, e.g. for the teacher's prompt.
    """

    path: str

    def questions(self) -> Iterable[Question]:
        """Every line as one user turn, in file order.

        Raises:
            DataError: names file, line and mend.
        """
        for number, fields in read_lines(self.path, ("prompt",)):
            where = f"{self.path}:{number}"
            try:
                kind = _valid(fields)
            except ValueError as error:
                raise DataError(where, f"{error}") from error
            yield Question(
                id=content_id(fields),
                messages=[{"role": "user", "content": str(fields["prompt"])}],
                kind=kind,
                fields=fields,
            )

    def grade(self, question: Question, answer: str) -> float:
        """1 where all instructions are met, else 0."""
        return float(all(_followed(question.fields, [answer])))

    def details(self, question: Question, answer: str) -> Mapping[str, float]:
        """Figures beside the score, each from 0 to 1. `loose`: each instruction is met by some reading of
        the answer (`ifeval.readings`). `instructions_strict` and `instructions_loose`: the share of the
        question's instructions that are met.
        """
        strict = _followed(question.fields, [answer])
        loose = _followed(question.fields, readings(answer))
        return {
            "loose": float(all(loose)),
            "instructions_strict": sum(strict) / len(strict),
            "instructions_loose": sum(loose) / len(loose),
        }


def _valid(fields: Mapping[str, JSON]) -> str:
    """The kind under which a question is reported; ValueError, with the mend, where its line is wrong."""
    group = fields.get("group")
    if IDS in fields:
        if group is not None and group not in GROUPS:
            raise ValueError(f'"group" must be one of {", ".join(GROUPS)}; correct it or leave it out')
        instructions = _instructions(fields)
        for each, args in instructions:
            validate(each, args, KINDS)
        return instructions[0][0] if len(instructions) == 1 else f"{len(instructions)} instructions"
    kind = fields.get("kind")
    if not (isinstance(kind, str) and kind.strip()):
        raise ValueError(f'needs the text field "kind", or as a line of IFEval the list "{IDS}"; add it')
    if group not in GROUPS:
        raise ValueError(f'"group" must be one of {", ".join(GROUPS)}; write it')
    for constraint in constraints_of(fields):
        validate(*split(constraint))
    return kind


def _instructions(fields: Mapping[str, JSON]) -> list[tuple[str, Arguments]]:
    """The ids of a line of IFEval, each with its arguments; null ones, as tables fill in, are dropped."""
    ids, given = fields.get(IDS), fields.get("kwargs")
    if not (isinstance(ids, list | tuple) and ids and all(isinstance(kind, str) for kind in ids)):
        raise ValueError(f'needs "{IDS}", a list of at least one id; add it')
    if not (isinstance(given, list | tuple) and len(given) == len(ids)):
        raise ValueError(f'needs "kwargs", a list of one object for each of the {len(ids)} ids; add it')
    instructions: list[tuple[str, Arguments]] = []
    for kind, args in zip(ids, given, strict=True):
        if not isinstance(args, Mapping):
            raise ValueError(f'"kwargs" must hold objects, but one is {args!r}; write {{}} for no arguments')
        instructions.append((str(kind), {key: arg for key, arg in args.items() if arg is not None}))
    return instructions


def _followed(fields: Mapping[str, JSON], texts: Sequence[str]) -> list[bool]:
    """For each instruction of a question whether one of the texts meets it."""
    if IDS in fields:
        return [any(met(text, *pair) for text in texts) for pair in _instructions(fields)]
    return [any(satisfied(text, *split(c)) for text in texts) for c in constraints_of(fields)]
