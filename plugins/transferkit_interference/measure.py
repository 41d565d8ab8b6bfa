"""What `interference` finds: the detector that is shipped, and what it and all others are worth on unseen images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from transferkit.analysis import NamedDetector, standard_detectors
from transferkit.errors import InputError
from transferkit.report import attempt
from transferkit.statistics import Estimate, share
from transferkit_interference.attempts import Tried, attempts
from transferkit_interference.detectors import (
    ByPlugin,
    Eq5,
    all_detectors,
    detector_session,
    eq5_detectors,
    fit_map,
)
from transferkit_interference.evaluation import Groups, Rival, Row, evaluate, groups, rivals
from transferkit_interference.material import Material, collect
from transferkit_interference.pasted import paste
from transferkit_interference.refit import LinearMap
from transferkit_interference.shipping import Shipped, fit, refuse

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.options import Options

MISSING = {
    "lingering": "No lingering class has a second source image to evaluate on: presence is not measured.",
    "shared": "No source image shows a class that is common in the target: specificity is not measured.",
    "clean": "No clean image is left to judge with: take a smaller share for the calibration.",
}
"""What is said of a group without images."""


@dataclass(frozen=True)
class Findings:
    """The detector in use, and the evaluation of one like it that has not seen the images that judge."""

    material: Material
    shipped: Shipped
    refitted: LinearMap
    """The map of the detector that is evaluated."""
    groups: Groups
    rows: list[Row]
    """Every detector's worth."""
    chosen: Row
    """That of the one asked for."""
    score: Eq5 | ByPlugin
    threshold: float
    """Both are of `chosen`."""
    attempts: list[Tried]
    """Empty where they were not asked for."""
    gaps: list[str]

    @cached_property
    def named(self) -> Estimate:
        """The share of unseen source images whose class is the one that is named, by classes; NaN without any."""
        seen = self.groups.seen["lingering"]
        named = self.score.named(seen)
        if not len(self.score.lingering):
            return Estimate(math.nan)
        return share(named == seen.labels, seen.labels)

    @cached_property
    def rivals(self) -> list[Rival]:
        """What else could be had at the same cost."""
        return rivals(self.chosen, self.rows)


def asked(options: Options) -> tuple[list[NamedDetector], NamedDetector | None]:
    """The plugins' detectors of the table, and which of them is written. Raises InputError for two of a name."""
    named = standard_detectors() if options.detectors is None else [NamedDetector.of(one) for one in options.detectors]
    deployed = None if options.deploy is None else NamedDetector.of(options.deploy)
    known = next((one for one in named if deployed is not None and one.name == deployed.name), None)
    if known is not None and deployed is not None and not deployed.given:
        deployed = known
    elif known is not None and deployed is not None:
        named[named.index(known)] = deployed
    elif deployed is not None:
        named.append(deployed)
    twice = [one.name for place, one in enumerate(named) if one.name in [other.name for other in named[:place]]]
    if twice:
        raise InputError(f"two detectors are called {twice[0]}; give one of them a name of its own, with `name`")
    return named, deployed


def measure(session: AnalysisSession, options: Options) -> Findings | None:
    """Fit and judge; None where no class lingers.

    Raises InputError for a head that could not be used, missing models or images, and too few clean images.
    """
    refuse(session, options)
    named, deployed = asked(options)
    layers = [name for one in named for name in one.layers(session.model("target"))]
    material = collect(session, options, list(dict.fromkeys(layers)))
    if material is None:
        return None
    shipped = fit(session, options, material, deployed)
    gaps: list[str] = []
    found = groups(material, paste(session, material, options, gaps))
    half = fit_map(material, session.seed, material.fit, options.fit_images, options.ridge)
    ours = eq5_detectors(material, half, material.half.lingering)
    of_half = detector_session(session, material, material.fit, material.half.lingering)
    found_by = {one: attempt(gaps, "", partial(one.fit, of_half)) for one in named}
    fitted = [one for one in found_by.values() if one is not None]
    rows = evaluate(session, options, found, all_detectors(material, ours, fitted))
    score: Eq5 | ByPlugin = ours[options.head, options.reduction]
    chosen = rows[list(ours).index((options.head, options.reduction))]
    if deployed is not None:
        of_deployed = found_by[deployed] or deployed.fit(of_half)  # which says why it cannot be
        score, chosen = ByPlugin(of_deployed, material.own), rows[len(ours) + fitted.index(of_deployed)]
    return Findings(
        material=material,
        shipped=shipped,
        refitted=half,
        groups=found,
        rows=rows,
        chosen=chosen,
        score=score,
        threshold=options.detect_p if options.detect_p is not None else chosen.threshold,
        attempts=attempts(session, options, material, rows, fitted) if options.attempts else [],
        gaps=gaps + [text for group, text in MISSING.items() if not len(found.seen[group])],
    )
