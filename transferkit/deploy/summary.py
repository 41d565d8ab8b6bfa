"""Is the flag rate what was promised, and which source classes rose? Counts against the calibration, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import betabinom, binom, hypergeom

from transferkit.analysis.run_folder import wilson
from transferkit.deploy.interference import Interference
from transferkit.deploy.tally import Tally
from transferkit.formats import number, percent

SIGNIFICANT = 0.05
NAN = float("nan")


@dataclass(frozen=True)
class ClassCount:
    """A source class: images flagged with its name, images of which it was the strongest, the same in calibration.

    `p_value`: of the strongest's share against that of the calibration, one-sided (Fisher's exact test), times the
    number of lingering classes. `calibration` and `p_value` are None and NaN where the calibration did not count.
    """

    name: str
    flagged: int
    images: int
    calibration: int | None
    p_value: float

    @property
    def rose(self) -> bool:
        """Whether it is named more often than on clean images."""
        return self.p_value <= SIGNIFICANT


@dataclass(frozen=True)
class Summary:
    """A flag rate with its 95 % interval (Wilson) against the promise.

    `p_value`: so many flags or more if each clean image had the probability `alpha` (exact binomial test); NaN without
    a promise. `p_value_calibrated`: the same for exchangeable images and a threshold from just these calibration
    images, whose own rate of false alarms is not exactly alpha (beta-binomial); NaN where that is not known.
    """

    images: int
    flagged: int
    rate: float
    interval: tuple[float, float]
    alpha: float | None
    p_value: float
    p_value_calibrated: float
    classes: Sequence[ClassCount]
    sentences: Sequence[str]

    @property
    def risen(self) -> list[str]:
        """The source classes that rose, most flagged first."""
        return [one.name for one in self.classes if one.rose]


def summarise(tally: Tally, interference: Interference) -> Summary:
    """The summary of at least one image."""
    rate, alpha = tally.flagged / tally.images, interference.guarantee.alpha
    interval = wilson(rate, tally.images)
    p_value = NAN if alpha is None else float(binom.sf(tally.flagged - 1, tally.images, alpha))
    calibrated = _calibrated(tally, interference)
    classes = _classes(tally, interference)
    sentences = [
        f"{_images(tally.flagged, tally.images)} flagged: {percent(rate)} "
        f"(95 % interval {percent(interval[0])} to {percent(interval[1])}).",
        _promise(interference, p_value, calibrated),
        *_risen(classes, tally, interference),
        *_doubts(tally),
    ]
    return Summary(tally.images, tally.flagged, rate, interval, alpha, p_value, calibrated, classes, sentences)


def _calibrated(tally: Tally, interference: Interference) -> float:
    """P(at least so many flags): the rate of a threshold at rank k of n clean scores is Beta(n + 1 - k, k)."""
    size = interference.guarantee.calibration_size
    rank = interference.calibration.rank(interference.detect_p, size)
    if not 0 < rank <= size:
        return NAN
    return float(betabinom.sf(tally.flagged - 1, tally.images, size + 1 - rank, rank))


def _classes(tally: Tally, interference: Interference) -> list[ClassCount]:
    """The classes that fired, most flags first."""
    clean = interference.calibration.named
    size = 0 if clean is None else sum(clean.values())
    found = []
    for index, flagged in sorted(tally.flagged_named.items(), key=lambda item: (-item[1], item[0])):
        if not flagged:
            continue
        images, before = tally.named[index], None if clean is None else clean.get(index, 0)
        p_value = NAN
        if before is not None and size:
            total = sum(tally.named.values())
            chance = float(hypergeom.sf(images - 1, total + size, images + before, total))
            p_value = min(1.0, chance * len(interference.lingering))
        found.append(ClassCount(interference.source_classes[index], flagged, images, before, p_value))
    return found


def _promise(interference: Interference, p_value: float, calibrated: float) -> str:
    alpha, size = interference.guarantee.alpha, interference.guarantee.calibration_size
    if alpha is None:
        scores = interference.calibration.scores
        above = sum(score > interference.detect_p for score in scores)
        clean = f"; of clean images {percent(above / len(scores))} have such scores" if scores else ""
        return f"The threshold was given and not calibrated, so no rate of false alarms was promised{clean}."
    promised = f"the promised {percent(alpha, 0 if alpha >= 0.01 else 2)} of false alarms"
    test = f"one-sided exact binomial test: p = {_p(p_value)}"
    if p_value > SIGNIFICANT:
        return f"That is no more than chance makes of {promised} ({test})."
    if not math.isnan(calibrated) and calibrated > SIGNIFICANT:
        return (
            f"That is more than {promised} ({test}), but the threshold rests on {size} clean images only, and the luck "
            f"of that draw can explain it (p = {_p(calibrated)} with it taken into account)."
        )
    return f"That is more than {promised} ({test}): these images are not like the clean ones of the calibration."


def _risen(classes: Sequence[ClassCount], tally: Tally, interference: Interference) -> list[str]:
    if not classes:
        return []
    if interference.calibration.named is None:
        return [f"Most often named: {classes[0].name}. Whether it rose is not known: the calibration counted no names."]
    risen = [one for one in classes if one.rose]
    if not risen:
        return ["No source class rose against the clean images of the calibration."]
    size, total = sum(interference.calibration.named.values()), sum(tally.named.values())
    return [
        f"{one.name} rose: the strongest source class of {one.images} of {total} images, and of {one.calibration} of "
        f"{size} clean ones (p = {_p(one.p_value)}); {one.flagged} of them flagged."
        for one in risen
    ]


def _doubts(tally: Tally) -> list[str]:
    said = []
    if tally.contrary:
        said.append(
            f"{tally.contrary} flags of the log are not what this model's threshold says: another version answered."
        )
    if tally.unknown:
        said.append(f"{tally.unknown} entries of the log name classes that this detector does not watch.")
    if tally.skipped:
        said.append(f"{tally.skipped} lines of the log have neither a score nor a flag and were left out.")
    return said


def _images(count: int, total: int) -> str:
    return f"{count} of {total} {'image was' if total == 1 else 'images were'}"


def _p(value: float) -> str:
    return number(value, 2)
