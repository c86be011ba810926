import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from endpoint import Endpoint, answer_of

from synth.errors import TeacherError
from synth.llm import client as module
from synth.llm import endpoint as endpoints
from synth.llm.client import Client
from synth.llm.endpoint import LONGEST_WAIT, QUICKEST, Address, wait_asked
from synth.types import Reply, Sampling

SAID: list[str] = []


@pytest.fixture
def two() -> Iterator[tuple[Endpoint, Endpoint]]:
    """Two endpoints that take 10 ms for an answer."""
    SAID.clear()
    with Endpoint(delay=0.01) as one, Endpoint(delay=0.01) as other:
        yield one, other


def run(asked: Sequence[Endpoint], work: Callable[[Client], Awaitable[None]], patience: float = 20.0) -> None:
    """Let `work` use a client of these endpoints."""

    async def main() -> None:
        async with Client([Address(each.url) for each in asked], "local", SAID.append) as client:
            client.patience = patience
            await asyncio.wait_for(work(client), 30)

    asyncio.run(main())


async def ask(client: Client, prompt: str, sampling: Sampling | None = None) -> Reply:
    [reply] = await client.ask([{"role": "user", "content": prompt}], sampling or {}, [prompt])
    return reply


async def ask_all(client: Client, prompts: Sequence[str]) -> None:
    """Each gets its own answer."""
    replies = await asyncio.gather(*(ask(client, prompt) for prompt in prompts))
    assert [reply.text for reply in replies] == [answer_of(prompt) for prompt in prompts]
    assert [reply.key for reply in replies] == list(prompts)


async def until(seen: Callable[[], bool]) -> None:
    """Wait for something that happens in the endpoint's thread."""
    while not seen():
        await asyncio.sleep(0.005)


PROMPTS = [f"prompt {n}" for n in range(400)]


def test_endpoints_get_work_in_proportion_to_their_limits(two: tuple[Endpoint, Endpoint]) -> None:
    one, other = two

    async def work(client: Client) -> None:
        client.endpoints[0].limit.limit, client.endpoints[1].limit.limit = 8, 24
        await ask_all(client, PROMPTS)

    run(two, work)
    assert one.requests + other.requests == len(PROMPTS)
    assert 0.15 * len(PROMPTS) <= one.requests <= 0.35 * len(PROMPTS)
    assert one.most <= 8 and other.most <= 24


def test_the_work_of_one_that_goes_away_moves_and_it_gets_work_again_when_it_is_back(
    two: tuple[Endpoint, Endpoint],
) -> None:
    one, other = two

    async def work(client: Client) -> None:
        asking = asyncio.create_task(ask_all(client, PROMPTS))
        await until(lambda: one.requests > 40)
        await asyncio.to_thread(one.go_away)
        await asking
        assert one.answered.total() + other.answered.total() == len(PROMPTS)
        assert {*(one.answered + other.answered).values()} == {1}  # none is answered twice
        assert not client.endpoints[0].up and client.endpoints[1].up
        before = one.requests
        await asyncio.to_thread(one.come_back)
        await until(lambda: client.endpoints[0].up)
        await ask_all(client, [f"later {n}" for n in range(40)])
        assert one.requests - before > 10

    run(two, work)
    assert SAID[0] == f"{one.url} can't be reached; 1 of 2 endpoints go on, and it is tried again"
    assert SAID[1].startswith(f"{one.url} is back after ") and len(SAID) == 2


def test_with_all_away_it_waits_and_says_so_and_goes_on_with_the_first_that_is_back(
    two: tuple[Endpoint, Endpoint],
) -> None:
    async def work(client: Client) -> None:
        await ask(client, "before")
        for each in two:
            await asyncio.to_thread(each.go_away)
        asking = asyncio.create_task(ask_all(client, PROMPTS[:50]))
        await until(lambda: len(SAID) == 2)
        assert not asking.done()
        await asyncio.to_thread(two[1].come_back)
        await asking
        assert [each.up for each in client.endpoints] == [False, True]

    run(two, work)
    assert any(said.endswith("everything waits for it, up to 20 s") for said in SAID)
    assert set(two[1].asked) >= set(PROMPTS[:50]) and max(two[1].asked.values()) == 1


