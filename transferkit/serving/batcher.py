"""Micro-batches: what arrives within a few milliseconds goes through the model together."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from transferkit.serving.settings import Batching

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Collects items of single callers, runs them in batches and hands everyone their own answer.

    A batch leaves when it is full, or when its first item has waited `max_wait`, as soon as one of `parallel` places
    is free. Belongs to one event loop.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        batching: Batching,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._run = run
        self._batching = batching
        self._seen = seen
        self._waiting: deque[tuple[float, Item, asyncio.Future[Answer]]] = deque()
        self._busy = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._seconds = 0.05  # of one batch, smoothed
        self.failed = False
        """Whether the latest batch raised an error."""

    async def submit(self, item: Item) -> Answer:
        """The answer to one item, or the error of its batch. Nobody who cancels costs a place in a batch."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((loop.time(), item, future))
        self._leave()
        return await future

    def expected_wait(self) -> int:
        """Seconds until what waits now is done: what a client is told who finds no place."""
        rounds = math.ceil((len(self._waiting) + 1) / (self._batching.max_batch * self._batching.parallel))
        return max(1, math.ceil(rounds * self._seconds))

    def _leave(self) -> None:
        """Start every batch that may start now, and come back when the next one may."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._busy < self._batching.parallel:
            remaining = self._waiting[0][0] + self._batching.max_wait - loop.time()
            if len(self._waiting) < self._batching.max_batch and remaining > 0:
                self._timer = loop.call_later(remaining, self._leave)
                return
            batch = self._take()
            if batch:
                self._busy += 1
                task = loop.create_task(self._answer(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._batching.max_batch:
            _, item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._seen(len(batch))
        try:
            answers = await self._run([item for item, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
            self.failed = False
        except Exception as error:
            self.failed = True
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            self._seconds += 0.2 * (loop.time() - began - self._seconds)
            self._busy -= 1
            self._leave()
