"""`persona`: a task that a certain person would bring, and its answer; with constraints that code can check.

Ge et al. 2024, arXiv 2406.20094 (Persona Hub): a persona, found in a text or given, steers what is asked.
Lambert et al. 2024, arXiv 2411.15124 (Tulu 3, persona IF): one to three checkable constraints join the task.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, TypeAlias

from pydantic import Field, field_validator

from synth.constraints import constraints_of
from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered, must_be_new
from synth.strategies.grounding import copied
from synth.types import JSON, Ask, Reply, Seed

Constraint: TypeAlias = Mapping[str, JSON]
Count = Annotated[int, Field(ge=1, le=5)]
FEW: Sequence[JSON] = (2, 3, 4)
AMOUNT: Mapping[str, Sequence[JSON]] = {"relation": ("at least", "at most"), "count": (30, 50, 80)}

DRAWN: Mapping[str, Mapping[str, Sequence[JSON]]] = {
    "lowercase": {},
    "uppercase": {},
    "quotation": {},
    "no_comma": {},
    "start_phrase": {"phrase": ("Let us see.", "Here is what I think.", "That is a fair question.")},
    "end_phrase": {"phrase": ("That is the whole of it.", "Take your time.", "Tell me how it went.")},
    "title": {},
    "bullet_count": {"count": FEW},
    "numbered_list": {"count": FEW},
    "keywords": {"keywords": (["reason"], ["example"], ["first", "last"], ["easy", "hard"])},
    "forbidden_words": {"words": (["very"], ["really", "quite"], ["always", "never"])},
    "word_count": AMOUNT,
    "sentence_count": {**AMOUNT, "count": FEW},
    "paragraph_count": {"count": FEW},
    "placeholder_count": {"count": (1, 2)},
    "postscript": {"marker": ("P.S.", "PPS:")},
    "json_format": {},
    "highlight_count": {"count": (1, 2)},
    "two_responses": {},
}
"""The kinds of `synth.constraints` that are drawn, and the values that each argument may take. The words for
them stand in `prompts/persona/words.jinja`."""

CONFLICTS: Mapping[str, str] = {
    "lowercase": "uppercase start_phrase end_phrase postscript",
    "uppercase": "start_phrase end_phrase",
    "quotation": "start_phrase end_phrase title json_format two_responses bullet_count numbered_list",
    "title": "start_phrase json_format paragraph_count",
    "postscript": "end_phrase json_format paragraph_count sentence_count two_responses",
    "json_format": "start_phrase end_phrase bullet_count numbered_list paragraph_count sentence_count "
    "no_comma",
    "bullet_count": "numbered_list sentence_count paragraph_count",
    "numbered_list": "sentence_count paragraph_count",
    "two_responses": "start_phrase end_phrase title json_format bullet_count numbered_list paragraph_count "
    "sentence_count word_count",
}
"""Kinds that no answer can meet together, or of which a reader can't tell how; each pair stands once."""


