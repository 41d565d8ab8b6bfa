"""A line of a request log, as the server and `transferkit detect --json` write it, read for a detector."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from transferkit.deploy.interference import Interference


@dataclass(frozen=True)
class Line:
    """One answered image. `source_class` is an index, None where it is not known.

    `contrary`: the flag is not what the present threshold says; `unknown`: it names a class that is not watched.
    """

    flag: bool
    source_class: int | None = None
    contrary: bool = False
    unknown: bool = False
    time: datetime | None = None
    model: str | None = None


class LineReader:
    """Reads lines for one detector; without one only what they say themselves."""

    def __init__(self, interference: Interference | None) -> None:
        self._threshold = None if interference is None else interference.detect_p
        self._indices = set() if interference is None else {*interference.indices}
        self._places = (
            {}
            if interference is None
            else {interference.source_classes[index]: index for index in reversed(interference.indices)}
        )

    def __call__(self, text: str) -> Line | None:
        """What the line says; None where it has neither a score nor a flag."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        entry: dict[str, Any] = content if isinstance(content, dict) else {}
        score, flag = entry.get("score"), entry.get("flag")
        over, contrary = None, False
        if self._threshold is not None and isinstance(score, int | float) and not isinstance(score, bool):
            over = not score <= self._threshold
            contrary = not math.isnan(score) and isinstance(flag, bool) and flag != over
        if not isinstance(flag, bool):
            flag = over
        if flag is None:
            return None
        said, model = entry.get("source_class"), entry.get("model")
        index = self._places.get(said) if isinstance(said, str) else said
        known = isinstance(index, int) and not isinstance(index, bool) and index in self._indices
        return Line(
            flag,
            index if known else None,
            contrary,
            said is not None and not known,
            _time(entry.get("time")),
            model if isinstance(model, str) else None,
        )


def is_entry(text: str) -> bool:
    """Whether there is anything in it: not a blank line, nor a bracket around all of them."""
    return text not in ("", "[", "]")


def stripped(line: str) -> str:
    """A line without what stands around its object."""
    return line.strip().removesuffix(",")


def _time(said: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(said)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
