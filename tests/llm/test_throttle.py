import asyncio
from dataclasses import dataclass, field

import pytest
from simulated import SERVICE, Simulated

from synth.llm.throttle import CALM, HIGHEST, LOWEST, START, START_OF_ENGINE, Gate, Limit


@dataclass(eq=False)
class Way:
    """A door that leads nowhere."""

    limit: Limit = field(default_factory=Limit)
    up: bool = True


async def hold(gate: Gate[Way], weight: int = 1, *, first: bool = False) -> None:
    """Enter and stay."""
    door = await gate.enter(weight, first=first)
    try:
        await asyncio.Event().wait()
    finally:
        gate.leave(door, weight)


async def end(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


def test_no_more_than_the_limit_are_in_flight() -> None:
    async def run() -> tuple[int, int]:
        gate, most, done = Gate([Way()]), 0, 0

        async def one() -> None:
            nonlocal most, done
            door = await gate.enter(1)
            most = max(most, gate.in_flight)
            await asyncio.sleep(0)
            gate.leave(door, 1)
            done += 1

        await asyncio.gather(*(one() for _ in range(5 * START)))
        assert gate.in_flight == 0 and not gate.hungry
        return most, done

    assert asyncio.run(run()) == (START, 5 * START)


def test_who_came_first_goes_first_but_one_that_tries_again_goes_before_all() -> None:
    async def run() -> list[str]:
        door, order = Way(), []
        door.limit.limit = 1
        gate = Gate([door])

        async def one(name: str, *, first: bool = False) -> None:
            way = await gate.enter(1, first=first)
            order.append(name)
            for _ in range(3):
                await asyncio.sleep(0)
            gate.leave(way, 1)

        names = ["a", "b", "c", "d"]
        tasks = [asyncio.create_task(one(name)) for name in names]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(one("again", first=True)))
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == ["a", "again", "b", "c", "d"]


