import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from endpoint import Able, Endpoint, answer_of

from synth.errors import DataError, RequestFailed, TeacherError
from synth.llm.asker import Asker, Backend, request_bytes, request_key
from synth.llm.client import Client
from synth.llm.endpoint import Address
from synth.llm.journal import Journal
from synth.types import Message, Reply, Sampling


def turn(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def asking(
    folder: Path, endpoint: Endpoint, work: Callable[[Asker], Awaitable[None]], *, most: int = 32
) -> Asker:
    """Let `work` use an asker of an endpoint; returns the asker, for its meters and journal."""

    async def run() -> Asker:
        async with Client([Address(endpoint.url)], "local", print) as client:

            async def connect() -> tuple[Backend, int]:
                return client, most

            asker = Asker("model", {"max_tokens": 9}, Journal(folder), connect)
            await work(asker)
            await asyncio.wait_for(asker.aclose(), 5)
            assert client.in_flight == 0
        return asker

    return asyncio.run(run())


async def samples(asker: Asker, text: str, numbers: Sequence[int], *, step: str = "step") -> list[Reply]:
    asks = [asker.of(step, number) for number in numbers]
    return await asyncio.gather(*(ask(turn(text)) for ask in asks))


def key_of(text: str, sample: int) -> str:
    return request_key(request_bytes("model", turn(text), {"max_tokens": 9}), sample)


def test_samples_asked_in_one_breath_are_one_request_and_each_has_its_own_key(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        found = await samples(asker, "hello", range(5))
        assert len({reply.text for reply in found}) == 5 and found[0].text == answer_of("hello")
        assert [reply.key for reply in found] == [key_of("hello", number) for number in range(5)]
        assert sum(reply.completion_tokens for reply in found) == asker.meter.completion_tokens
        assert await samples(asker, "hello", range(5)) == found

    with Endpoint(able=Able()) as endpoint:
        asker = asking(tmp_path, endpoint, work)
    assert [body["n"] for body in endpoint.bodies] == [5]
    assert endpoint.bodies[0].keys() == {"model", "messages", "max_tokens", "n"}
    assert (asker.meter.requests, asker.meter.from_journal) == (5, 5)
    assert asker.meters.keys() == {"step"}
    again = Journal(tmp_path)
    assert len(again) == 5 and all(key_of("hello", number) in again for number in range(5))


def test_only_samples_that_the_journal_lacks_are_asked(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        await samples(asker, "hello", [0, 2])
        await samples(asker, "hello", range(5))

    with Endpoint(able=Able()) as endpoint:
        asking(tmp_path, endpoint, work)
    assert [body["n"] for body in endpoint.bodies] == [2, 3]


def test_more_samples_than_one_request_takes_go_out_in_parts(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        found = await samples(asker, "hello", range(10))
        assert [reply.key for reply in found] == [key_of("hello", number) for number in range(10)]

    with Endpoint(able=Able()) as endpoint:
        asking(tmp_path, endpoint, work, most=4)
    assert sorted(body.get("n", 1) for body in endpoint.bodies) == [2, 4, 4]


def test_an_endpoint_without_n_gets_single_requests(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        assert len(await samples(asker, "hello", range(6))) == 6

    with Endpoint() as endpoint:
        asking(tmp_path, endpoint, work, most=1)
    assert endpoint.asked == {"hello": 6}
    assert not any("n" in body for body in endpoint.bodies)


def test_different_prompts_and_samplings_are_never_put_together(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        await asyncio.gather(
            asker(turn("one")),
            asker(turn("two")),
            asker(turn("one"), temperature=0.5),
            asker(turn("one"), temperature=0.5, sample=1),
            asker(turn("one"), seed=4),
            asker(turn("one"), seed=4, sample=1),
        )

    with Endpoint(able=Able()) as endpoint:
        asking(tmp_path, endpoint, work)
    assert sorted(body.get("n", 1) for body in endpoint.bodies) == [1, 1, 1, 1, 2]


def test_equal_requests_at_once_are_sent_once(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        first = asyncio.create_task(asker(turn("hello")))
        found = await samples(asker, "hello", [0, 0, 0])
        await asyncio.sleep(0)
        assert {reply.text for reply in [*found, await first]} == {answer_of("hello")}

    with Endpoint(delay=0.02) as endpoint:
        asker = asking(tmp_path, endpoint, work)
    assert endpoint.requests == 1 and asker.meter.requests == 1 and len(asker.journal) == 1


def test_what_goes_wrong_reaches_all_who_asked_and_the_next_one_asks_anew(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        asks = [asker.of("step", number)(turn("poison")) for number in (0, 1, 1)]
        told = await asyncio.gather(*asks, return_exceptions=True)
        assert [str(error) for error in told] == ["HTTP 400: told to answer 400"] * 3
        assert all(isinstance(error, RequestFailed) for error in told)
        assert len(await samples(asker, "poison", [0, 1])) == 2

    with Endpoint(lambda prompt, times: "400" if times == 0 else None, able=Able()) as endpoint:
        asker = asking(tmp_path, endpoint, work)
    assert endpoint.requests == 2 and asker.meter.requests == 2


def test_a_model_that_can_not_be_had_is_told_to_all_who_asked(tmp_path: Path) -> None:
    async def connect() -> tuple[Backend, int]:
        raise TeacherError("no model")

    async def run() -> None:
        asker = Asker("model", {}, Journal(tmp_path), connect)
        told = await asyncio.gather(*(asker(turn(str(n % 2))) for n in range(4)), return_exceptions=True)
        assert [repr(error) for error in told] == ["TeacherError('no model')"] * 4
        await asker.aclose()

    asyncio.run(run())


def test_a_journal_that_can_not_be_written_is_told_to_all_who_asked(tmp_path: Path) -> None:
    class Full(Journal):
        """A disk with room for one more reply."""

        def put(self, reply: Reply, step: str = "") -> None:
            if len(self):
                raise DataError(self.path, "the disk is full")
            super().put(reply, step)

    async def run(client: Client) -> None:
        async def connect() -> tuple[Backend, int]:
            return client, 8

        asker = Asker("model", {}, Full(tmp_path), connect)
        first, *others = await asyncio.gather(
            *(asker.of("step", number)(turn("hello")) for number in range(3)), return_exceptions=True
        )
        assert isinstance(first, Reply)
        assert [isinstance(error, DataError) for error in others] == [True, True]

    async def main(endpoint: Endpoint) -> None:
        async with Client([Address(endpoint.url)], "local", print) as client:
            await run(client)

    with Endpoint(able=Able()) as endpoint:
        asyncio.run(main(endpoint))


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_what_is_being_asked_is_given_up_at_the_end(tmp_path: Path, pause: float) -> None:
    async def work(asker: Asker) -> None:
        asks = [asyncio.create_task(asker.of("step", number)(turn("hello"))) for number in range(3)]
        await asyncio.sleep(pause)
        await asyncio.wait_for(asker.aclose(), 2)
        told = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(error) for error in told] == [asyncio.CancelledError] * 3

    with Endpoint(delay=5.0, able=Able()) as endpoint:
        asker = asking(tmp_path, endpoint, work)
    assert len(asker.journal) == 0


def test_one_who_gives_up_leaves_the_others_and_the_reply_is_kept(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        gone, stays = (asyncio.create_task(asker.of("step", number)(turn("hello"))) for number in (0, 1))
        while not endpoint.in_flight:
            await asyncio.sleep(0.005)
        gone.cancel()
        await stays
        assert gone.cancelled() and len(asker.journal) == 2

    with Endpoint(delay=0.5, able=Able()) as endpoint:
        asking(tmp_path, endpoint, work)
    assert endpoint.requests == 1


def test_a_request_key_depends_on_model_prompt_sampling_and_sample_but_not_on_the_order_of_options() -> None:
    ask = turn("hello")
    sampling: Sampling = {"temperature": 0.5, "max_tokens": 9}
    one = request_bytes("m", ask, sampling)
    assert one == request_bytes("m", ask, {"max_tokens": 9, "temperature": 0.5})
    keys = {
        request_key(one),
        request_key(one, 1),
        request_key(one, 11),
        request_key(request_bytes("n", ask, sampling)),
        request_key(request_bytes("m", [], sampling)),
        request_key(request_bytes("m", "hello", sampling)),
        request_key(request_bytes("m", ask, {"temperature": 0.6, "max_tokens": 9})),
    }
    assert len(keys) == 7 and all(len(key) == 32 and int(key, 16) for key in keys)
