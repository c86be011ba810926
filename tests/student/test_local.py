"""Tiny models that answer in this process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny import saved

from synth.errors import RequestFailed, TeacherError
from synth.student.data import IGNORED
from synth.student.local import LocalModel, encoder
from synth.types import Message, Prompt, Reply, Sampling

GREEDY: Sampling = {"temperature": 0.0, "max_tokens": 8}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of a few words."""
    return saved(tmp_path_factory.mktemp("words"), "LlamaForCausalLM")


def asked(model: Path, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Reply]:
    """The replies to prompts that are asked at once."""

    async def ask() -> list[Reply]:
        async with LocalModel(model, model, 64) as local:
            pairs = enumerate(zip(prompts, samplings, strict=True))
            work = [local.ask(prompt, sampling, [str(n)]) for n, (prompt, sampling) in pairs]
            return [reply for [reply] in await asyncio.gather(*work)]

    return asyncio.run(ask())


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


QUESTIONS: list[Prompt] = [
    user("what is the colour of the sky ?"),
    user("cat"),
    user("is it late ? yes . no . what is a cat ?"),
]


def test_prompts_answered_together_get_what_each_gets_alone(tiny: Path) -> None:
    together = asked(tiny, QUESTIONS, [GREEDY] * 3)
    alone = [asked(tiny, [question], [GREEDY])[0] for question in QUESTIONS]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.key for reply in together] == ["0", "1", "2"]
    assert all(reply.seconds > 0 for reply in together)


def test_an_answer_ends_at_its_end_or_is_cut(tiny: Path) -> None:
    for reply in asked(tiny, QUESTIONS, [GREEDY] * 3):
        assert "<end>" not in reply.text
        assert reply.cut == (reply.finish_reason != "stop")
        assert reply.completion_tokens == 8 if reply.cut else reply.completion_tokens <= 8


def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(tiny: Path) -> None:
    [plain] = asked(tiny, [user("name a fruit")], [GREEDY])
    first, second, *_ = plain.text.split()
    [stopped] = asked(tiny, [user("name a fruit")], [{**GREEDY, "stop": [f" {second}"]}])
    assert (stopped.text, stopped.finish_reason, stopped.completion_tokens) == (first, "stop", 2)


def test_scored_tokens_have_the_models_own_log_probabilities_padded_or_not(tiny: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    encode = encoder(tiny)
    texts = [
        [*user("what is a cat ?"), Message(role="assistant", content="a cat has four legs .")],
        [*user("name a fruit"), Message(role="assistant", content="apples")],
    ]
    rows = [encode(turns, ()) for turns in texts]
    replies = asked(tiny, ["", ""], [{"scored": ids} for ids, _ in rows])
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    for (ids, labels), reply in zip(rows, replies, strict=True):
        with torch.inference_mode():
            wanted = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        assert len(reply.logprobs) == len(ids) - 1 and reply.prompt_tokens == len(ids)
        for at, found in enumerate(reply.logprobs, 1):
            assert found == pytest.approx({str(ids[at]): float(wanted[at - 1, ids[at]])}, abs=0.05)
        assert sum(label != IGNORED for label in labels) > 1


def test_what_it_can_not_do_fails_that_request(tiny: Path) -> None:
    with pytest.raises(RequestFailed, match=r"tokens are more than max_model_len = 64"):
        asked(tiny, [user("cat " * 70)], [GREEDY])
    with pytest.raises(RequestFailed, match="transformers can't take choice; install vLLM"):
        asked(tiny, QUESTIONS[:1], [{"choice": ["a"]}])


def test_a_model_without_a_template_or_weights_is_refused(tmp_path: Path) -> None:
    bare = saved(tmp_path / "bare", "LlamaForCausalLM", template=False)
    with pytest.raises(
        TeacherError, match=r"bare: transformers can't load it \(the tokenizer of .* has no chat"
    ):
        asked(bare, QUESTIONS[:1], [GREEDY])
    with pytest.raises(TeacherError, match="transformers can't load it"):
        asked(tmp_path / "none", QUESTIONS[:1], [GREEDY])