def test_a_request_of_several_samples_counts_as_many() -> None:
    async def run() -> None:
        gate = Gate([Way()])
        tasks = [asyncio.create_task(hold(gate, START // 4)) for _ in range(6)]
        await asyncio.sleep(0)
        assert gate.in_flight == START and gate.hungry
        await end(tasks[0])
        assert gate.in_flight == START
        await end(*tasks)
        assert gate.in_flight == 0 and not gate.hungry

    asyncio.run(run())


def test_the_least_loaded_door_that_is_up_is_taken() -> None:
    async def run() -> None:
        small, large, down = Way(), Way(), Way(up=False)
        small.limit.limit, large.limit.limit = 10, 30
        gate = Gate([small, large, down])
        tasks = [asyncio.create_task(hold(gate)) for _ in range(20)]
        await asyncio.sleep(0)
        assert (small.limit.in_flight, large.limit.in_flight, down.limit.in_flight) == (5, 15, 0)
        small.up = False
        tasks += [asyncio.create_task(hold(gate)) for _ in range(20)]
        await asyncio.sleep(0)
        assert (small.limit.in_flight, large.limit.in_flight) == (5, 30) and gate.hungry
        down.up = True
        gate.admit()
        assert (down.limit.in_flight, gate.hungry) == (5, False)
        await end(*tasks)
        assert gate.in_flight == 0

    asyncio.run(run())


def test_one_that_gives_up_while_waiting_takes_nobodys_turn() -> None:
    async def run() -> None:
        gate = Gate([Way()])
        holders = [asyncio.create_task(hold(gate)) for _ in range(START)]
        await asyncio.sleep(0)
        gone, stays = (asyncio.create_task(hold(gate)) for _ in range(2))
        await asyncio.sleep(0)
        await end(gone, holders[0])
        assert gate.in_flight == START and not gate.hungry
        # one that is let in and cancelled in the same breath gives its turn back
        late, last = (asyncio.create_task(hold(gate)) for _ in range(2))
        await asyncio.sleep(0)
        holders[1].cancel()
        await asyncio.sleep(0)
        await end(late, holders[1])
        assert gate.in_flight == START
        await end(*holders, stays, last)
        assert gate.in_flight == 0

    asyncio.run(run())


def test_when_all_is_lost_everybody_who_waits_or_comes_is_told() -> None:
    async def run() -> list[BaseException | None]:
        gate = Gate([Way(up=False)])
        tasks = [asyncio.create_task(hold(gate)) for _ in range(3)]
        await asyncio.sleep(0)
        await end(tasks[0])
        gate.fail(ValueError("lost"))
        tasks.append(asyncio.create_task(hold(gate)))
        told = await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert gate.in_flight == 0 and not gate.hungry
        return list(told)

    assert [repr(error) for error in asyncio.run(run())] == ["ValueError('lost')"] * 3


def test_an_engine_that_runs_all_gets_more_and_one_that_queues_gets_what_it_runs() -> None:
    limit = Limit()
    limit.saw_engine(0, 0, hungry=False)  # it has counters: it queues what it can't run
    assert limit.limit == START_OF_ENGINE
    limit.saw_engine(START_OF_ENGINE, 0, hungry=False)  # nobody waits: no reason to grow
    assert limit.limit == START_OF_ENGINE
    limit.saw_engine(START_OF_ENGINE, 0, hungry=True)
    assert limit.limit == START_OF_ENGINE * 2
    limit.saw_engine(40, 24, hungry=True)  # a queue keeps it fed
    assert limit.limit == START_OF_ENGINE * 2
    limit.saw_engine(16, 32, hungry=True)
    assert limit.limit == 32
    for _ in range(20):
        limit.saw_engine(HIGHEST, 0, hungry=True)
    assert limit.limit == HIGHEST
    limit.saw_engine(0, 32, hungry=True)
    assert limit.limit == LOWEST


def test_an_engine_with_counters_settles_at_what_it_runs_and_a_queue() -> None:
    limit = Limit()
    for _ in range(50):
        running = min(200, limit.limit)
        limit.saw_engine(running, limit.limit - running, hungry=True)
        limit.saw_reply(1000, hungry=True)
    assert 200 * 1.5 <= limit.limit <= 200 * 2


def test_refusals_cut_once_a_round_trip_down_to_the_lowest_and_calm_lets_grow() -> None:
    now = 100.0
    limit = Limit(lambda: now)
    for _ in range(2):
        limit.saw_refusal()
    assert limit.limit == START  # a few are no sign
    for _ in range(100):
        limit.saw_refusal()
    assert limit.limit == START * 2 // 3
    for _ in range(10):
        now += 2.0
        for _ in range(3):
            limit.saw_refusal()
    assert limit.limit == LOWEST
    limit.has_metrics = True
    limit.saw_engine(LOWEST, 0, hungry=True)
    assert limit.limit == LOWEST
    now += CALM
    limit.saw_engine(LOWEST, 0, hungry=True)
    assert limit.limit == LOWEST * 2


@pytest.mark.parametrize("slots", [12, 40, 100, 256, 700])
def test_without_counters_the_limit_finds_where_the_server_is_saturated(slots: int) -> None:
    seconds = 400.0
    server = Simulated(slots).run(seconds)
    assert 0.7 * slots <= server.limit.limit <= 2.5 * slots
    half = sum(time > seconds / 2 for time in server.done)
    assert half / (seconds / 2) >= 0.95 * slots / SERVICE


def test_a_server_that_becomes_faster_is_followed() -> None:
    server = Simulated(40).run(300)
    server.slots = 160
    server.run(1200)
    assert 0.7 * 160 <= server.limit.limit <= 2.5 * 160


@pytest.mark.parametrize("rate", [20, 100])
def test_a_server_that_refuses_above_a_rate_is_used_well_and_refuses_little(rate: int) -> None:
    server = Simulated(10_000, rate=rate).run(400)
    done, refused = (sum(time > 200 for time in times) for times in (server.done, server.refused))
    assert refused <= 0.05 * done
    assert done >= 0.75 * 200 * rate


@pytest.mark.parametrize("most", [16, 64, 256])
def test_a_server_that_refuses_above_a_number_at_once_is_used_well_and_refuses_little(most: int) -> None:
    server = Simulated(10_000, most=most).run(400)
    done, refused = (sum(time > 200 for time in times) for times in (server.done, server.refused))
    assert refused <= 0.05 * done
    assert done >= 0.75 * 200 * most / SERVICE


def test_replies_that_nobody_waits_for_move_nothing() -> None:
    now = 0.0
    limit = Limit(lambda: now)
    for _ in range(10 * START):
        now += 0.1
        limit.saw_reply(100, hungry=False)
    assert limit.limit == START
