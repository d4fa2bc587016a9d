"""Work of many takes turns with everything else on the event loop."""

from __future__ import annotations

import asyncio

import pytest

from streaming.turns import Turns

pytestmark = pytest.mark.asyncio


async def test_work_is_done_in_the_order_it_came_and_not_all_of_it_in_one_turn() -> None:
    turns = Turns(asyncio.get_running_loop(), 0.0)
    done: list[tuple[int, int]] = []
    turn = 0

    def note(number: int) -> int:
        done.append((number, turn))
        return number

    working = asyncio.gather(*(turns.run(lambda n=n: note(n)) for n in range(10)))  # type: ignore[misc]
    while not working.done():
        turn += 1
        await asyncio.sleep(0)

    assert await working == list(range(10))
    assert [number for number, _ in done] == list(range(10))
    assert len({at for _, at in done}) >= 9


async def test_what_fits_into_a_turn_is_done_at_once() -> None:
    turns = Turns(asyncio.get_running_loop(), 60.0)
    at_once = [turns.run(lambda n=n: n) for n in range(3)]  # type: ignore[misc]

    for number, work in enumerate(at_once):
        with pytest.raises(StopIteration) as caught:
            work.send(None)
        assert caught.value.value == number


async def test_a_fault_is_its_own_callers_and_who_is_gone_has_nothing_done() -> None:
    turns = Turns(asyncio.get_running_loop(), 0.0)
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("a fault of ours")

    tasks = [
        asyncio.create_task(turns.run(work))
        for work in (lambda: done.append("first"), fail, lambda: done.append("gone"), lambda: None)
    ]
    await asyncio.sleep(0)
    tasks[2].cancel()
    got = await asyncio.gather(*tasks, return_exceptions=True)

    assert done == ["first"]
    assert [type(one) for one in got] == [
        type(None),
        RuntimeError,
        asyncio.CancelledError,
        type(None),
    ]
