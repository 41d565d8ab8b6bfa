"""What turned and what shrank, in sentences, and how the numbers were made."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from transferkit.report import count, hundredths, percent
from transferkit_spectrum.angles import NEAR_EQUAL
from transferkit_spectrum.layers import mean_over, relative_distance
from transferkit_spectrum.measure import COLLAPSED, Findings

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_spectrum.options import Options


def verdict(found: Findings, options: Options) -> str:
    """What turned, what shrank, and whether the features have collapsed."""
    collapsed = [
        f"The features of {features.name} have collapsed: the largest singular value carries "
        f"{percent(features.largest, 2)} of their energy, so a regularizer may be too strong."
        for features in found.features
        if features.collapsed
    ]
    texts = [_turned(found), _shrank(found, options), *collapsed]
    return " ".join(filter(None, texts)) or "Neither weights nor features could be compared."


def _turned(found: Findings) -> str:
    large = mean_over(found.layers, lambda layer: layer.larger_half)
    small = mean_over(found.layers, lambda layer: layer.smaller_half)
    moved = relative_distance(found.layers)
    if math.isnan(large):
        return ""
    if not moved:
        return f"The weights of {count(len(found.layers), 'layer')} are exactly as they were."
    chance = mean_over(found.layers, lambda layer: layer.chance)
    distances = [layer.found.distance for layer in found.layers]
    most = max(filter(math.isfinite, distances), default=math.nan)
    text = (
        f"Fine-tuning moved the weights of {count(len(found.layers), 'layer')} by {percent(moved)} of their length in "
        f"all, by up to {percent(most)} in a single layer; their main directions, the larger half, keep a mean "
        f"|cosine| of {large:.2f} with where they were"
    )
    return text + (f", the others {small:.2f} (chance {chance:.2f})." if math.isfinite(small) else ".")


def _shrank(found: Findings, options: Options) -> str:
    source, target, change = found.of("source"), found.of("target"), found.change
    if target is None or math.isnan(target.smaller_half.value):
        return ""
    batches = f"{len(target.spectra)} {'batch' if len(target.spectra) == 1 else 'batches'}"
    text = (
        f"In {batches} of {options.batch_size} {options.data} images, the smaller half of the singular values carries "
        f"{100 * target.smaller_half.value:.2g} % of the energy of the features"
    )
    if source is None or math.isnan(source.smaller_half.value):
        return f"{text}."
    text += f", {100 * source.smaller_half.value:.2g} % before fine-tuning"
    if not change.known:
        return f"{text}; of {batches} it cannot be said whether that changed."
    inside = change.told(partial(hundredths, form="+.2g"), " points", brackets=True)
    if change.above(0) or change.below(0):
        return f"{text}: {'more' if change.above(0) else 'less'} than before, by {inside} over batches."
    return f"{text}; the two could not be told apart ({inside} over batches)."


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """How the numbers were made."""
    lines = []
    if found.layers:
        masked = sum(layer.masked for layer in found.layers)
        total = sum(len(layer.found.cosines) for layer in found.layers)
        pairs = "of equal rank" if options.match == "index" else "that fit best (which is always at least as large)"
        lines += [
            f"Directions are left singular vectors of weights unfolded to (outputs, everything else), in float64; "
            f"pairs {pairs}. The classifier has no counterpart and is left out.",
            f"{masked} of {total} directions are masked: their singular value is within {NEAR_EQUAL:g} of the layer's "
            "largest of another one, so that they could be any in a plane.",
            "Two neighbouring directions that swap their ranks give cosines near 0 although nothing is lost: the "
            "principal angles between the larger halves do not suffer from that, nor does match: optimal.",
        ]
    if found.features:
        first = found.features[0]
        dropped = first.images - len(first.spectra) * options.batch_size
        lines += [
            f"Features: eval mode, no augmentation, not centred; {len(first.spectra)} full batches of "
            f"{options.batch_size} in an order drawn by seed {session.seed}, the same for every model; {dropped} "
            "images at the end left out.",
            "Shares of energy are means over batches of the same images; intervals are 95 % over these batches "
            "(Student's), not over trainings. Weights are no sample: their numbers have no interval.",
            f"Collapsed means: over {percent(COLLAPSED)} of the energy in the largest singular value.",
        ]
    dead = [known.name for known in found.features if bool(np.any(known.mean[-1] < 1e-9 * known.mean[0]))]
    if len({known.spectra.shape[1] for known in found.features}) > 1:
        lines.append("The models have different numbers of singular values; indices are not comparable between them.")
    elif dead:
        names = ", ".join(dead)
        lines.append(f"The smallest singular values of {names} are zero: fewer features are alive than images.")
    if found.sweep:
        lines.append(
            "The sweep has one run per row, and its accuracies no interval: whether one k is better than another takes "
            "several seeds."
        )
    return lines
