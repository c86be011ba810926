"""`evol_instruct`: an instruction made harder, or rarer, round by round; each round is answered and is a row.

Xu et al. 2023, arXiv 2304.12244 (WizardLM): five in-depth operations and one in-breadth, drawn alike, four
rounds, and elimination of what did not become a better instruction.
"""

import hashlib
import math
import re
from collections.abc import Container
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.strategies.grounding import grounded, runs
from synth.types import Ask, Capability, Message, Record, Sampling, Seed

DEPTH = ("constraint", "deepen", "concretise", "reasoning", "complicate")
LEAKED = re.compile(
    r"\b(given|rewritten|created|evolved|changed)\W(prompt|instruction)\b|<<<|>>>", re.IGNORECASE
)
RUN = 6
"""So many words in a row of its prompt, that the instruction before has not, make an evolved one a copy."""
ORDERS = (
    "Choose|Compare|Compute|Correct|Describe|Design|Draw|Explain|Find|Fix|Give|List|Make|Name|Plan|Rewrite|Say|"
    "Show|Solve|Suggest|Summarise|Tell|Translate|Work out|Write"
)
ASKS = (
    "How (are|can|could|did|do|does|is|long|many|much|should|would)|Wh(at|en|ere|ich|o|y) (are|can|could|did|"
    "do|does|happens|is|kinds?|makes|should|two|three|was|were|would)"
)
GUIDE = rf"(({ORDERS})( [^\s.?!]+){{2,30}}\.|({ASKS})( [^\s.?!]+){{2,30}}\?)"
"""An evolved instruction where it is guided: one sentence that begins as instructions and questions do.

Words are counted, not letters: vLLM gives up a bound of 180 letters after 5 s, this takes 0.05 s."""
VERDICT = re.compile(r"\b(not equal|different|equal)\b", re.IGNORECASE)
WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
STOP_WORDS = frozenset(
    WORD.findall("""
    a about after all also am an and any are as at be because been before being but by can could
    did do does doing done for from had has have having he her here hers him his how i if in into is
    it it's its just me might more most my no nor not now of off on once only or other our out over
    own same shall she should so some such than that the their them then there these they this those
    though through to too under until up us very was we were what when where which while who whom
    why will with would you your yours
    """)
)


