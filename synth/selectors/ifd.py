"""`ifd`: how much a question helps a model to write its answer (Li et al. 2024, arXiv 2402.00530).

Instruction-following difficulty. Superfiltering has a small model take the ratio of perplexities,
exp(L(A|Q)) / exp(L(A)); Cherry (Li et al. 2023, arXiv 2308.12032) that of losses, L(A|Q) / L(A), which ranks
rows in another order. At 1 and more the question does not help: the answer does not belong to it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from synth.selectors.passes import EMPTY, load, mean_losses, prompt_and_answer
from synth.selectors.scores import Score, ScoreRows, scored, verdicts
from synth.steps import Rows, Selection, Selector
from synth.types import Message
from synth.weights import EMBEDDED, identify


class IFD(Selector):
    """Rejects answers that their question does not help to write, and keeps the `top` hardest of the rest.

    Both losses are means over the same tokens of the last answer: all but the first, before which nothing
    stands in L(A). A row of more than `max_length` tokens is rejected. Losses are kept in the run's folder,
    so another `form` or `top` takes no model.
    """

    model: str = EMBEDDED
    """A folder, a Hub name, or the one that ships: best the student's base."""
    form: Literal["perplexity", "loss"] = "perplexity"
    """The ratio of which: Superfiltering's or Cherry's."""
    top: float | None = Field(default=None, gt=0, le=1)
    """The share of rows to keep, of those under 1, highest first; the papers have 0.05 to 0.15."""
    max_length: int = Field(default=2048, gt=1)
    """Tokens of question and answer together; no more than the model has positions."""

    def versions(self) -> dict[str, str]:
        """The model's."""
        return {self.model: identify(self.model)}

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Some 400 bytes are held of each row."""
        decides = [identify(self.model), self.max_length]
        found = [self._held(score) for score in scored(rows, self.name, decides, self._model)]
        return verdicts(self.name, found, top=self.top)

    def _held(self, score: Score) -> tuple[float | None, str]:
        if score.values is None:
            return None, score.reason
        given, alone = score.values["loss_given"], score.values["loss_alone"]
        if self.form == "loss" and alone <= 0:
            return None, "the model expects the answer without its question"
        ratio = given / alone if self.form == "loss" else math.exp(given - alone)
        return ratio, "" if ratio < 1 else "the question does not help to write the answer"

    def _model(self) -> ScoreRows:
        loaded = load(self.model, "AutoModelForCausalLM", self.max_length)

        def score(conversations: Sequence[Sequence[Message]]) -> list[Score]:
            found = [Score(reason=EMPTY)] * len(conversations)
            texts: dict[int, tuple[list[int], list[int]]] = {}
            for place, turns in enumerate(conversations):
                if (parts := prompt_and_answer(loaded, turns)) is None:
                    continue
                if len(parts[0]) + len(parts[1]) > loaded.positions:
                    found[place] = Score(reason=f"more than {loaded.positions} tokens")
                elif len(parts[1]) < 2:
                    found[place] = Score(reason="an answer of one token")
                else:
                    texts[place] = parts
            given = mean_losses(
                loaded, [[*q, *a] for q, a in texts.values()], [len(q) + 1 for q, _ in texts.values()]
            )
            alone = mean_losses(loaded, [a for _, a in texts.values()], [1] * len(texts))
            for (place, (_, answer)), with_it, without in zip(texts.items(), given, alone, strict=True):
                found[place] = Score(len(answer) - 1, {"loss_given": with_it, "loss_alone": without})
            return found

        return score
