"""What `interference.json` says, as checked values. No torch, no files."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import transferkit

SCHEMA_VERSION = 1
KEPT = 2000
QUANTILES = (0.5, 0.9, 0.95, 0.99)
ScoreModel = Literal["swapped", "refitted", "separate"]
Reduction = Literal["sum", "max"]
HEADS = {"swapped": "source_head.safetensors", "refitted": "interference_head.safetensors", "separate": None}


@dataclass(frozen=True)
class LingeringClass:
    """A source class the detector watches: its place among all source classes, and how it was chosen."""

    index: int
    name: str
    prevalence: int | None = None
    mean_probability: float | None = None


@dataclass(frozen=True)
class Score:
    """Which head gives the probabilities, and how those of the lingering classes become one number."""

    model: ScoreModel
    reduction: Reduction


@dataclass(frozen=True)
class Guarantee:
    """At most a share `alpha` of clean inputs is flagged; `alpha` is None where the threshold was given."""

    alpha: float | None
    confidence: float | None
    calibration_size: int
    text: str


@dataclass(frozen=True)
class Calibration:
    """Scores of clean inputs, sorted, and how often each source class (by index) was the strongest among them."""

    scores: tuple[float, ...]
    quantiles: Mapping[str, float] = field(default_factory=dict)
    named: Mapping[int, int] | None = None

    @classmethod
    def of(cls, scores: Iterable[float], named: Iterable[int] | None = None) -> Calibration:
        """From the scores of n images, and the strongest lingering class of each if `named` is given.

        Of more than 2000 scores it keeps those order statistics with which a p-value never gets smaller. What
        rounding put outside 0 to 1 is put back. Raises ValueError for NaN.
        """
        values = [float(score) for score in scores]
        if any(map(math.isnan, values)):
            raise ValueError("a calibration score is NaN; the model or an image is broken")
        ordered = sorted(min(1.0, max(0.0, value)) for value in values)
        n = len(ordered)
        quantiles = {f"{q:g}": ordered[max(0, math.ceil(q * n) - 1)] for q in QUANTILES} if n else {}
        kept = ordered if n <= KEPT else [ordered[rank_of(j, KEPT, n) - 1] for j in range(1, KEPT + 1)]
        counts: dict[int, int] | None = None
        if named is not None:
            counts = {}
            for index in named:
                counts[int(index)] = counts.get(int(index), 0) + 1
        return cls(tuple(kept), quantiles, counts)

    def p_value(self, score: float) -> float:
        """(1 + how many clean scores are at least as large) / (n + 1); NaN without clean scores or for NaN."""
        if not self.scores or math.isnan(score):
            return math.nan
        n = len(self.scores)
        return (1 + n - bisect_left(self.scores, score)) / (n + 1)

    def rank(self, threshold: float, size: int) -> int:
        """How many of the `size` clean scores are at most the threshold; estimated where not all were kept."""
        below = bisect_right(self.scores, threshold)
        return below if size <= len(self.scores) else rank_of(below, len(self.scores), size)


def rank_of(kept: int, of: int, n: int) -> int:
    """Which of n order statistics (from 1) stands at place `kept` of those that are kept; 0 for 0."""
    return -(-kept * (n + 1) // (of + 1))


@dataclass(frozen=True)
class Interference:
    """A model's detector. `source_class` everywhere is an index into `source_classes`, the K_s of the head."""

    source_model: Mapping[str, Any]
    lingering: Sequence[LingeringClass]
    source_classes: Sequence[str]
    score: Score
    detect_p: float
    guarantee: Guarantee
    calibration: Calibration
    preprocessing: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    created_by: str = transferkit.__version__
    schema_version: int = SCHEMA_VERSION

    @property
    def indices(self) -> list[int]:
        """The lingering classes, as indices into all source classes."""
        return [one.index for one in self.lingering]

    @property
    def head_file(self) -> str | None:
        """The file with the head; None for a separate source model, which has its own."""
        return HEADS[self.score.model]

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        content = asdict(self)
        named = content["calibration"].pop("named")
        if named is not None:
            content["calibration"]["named"] = {str(index): count for index, count in sorted(named.items())}
        content["calibration"]["scores"] = list(self.calibration.scores)
        content["lingering"], content["source_classes"] = list(content["lingering"]), list(self.source_classes)
        first = ("schema_version", "created_by")
        return {key: content[key] for key in first} | {k: v for k, v in content.items() if k not in first}