class EvolInstruct(Strategy):
    """Evolves the seed's instruction `rounds` times and answers each evolved one by itself.

    Needs seeds with the text `field`. Yields a row a round; its `parents` name the row whose instruction it
    was made of, none where that is the seed's. A round that is eliminated is a rejected row with the rule as
    its reason, and the next begins where it began, with an operation that was not tried there. Operations are
    drawn by a hash of the seed's id, the round and the instruction: samples of a seed share the first.

    `generate` raises `Unusable` where the seed has no instruction; all its rows are then rejected.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("breadth_prompt", "answer_prompt", "compare_prompt")

    rounds: int = Field(default=4, gt=0)
    """Rows of a seed, each made of the one before."""
    breadth: float = Field(default=1 / 6, ge=0, le=1)
    """Share of rounds that make another instruction of the field; the in-depth ones share the rest alike."""
    temperature: float = Field(default=1.0, ge=0)
    """Of the rewriting; answers are sampled as the recipe's [teacher] says."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Of the rewriting."""
    compare: bool = True
    """Ask the teacher whether an evolved instruction says more than the one before: one request a round."""
    guided: bool = False
    """Let an evolved instruction be one sentence that begins as instructions and questions do, by guided
    decoding: for a small teacher, which answers where it should rewrite. In English alone."""
    field: str = "instruction"
    """The field of the seed that holds the first instruction."""
    depth_prompts: tuple[str, ...] = Field(
        default=tuple(f"evol_instruct/{name}" for name in DEPTH), min_length=1
    )
    """A prompt file an in-depth operation; each gets `instruction`."""
    breadth_prompt: str = "evol_instruct/breadth"
    """Gets `instruction`."""
    answer_prompt: str = "evol_instruct/answer"
    """Gets `instruction`, the evolved one."""
    compare_prompt: str = "evol_instruct/compare"
    """Gets `before` and `after`; its reply must hold "equal" or "different"."""

    @property
    def needs(self) -> frozenset[Capability]:
        """Guided decoding, where it is asked for."""
        return frozenset({"regex"} if self.guided else ())

    @property
    def rows_per_seed(self) -> int:
        """`rounds`."""
        return self.rounds

    def prompt_names(self) -> list[str]:
        """Those of the in-depth operations too."""
        return [*super().prompt_names(), *self.depth_prompts]

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """Not the seed's fields: one instruction, or two to compare."""
        return {
            **dict.fromkeys(self.prompt_names(), frozenset({"instruction"})),
            self.compare_prompt: frozenset({"before", "after"}),
        }

    def missing(self, fields: frozenset[str]) -> str:
        """The instruction to begin with."""
        return "" if self.field in fields else f"needs seeds with `{self.field}`; or set field"

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """A row a round, in their order."""
        current = seed.fields.get(self.field)
        if not isinstance(current, str) or not current.strip():
            raise Unusable(f"the seed has no text in `{self.field}`")
        rows: list[Row] = []
        parents: tuple[str, ...] = ()
        tried: set[str] = set()
        for number in range(self.rounds):
            prompt = self.operation(seed.id, number, current, tried)
            tried.add(prompt)
            try:
                record = await self._evolved(current, prompt, seed, ask, prompts)
            except (Unusable, RequestFailed) as reason:
                rows.append(reason)
                continue
            rows.append(replace(record, parents=parents))
            current, parents, tried = record.question, (f"#{number}",), set()
        return rows

    def operation(self, seed_id: str, number: int, instruction: str, tried: Container[str] = ()) -> str:
        """The prompt file of a round, the same whenever it is asked; none of `tried` while others are left.

        A weighted draw without replacement (Efraimidis & Spirakis 2006): the greatest log(u) / weight wins.
        """
        share = (1 - self.breadth) / len(self.depth_prompts)
        weights = {self.breadth_prompt: self.breadth, **dict.fromkeys(self.depth_prompts, share)}
        names = [name for name, weight in weights.items() if weight]

        def rank(name: str) -> float:
            digest = hashlib.sha256(f"{seed_id}:{number}:{instruction}:{name}".encode()).digest()
            return math.log((int.from_bytes(digest[:6], "big") + 1) / 2**48) / weights[name]

        return max([name for name in names if name not in tried] or names, key=rank)

    async def _evolved(self, before: str, prompt: str, seed: Seed, ask: Ask, prompts: Prompts) -> Record:
        """The row of one round, or `Unusable` with the rule that eliminates it."""
        turns = prompts.render(prompt, {"instruction": before})
        sampling: Sampling = {"temperature": self.temperature, "top_p": self.top_p}
        if self.guided:  # a repetition penalty counts the prompt's words too, which are to be kept
            sampling |= {"regex": GUIDE, "repetition_penalty": 1.0}
        evolved = await ask(turns, **sampling)
        after, replies = evolved.text.strip(), [evolved]
        asked = "\n".join(turn["content"] for turn in turns)
        reason = "evolved instruction was cut" if evolved.cut else no_instruction(before, after, asked)
        if not reason and prompt != self.breadth_prompt and not grounded(before, after):
            reason = "evolved instruction leaves the subject"
        if reason:
            raise Unusable(reason)
        if self.compare:
            turns = prompts.render(self.compare_prompt, {"before": before, "after": after})
            compared = await ask(turns, temperature=0.0)
            verdict = VERDICT.search(compared.text)
            if verdict is None:
                raise Unusable("no verdict in the comparison")
            if verdict[0].lower() == "equal":
                raise Unusable("evolved instruction says no more than the one before")
            replies.append(compared)
        reply = await ask(prompts.render(self.answer_prompt, {"instruction": after}))
        if reason := no_answer(reply.text):
            raise Unusable(reason)
        question: Message = {"role": "user", "content": after}
        version = prompts.file(prompt).version
        return answered([question], reply, prompt=version, seed=seed, replies=[*replies, reply])


def no_instruction(before: str, after: str, prompt: str) -> str:
    """Why what `prompt` made of `before` is eliminated by its text alone; "" where it is not."""
    if not WORD.search(after):
        return "evolved instruction is empty"
    if LEAKED.search(after) or runs(after, RUN) & (runs(prompt, RUN) - runs(before, RUN)):
        return "evolved instruction holds words of its prompt"
    if WORD.findall(before.lower()) == WORD.findall(after.lower()):
        return "evolved instruction repeats the one before"
    return ""


def no_answer(answer: str) -> str:
    """Why the answer eliminates its instruction; "" where it does not."""
    if "sorry" in answer.lower() and len(answer.split()) < 80:
        return "answer says sorry in under 80 words"
    if STOP_WORDS.issuperset(WORD.findall(answer.lower().replace("\u2019", "'"))):
        return "answer is punctuation and stop words alone"
    return ""
