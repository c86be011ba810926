import asyncio
from pathlib import Path

import pytest

from synth.errors import RequestFailed, TeacherError
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, echo, text_of
from synth.types import Message, Prompt, Reply, Sampling

ASK: list[Message] = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Why \n so?"}]


def test_without_a_script_it_says_what_it_was_asked_in_the_form_that_was_asked(tmp_path: Path) -> None:
    teacher = ScriptedTeacher()
    ask = teacher.asker(Journal(tmp_path))
    reply = asyncio.run(ask(ASK))
    assert reply.text == "A scripted reply to: Why so?" and reply.finish_reason == "stop"
    assert (reply.model, reply.prompt_tokens, reply.completion_tokens) == ("scripted", 4, 6)
    assert asyncio.run(ask(ASK, choice=["yes", "no"])).text == "yes"
    assert asyncio.run(ask("The sky is")).text == "A scripted reply to: The sky is"
    assert teacher.asked == [ASK, ASK, "The sky is"]
    assert asyncio.run(ask(ASK)) == reply and len(teacher.asked) == 3  # from the journal


@pytest.mark.parametrize("error", [RequestFailed("HTTP 400: no"), TeacherError("gone")])
def test_a_script_that_raises_is_an_endpoint_that_fails(tmp_path: Path, error: Exception) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str:
        raise error

    journal = Journal(tmp_path)
    with pytest.raises(type(error), match=str(error)):
        asyncio.run(ScriptedTeacher(script).asker(journal)(ASK))
    assert len(journal) == 0


def test_a_whole_reply_is_passed_on_under_the_key_of_the_request(tmp_path: Path) -> None:
    said = Reply("half of", "length", 7, 2, "other", logprobs=({"half": -0.1},))
    teacher = ScriptedTeacher(lambda prompt, sampling: said)
    reply = asyncio.run(teacher.asker(Journal(tmp_path))(ASK))
    assert (reply.text, reply.cut, reply.model, reply.prompt_tokens) == ("half of", True, "other", 7)
    assert reply.logprobs == said.logprobs and len(reply.key) == 32


def test_a_script_sees_the_sampling_with_the_roles_defaults(tmp_path: Path) -> None:
    seen: list[Sampling] = []

    def script(prompt: Prompt, sampling: Sampling) -> str:
        seen.append(sampling)
        return echo(prompt, sampling)

    ask = ScriptedTeacher(script).asker(Journal(tmp_path), {"temperature": 0.7, "max_tokens": 5})
    asyncio.run(ask(ASK, temperature=0.0, sample=3))
    assert seen == [{"temperature": 0.0, "max_tokens": 5}]
    assert text_of(ASK) == "Why \n so?" and text_of("raw") == "raw"
