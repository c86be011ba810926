import asyncio

from synth.llm.throttle import HIGHEST, LOWEST, START, Throttle


def test_no_more_than_the_limit_are_in_flight() -> None:
    async def run() -> tuple[int, int]:
        throttle, most, done = Throttle(), 0, 0

        async def one() -> None:
            nonlocal most, done
            async with throttle:
                most = max(most, throttle.in_flight)
                await asyncio.sleep(0)
            done += 1

        await asyncio.gather(*(one() for _ in range(5 * START)))
        assert throttle.in_flight == 0 and not throttle.full
        return most, done

    assert asyncio.run(run()) == (START, 5 * START)


def test_an_engine_that_runs_all_gets_more_and_one_that_queues_gets_what_it_runs() -> None:
    async def run() -> list[int]:
        throttle = Throttle()
        throttle.saw_engine(START, 0)
        limits = [throttle.limit]  # nobody waits for the throttle: no reason to grow
        tasks = [asyncio.create_task(hold(throttle)) for _ in range(10 * START)]
        await asyncio.sleep(0)
        throttle.saw_engine(START, 0)
        limits.append(throttle.limit)
        await asyncio.sleep(0)
        assert throttle.in_flight == throttle.limit
        throttle.saw_engine(16, 32)
        limits.append(throttle.limit)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert throttle.in_flight == 0
        return limits

    assert asyncio.run(run()) == [START, START * 3 // 2, 18]


async def hold(throttle: Throttle) -> None:
    async with throttle:
        await asyncio.Event().wait()


def test_refusals_halve_down_to_the_lowest_and_calm_lets_grow() -> None:
    async def run() -> None:
        throttle = Throttle()
        throttle.saw_refusal()
        assert throttle.limit == START // 2
        for _ in range(10):
            throttle.saw_refusal()
        assert throttle.limit == LOWEST
        tasks = [asyncio.create_task(hold(throttle)) for _ in range(3 * HIGHEST)]
        await asyncio.sleep(0)
        for _ in range(LOWEST):
            throttle.saw_reply()
        assert throttle.limit == LOWEST + 1
        for _ in range(100):
            throttle.saw_engine(HIGHEST, 0)
        assert throttle.limit == HIGHEST
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_one_that_gives_up_while_waiting_takes_nobodys_turn() -> None:
    async def run() -> None:
        throttle = Throttle()
        holders = [asyncio.create_task(hold(throttle)) for _ in range(START)]
        await asyncio.sleep(0)
        gone, stays = (asyncio.create_task(hold(throttle)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        holders[0].cancel()
        await asyncio.gather(holders[0], gone, return_exceptions=True)
        await asyncio.sleep(0)
        assert throttle.in_flight == START and not throttle.full
        # one that is let in and cancelled in the same breath gives its turn back
        late, last = (asyncio.create_task(hold(throttle)) for _ in range(2))
        await asyncio.sleep(0)
        holders[1].cancel()
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(holders[1], late, return_exceptions=True)
        await asyncio.sleep(0)
        assert throttle.in_flight == START
        for task in (*holders, stays, last):
            task.cancel()
        await asyncio.gather(*holders, stays, last, return_exceptions=True)
        assert throttle.in_flight == 0

    asyncio.run(run())
