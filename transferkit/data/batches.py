"""Loaders: which images make up every batch, as a function of (seed, epoch, step), whoever reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transferkit.data.feed import Batch, Feed, Request
from transferkit.data.randomness import numpy_rng
from transferkit.data.shares import images_due
from transferkit.errors import InputError
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.data.streams import Partner

__all__ = ["Batch", "EvalLoader", "TrainLoader"]

TARGET = "target"
Mix = Callable[[int, int, float], Mapping[str, float]]
# several visits of one sample in one epoch get augmentations of their own
VISIT = 1 << 32


class TrainLoader:
    """The training batches of a stage.

    One stream: every image once per epoch, in an order that is a function of (seed, epoch); the last batch
    is smaller. Several: every batch is full, and each stream cycles through orders of its own, (seed, stream,
    cycle). `mix(step, epoch, progress)` gives the shares of the streams besides the target, which gets the
    rest; it must be a function of its arguments alone, so that positions can be worked out anew on resume.
    `batch_size` counts the images of all processes together. A stream with a partner function is paired: every
    target image brings one of its images, which the totals do not count.
    """

    def __init__(
        self,
        streams: Mapping[str, Samples],
        *,
        batch_size: int,
        seed: int,
        mix: Mix | None = None,
        partners: Mapping[str, Partner] | None = None,
        total_epochs: int = 1,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        weights: NDArray[np.float64] | None = None,
        pin_memory: bool = False,
        persistent: bool = True,
    ) -> None:
        self.streams = dict(streams)
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.total_epochs = total_epochs
        size = len(self.streams[TARGET])
        if min(batch_size, size) < world:
            needed = f"{world} processes need at least as many images per batch"
            raise InputError(f"{needed}; there are {min(batch_size, size)}")
        self._partners = dict(partners or {})
        self.mixed = [name for name in self.streams if name not in self._partners]
        if len(self.mixed) > 1 and mix is None:
            raise InputError(f"the streams {', '.join(self.streams)} need a curriculum that says how to mix them")
        self._probabilities = None if weights is None else _probabilities(weights, size)
        self._plan = _Plan(self, mix) if mix is not None and len(self.mixed) > 1 else None
        self._order = lru_cache(maxsize=4 * len(self.streams))(self._draw_order)
        self.feed = Feed(self.streams, workers, pin_memory, persistent)
        self.steps_per_epoch = math.ceil(size / batch_size)
        # a batch of one image per process has no variance for BatchNorm
        if self._plan is None and self.steps_per_epoch > 1 and 0 < size % batch_size < 2 * world:
            self.steps_per_epoch -= 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch number `start`."""
        return self.feed.read(self._requests(epoch, start))

    def may_be_alone(self, *, apart: bool) -> bool:
        """Whether a pass of one image is possible at all; `apart`: each stream is passed on its own."""
        smallest = min(self.batch_size, len(self.streams[TARGET])) if self._plan is None else self.batch_size
        return smallest < 2 * self.world or (apart and self._plan is not None)

    def alone(self, batches: int, *, apart: bool) -> tuple[int, str] | None:
        """(number of the batch, stream) of the first of so many in which a process has one image to pass, or None.

        Partners are not counted: they may be blended into the target's images. `mix` is asked for every batch.
        """
        if self._plan is None or not apart:
            return (0, TARGET) if batches and self.may_be_alone(apart=False) else None
        plan = _Plan(self, self._plan.mix)  # one that observes the training may answer differently later
        known: dict[tuple[int, ...], str | None] = {}
        for number in range(batches):
            counts = {name: end - begin for name, (begin, end) in plan.positions(number).items()}
            key = tuple(counts.values())
            if key not in known:
                known[key] = _lone(counts, self.world)
            if (stream := known[key]) is not None:
                return number, stream
        return None

    def close(self) -> None:
        """End the worker processes."""
        self.feed.close()

    def _requests(self, epoch: int, start: int) -> Iterator[Request]:
        for number in range(start, self.steps_per_epoch):
            if self._plan is None:
                picks = self._single(epoch, number)
            else:
                spans = self._plan.positions(epoch * self.steps_per_epoch + number)
                picks = {name: self._cycled(name, *span) for name, span in spans.items() if span[1] > span[0]}
            totals = {name: len(indices) for name, (indices, _) in picks.items()}
            everywhere = totals | dict.fromkeys(self._partners, totals.get(TARGET, 0))
            mine = shard(picks, self.rank, self.world)
            if TARGET in mine:
                indices, keys = mine[TARGET]
                mine |= {name: (partner(indices, keys), keys) for name, partner in self._partners.items()}
            yield Request(mine, sum(totals.values()), everywhere)

    def _single(self, epoch: int, number: int) -> dict[str, Picks]:
        indices, keys = self._order(TARGET, epoch)
        begin = number * self.batch_size
        last = number == self.steps_per_epoch - 1
        part = slice(begin, None if last else begin + self.batch_size)
        return {TARGET: (indices[part], keys[part])}

    def _cycled(self, name: str, begin: int, end: int) -> Picks:
        """Positions begin … end-1 of the endless sequence of a stream's orders."""
        size = len(self.streams[name])
        parts = []
        while begin < end:
            cycle, offset = divmod(begin, size)
            count = min(end - begin, size - offset)
            indices, keys = self._order(name, cycle)
            parts.append((indices[offset : offset + count], keys[offset : offset + count]))
            begin += count
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _draw_order(self, name: str, cycle: int) -> Picks:
        """(indices, epochs for the keys of the augmentation), each (n,)."""
        rng, size = numpy_rng(self.seed, "order", name, cycle), len(self.streams[name])
        if name != TARGET or self._probabilities is None:
            return rng.permutation(size), np.full(size, cycle, dtype=np.int64)
        indices = rng.choice(size, size, p=self._probabilities)
        return indices, cycle + VISIT * _visits(indices)


