"""What a detector said about many inputs, counted: from images one by one, or from a log of served requests."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.deploy.interference import Interference
from transferkit.errors import InputError

LOGS = (".jsonl", ".ndjson", ".json", ".log")


@dataclass
class Tally:
    """Counts: inputs, flagged ones, and for each source class (by index) how often it was the strongest.

    `skipped` lines of a log were no answers, `contrary` flags are not what the present threshold says, `unknown`
    counts names that are no class of the detector.
    """

    images: int = 0
    flagged: int = 0
    named: Counter[int] = field(default_factory=Counter)
    flagged_named: Counter[int] = field(default_factory=Counter)
    skipped: int = 0
    contrary: int = 0
    unknown: int = 0

    def add(self, flag: bool, source_class: int | None) -> None:
        """Count one input; None where the source class is not known."""
        self.images += 1
        self.flagged += flag
        if source_class is not None:
            self.named[source_class] += 1
            self.flagged_named[source_class] += flag


def is_log(path: Path) -> bool:
    """Whether the path is taken for a log of requests, by its ending."""
    return path.suffix.lower() in LOGS


def add_log(tally: Tally, path: Path, interference: Interference) -> None:
    """Count a log: one JSON object per line with `score` or `flag` or both, and `source_class` (name or index).

    What `transferkit detect --json` writes is understood too. Raises InputError for a file that cannot be read.
    """
    places = {interference.source_classes[index]: index for index in reversed(interference.indices)}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                text = line.strip().removesuffix(",")
                if text not in ("", "[", "]"):
                    _add_line(tally, text, interference, places)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _add_line(tally: Tally, text: str, interference: Interference, places: dict[str, int]) -> None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    entry: dict[str, Any] = content if isinstance(content, dict) else {}
    score, flag = entry.get("score"), entry.get("flag")
    over = None
    if isinstance(score, int | float) and not isinstance(score, bool):
        over = not score <= interference.detect_p
        if not math.isnan(score) and isinstance(flag, bool) and flag != over:
            tally.contrary += 1
    if not isinstance(flag, bool):
        flag = over
    if flag is None:
        tally.skipped += 1
        return
    said = entry.get("source_class")
    index = places.get(said) if isinstance(said, str) else said
    known = isinstance(index, int) and not isinstance(index, bool) and index in interference.indices
    tally.unknown += said is not None and not known
    tally.add(flag, index if known else None)
