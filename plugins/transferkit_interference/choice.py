"""Which detector is written where nobody said: the refitted head, unless cross-fitting finds a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis import NamedDetector
from transferkit.report import attempt, count, listing
from transferkit_interference.detectors import (
    Detector,
    Head,
    Reduction,
    all_detectors,
    detector_session,
    eq5_detectors,
    fit_map,
)
from transferkit_interference.evaluation import AUROCS, Verdicts, clearly_better, compared
from transferkit_interference.material import Material, Seen, calibration_share, source_halves
from transferkit_interference.ranks import judged_auroc

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.options import Options

QUESTIONS = {
    "presence": "at noticing source images",
    "specificity": "at staying silent on common source classes",
}
"""What the images that fit can answer; harm needs composites, which are made of clean ones."""
DEFAULT: tuple[Head, Reduction] = ("refitted", "sum")
Candidate = tuple[Head, Reduction] | NamedDetector


@dataclass(frozen=True)
class Choice:
    """The detector that is written, and why."""

    detector: Candidate
    text: str


def choose(session: AnalysisSession, options: Options, material: Material, naming: Sequence[NamedDetector]) -> Choice:
    """Fit each detector that names source classes on half of the fitting images and judge it on the rest, both ways.

    The negatives are the target's training images, halved in the same way: so neither the clean images that set the
    threshold nor the source images that judge in the end have a part in the choice.
    """
    one, two = (_judged(session, options, fold, naming) for fold in _folds(material, session.seed))
    both = {
        name: (detector, {question: judged[question].mean(two[name][1][question]) for question in QUESTIONS})
        for name, (detector, judged) in one.items()
        if name in two
    }
    others = {detector.name: name for name, (detector, _) in both.items() if name != DEFAULT}
    mine = both[DEFAULT][1]
    best = clearly_better(compared(mine, [pair for name, pair in both.items() if name != DEFAULT]))
    how = "by cross-fitting on the images that fit"
    many = count(len(others), "other detector")
    if not best:
        return Choice(
            DEFAULT,
            f"The refitted head is written: {how} none of {many} that name source classes was certainly better without "
            "being worse.",
        )
    won = listing([f"{QUESTIONS[win.question]} ({win.theirs:.3f} against {win.ours:.3f})" for win in best])
    return Choice(
        others[best[0].detector.name],
        f"The detector {best[0].detector.name} is written: {how} it is certainly better than the refitted head {won}, "
        f"and worse at nothing; {many} that name source classes were tried.",
    )


@dataclass(frozen=True)
class _Fold:
    """The material of one half of the fitting images, which holds the other half back."""

    half: Material
    clean: Seen
    """The target's training images of the other half."""


def _folds(material: Material, seed: int) -> list[_Fold]:
    rows = np.flatnonzero(material.fit)
    own, _ = source_halves(material.source.labels[rows], [material.source_ids[row] for row in rows], seed)
    train, _ = calibration_share(material.train_ids, 0.5, seed)
    folds = []
    for part, seen in ((own, train), (~own, ~train)):
        fit, judge = np.zeros_like(material.fit), np.zeros_like(material.fit)
        fit[rows[part]] = judge[rows[~part]] = True
        ids = [name for name, kept in zip(material.train_ids, seen, strict=True) if kept]
        half = replace(material, fit=fit, hold=judge, train=material.train.at(seen), train_ids=ids)
        folds.append(_Fold(half, material.train.at(~seen)))
    return folds


def _judged(
    session: AnalysisSession, options: Options, fold: _Fold, naming: Sequence[NamedDetector]
) -> Mapping[Candidate, tuple[Detector, Verdicts]]:
    """Each detector of one pass, fitted on the half, and what it is worth on the other."""
    half, known = fold.half, detector_session(session, fold.half)
    ours = eq5_detectors(half, fit_map(half, session.seed, options.fit_images, options.ridge))
    tried = {one: attempt([], "", partial(one.fit, known)) for one in naming}
    fitted = {one: module for one, module in tried.items() if module is not None}
    names: list[Candidate] = [*ours, *fitted]
    detectors = zip(names, all_detectors(half, ours, fitted, None), strict=True)
    seen = {
        "lingering": half.source.at(half.lingering),
        "shared": half.source.at(half.shared),
        "clean": fold.clean,
    }
    units = {name: np.arange(len(of)) if name == "clean" else of.labels for name, of in seen.items()}
    found: dict[Candidate, tuple[Detector, Verdicts]] = {}
    for name, detector in detectors:
        if detector.passes > 1:
            continue
        scores = {group: detector.score(of) if len(of) else np.zeros(0) for group, of in seen.items()}
        found[name] = (
            detector,
            {
                question: judged_auroc(scores[p], scores[n], units[p], units[n])
                for question, (p, n) in AUROCS.items()
                if question in QUESTIONS
            },
        )
    return found
