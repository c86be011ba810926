"""`existing`: rows that are there already, of any usual format, as records; nobody is asked."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from synth import formats
from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy
from synth.types import JSON, Ask, Record, Seed


class Existing(Strategy):
    """Takes each line of [seeds] path as a row, equal lines too: `synth curate PATH --recipe R` writes this.

    Formats: messages, ShareGPT, Alpaca, prompt and completion, preference pairs. Other columns become the
    row's `fields`, which filters such as `maths` read. A row's id is its number in the file.
    """

    numbers_lines: ClassVar[bool] = True

    samples: int = Field(default=1, ge=1, le=1)

    @property
    def askers(self) -> tuple[str, ...]:
        """Nobody."""
        return ()

    def missing(self, fields: frozenset[str]) -> str:
        """Nothing: lines are looked at one by one."""
        return ""

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row; rejected where the line is in no format that is known."""
        row, line = seed.fields["row"], seed.fields["line"]
        assert isinstance(row, int) and isinstance(line, Mapping)
        parsed = formats.parse(line)
        fields: dict[str, JSON] = dict(parsed.rest)
        if parsed.rejected:
            fields["rejected"] = [
                {"role": turn["role"], "content": turn["content"]} for turn in parsed.rejected
            ]
        if not any(turn["content"].strip() or turn.get("tool_calls") for turn in parsed.messages):
            raise Unusable("has no text")
        finish, model = parsed.rest.get("finish_reason"), parsed.rest.get("model")
        return [
            Record(
                messages=parsed.messages,
                seed_id=seed.id,
                id=f"{row:010d}",
                finish_reason=finish if isinstance(finish, str) else "stop",
                model=model if isinstance(model, str) else "",
                fields=fields,
                tools=parsed.tools,
            )
        ]
