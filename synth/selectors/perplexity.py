"""`perplexity`: how surprising an answer is to a local model, given its question."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from synth.selectors.passes import EMPTY, load, mean_losses, prompt_and_answer
from synth.selectors.scores import LocalScore, Score, ScoreRows
from synth.types import Message
from synth.weights import EMBEDDED


class Perplexity(LocalScore):
    """Rejects answers that surprise a model more than `max`, or less than `min`, or more than most others do.

    Score: exp of the mean loss in nats over the tokens of the last answer, given all turns before it as the
    model's chat template writes them. Losses are kept, so other bounds take no model. Without bounds it only
    scores.
    """

    lowest_first: ClassVar[bool] = True

    model: str = EMBEDDED
    """A folder, a Hub name, or the one that ships: best the student's base."""
    max: float | None = Field(default=None, gt=1)
    min: float | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.min is not None and self.min >= self.max:
            raise ValueError("min must be below max; correct them")
        return self

    def held(self, values: Mapping[str, float]) -> tuple[float | None, str]:
        """The perplexity, which must lie within the bounds."""
        perplexity = math.exp(values["loss"])
        if self.max is not None and perplexity > self.max:
            return perplexity, f"perplexity above {self.max:g}"
        if self.min is not None and perplexity < self.min:
            return perplexity, f"perplexity below {self.min:g}"
        return perplexity, ""

    def scorer(self) -> ScoreRows:
        """The loss of each answer given its question."""
        loaded = load(self.model, "AutoModelForCausalLM", self.max_length)

        def score(conversations: Sequence[Sequence[Message]]) -> list[Score]:
            found = [Score(reason=EMPTY)] * len(conversations)
            texts: dict[int, tuple[list[int], int]] = {}
            for place, turns in enumerate(conversations):
                if (parts := prompt_and_answer(loaded, turns)) is None:
                    continue
                prompt, answer = parts
                if len(prompt) + len(answer) > loaded.positions:
                    found[place] = Score(reason=f"more than {loaded.positions} tokens")
                elif not prompt:
                    found[place] = Score(reason="has no question")
                else:
                    texts[place] = ([*prompt, *answer], len(prompt))
            losses = mean_losses(loaded, [t for t, _ in texts.values()], [n for _, n in texts.values()])
            for (place, (text, first)), loss in zip(texts.items(), losses, strict=True):
                found[place] = Score(len(text) - first, {"loss": loss})
            return found

        return score
