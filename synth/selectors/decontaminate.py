"""`decontaminate`: rows that repeat or rephrase an evaluation item (Yang et al. 2023, arXiv 2311.04850)."""

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, TypeAlias

import pyarrow as pa
from pydantic import Field

from synth.compute.contamination import MATCHES, Items
from synth.errors import RequestFailed
from synth.items import Item, digest, of_questions, read_items, version
from synth.steps import Rows, Selection, Selector
from synth.store import read_parquet, write_parquet
from synth.texts import On, texts
from synth.types import Capability, Reply, Verdict

Rule: TypeAlias = Literal["exact", "run", "cover", "rephrased"]
ALL: tuple[Rule, ...] = ("exact", "run", "cover", "rephrased")
ANSWERS = ["yes", "no"]


class Decontaminate(Selector):
    """Rejects rows that hold an evaluation item, a long run of its words, or the same in other words.

    The questions of the recipe's [[evaluate]] steps and the lines of `data/eval/*.jsonl` always are items.
    """

    reads_questions: ClassVar[bool] = True
    prompts_used: ClassVar[tuple[str, ...]] = ("prompt",)

    against: tuple[str, ...] = ()
    """More items: .jsonl, .json, .csv or .parquet files, folders of them, or `hub:owner/name`."""
    field: str | None = None
    """Their field that holds an item's text; by default question, prompt, instruction, problem or text, or
    what the user says in messages, whichever comes first."""
    on: On = "question"
    """What of a row is compared."""
    rules: tuple[Rule, ...] = ALL
    """The rules that reject."""
    run: int = Field(default=13, ge=4)
    """`run` rejects so many words of an item in a row."""
    cover: float = Field(default=0.5, ge=0, lt=1)
    """`cover` rejects where more than this share of an item's words lies in shared runs of 8."""
    likeness: float = Field(default=0.5, ge=0.05, lt=1)
    """`rephrased` rejects from this likeness (0 to 1) on, or shows the pair to the judge."""
    judge: bool = False
    """Let the judge decide whether pairs are the same problem; a `likeness` of 0.1 shows it more of them."""
    prompt: str = "decontaminate/same"
    """Gets `row` and `item`; the reply is yes or no."""

    @property
    def asks(self) -> bool:
        """Where `judge` is set."""
        return self.judge

    @property
    def needs(self) -> frozenset[Capability]:
        """The judge picks one of two words."""
        return frozenset({"choice"} if self.judge else ())

    def prompt_names(self) -> list[str]:
        """The judge's, where it is asked."""
        return [self.prompt] if self.judge else []

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """What `select` fills in."""
        return dict.fromkeys(self.prompt_names(), frozenset({"row", "item"}))

    def versions(self) -> dict[str, str]:
        """The hash of each file of items."""
        return {f"against {number}": version(path) for number, path in enumerate(self.against)}

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Score: 1, the share of the item's words, or the likeness. `duplicate_of` names the item.

        Holds the items and the pairs that were found, of which it stores a table.
        """
        found = self._found(rows)
        decided: dict[int, Selection] = {}
        asked: list[dict[str, Any]] = []
        for pair in found.to_pylist():  # sorted by row, then in the order of the rules
            if pair["place"] in decided or not self._counts(pair["rule"], pair["score"]):
                continue
            if pair["rule"] == "rephrased" and self.judge:
                asked.append(pair)
            else:
                decided[pair["place"]] = self._rejected(
                    pair["score"], self._reason(pair["rule"]), pair["item"]
                )
        prompts = [rows.prompts.render(self.prompt, {"row": p["row"], "item": p["text"]}) for p in asked]
        replies = rows.ask(prompts, temperature=0.0, choice=ANSWERS) if prompts else []
        for pair, reply in zip(asked, replies, strict=True):
            if reason := _said(reply):
                decided[pair["place"]] = self._rejected(pair["score"], reason, pair["item"])
        kept = Selection(Verdict(self.name, True))
        for place in range(len(rows)):
            yield decided.get(place, kept)

    def _rejected(self, score: float, reason: str, item: str) -> Selection:
        return Selection(Verdict(self.name, False, score, reason), item)

    def _items(self, rows: Rows) -> list[Item]:
        return [
            *of_questions(rows.questions),
            *(item for path in self.against for item in read_items(path, self.field)),
        ]

    def _found(self, rows: Rows) -> pa.Table:
        """All pairs that any rule finds, whatever the thresholds: read if they were stored."""
        items = self._items(rows)
        about = f"{rows.digest} {digest(items)} {self.on} {self.run}"
        path = rows.folder / f"{self.name}-{hashlib.sha256(about.encode()).hexdigest()[:16]}.parquet"
        if path.is_file():
            return read_parquet(path)
        known, place, pairs = Items(items, self.run), 0, []
        for batch in rows:
            said = texts(batch, self.on)
            for match in known.matches(said):
                pairs.append(known.described(match, place, batch["id"][match.row].as_py(), said))
            place += batch.num_rows
        table = pa.Table.from_pylist(pairs, schema=MATCHES)
        write_parquet(path, table)
        return table

    def _counts(self, rule: Rule, score: float) -> bool:
        if rule not in self.rules:
            return False
        if rule == "cover":
            return score > self.cover
        return rule != "rephrased" or score >= self.likeness

    def _reason(self, rule: Rule) -> str:
        return {
            "exact": "an evaluation item, word for word",
            "run": f"{self.run} words in a row of an evaluation item",
            "cover": f"more than {self.cover:.0%} of an evaluation item, in runs of 8 words",
            "rephrased": "rephrases an evaluation item",
        }[rule]


def _said(reply: Reply | RequestFailed) -> str:
    """Why the judge's word rejects a row; "" where it doesn't."""
    if isinstance(reply, RequestFailed):
        return "the judge gave no answer"
    word = reply.text.strip().strip(".").lower()
    if word not in ANSWERS:
        return "neither yes nor no in the judge's reply"
    return "rephrases an evaluation item, says the judge" if word == "yes" else ""
