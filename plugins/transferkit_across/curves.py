"""Numbers of many models over training-set size, length or architecture (paper 000, figures 7 and 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from transferkit.statistics import Estimate, difference_over_seeds, mean_over_seeds, sample_sd
from transferkit_across.entries import Entry, Facts

By = Literal["images", "steps", "epochs", "architecture"]
Key = TypeVar("Key")
EPOCHS, STEPS = "equal epochs", "equal steps"


@dataclass(frozen=True)
class Measure:
    """One number of a model: a metric of a plugin, or its top-1 (plugin None)."""

    key: str
    plugin: str | None
    metric: str
    text: str

    def of(self, entry: Entry) -> float:
        """The number; NaN where it was not measured."""
        if self.plugin is None:
            return math.nan if entry.facts.top1 is None else entry.facts.top1
        return self._metric(entry, self.metric)

    def half_width(self, entry: Entry) -> float:
        """Half of the number's own 95 % interval, where the analysis gives one; else NaN."""
        return (self._metric(entry, f"{self.metric}_high") - self._metric(entry, f"{self.metric}_low")) / 2

    def _metric(self, entry: Entry, name: str) -> float:
        value = (entry.reports.get(self.plugin or "", {}).get("metrics") or {}).get(name)
        return float(value) if isinstance(value, int | float) else math.nan


MEASURES = (
    Measure("relative_retention", "retention", "relative_retention", "source top-1 kept, share"),
    Measure("lingering", "lingering", "lingering", "lingering classes"),
    Measure("distraction", "distraction", "target_mean", "distraction"),
    Measure("flip_rate", "distraction", "flip_rate_target", "answers changed by a background, share"),
    Measure("overdispersion", "bias", "overdispersion", "overdispersion of the votes"),
    Measure("top1", None, "top1", "target top-1 (validation)"),
)


@dataclass(frozen=True)
class Point:
    """The models that share a recipe: one per seed."""

    entries: tuple[Entry, ...]

    @property
    def facts(self) -> Facts:
        """Of the first of them."""
        return self.entries[0].facts

    def values(self, measure: Measure) -> list[float]:
        """The measured numbers, the lowest seed first."""
        ordered = sorted(self.entries, key=lambda entry: (entry.facts.seed is None, entry.facts.seed or 0))
        return [value for entry in ordered if not math.isnan(value := measure.of(entry))]

    def mean(self, measure: Measure) -> float:
        """Over seeds; NaN where nothing was measured."""
        return mean_over_seeds(self.values(measure)).value

    def sd(self, measure: Measure) -> float:
        """Over seeds; NaN below two."""
        return sample_sd(self.values(measure))

    def error(self, measure: Measure) -> float:
        """How far the mean may be off (95 %): by its spread over seeds, or by the one number's own interval."""
        found = mean_over_seeds(self.values(measure))
        if found.known:
            return (found.high - found.low) / 2
        return max((measure.half_width(entry) for entry in self.entries), default=math.nan)


@dataclass(frozen=True)
class Line:
    """Points that belong together; `connected` when they differ in nothing but size and length."""

    name: str
    points: tuple[Point, ...]
    connected: bool = True
    kind: str = ""

    def known(self, measure: Measure) -> list[Point]:
        """The points that have a number."""
        return [point for point in self.points if not math.isnan(point.mean(measure))]

    def ends(self, measure: Measure) -> tuple[Point, ...]:
        """The first and the last point that have a number; none, where they are not two."""
        known = self.known(measure)
        return (known[0], known[-1]) if len(known) > 1 else ()

    def change(self, measure: Measure) -> Estimate:
        """The last point's mean minus the first one's, with its 95 % interval; NaN where one of them is missing.

        Welch's, whether or not the two have the same seeds: a seed means little to models trained on different images.
        Where a point has one seed only, it may be off by as much as the analysis of it says.
        """
        if not self.ends(measure):
            return Estimate(math.nan)
        few, many = self.ends(measure)
        found = difference_over_seeds(many.values(measure), few.values(measure))
        if found.known:
            return found
        error = math.hypot(few.error(measure), many.error(measure))
        return Estimate(found.value, found.value - error, found.value + error, found.n)


