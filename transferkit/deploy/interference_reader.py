"""The content of `interference.json` into checked values; what is wrong is one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast, get_args

from transferkit.deploy.interference import (
    SCHEMA_VERSION,
    Calibration,
    Guarantee,
    Interference,
    LingeringClass,
    Reduction,
    Score,
    ScoreModel,
)
from transferkit.errors import InputError
from transferkit.records import check_version


def parse_interference(content: Any, where: str) -> Interference:
    """What `Interference.to_json` gave, checked. `where` begins the InputError's sentence about what is wrong."""
    return _Reader(where).interference(content)


class _Reader:
    """Takes values out of a JSON mapping and says, in one sentence, which one is wrong."""

    def __init__(self, where: str) -> None:
        self.where = where

    def wrong(self, what: str) -> InputError:
        return InputError(f"{self.where}: {what}; make it anew with the interference analyzer")

    def get(self, content: Any, path: str, good: Callable[[Any], bool], what: str) -> Any:
        value = content
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                raise self.wrong(f'"{path}" is missing')
            value = value[key]
        if not good(value):
            raise self.wrong(f'"{path}" must be {what}')
        return value

    def interference(self, content: Any) -> Interference:
        if not isinstance(content, dict):
            raise self.wrong("not a JSON object")
        version = self.get(content, "schema_version", _is_count, "a whole number")
        created_by = str(content.get("created_by", "?"))
        check_version(version, SCHEMA_VERSION, created_by, self.where)
        classes = self.get(content, "source_classes", _is_names, "a list of names")
        return Interference(
            source_model=self.get(content, "source_model", _is_mapping, "a mapping"),
            lingering=self.lingering(content, classes),
            source_classes=tuple(classes),
            score=self.score(content),
            detect_p=float(self.get(content, "detect_p", _is_share, "a number from 0 to 1")),
            guarantee=self.guarantee(content),
            calibration=self.calibration(content, len(classes)),
            preprocessing=self.get(content, "preprocessing", _is_mapping, "a mapping"),
            files=self.get(content, "files", _is_hashes, "a mapping of file names to SHA-256 sums"),
            created_by=created_by,
            schema_version=version,
        )

    def score(self, content: Any) -> Score:
        model = self.get(content, "score.model", lambda v: v in get_args(ScoreModel), _one_of(ScoreModel))
        reduction = self.get(content, "score.reduction", lambda v: v in get_args(Reduction), _one_of(Reduction))
        return Score(cast(ScoreModel, model), cast(Reduction, reduction))

    def lingering(self, content: Any, classes: Sequence[str]) -> tuple[LingeringClass, ...]:
        entries = self.get(content, "lingering", lambda v: isinstance(v, list) and bool(v), "a list, and not empty")
        found = []
        for entry in entries:
            index = self.get({"lingering": entry}, "lingering.index", _is_count, "a whole number")
            if index >= len(classes):
                raise self.wrong(f'"lingering" has the class {index}, and there are {len(classes)} source classes')
            prevalence, mean = entry.get("prevalence"), entry.get("mean_probability")
            if not (prevalence is None or _is_count(prevalence)) or not (mean is None or _is_share(mean)):
                raise self.wrong(f'"lingering" has a prevalence or a mean probability that is none, of class {index}')
            found.append(LingeringClass(index, str(entry.get("name", classes[index])), prevalence, mean))
        if len({one.index for one in found}) < len(found):
            raise self.wrong('"lingering" has a class twice')
        return tuple(found)

    def guarantee(self, content: Any) -> Guarantee:
        def share(value: Any) -> bool:
            return value is None or (_is_share(value) and 0 < value < 1)

        return Guarantee(
            alpha=self.get(content, "guarantee.alpha", share, "null or a number between 0 and 1"),
            confidence=self.get(content, "guarantee.confidence", share, "null or a number between 0 and 1"),
            calibration_size=self.get(content, "guarantee.calibration_size", _is_count, "a whole number"),
            text=self.get(content, "guarantee.text", lambda v: isinstance(v, str), "a text"),
        )

    def calibration(self, content: Any, classes: int) -> Calibration:
        scores = self.get(content, "calibration.scores", _is_sorted_shares, "a sorted list of numbers from 0 to 1")
        quantiles = self.get(content, "calibration.quantiles", _is_mapping, "a mapping")
        named = content["calibration"].get("named")
        if named is not None and not _is_counts(named, classes):
            raise self.wrong('"calibration.named" must be a mapping of source classes (indices) to counts')
        counts = None if named is None else {int(index): count for index, count in named.items()}
        return Calibration(tuple(map(float, scores)), quantiles, counts)


def _one_of(kind: Any) -> str:
    return " or ".join(get_args(kind))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_sorted_shares(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_share, value)) and all(a <= b for a, b in pairwise(value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _is_hashes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, str) and re.fullmatch("[0-9a-f]{64}", one) for one in value.values()
    )


def _is_counts(value: Any, classes: int) -> bool:
    return isinstance(value, dict) and all(
        index.isascii() and index.isdigit() and int(index) < classes and _is_count(count)
        for index, count in value.items()
    )