def test_when_patience_ends_the_error_names_the_address(two: tuple[Endpoint, Endpoint]) -> None:
    async def work(client: Client) -> None:
        for each in two:
            await asyncio.to_thread(each.go_away)
        with pytest.raises(
            TeacherError, match=r"can't be reached for 1 s; start it and run the same"
        ) as told:
            await ask_all(client, PROMPTS[:50])
        assert str(told.value).startswith((two[0].url, two[1].url))

    run(two, work, patience=0.6)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops answering is found out within half a second."""
    monkeypatch.setattr(module, "LOOK", 0.05)
    monkeypatch.setattr(module, "LONGEST_LOOK", 0.05)
    monkeypatch.setattr(module, "BLIND", 2)
    monkeypatch.setattr(endpoints, "GET", 0.15)


@pytest.mark.usefixtures("quick")
def test_what_waits_for_an_endpoint_that_stops_answering_moves(two: tuple[Endpoint, Endpoint]) -> None:
    one, other = two

    async def work(client: Client) -> None:
        asking = asyncio.create_task(ask_all(client, PROMPTS))
        await until(lambda: one.requests > 40)
        one.hangs = True
        await asking
        assert not client.endpoints[0].up
        assert client.in_flight == 0
        assert client.endpoints[0].retries["unreachable"] > 0
        one.hangs = False
        await until(lambda: client.endpoints[0].up)
        before = one.requests
        await ask_all(client, [f"later {n}" for n in range(40)])
        assert one.requests > before

    run(two, work)
    assert {*(one.answered + other.answered).values()} == {1}


@pytest.mark.usefixtures("quick")
def test_a_slow_endpoint_that_still_shows_its_counters_is_left_in_peace(
    two: tuple[Endpoint, Endpoint],
) -> None:
    one, other = two
    one.delay = other.delay = 1.0

    async def work(client: Client) -> None:
        await ask_all(client, PROMPTS[:20])
        assert not client.retries

    run(two, work)
    assert one.requests + other.requests == 20


@pytest.mark.parametrize("caller_first", [True, False])
def test_a_caller_that_is_cancelled_while_its_request_moves_is_cancelled(
    two: tuple[Endpoint, Endpoint], caller_first: bool
) -> None:
    one, other = two

    async def work(client: Client) -> None:
        one.hangs = other.hangs = True
        caller = asyncio.create_task(ask(client, "hello"))
        await until(lambda: one.in_flight + other.in_flight == 1)
        if caller_first:
            caller.cancel()
        for each in client.endpoints:
            client._set_aside(each, move=True)
        if not caller_first:
            caller.cancel()
        one.hangs = other.hangs = False
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert caller.cancelled() and client.in_flight == 0
        await until(lambda: all(each.up for each in client.endpoints))
        await ask_all(client, ["later"])

    run(two, work)


def test_a_request_that_took_too_long_is_given_twice_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "SLOWEST", 0.001)
    monkeypatch.setattr(endpoints, "QUICKEST", 0.2)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)

    async def work(client: Client) -> None:
        reply = await ask(client, "hello", {"max_tokens": 1})
        assert reply.text == answer_of("hello")
        assert client.retries == {"timeout": 2}

    with Endpoint(delay=0.6) as slow:
        run([slow], work)
    first, second, third = slow.times
    assert 0.15 <= second - first <= 0.39 <= third - second <= 0.6


def test_the_time_for_a_request_follows_the_pace_that_was_seen(two: tuple[Endpoint, Endpoint]) -> None:
    async def work(client: Client) -> None:
        seen = client.endpoints[0]
        assert seen.seconds_for(100) > 4 * 100  # nothing is known yet
        for _ in range(600):
            seen.answered(100, 0.5)
        assert seen.seconds_for(100) == QUICKEST
        seen.answered(100, 90.0)
        assert seen.seconds_for(100) == pytest.approx(4 * 90.0)
        assert seen.seconds_for(1000) > 5 * seen.seconds_for(100)
        seen.answered(100, 3000.0)
        assert seen.seconds_for(100) == 300 + 4 * 100  # a server that stands still is no measure

    run(two, work)


def test_a_refused_request_keeps_its_place_while_it_waits() -> None:
    """Else each refusal would let the next request in, to be refused too."""

    async def work(client: Client) -> None:
        client.endpoints[0].limit.limit = 10
        await ask_all(client, PROMPTS[:30])

    start = time.monotonic()
    with Endpoint(
        lambda prompt, times: "429" if time.monotonic() - start < 0.5 else None, retry_after="0.6"
    ) as busy:
        start = time.monotonic()
        run([busy], work)
    assert busy.requests - busy.answered.total() <= 10
    assert set(busy.answered) == set(PROMPTS[:30])


def test_retry_after_is_seconds_or_a_date() -> None:
    assert wait_asked("3") == 3.0 and wait_asked("0.25") == 0.25
    assert wait_asked("86400") == LONGEST_WAIT
    soon = datetime.now(UTC) + timedelta(seconds=20)
    asked = wait_asked(format_datetime(soon, usegmt=True))
    assert asked is not None and 18 <= asked <= 20
    assert wait_asked(format_datetime(soon - timedelta(hours=1), usegmt=True)) == 0.0
    assert wait_asked("") is None and wait_asked("soon") is None and wait_asked("-1") is None


def test_a_bug_in_the_background_ends_the_requests_with_that_error(
    two: tuple[Endpoint, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.05)
    two[0].metrics = two[1].metrics = (
        'vllm:num_requests_running{engine="0"} many\nvllm:num_requests_waiting 0\n'
    )
    two[0].delay = two[1].delay = 0.3

    async def work(client: Client) -> None:
        with pytest.raises(ValueError, match="could not convert string to float: 'many'"):
            await ask_all(client, PROMPTS)

    run(two, work)


def test_the_engines_own_counters_move_the_limit(
    two: tuple[Endpoint, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.02)
    one, other = two
    one.delay = other.delay = 0.1
    one.metrics = 'vllm:num_requests_running{engine="0"} 32.0\nvllm:num_requests_waiting{engine="0"} 0.0\n'
    other.metrics = 'vllm:num_requests_running{engine="0"} 6.0\nvllm:num_requests_waiting{engine="0"} 26.0\n'

    async def work(client: Client) -> None:
        await ask_all(client, [f"prompt {n}" for n in range(1500)])
        assert client.endpoints[0].limit.limit > 32
        assert client.endpoints[1].limit.limit == 12
        assert client.queued > 0

    run(two, work)
    assert one.requests > other.requests


def test_who_leaves_while_an_endpoint_is_away_is_not_held_up() -> None:
    with Endpoint() as gone:
        pass
    start = time.monotonic()

    async def work(client: Client) -> None:
        asking = asyncio.create_task(ask(client, "hello"))
        await until(lambda: not client.endpoints[0].up)
        asking.cancel()

    run([gone], work)
    assert time.monotonic() - start < 2.0
    assert threading.active_count() < 10
