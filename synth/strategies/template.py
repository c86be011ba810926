"""`template`: one prompt file, one answer a seed; no Python needed. With another prompt file for what the
student shall see, it is prompt distillation (context distillation, Askell et al. 2021, arXiv 2112.00861).
"""

from typing import ClassVar

from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.types import Ask, Seed


class Template(Strategy):
    """Fills a prompt file with each seed and keeps the reply.

    Needs seeds that have every variable of its prompt files. Yields one row a sample.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "student_prompt")

    prompt: str
    """The prompt file that the teacher gets."""
    student_prompt: str | None = None
    """The prompt file whose turns are stored in the row; the teacher's by default."""

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row: the student's turns and the teacher's reply."""
        reply = await ask(prompts.render(self.prompt, seed.fields))
        turns = prompts.render(self.student_prompt or self.prompt, seed.fields)
        return [answered(turns, reply, prompt=prompts.file(self.prompt).version, seed=seed)]