class EvalLoader:
    """Every sample exactly once over all processes, in order; the stream is called "target"."""

    def __init__(
        self,
        samples: Samples,
        *,
        batch_size: int,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
        persistent: bool = False,
    ) -> None:
        self.samples, self.rank, self.world = samples, rank, world
        size = len(samples)
        bounds = [*range(0, size, max(batch_size, world)), size]
        # each process gets a part of every batch, so that all of them make the same number of steps
        if len(bounds) > 2 and size - bounds[-2] < world:
            del bounds[-2]
        self._bounds = bounds
        self.feed = Feed({TARGET: samples}, workers, pin_memory, persistent)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[Batch]:
        return self.feed.read(self._requests())

    def close(self) -> None:
        """End the worker processes."""
        self.feed.close()

    def _requests(self) -> Iterator[Request]:
        for begin, end in pairwise(self._bounds):
            indices = np.arange(begin, end)
            picks = shard({TARGET: (indices, np.zeros_like(indices))}, self.rank, self.world)
            if picks:
                yield Request(picks, end - begin)


Picks = tuple[NDArray[np.int64], NDArray[np.int64]]


def shard(picks: Mapping[str, Picks], rank: int, world: int) -> dict[str, Picks]:
    """A process's part of a batch: contiguous in every stream, totals that differ by at most one image.

    What does not divide evenly goes to the processes in turn, on from where the stream before left off.
    """
    if world == 1:
        return dict(picks)
    mine, turn = {}, 0
    for name, (indices, keys) in picks.items():
        each, over = divmod(len(indices), world)
        extra = [(process - turn) % world < over for process in range(world)]
        begin = each * rank + sum(extra[:rank])
        end = begin + each + extra[rank]
        turn = (turn + over) % world
        if end > begin:
            mine[name] = (indices[begin:end], keys[begin:end])
    return mine


def _lone(counts: Mapping[str, int], world: int) -> str | None:
    """The stream of which some process gets a single image."""
    picks = {name: (np.arange(count), np.arange(count)) for name, count in counts.items()}
    parts = (shard(picks, rank, world) for rank in range(world))
    return next((name for part in parts for name, (indices, _) in part.items() if len(indices) == 1), None)


class _Plan:
    """How many images of each stream every step takes, and where in its sequence each stream then stands."""

    def __init__(self, loader: TrainLoader, mix: Mix) -> None:
        self._loader = loader
        self.mix = mix
        self._streams = loader.mixed
        self._others = [name for name in self._streams if name != TARGET]
        self._ends = [dict.fromkeys(self._streams, 0)]
        self._owed = dict.fromkeys(self._others, 0)

    def positions(self, step: int) -> dict[str, tuple[int, int]]:
        """{stream: (begin, end)} of that step, counted over all earlier steps."""
        while len(self._ends) <= step + 1:
            counts = self._counts(len(self._ends) - 1)
            self._ends.append({name: end + counts[name] for name, end in self._ends[-1].items()})
        return {name: (begin, self._ends[step + 1][name]) for name, begin in self._ends[step].items()}

    def _counts(self, step: int) -> dict[str, int]:
        """Images per stream: over many steps the mean is share * batch_size, whatever the share."""
        steps = self._loader.steps_per_epoch
        room = size = self._loader.batch_size
        shares = self._shares(step, step // steps, step / (steps * self._loader.total_epochs))
        if len(self._others) == 1:
            target = images_due((1 - shares[self._others[0]]) * size, step)
            return {TARGET: target, self._others[0]: size - target}
        counts = {}
        for name in self._others:
            due = images_due(shares[name] * size, step)
            # with three streams the rounded counts can exceed a batch: what does not fit comes in the next
            counts[name] = min(due + self._owed[name], room)
            self._owed[name] += due - counts[name]
            room -= counts[name]
        return {TARGET: room} | counts

    def _shares(self, step: int, epoch: int, progress: float) -> dict[str, float]:
        given = {name: float(share) for name, share in self.mix(step, epoch, progress).items()}
        unknown = [name for name in given if name not in self._streams]
        if unknown:
            hint = did_you_mean(unknown[0], self._streams) or ""
            raise InputError(f'mix gives a share to "{unknown[0]}", which is no stream; {hint}')
        if len(self._others) == 1 and TARGET in given and self._others[0] not in given:
            given[self._others[0]] = 1.0 - given[TARGET]
        shares = {name: given.get(name, 0.0) for name in self._others}
        rest = 1.0 - sum(shares.values())
        valid = all(0 <= share <= 1 for share in given.values()) and rest >= -1e-6
        if not valid or abs(given.get(TARGET, rest) - rest) > 1e-6:
            raise InputError(f"mix gives the shares {given} at step {step}; they must lie in 0..1 and sum to 1")
        return shares


def _probabilities(weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    weights = np.asarray(weights, dtype=np.float64).reshape(-1)
    if len(weights) != size or not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
        raise InputError(f"sampling weights must be {size} finite numbers, none negative and not all zero")
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def _visits(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many times each entry's value occurred before it: 5 3 5 5 -> 0 0 1 2."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    first = np.searchsorted(ordered, ordered, side="left")
    visits = np.empty(len(indices), dtype=np.int64)
    visits[order] = np.arange(len(indices)) - first
    return visits
