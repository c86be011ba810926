"""`self_instruct`: new tasks from examples of others, and for each of them inputs and outputs.

Wang et al. 2022, arXiv 2212.10560: eight tasks in the prompt, two of them the model's own; new ones are
dropped by length, wording, kind and ROUGE-L; classification tasks get their label first, others their input.
"""

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.strategies.grounded_qa import fold
from synth.types import Ask, Reply, Seed

ITEM = re.compile(r"^[\s*]*(?:task\s*)?\d+[.):]\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
UNSUITED = re.compile(
    r"\b(images?|graphs?|pictures?|photos?|files?|maps?|draw|plot|go to|videos?|audio|music)\b", re.IGNORECASE
)
PART = re.compile(r"^[\W_]*(input|output|label)[*_ ]*:[*_ \t]*", re.IGNORECASE | re.MULTILINE)
YES_OR_NO = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
NOTHING = re.compile(r"\W*(none|n/?a|no input|empty)?\W*", re.IGNORECASE)


class SelfInstruct(Strategy):
    """Proposes `per_seed` new tasks from the seed's `examples`, and makes `instances` of each.

    Needs `[seeds] sample` (the paper: 8), over lines that have the field `instruction`; and [novelty],
    without which the pool doesn't grow and only exact repeats are found. Requests: one a seed and two a new
    task. Yields `per_seed` x `instances` rows, with the fields `instruction`, `input` and `classification`.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "classify_prompt", "input_prompt", "output_prompt")

    per_seed: int = Field(default=4, gt=0)
    """New tasks asked from one set of examples."""
    instances: int = Field(default=1, gt=0, le=5)
    """Examples of a new task at most."""
    machine: int = Field(default=2, ge=0)
    """So many of the examples at most give way to tasks that this run came up with; fewer at its start."""
    prompt: str = "self_instruct/propose"
    """Gets `examples` (a list of tasks) and `count`; its reply is a numbered list."""
    classify_prompt: str = "self_instruct/classify"
    """Gets `instruction`; its reply is yes or no."""
    input_prompt: str = "self_instruct/input_first"
    """Gets `instruction` and `instances`; its reply has lines `Input:` and `Output:`."""
    output_prompt: str = "self_instruct/output_first"
    """The same for classification; in its reply `Output:` comes before `Input:`."""
    field: str = "instruction"
    """The field of the examples that holds a task."""

    @property
    def rows_per_seed(self) -> int:
        """`per_seed` x `instances`."""
        return self.per_seed * self.instances

    @property
    def adds(self) -> frozenset[str]:
        """The task, its input, and whether it is a classification."""
        return frozenset({"instruction", "input", "classification"})

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """Not the seed's fields: the numbered examples, then one task."""
        asked = frozenset({"instruction", "instances"})
        return {
            self.prompt: frozenset({"examples", "count"}),
            self.classify_prompt: frozenset({"instruction"}),
            self.input_prompt: asked,
            self.output_prompt: asked,
        }

    def missing(self, fields: frozenset[str]) -> str:
        """Seeds must be samples."""
        return "" if "examples" in fields else "needs seeds with `examples`; set [seeds] sample = 8"

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """Rows for the tasks that are new and suited; the others with the reason why not.

        Raises:
            Unusable: the seed has no examples, or the reply no numbered task.
        """
        human = self._examples(seed)
        own = ask.earlier(self.machine)
        examples = [*human[: len(human) - len(own)], *own]
        random.Random(seed.id).shuffle(examples)
        reply = await ask(prompts.render(self.prompt, {"examples": examples, "count": self.per_seed}))
        found = [text.strip("* ") for text in ITEM.findall(reply.text)]
        if reply.cut and found:
            found.pop()  # the last one was cut
        if not found:
            raise Unusable("no numbered task in the reply")
        rows = await asyncio.gather(
            *(self._rows(text, reply, seed, ask, prompts) for text in self._new(found, human, ask))
        )
        return [row for several in rows for row in several]

    def _new(self, found: Sequence[str], human: Sequence[str], ask: Ask) -> "list[str | Unusable]":
        """Each task, or why it is not taken."""
        seen = {fold(text) for text in human}
        tasks: list[str | Unusable] = []
        for text in found[: self.per_seed]:
            reason = unsuited(text, seen)
            seen.add(fold(text))
            tasks.append(Unusable(reason) if reason else text)
        suited = [at for at, task in enumerate(tasks) if isinstance(task, str)]
        for at, repeated in zip(suited, ask.repeats([str(tasks[at]) for at in suited], human), strict=True):
            if repeated is not None:
                tasks[at] = repeated
        return tasks

    async def _rows(
        self, task: str | Unusable, proposed: Reply, seed: Seed, ask: Ask, prompts: Prompts
    ) -> list[Row]:
        """The rows of one task, as many as were planned of it."""
        try:
            if isinstance(task, Unusable):
                raise task
            told = {"instruction": task, "instances": self.instances}
            kind = await ask(prompts.render(self.classify_prompt, told), temperature=0.0, max_tokens=3)
            if (said := YES_OR_NO.match(kind.text)) is None:
                raise Unusable("neither yes nor no in the reply")
            labelled = said[1].lower() == "yes"
            prompt = self.output_prompt if labelled else self.input_prompt
            reply = await ask(prompts.render(prompt, told), temperature=0.0)
            pairs = instances(reply)[: self.instances]
        except (RequestFailed, Unusable) as failed:
            return [failed] * self.instances
        version = prompts.file(self.prompt).version
        made: list[Row] = []
        for given, output in pairs:
            question = f"{task}\n\n{given}" if given else task
            row = answered(
                [{"role": "user", "content": question}],
                replace(reply, text=output, finish_reason="stop"),  # one that was cut is not among them
                prompt=version,
                seed=seed,
            )
            fields = {"instruction": task, "input": given, "classification": labelled}
            made.append(replace(row, fields=fields, replies=(proposed.key, kind.key, reply.key)))
        return made + [Unusable("fewer instances than asked")] * (self.instances - len(made))

    def _examples(self, seed: Seed) -> list[str]:
        examples = seed.fields.get("examples")
        if not isinstance(examples, list):
            raise Unusable("the seed has no examples")
        texts = [example.get(self.field) for example in examples if isinstance(example, Mapping)]
        if len(texts) < len(examples) or not all(isinstance(text, str) for text in texts):
            raise Unusable(f"an example has no text in `{self.field}`")
        return [re.sub(r"\s+", " ", str(text)).strip().rstrip(":") for text in texts]


def instances(reply: Reply) -> list[tuple[str, str]]:
    """The pairs of input ("" where the task needs none) and output in a reply, by the paper's rules.

    Raises:
        Unusable: there is none; or two outputs of the same input differ, which spoils the task.
    """
    pieces = PART.split(reply.text)[1:]
    parts = [(name.lower(), text.strip()) for name, text in zip(pieces[::2], pieces[1::2], strict=True)]
    if reply.cut and parts:
        parts.pop()
    pairs = []
    for (one, text), (other, more) in zip(parts[::2], parts[1::2], strict=False):
        if (one == "input") == (other == "input"):
            raise Unusable("inputs and outputs don't alternate")
        given, output = (text, more) if one == "input" else (more, text)
        pairs.append(("" if NOTHING.fullmatch(given) else given, output))
    sound = [
        (given, output)
        for given, output in dict.fromkeys(pairs)
        if output and given != output and not given.endswith(":") and not output.endswith(":")
    ]
    if not sound:
        raise Unusable("no sound instance in the reply")
    if len({given for given, _ in sound}) < len(sound):
        raise Unusable("the same input has different outputs")
    return sound


def unsuited(text: str, known: set[str]) -> str:
    """Why a task is not taken, by the paper's rules; "" where it is."""
    words = len(text.split())
    if words <= 3 or words > 150:
        return "instruction of at most 3 or over 150 words"
    if UNSUITED.search(text):
        return "instruction needs what a text model has not"
    if text.lower().startswith("write a program"):
        return "instruction asks for a program"
    if not text[0].isalnum():
        return "instruction begins with no letter"
    if fold(text) in known:
        return "instruction repeats an example"
    return ""
