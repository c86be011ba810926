import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from endpoint import Endpoint, answer_of

from synth.errors import RequestFailed, TeacherError
from synth.llm import client as module
from synth.llm.client import Client
from synth.llm.endpoint import Address
from synth.types import Message, Reply, Sampling


def ask(
    endpoint: Endpoint, *prompts: str, sampling: Sampling | None = None, patience: float = 5.0
) -> tuple[list[Reply], Client]:
    """Asks all prompts at once."""

    async def run() -> tuple[list[Reply], Client]:
        async with Client([Address(endpoint.url, "secret")], "local", print) as client:
            client.patience = patience
            turns: list[list[Message]] = [[{"role": "user", "content": prompt}] for prompt in prompts]
            asked = [client.ask(turn, sampling or {}, [turn[0]["content"]]) for turn in turns]
            return [reply for [reply] in await asyncio.gather(*asked)], client

    return asyncio.run(run())


def test_a_reply_carries_text_reason_tokens_and_key(endpoint: Endpoint) -> None:
    [reply], client = ask(endpoint, "say something long")
    text = answer_of("say something long")
    assert reply == Reply(text, "stop", 3, len(text.split()), "local", "say something long")
    assert not client.retries


def test_sampling_and_key_are_sent_but_not_the_number_of_the_sample(endpoint: Endpoint) -> None:
    ask(endpoint, "hello", sampling={"temperature": 0.5, "sample": 3, "top_logprobs": 2})
    assert endpoint.bodies == [
        {
            "model": "local",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.5,
            "top_logprobs": 2,
            "logprobs": True,
        }
    ]
    assert endpoint.keys == {"Bearer secret"}


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("503", "HTTP 503"),
        ("reset", "connection reset"),
        ("truncated", "truncated body"),
        ("malformed", "malformed reply"),
        ("null", "malformed reply"),
    ],
)
def test_what_a_retry_can_mend_is_retried(fault: str, counted: str) -> None:
    with Endpoint(lambda prompt, times: fault if times == 0 else None) as endpoint:
        [reply], client = ask(endpoint, "hello")
    assert reply.text == answer_of("hello")
    assert endpoint.requests == 2
    assert client.retries == {counted: 1}


def test_a_request_that_is_always_answered_badly_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    with Endpoint(lambda prompt, times: "500" if prompt == "poison" else None) as endpoint:
        with pytest.raises(RequestFailed, match="HTTP 500 in each of 5 tries"):
            ask(endpoint, "poison")
        assert ask(endpoint, "hello")[0][0].text == answer_of("hello")
    assert endpoint.asked["poison"] == module.ATTEMPTS


def test_a_refused_request_is_not_retried() -> None:
    with Endpoint(lambda prompt, times: "400") as endpoint:
        with pytest.raises(RequestFailed, match="HTTP 400: told to answer 400"):
            ask(endpoint, "hello")
        assert endpoint.requests == 1


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_wrong_key_or_model_ends_the_run_with_a_mend(status: str) -> None:
    with Endpoint(lambda prompt, times: status) as endpoint:
        with pytest.raises(TeacherError, match="set api_key_env" if status != "404" else "correct model"):
            ask(endpoint, "hello")
        assert endpoint.requests == 1


def test_retry_after_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    with Endpoint(lambda prompt, times: "429" if times < 2 else None, retry_after="0.3") as endpoint:
        ask(endpoint, "hello")
    first, second, third = endpoint.times
    assert second - first >= 0.3 and third - second >= 0.3


def later(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def test_an_outage_of_two_seconds_is_waited_out_without_asking_twice() -> None:
    prompts = [f"prompt {n}" for n in range(20)]
    with Endpoint() as first:
        assert ask(first, "before")[0]
    second = Endpoint(port=first.port)
    timer = later(2.0, second.__enter__)
    start = time.monotonic()
    try:
        replies, client = ask(second, *prompts)
    finally:
        timer.join()
        second.__exit__(None, None, None)
    assert [reply.text for reply in replies] == [answer_of(prompt) for prompt in prompts]
    assert second.asked == dict.fromkeys(prompts, 1)
    assert client.retries.keys() == {"unreachable"}
    assert time.monotonic() - start >= 1.9


def test_a_server_that_stays_away_ends_the_run_when_patience_ends() -> None:
    with Endpoint() as endpoint:
        pass
    with pytest.raises(TeacherError, match=r"can't be reached for 1 s; start it and run the same command"):
        ask(endpoint, "one", patience=0.6)
