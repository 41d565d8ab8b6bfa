"""An alarm over a stream of answers that may be looked at for ever: is it still like the clean images?

For the rate of flags, and for each source class being the strongest, `Evidence` is gathered against what the clean
images of the calibration allow. The chance of a false alarm, ever, is shared out: half to the rate and half to all
classes together, and of each half one half to the luck of the calibration and one to the stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from transferkit.deploy.evidence import Evidence, luck_bound, rate_always
from transferkit.deploy.interference import Interference
from transferkit.deploy.log_lines import Line
from transferkit.errors import InputError
from transferkit.statistics import Estimate

ERROR = 0.01
POINTS = 600  # of the history that is kept for the picture; then every other one is dropped


@dataclass(frozen=True)
class Hypothesis:
    """What is doubted: an event has at most the probability `rate`; `name` None for flags, else the source class.

    The alarm is given when the e-value reaches `limit`.
    """

    name: str | None
    index: int
    rate: float
    limit: float


def hypotheses(interference: Interference | None, error: float = ERROR, rate: float | None = None) -> list[Hypothesis]:
    """The rate of flags first, then each class that is watched, where the calibration counted them.

    A given `rate` takes the place of the calibration's, and has no luck. Raises InputError without either.
    """
    if not 0 < error < 1:
        raise InputError(f"the chance of a false alarm lies between 0 and 1, not {error:g}")
    if rate is not None and not 0 < rate < 1:
        raise InputError(f"the rate of false alarms lies between 0 and 1, not {rate:g}")
    named = None if interference is None else interference.calibration.named
    size = sum((named or {}).values())
    classes = [] if interference is None or not size else list(interference.lingering)
    share = error / 2 if classes else error
    if rate is not None:
        found = [Hypothesis(None, -1, rate, 1 / share)]
    elif interference is not None:
        found = [Hypothesis(None, -1, _clean_rate(interference, share / 2), 2 / share)]
    else:
        raise InputError("without a model nothing is known of clean images: give the rate of flags that they have")
    hits: dict[str, int] = {}
    places: dict[str, int] = {}
    for one in classes:  # answers tell classes by name, so those of one name are one
        hits[one.name] = hits.get(one.name, 0) + (named or {}).get(one.index, 0)
        places.setdefault(one.name, one.index)
    each = share / (2 * max(len(hits), 1))
    bounds = {name: luck_bound(number, size, each) for name, number in hits.items()}
    return found + [Hypothesis(name, places[name], bound, 1 / each) for name, bound in bounds.items() if bound < 1]


def _clean_rate(interference: Interference, error: float) -> float:
    """What the rate of flags of clean images is at most: as promised, or as the luck of the calibration allows."""
    promised, size = interference.guarantee.alpha, interference.guarantee.calibration_size
    rank = interference.calibration.rank(interference.detect_p, size)
    bound = luck_bound(size - rank, size, error) if rank else (1.0 if size and promised is None else 0.0)
    found = max(promised or 0.0, bound)
    if not 0 < found < 1:
        raise InputError(
            "the calibration does not say how many clean images this detector flags: give the rate of flags that "
            "clean images have"
        )
    return found


@dataclass(frozen=True)
class Alarm:
    """What was noticed: at which record, and since about which one it was so; times where the log has them."""

    name: str | None
    record: int
    since: int
    time: str | None
    since_time: str | None


@dataclass(frozen=True)
class Blocks:
    """What is one decision: `size` answers in a row, or answers less than `gap` seconds apart. Neither: each answer."""

    size: int | None = None
    gap: float | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.gap is not None:
            raise InputError("blocks are of so many answers or end where time passes: give one of the two")
        if (self.size is not None and self.size < 1) or (self.gap is not None and not self.gap > 0):
            raise InputError("a block has at least one answer, and a gap is longer than 0 seconds")


@dataclass
class _Block:
    """The block that is being filled: where it began, and how often each event happened in it."""

    first: int = 0
    time: str | None = None
    latest: datetime | None = None
    count: int = 0
    events: list[float] = field(default_factory=list)


class Monitor:
    """Takes answers one by one. `alarms` are kept for ever; a new one is also what `add` returns."""

    def __init__(self, watched: list[Hypothesis], blocks: Blocks | None = None) -> None:
        self.watched = watched
        self.blocks = Blocks() if blocks is None else blocks
        self.evidence = Evidence([one.rate for one in watched])
        self.records = 0
        self.flagged = 0
        self.share_sum = 0.0
        """Of flags, summed over blocks."""
        self.alarms: list[Alarm] = []
        self.history: list[tuple[int, float, float]] = []
        """(record, log10 of the rate's e-value over its limit, the same of the class nearest to its limit)."""
        self._stride = 1
        self._begun = np.zeros(self.evidence.rise.shape, dtype=np.int64)
        self._times = np.full(self._begun.shape, None, dtype=object)
        self._limits = np.asarray([one.limit for one in watched])
        self._open = self._fresh()

    def add(self, line: Line) -> list[Alarm]:
        """Take in one answer; the alarms that it gives, mostly none. Raises InputError where a time is missing."""
        found: list[Alarm] = []
        if self.blocks.gap is not None:
            if line.time is None:
                raise InputError("blocks that end where time passes need a time in every line: give a number instead")
            latest = self._open.latest
            if latest is not None and (line.time - latest).total_seconds() >= self.blocks.gap:
                found = self.close_block()
        self.records += 1
        self.flagged += line.flag
        block, time = self._open, None if line.time is None else line.time.isoformat()
        if not block.count:
            block.first, block.time = self.records, time
        block.latest = line.time
        block.count += 1
        block.events[0] += line.flag
        if line.source_class is not None:
            for place, one in enumerate(self.watched):
                block.events[place] += place > 0 and one.index == line.source_class
        if self.blocks.gap is None and block.count == (self.blocks.size or 1):
            found = self.close_block()
        return found

    def close_block(self) -> list[Alarm]:
        """Decide on what the open block has; the alarms that it gives."""
        block, self._open = self._open, self._fresh()
        if not block.count:
            return []
        shares = np.asarray(block.events) / block.count
        begun = self.evidence.update(shares)
        self.share_sum += float(shares[0])
        self._begun[begun], self._times[begun] = block.first, block.time
        return list(self._judge(None if block.latest is None else block.latest.isoformat()))

    @property
    def rate(self) -> Estimate:
        """The share of flags with an interval that holds at all times at once (95 %), over blocks."""
        return rate_always(self.share_sum, self.evidence.units)

    def e_values(self) -> dict[str | None, float]:
        """{name: e-value}, None for the rate."""
        return {one.name: float(value) for one, value in zip(self.watched, self.evidence.values, strict=True)}

    def _judge(self, time: str | None) -> Iterator[Alarm]:
        closeness = np.log10(self.evidence.values / self._limits)
        if self.evidence.units % self._stride == 0:
            nearest = float(closeness[1:].max()) if len(closeness) > 1 else -math.inf
            self.history.append((self.records, float(closeness[0]), nearest))
            if len(self.history) > POINTS:
                self.history, self._stride = self.history[1::2], 2 * self._stride
        if not (closeness >= 0).any():
            return
        known = {one.name for one in self.alarms}
        for row in np.flatnonzero(closeness >= 0):
            name, best = self.watched[row].name, int(self.evidence.rise[row].argmax())
            if name not in known:
                alarm = Alarm(name, self.records, int(self._begun[row, best]), time, self._times[row, best])
                self.alarms.append(alarm)
                yield alarm

    def _fresh(self) -> _Block:
        return _Block(events=[0.0] * len(self.watched))

    def to_json(self) -> dict[str, Any]:
        """All that it knows, for `restore`."""
        block = asdict(self._open)
        block["latest"] = None if self._open.latest is None else self._open.latest.isoformat()
        return {
            "watched": [asdict(one) for one in self.watched],
            "blocks": asdict(self.blocks),
            "records": self.records,
            "flagged": self.flagged,
            "share_sum": self.share_sum,
            "evidence": self.evidence.to_json(),
            "alarms": [asdict(one) for one in self.alarms],
            "history": [
                [record, rate, None if nearest == -math.inf else nearest] for record, rate, nearest in self.history
            ],
            "stride": self._stride,
            "begun": self._begun.tolist(),
            "times": self._times.tolist(),
            "block": block,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from what `to_json` gave for the same hypotheses and blocks. Raises ValueError where it is damaged."""
        try:
            self.evidence.restore(content["evidence"])
            self.records, self.flagged = int(content["records"]), int(content["flagged"])
            self.share_sum, self._stride = float(content["share_sum"]), int(content["stride"])
            self.alarms = [Alarm(**one) for one in content["alarms"]]
            self.history = [
                (int(record), float(rate), -math.inf if nearest is None else float(nearest))
                for record, rate, nearest in content["history"]
            ]
            begun, times = np.asarray(content["begun"], dtype=np.int64), np.asarray(content["times"], dtype=object)
            if begun.shape != self._begun.shape or times.shape != begun.shape:
                raise ValueError("beginnings of another shape")
            self._begun, self._times = begun, times
            block = dict(content["block"])
            block["latest"] = None if block["latest"] is None else datetime.fromisoformat(block["latest"])
            self._open = _Block(**block)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if len(self._open.events) != len(self.watched):
            raise ValueError("an open block of another shape")

    def belongs(self, content: dict[str, Any]) -> bool:
        """Whether what `to_json` gave is of the same hypotheses and blocks."""
        mine = self.to_json()
        return all(content.get(name) == mine[name] for name in ("watched", "blocks"))
