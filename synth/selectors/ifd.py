"""`ifd`: how much a question helps a model to write its answer (Li et al. 2024, arXiv 2402.00530).

Instruction-following difficulty. Superfiltering has a small model take the ratio of perplexities,
exp(L(A|Q)) / exp(L(A)); Cherry (Li et al. 2023, arXiv 2308.12032) that of losses, L(A|Q) / L(A), which ranks
rows in another order. At 1 and more the question does not help: the answer does not belong to it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from synth.selectors.passes import EMPTY, load, mean_losses, prompt_and_answer
from synth.selectors.scores import LocalScore, Score, ScoreRows
from synth.types import Message
from synth.weights import EMBEDDED


class IFD(LocalScore):
    """Rejects answers that their question does not help to write, and keeps the `top` hardest of the rest
    (the papers have 0.05 to 0.15).

    Both losses are means over the same tokens of the last answer: all but the first, before which nothing
    stands in L(A). Losses are kept, so another `form` or `top` takes no model.
    """

    model: str = EMBEDDED
    """A folder, a Hub name, or the one that ships: best the student's base."""
    form: Literal["perplexity", "loss"] = "perplexity"
    """The ratio of which: Superfiltering's or Cherry's."""

    def held(self, values: Mapping[str, float]) -> tuple[float | None, str]:
        """The ratio, which must be under 1."""
        given, alone = values["loss_given"], values["loss_alone"]
        if self.form == "loss" and alone <= 0:
            return None, "the model expects the answer without its question"
        ratio = given / alone if self.form == "loss" else math.exp(given - alone)
        return ratio, "" if ratio < 1 else "the question does not help to write the answer"

    def scorer(self) -> ScoreRows:
        """Both losses of each answer."""
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
