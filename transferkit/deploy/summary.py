"""What a detector said about many inputs: counted, from images or a log, and in sentences against the calibration.

Is the flag rate what was promised, and which source classes rose?
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transferkit.deploy.interference import Interference
from transferkit.deploy.log_lines import Line, LineReader, is_entry, stripped
from transferkit.errors import InputError
from transferkit.statistics import Estimate, share_of
from transferkit.words.formats import number, percent

SIGNIFICANT = 0.05
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
    read = LineReader(interference)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in filter(is_entry, map(stripped, file)):
                _add_line(tally, read(text))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _add_line(tally: Tally, line: Line | None) -> None:
    if line is None:
        tally.skipped += 1
        return
    tally.contrary += line.contrary
    tally.unknown += line.unknown
    tally.add(line.flag, line.source_class)


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
    """A flag rate (with its 95 % interval, Wilson) against the promise.

    `p_value`: so many flags or more if each clean image had the probability `alpha` (exact binomial test); NaN without
    a promise. `p_value_calibrated`: the same for exchangeable images and a threshold from just these calibration
    images, whose own rate of false alarms is not exactly alpha (beta-binomial); NaN where that is not known.
    """

    images: int
    flagged: int
    rate: Estimate
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
    from scipy.stats import betabinom, binom

    rate, alpha = share_of(tally.flagged, tally.images), interference.guarantee.alpha
    p_value = math.nan if alpha is None else float(binom.sf(tally.flagged - 1, tally.images, alpha))
    size = interference.guarantee.calibration_size
    rank, calibrated = interference.calibration.rank(interference.detect_p, size), math.nan
    if 0 < rank <= size:  # the rate of a threshold at rank k of n clean scores is Beta(n + 1 - k, k)
        calibrated = float(betabinom.sf(tally.flagged - 1, tally.images, size + 1 - rank, rank))
    classes = _classes(tally, interference)
    doubts = (
        (tally.contrary, "flags of the log are not what this model's threshold says: another version answered."),
        (tally.unknown, "entries of the log name classes that this detector does not watch."),
        (tally.skipped, "lines of the log have neither a score nor a flag and were left out."),
    )
    verb = "image was" if tally.images == 1 else "images were"
    sentences = [
        f"{tally.flagged} of {tally.images} {verb} flagged: {percent(rate.value)} "
        f"(95 % interval {percent(rate.low)} to {percent(rate.high)}).",
        _promise(interference, p_value, calibrated),
        *_risen(classes, tally, interference),
        *(f"{count} {text}" for count, text in doubts if count),
    ]
    return Summary(tally.images, tally.flagged, rate, alpha, p_value, calibrated, classes, sentences)


def _classes(tally: Tally, interference: Interference) -> list[ClassCount]:
    """The classes that fired, most flags first."""
    from scipy.stats import hypergeom

    clean = interference.calibration.named
    size = 0 if clean is None else sum(clean.values())
    found = []
    for index, flagged in sorted(tally.flagged_named.items(), key=lambda item: (-item[1], item[0])):
        if not flagged:
            continue
        images, before = tally.named[index], None if clean is None else clean.get(index, 0)
        p_value = math.nan
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
    test = f"one-sided exact binomial test: p = {number(p_value, 2)}"
    if p_value > SIGNIFICANT:
        return f"That is no more than chance makes of {promised} ({test})."
    if not math.isnan(calibrated) and calibrated > SIGNIFICANT:
        return (
            f"That is more than {promised} ({test}), but the threshold rests on {size} clean images only, and the luck "
            f"of that draw can explain it (p = {number(calibrated, 2)} with it taken into account)."
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
        f"{size} clean ones (p = {number(one.p_value, 2)}); {one.flagged} of them flagged."
        for one in risen
    ]
