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
from transferkit_interference.choice import DEFAULT, Candidate, choose
from transferkit_interference.detectors import all_detectors, detector_session, eq5_detectors, fit_map
from transferkit_interference.evaluation import Groups, Rival, Row, evaluate, groups, rivals
from transferkit_interference.material import Material, collect
from transferkit_interference.pasted import paste
from transferkit_interference.refit import LinearMap
from transferkit_interference.shipping import Shipped, calibrate, refuse

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.options import Options

ASIDE = 0.25
"""Share of the clean images that detectors are fitted on, where one asks for such."""
MISSING = {
    "lingering": "No lingering class has a second source image to evaluate on: presence is not measured.",
    "shared": "No source image shows a class that is common in the target: specificity is not measured.",
    "clean": "No clean image is left to judge with: set `calibration` lower.",
}
"""What is said of a group without images."""


@dataclass(frozen=True)
class Findings:
    """The detector in use, and what it is worth beside others on images that it has not seen."""

    material: Material
    shipped: Shipped
    refitted: LinearMap
    """The map behind the refitted head."""
    groups: Groups
    rows: list[Row]
    """Every detector's worth."""
    chosen: Row
    """That of the detector in use."""
    attempts: list[Tried]
    """Empty where they were not asked for."""
    gaps: list[str]
    choice: str | None = None
    """Why this detector is in use, where nobody said which."""

    @cached_property
    def named(self) -> Estimate:
        """The share of unseen source images whose class is the one that is named, by classes; NaN without any."""
        seen = self.groups.seen["lingering"]
        named = self.shipped.score.named(seen)
        if not len(self.shipped.score.lingering):
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
    """Fit and judge; None where no class lingers by the half of the source images that choose.

    Raises InputError for a head that could not be used, missing models or images, and too few clean images.
    """
    refuse(session, options)
    named, deployed = asked(options)
    layers = [name for one in named for name in one.layers(session.model("target"))]
    aside = ASIDE if any(one.needs_clean for one in named) else 0.0
    material = collect(session, options, list(dict.fromkeys(layers)), aside)
    if material is None:
        return None
    refitted = fit_map(material, session.seed, options.fit_images, options.ridge)
    ours, known = eq5_detectors(material, refitted), detector_session(session, material)
    gaps: list[str] = []
    tried = {one: attempt(gaps, "", partial(one.fit, known)) for one in named}
    fitted = {one: module for one, module in tried.items() if module is not None}
    if deployed is not None and deployed not in fitted:
        deployed.fit(known)  # which says why it cannot be
    naming = [one for one, module in fitted.items() if module.watched]
    choice = choose(session, options, material, naming) if options.free else None
    wanted: Candidate = deployed or (options.head or DEFAULT[0], options.reduction or DEFAULT[1])
    if choice is not None:
        wanted = choice.detector
    detectors = all_detectors(material, ours, fitted, wanted if isinstance(wanted, NamedDetector) else None)
    chosen = detectors[[*ours, *fitted].index(wanted)]
    shipped = calibrate(session, options, material, chosen.score)
    found = groups(material, paste(session, material, options, gaps))
    rows = evaluate(session, options, found, detectors, shipped)
    return Findings(
        material=material,
        shipped=shipped,
        refitted=refitted,
        groups=found,
        rows=rows,
        chosen=next(row for row in rows if row.detector is chosen),
        attempts=attempts(session, options, material, rows, list(fitted.values())) if options.attempts else [],
        choice=choice.text if choice is not None else None,
        gaps=gaps + [text for group, text in MISSING.items() if not len(found.seen[group])],
    )
