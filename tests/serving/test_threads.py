from __future__ import annotations

import asyncio
import threading
import time

import pytest

from transferkit.serving.threads import NotStarted, Threads, TimedOut


def test_results_and_errors_come_back():
    async def main():
        threads = Threads(3, "test")
        assert await asyncio.gather(*(threads.run(lambda i=i: i * i) for i in range(50))) == [i * i for i in range(50)]
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        with pytest.raises(TimeoutError) as raised:
            await threads.run(_own_timeout)
        assert not isinstance(raised.value, TimedOut)
        threads.stop()

    asyncio.run(main())


def _own_timeout():
    raise TimeoutError("of the call")


def test_a_thread_that_hangs_is_replaced_and_does_not_come_back():
    free = threading.Event()

    async def main():
        threads = Threads(1, "hanging")
        for lost in range(1, 3):
            with pytest.raises(TimedOut):
                await threads.run(free.wait, timeout=0.05)
            assert threads.lost == lost
            assert await threads.run(lambda: 7, timeout=5) == 7
        free.set()
        while threads.lost:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert sum(thread.name == "hanging" for thread in threading.enumerate()) == 1
        threads.stop()

    asyncio.run(main())


def test_too_many_hanging_threads_are_not_replaced():
    free = threading.Event()

    async def main():
        threads = Threads(1, "many")
        for _ in range(5):
            with pytest.raises(TimedOut):
                await threads.run(free.wait, timeout=0.02)
        with pytest.raises(NotStarted):
            await threads.run(lambda: 1, timeout=0.02)
        free.set()
        assert await threads.run(lambda: 2, timeout=5) == 2
        threads.stop()

    asyncio.run(main())


def test_what_waits_too_long_is_not_done_later():
    done = []

    async def main():
        threads = Threads(1, "test")
        first = asyncio.create_task(threads.run(lambda: time.sleep(0.2)))
        await asyncio.sleep(0.05)
        with pytest.raises(NotStarted):
            await threads.run(lambda: done.append(1), timeout=0.02)
        second = asyncio.create_task(threads.run(lambda: done.append(2)))
        await asyncio.sleep(0)
        second.cancel()
        await first
        await threads.run(lambda: done.append(3))
        assert threads.lost == 0
        threads.stop()

    asyncio.run(main())
    assert done == [3]