def points(entries: Sequence[Entry]) -> list[Point]:
    """The entries by recipe, in the order given; of several with one seed the last counts."""
    groups: dict[str, dict[object, Entry]] = {}
    for number, entry in enumerate(entries):
        seed = entry.facts.seed if entry.facts.seed is not None else f"entry {number}"
        groups.setdefault(entry.facts.recipe, {})[seed] = entry
    return [Point(tuple(group.values())) for group in groups.values()]


def axes(found: Sequence[Point], by: str) -> list[By]:
    """What to draw over: as asked for, or the first of images, steps and epochs that differs, and the architecture."""
    if by != "auto":
        return [by]  # type: ignore[list-item]
    first = next((axis for axis in ("images", "steps", "epochs") if _distinct(found, axis) > 1), None)
    chosen: list[By] = [] if first is None else [first]  # type: ignore[list-item]
    return [*chosen, "architecture"] if _distinct(found, "architecture") > 1 else chosen


def _distinct(found: Sequence[Point], axis: str) -> int:
    return len({value for point in found if (value := getattr(point.facts, axis)) is not None})


def lines(found: Sequence[Point], axis: By) -> list[Line]:
    """The points that have a value on the axis, by what they share.

    Over images: models of equal epochs by their recipes, and models of equal steps (a model can be of both); what is
    left is not connected. Over steps or epochs: models of equal size. Architectures are never connected; models of
    equal size and length have one name.
    """
    known = sorted((p for p in found if getattr(p.facts, axis) is not None), key=lambda p: getattr(p.facts, axis))
    if axis == "architecture":
        return list(_by_architecture(known))
    families = list(_grouped(known, lambda p: p.facts.family).values())
    return [
        replace(line, name=", ".join(filter(None, [line.name, name])))
        for name, members in zip(_family_names(families), families, strict=True)
        for line in (_over_images(members) if axis == "images" else _of_equal_size(members, axis))
    ]


def _over_images(members: Sequence[Point]) -> Iterator[Line]:
    left = list(members)
    by_epochs = _grouped([p for p in members if p.facts.planned == "epochs"], lambda p: p.facts.settings.get("epochs"))
    by_steps = _grouped(members, lambda p: p.facts.steps)
    for kind, groups in ((EPOCHS, by_epochs), (STEPS, by_steps)):
        for value, group in groups.items():
            planned = kind == EPOCHS or any(point.facts.planned == "steps" for point in group)
            if planned and _distinct(group, "images") > 1:
                left = [point for point in left if point not in group]
                yield Line(f"{kind} ({value:g})", tuple(group), kind=kind)
    if left:
        yield Line("others" if len(left) < len(members) else "", tuple(left), connected=False)


def _by_architecture(known: Sequence[Point]) -> Iterator[Line]:
    groups = _grouped(known, lambda p: (p.facts.images, p.facts.epochs))
    for (images, epochs), group in groups.items():
        length = ", ".join(f"{n} {what}" for n, what in ((images, "images"), (epochs, "epochs")) if n is not None)
        yield Line(length if len(groups) > 1 else "", tuple(group), connected=False)


def _of_equal_size(members: Sequence[Point], axis: str) -> Iterator[Line]:
    for images, group in _grouped(members, lambda p: p.facts.images).items():
        yield Line(f"{images:g} images", tuple(group), connected=_distinct(group, axis) > 1)


def _grouped(found: Sequence[Point], of: Callable[[Point], Key | None]) -> dict[Key, list[Point]]:
    groups: dict[Key, list[Point]] = {}
    for point in found:
        if (value := of(point)) is not None:
            groups.setdefault(value, []).append(point)
    return groups


def _family_names(families: Sequence[Sequence[Point]]) -> list[str]:
    """What tells families apart: the architecture if it does, else up to two settings."""
    if len(families) < 2:
        return [""] * len(families)
    first = [family[0].facts for family in families]
    architectures = [facts.architecture or "" for facts in first]
    if len(set(architectures)) == len(first):
        return architectures
    keys = [key for key in first[0].settings if key not in ("epochs", "steps", "fraction")]
    differing = [key for key in keys if len({str(facts.settings.get(key)) for facts in first}) > 1][:2]
    return [
        " ".join(f"{key.rpartition('.')[2]}={facts.settings.get(key)}" for key in differing) or f"recipe {i + 1}"
        for i, facts in enumerate(first)
    ]
