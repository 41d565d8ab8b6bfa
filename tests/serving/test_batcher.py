from __future__ import annotations

import asyncio

import pytest

from transferkit.serving.batcher import Batcher
from transferkit.serving.settings import Batching, Settings, batching


class Doubling:
    """Doubles numbers; remembers the batches."""

    def __init__(self, seconds=0.0):
        self.batches, self.seconds, self.busy, self.most = [], seconds, 0, 0

    async def __call__(self, items):
        self.batches.append(list(items))
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(self.seconds)
        self.busy -= 1
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [2 * item for item in items]


def submit(run, items, **options):
    async def main():
        batcher = Batcher(run, Batching(**options))
        return await asyncio.gather(*map(batcher.submit, items), return_exceptions=True)

    return asyncio.run(main())


def test_everyone_gets_the_answer_to_their_own_item():
    run = Doubling(0.001)
    assert submit(run, range(100), max_batch=8, max_wait=0.01, parallel=2) == [2 * i for i in range(100)]
    assert [item for batch in run.batches for item in batch] == list(range(100))
    assert max(map(len, run.batches)) == 8 and run.most == 2


def test_a_full_batch_does_not_wait_and_a_lonely_item_waits_no_longer_than_told():
    run = Doubling()
    assert submit(run, range(8), max_batch=4, max_wait=60, parallel=1) == [2 * i for i in range(8)]
    assert list(map(len, run.batches)) == [4, 4]
    assert submit(Doubling(), [1], max_batch=4, max_wait=0.02, parallel=1) == [2]


def test_what_came_while_the_model_was_busy_leaves_together():
    async def main():
        free, batches = asyncio.Event(), []

        async def run(items):
            batches.append(list(items))
            await free.wait()
            return items

        batcher = Batcher(run, Batching(max_batch=8, max_wait=0.001, parallel=1))
        tasks = [asyncio.create_task(batcher.submit(0))]
        while not batches:
            await asyncio.sleep(0.001)
        for item in range(1, 6):
            tasks.append(asyncio.create_task(batcher.submit(item)))
            await asyncio.sleep(0.002)
        free.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4, 5]
        assert batches == [[0], [1, 2, 3, 4, 5]]

    asyncio.run(main())


def test_a_failed_batch_fails_alone():
    run = Doubling()
    found = submit(run, [1, 2, -3, 4, 5, 6], max_batch=2, max_wait=0.01, parallel=1)
    assert [type(one) for one in found] == [int, int, ValueError, ValueError, int, int]


def test_whoever_gives_up_costs_no_place():
    async def main():
        run = Doubling(0.05)
        batcher = Batcher(run, Batching(max_batch=2, max_wait=0.0, parallel=1))
        tasks = [asyncio.create_task(batcher.submit(item)) for item in range(6)]
        await asyncio.sleep(0.01)
        for place in (0, 2, 3):
            tasks[place].cancel()
        assert await asyncio.gather(tasks[1], tasks[4], tasks[5]) == [2, 8, 10]
        assert run.batches == [[0], [1, 4], [5]]

    asyncio.run(main())


@pytest.mark.parametrize("waiting, seconds", [(0, 1), (20, 2), (1000, 63)])
def test_how_long_it_will_take(waiting, seconds):
    async def main():
        batcher = Batcher(Doubling(), Batching(max_batch=4, max_wait=0, parallel=2))
        batcher._seconds = 0.5
        batcher._waiting.extend([(0.0, 1, None)] * waiting)
        assert batcher.expected_wait() == seconds

    asyncio.run(main())


def test_batches_are_for_accelerators():
    assert batching(Settings(workers=3), "cpu") == Batching(1, 0.0, 3)
    assert batching(Settings(), "cuda") == Batching(32, 0.005, 1)
    assert batching(Settings(max_batch=4, max_wait_ms=20, workers=2), "cpu") == Batching(4, 0.02, 2)
    assert batching(Settings(max_batch=1), "cuda") == Batching(1, 0.0, 1)