class Persona(Strategy):
    """Has the teacher write the task of a persona, then answer it without knowing the persona.

    Needs seeds with the field `persona`; or `persona_prompt`, and what that file reads (a `text`). Yields one
    row a sample: task and constraints in words, and the answer. Its fields are the seed's, the `persona` and,
    where constraints are drawn, `constraints` as the filter of that name reads them: the seed's own first.
    """

    prompts_used: ClassVar[tuple[str, ...]] = (
        "persona_prompt",
        "prompt",
        "answer_prompt",
        "examples_prompt",
    )

    persona_prompt: str | None = None
    """A prompt file that makes the persona of the seed's fields: `persona/from_text`, or one of your own that
    reads another `persona` and names somebody close to it."""
    prompt: str = "persona/task"
    """Gets the seed's fields and `persona`."""
    answer_prompt: str = "persona/answer"
    """Gets `instruction` and `constraints` (a list, may be empty); its turns are stored in the row."""
    examples_prompt: str | None = None
    """Worked examples before the turns of `answer_prompt` where they are answered, and not stored: a student
    learns to do without them. Gets `constraints`; `persona/examples` shows those that were drawn."""
    constraints: tuple[Count, Count] | None = None
    """Fewest and most constraints to draw, such as [1, 3]; the seed decides how many and which."""

    @field_validator("constraints")
    @classmethod
    def _ordered(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value and value[0] > value[1]:
            raise ValueError("the fewest stand first, then the most; write [1, 3]")
        return value

    @property
    def adds(self) -> frozenset[str]:
        """The persona, and the constraints where they are drawn."""
        return frozenset({"persona"} | ({"constraints"} if self.constraints else set()))

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """Each file what the step before it made."""
        own = {
            self.prompt: fields | {"persona"},
            self.answer_prompt: frozenset({"instruction", "constraints"}),
        }
        shown = {self.examples_prompt: frozenset({"constraints"})} if self.examples_prompt else {}
        return own | shown | ({self.persona_prompt: fields} if self.persona_prompt else {})

    def missing(self, fields: frozenset[str]) -> str:
        """A persona must come from somewhere."""
        if self.persona_prompt or "persona" in fields:
            return ""
        return 'needs seeds with `persona`; or set persona_prompt = "persona/from_text" for seeds with `text`'

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row.

        Raises:
            Unusable: the persona or the task is empty or was cut, the answer copies a worked example, or the
                seed's own constraints are no list.
        """
        replies: list[Reply] = []
        persona = seed.fields.get("persona")
        if not self.persona_prompt and not isinstance(persona, str):
            raise Unusable("the seed has no persona")
        if self.persona_prompt:
            replies.append(await ask(prompts.render(self.persona_prompt, seed.fields)))
            persona = _whole(replies[-1], "persona")
        fields: dict[str, JSON] = {**seed.fields, "persona": persona}
        replies.append(await ask(prompts.render(self.prompt, fields)))
        task = _whole(replies[-1], "task")
        must_be_new(ask, task)
        asked = self._constraints(seed)
        turns = prompts.render(self.answer_prompt, {"instruction": task, "constraints": asked})
        shown = prompts.render(self.examples_prompt, {"constraints": asked}) if self.examples_prompt else []
        replies.append(await ask([*shown, *turns]))
        if copied(replies[-1].text, [*shown, *turns]):
            raise Unusable("the answer copies a worked example")
        version = prompts.file(self.prompt).version
        row = answered(turns, replies[-1], prompt=version, seed=seed, replies=replies)
        return [replace(row, fields={**fields, "constraints": asked} if asked else fields)]

    def _constraints(self, seed: Seed) -> list[Constraint]:
        """The seed's own constraints and, after them, those that are drawn."""
        try:
            own = constraints_of(seed.fields) if "constraints" in seed.fields else []
        except ValueError as error:
            raise Unusable(f"the seed's constraints: {error}") from error
        return [*own, *draw(seed.id, self.constraints, own)] if self.constraints else own


def draw(key: str, between: tuple[int, int], own: Sequence[Constraint] = ()) -> list[Constraint]:
    """Constraints that agree with each other and with `own`, always the same for a `key`."""
    rng = random.Random(f"constraints:{key}")
    number = rng.randint(*between)
    taken = [str(constraint.get("kind")) for constraint in own]
    drawn: list[Constraint] = []
    for kind in rng.sample(sorted(DRAWN), len(DRAWN)):
        values = {name: rng.choice(choices) for name, choices in DRAWN[kind].items()}
        if len(drawn) < number and not any(conflict(kind, other) for other in taken):
            drawn.append({"kind": kind, **values})
            taken.append(kind)
    return drawn


def conflict(one: str, other: str) -> bool:
    """Whether two kinds can't be asked together; a kind can't with itself."""
    return one == other or other in CONFLICTS.get(one, "").split() or one in CONFLICTS.get(other, "").split()


def _whole(reply: Reply, what: str) -> str:
    """The text of a reply, out of the quotation marks that it may stand in."""
    text = reply.text.strip()
    if text.startswith('"') and text.find('"', 1) == len(text) - 1:
        text = text[1:-1].strip()
    if reply.cut:
        raise Unusable(f"the {what} was cut")
    if not text:
        raise Unusable(f"the {what} is empty")
    return text
