"""`decontaminate`: rows that repeat or rephrase an item of an evaluation."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from pydantic import Field

from synth.contamination import Items, Match, Rules
from synth.items import of_questions, read_items, version
from synth.steps import Rows, Selection, Selector
from synth.texts import On, texts
from synth.types import Verdict

Rule: TypeAlias = Literal["exact", "run", "cover", "rephrased"]
ALL: tuple[Rule, ...] = ("exact", "run", "cover", "rephrased")


class Decontaminate(Selector):
    """Rejects rows that hold an evaluation item, a long run of its words, or the same in other words.

    The questions of the recipe's [[evaluate]] steps and the files of `data/eval` always count as items.
    """

    reads_questions: ClassVar[bool] = True

    against: tuple[str, ...] = ()
    """More items: .jsonl, .csv or .parquet files, or `hub:owner/name`."""
    field: str | None = None
    """The field of these files that holds an item's text; by default question, prompt, instruction, problem,
    text, or what the user says in messages, whichever comes first."""
    on: On = "question"
    """What of a row is compared."""
    rules: tuple[Rule, ...] = ALL
    """Which rules reject; each is asked in this order."""
    run: int = Field(default=13, ge=4)
    """`run` rejects so many words in a row of an item."""
    cover: float = Field(default=0.5, ge=0, lt=1)
    """`cover` rejects where more than this share of an item's words lies in shared runs of 8."""
    likeness: float = Field(default=0.5, gt=0, lt=1)
    """`rephrased` rejects from this likeness (0 to 1) on."""

    def versions(self) -> dict[str, str]:
        """The hash of each file of items."""
        return {f"against {number}": version(path) for number, path in enumerate(self.against)}

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Score: 1, the share of the item's words, or the likeness. `duplicate_of` names the item."""
        items = of_questions(rows.questions)
        for path in self.against:
            items += read_items(path, self.field)
        known = Items(items, Rules(self.rules, self.run))
        kept = Selection(Verdict(self.name, True))
        for batch in rows:
            decided: dict[int, Match] = {}
            for match in known.matches(texts(batch, self.on)):
                if self._counts(match):
                    best = decided.get(match.row)
                    if best is None or ALL.index(match.rule) < ALL.index(best.rule):
                        decided[match.row] = match
            for row in range(batch.num_rows):
                if (match := decided.get(row)) is None:
                    yield kept
                else:
                    verdict = Verdict(self.name, False, match.score, self._reason(match.rule))
                    yield Selection(verdict, known.items[match.item].id)

    def _counts(self, match: Match) -> bool:
        if match.rule == "cover":
            return match.score > self.cover
        return match.rule != "rephrased" or match.score >= self.likeness

    def _reason(self, rule: str) -> str:
        return {
            "exact": "an evaluation item, word for word",
            "run": f"{self.run} words in a row of an evaluation item",
            "cover": f"more than {self.cover:.0%} of an evaluation item, in runs of 8 words",
            "rephrased": "rephrases an evaluation item",
        }[rule]
