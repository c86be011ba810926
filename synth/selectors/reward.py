"""`reward`: the score that a reward model gives a conversation (Ouyang et al. 2022, arXiv 2203.02155)."""

from collections.abc import Mapping, Sequence

from synth.errors import RecipeError
from synth.selectors.passes import EMPTY, answered, batches, load, padded
from synth.selectors.scores import LocalScore, Score, ScoreRows
from synth.types import Message


class Reward(LocalScore):
    """Rejects conversations whose reward is under `threshold`, or not among the `top` share.

    Score: the one output of a model for sequence classification, on the conversation as its chat template
    writes it; on what scale is the model's own affair (Magpie keeps above -10 of FsfairX's). Rewards are
    kept, so another threshold takes no model. Without a bound it only scores.
    """

    model: str
    """A folder or a Hub name: what `AutoModelForSequenceClassification` loads, with one label."""
    threshold: float | None = None

    def held(self, values: Mapping[str, float]) -> tuple[float | None, str]:
        """The reward, which must reach the threshold."""
        reward = values["reward"]
        low = self.threshold is not None and reward < self.threshold
        return reward, f"reward below {self.threshold:g}" if low else ""

    def scorer(self) -> ScoreRows:
        """The model as a function of conversations.

        Raises:
            RecipeError: it has more labels than one, or no chat template.
        """
        import torch

        loaded = load(self.model, "AutoModelForSequenceClassification", self.max_length)
        tokenizer, model = loaded.tokenizer, loaded.model
        if model.config.num_labels != 1:
            mend = f"has {model.config.num_labels} labels, and a reward is one; name a reward model"
            raise RecipeError(self.model, "model", mend)
        if not tokenizer.chat_template:
            raise RecipeError(
                self.model, "model", "has no chat template; put a chat_template.jinja beside it"
            )
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id or 0

        def score(conversations: Sequence[Sequence[Message]]) -> list[Score]:
            found = [Score(reason=EMPTY)] * len(conversations)
            texts: dict[int, list[int]] = {}
            for place, turns in enumerate(conversations):
                if not answered(turns):
                    continue
                text = tokenizer.apply_chat_template([dict(turn) for turn in turns], tokenize=False)
                ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
                if len(ids) > loaded.positions:
                    found[place] = Score(reason=f"more than {loaded.positions} tokens")
                else:
                    texts[place] = ids
            places = list(texts)
            for batch in batches([len(texts[place]) for place in places], loaded.device):
                inputs = padded([texts[places[at]] for at in batch], loaded.device)
                with torch.inference_mode():
                    rewards = model(**inputs).logits[:, 0].float().tolist()
                for at, reward in zip(batch, rewards, strict=True):
                    found[places[at]] = Score(len(texts[places[at]]), {"reward": reward})
            return found

        return score
