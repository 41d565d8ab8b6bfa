"""The detector that is shipped: fitted on everything that may be used, with a threshold that promises something."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from transferkit_lingering.wording import count

from transferkit.errors import InputError
from transferkit_interference.detectors import Eq5, eq5_detectors, fit_map, heads_of
from transferkit_interference.material import Material
from transferkit_interference.ranks import Interval, share_above
from transferkit_interference.refit import LinearMap
from transferkit_interference.threshold import conformal_threshold

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.deploy.interference_file import Interference
    from transferkit_interference.analyzer import InterferenceDetector

LARGEST_SEARCH = 10**7
PIXELS = ("input_size", "crop_pct", "crop_mode", "interpolation", "in_chans")


@dataclass(frozen=True)
class Shipped:
    """The detector in use."""

    score: Eq5
    detect_p: float
    calibration: NDArray[np.float64]
    """(n,) scores of the calibration images."""
    false_alarms: Interval
    """Share of the other clean images that are flagged."""
    judged: int
    refitted: LinearMap
    text: str
    """The promise in words."""


def refuse(session: AnalysisSession, options: InterferenceDetector) -> None:
    """Raise InputError for a head that could not be used."""
    if options.head != "separate":
        return
    if session.source_head_is_probe:
        raise InputError("a separate source model needs a classifier of its own, and this one has none; head: refitted")
    ours, theirs = (session.model(role).preprocessing for role in ("target", "source"))
    different = [name for name in PIXELS if getattr(ours, name) != getattr(theirs, name)]
    if different:
        raise InputError(
            f"a separate source model must see the same pixels, but its {different[0]} is "
            f"{getattr(theirs, different[0])} and the target's is {getattr(ours, different[0])}; head: refitted"
        )


def fit(session: AnalysisSession, options: InterferenceDetector, material: Material) -> Shipped:
    """Lingering classes and map from all source images, threshold from the calibration images.

    Raises InputError, with the number of images that would do, where there are too few of these.
    """
    everything = np.ones(len(material.source), dtype=bool)
    refitted = fit_map(material, session.seed, everything, options.fit_images, options.ridge)
    heads = heads_of(material, refitted)
    score = eq5_detectors(heads, material.memories.lingering)[options.head, options.reduction]
    calibration = score(material.clean.at(material.calibrate))
    detect_p = options.detect_p if options.detect_p is not None else _threshold(options, material, calibration)
    others = score(material.clean.at(material.judge))
    return Shipped(
        score=score,
        detect_p=detect_p,
        calibration=calibration,
        false_alarms=_share(others, detect_p),
        judged=len(others),
        refitted=refitted,
        text=promise(options, len(calibration), material.clean_split),
    )


def _threshold(options: InterferenceDetector, material: Material, scores: NDArray[np.float64]) -> float:
    found = conformal_threshold(torch.from_numpy(scores), options.alpha, options.confidence)
    if math.isfinite(found):
        return found
    needed = enough(options.alpha, options.confidence)
    total = math.ceil(needed / options.calibration)
    surely = "" if options.confidence is None else f" with a confidence of {100 * options.confidence:g} %"
    raise InputError(
        f"{count(len(scores), 'clean image')} cannot promise at most {100 * options.alpha:g} % false alarms{surely}; "
        f"{needed} would do. A share of {options.calibration:g} of the {material.clean_split} split calibrates, so "
        f"give it {count(total, 'image')}, or take a larger share, a larger alpha, or a fixed detect_p"
    )


def enough(alpha: float, confidence: float | None) -> int:
    """The smallest number of clean scores whose largest is a threshold with that promise."""

    def do(n: int) -> bool:
        return math.isfinite(conformal_threshold(torch.arange(n, dtype=torch.float64), alpha, confidence))

    high = 1
    while not do(high) and high < LARGEST_SEARCH:
        high *= 2
    low = high // 2  # does not do
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if do(middle) else (middle, high)
    return high


def promise(options: InterferenceDetector, size: int, split: str) -> str:
    """The guarantee in words."""
    if options.detect_p is not None:
        return "The threshold was given, so nothing is promised about false alarms."
    like = f"clean inputs drawn like the {size} {split} images of the calibration"
    limits = "Nothing is promised about what is missed, nor for inputs that are drawn otherwise (drift)."
    if options.confidence is None:
        return f"On average over calibrations at most {100 * options.alpha:g} % of {like} are flagged. {limits}"
    return (
        f"With a confidence of {100 * options.confidence:g} % this threshold flags at most {100 * options.alpha:g} % "
        f"of {like}. {limits}"
    )


def _share(scores: NDArray[np.float64], threshold: float) -> Interval:
    from transferkit.analysis.run_folder import wilson

    share = share_above(scores, threshold)
    return Interval(share, *wilson(share, len(scores))) if len(scores) else Interval(math.nan, math.nan, math.nan)


def as_file(
    session: AnalysisSession, options: InterferenceDetector, material: Material, shipped: Shipped
) -> Interference:
    """The content of interference.json."""
    from transferkit.deploy.interference_file import Calibration, Guarantee, Interference, LingeringClass, Score
    from transferkit_interference.shipping import source_identity

    known, fixed = material.memories, options.detect_p is not None
    lingering = [
        LingeringClass(c, known.names[c], int(known.prevalence[c]), float(known.mean_probability[c]))
        for c in known.lingering.tolist()
    ]
    alpha, confidence = (None, None) if fixed else (options.alpha, options.confidence)
    clean = material.clean.at(material.calibrate)
    return Interference(
        source_model=source_identity(session),
        lingering=lingering,
        source_classes=list(known.names),
        score=Score(options.head, options.reduction),
        detect_p=shipped.detect_p,
        guarantee=Guarantee(alpha, confidence, len(shipped.calibration), shipped.text),
        calibration=Calibration.of(shipped.calibration.tolist(), shipped.score.named(clean).tolist()),
        preprocessing=session.model("target").preprocessing.to_json(),
    )
