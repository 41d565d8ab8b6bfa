"""What the analyzer `spectrum` says: metrics, verdict, small print, tables and pictures put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from transferkit.formats import percent
from transferkit.report import Report
from transferkit_spectrum import pictures, tables
from transferkit_spectrum.angles import NEAR_EQUAL
from transferkit_spectrum.layers import Layer
from transferkit_spectrum.measure import COLLAPSED, Features, Findings, measure

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_spectrum.analyzer import Spectrum

NAN = float("nan")


def report(session: AnalysisSession, options: Spectrum) -> Report:
    """Everything `Spectrum.analyze` returns."""
    found = measure(session, options)
    drawn = pictures.draw(session, found)
    return Report(
        metrics=metrics(found),
        tables=tables.tables(found),
        figures=list(drawn),
        captions=drawn,
        verdict=verdict(found, options),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def _over(layers: Sequence[Layer], of: Callable[[Layer], float]) -> float:
    """The mean over layers that have a value."""
    values = [value for value in map(of, layers) if math.isfinite(value)]
    return sum(values) / len(values) if values else NAN


def metrics(found: Findings) -> dict[str, float]:
    """Every metric the analyzer declares. Cosines are means over layers, each layer counting once."""
    source, target = found.of("source"), found.of("target")
    moved = math.hypot(*(layer.found.norms[0] for layer in found.layers))
    length = math.hypot(*(layer.found.norms[1] for layer in found.layers))
    return {
        "cosine": _over(found.layers, Layer.mean),
        "cosine_larger_half": _over(found.layers, lambda layer: layer.larger_half),
        "cosine_smaller_half": _over(found.layers, lambda layer: layer.smaller_half),
        "principal_cosine": _over(found.layers, lambda layer: layer.principal),
        "relative_distance": moved / length if length else NAN,
        "masked_directions": float(sum(layer.found.masked.sum() for layer in found.layers)) if found.layers else NAN,
        "largest_source": source.largest if source else NAN,
        "largest_target": target.largest if target else NAN,
        "smaller_half_source": source.smaller_half if source else NAN,
        "smaller_half_target": target.smaller_half if target else NAN,
        "collapsed": float(target.collapsed) if target else NAN,
    }


def verdict(found: Findings, options: Spectrum) -> str:
    """What turned, what shrank, and whether the features have collapsed."""
    texts = [_turned(found), _shrank(found, options)]
    texts += [_collapse(features) for features in found.features if features.collapsed]
    texts = [text for text in texts if text]
    return " ".join(texts) or "Neither weights nor features could be compared."


def _turned(found: Findings) -> str:
    numbers = metrics(found)
    large, small = numbers["cosine_larger_half"], numbers["cosine_smaller_half"]
    if math.isnan(large):
        return ""
    if not numbers["relative_distance"]:
        return f"The weights of {len(found.layers)} layers are exactly as they were."
    chance = _over(found.layers, lambda layer: layer.chance)
    most = max((layer.found.distance for layer in found.layers if math.isfinite(layer.found.distance)), default=NAN)
    text = (
        f"Fine-tuning moved the weights of {len(found.layers)} layers by {percent(numbers['relative_distance'])} "
        f"of their length in all, by up to {percent(most)} in a single layer; "
        f"their main directions, the larger half, keep a mean |cosine| of {large:.2f} "
        "with where they were"
    )
    return text + (f", the others {small:.2f} (chance {chance:.2f})." if math.isfinite(small) else ".")


def _shrank(found: Findings, options: Spectrum) -> str:
    source, target = found.of("source"), found.of("target")
    if target is None or math.isnan(target.smaller_half):
        return ""
    text = (
        f"In batches of {options.batch_size} {options.data} images, the smaller half of the singular values carries "
        f"{_share(target.smaller_half)} of the energy of the features"
    )
    return text + (f", {_share(source.smaller_half)} before fine-tuning." if source else ".")


def _share(value: float) -> str:
    """Shares of the smaller half can be tiny: two digits that count."""
    return f"{100 * value:.2g} %"


def _collapse(features: Features) -> str:
    return (
        f"The features of {features.name} have collapsed: the largest singular value carries "
        f"{percent(features.largest, 2)} of their energy, so a regularizer may be too strong."
    )


def notes(session: AnalysisSession, options: Spectrum, found: Findings) -> list[str]:
    """How the numbers were made."""
    lines = []
    if found.layers:
        masked = int(sum(layer.found.masked.sum() for layer in found.layers))
        total = sum(len(layer.found.cosines) for layer in found.layers)
        pairs = "of equal rank" if options.match == "index" else "that fit best (which is always at least as large)"
        lines.append(
            f"Directions are left singular vectors of weights unfolded to (outputs, everything else), in float64; "
            f"pairs {pairs}. The classifier has no counterpart and is left out."
        )
        lines.append(
            f"{masked} of {total} directions are masked: their singular value is within {NEAR_EQUAL:g} of the layer's "
            "largest of another one, so that they could be any in a plane."
        )
        lines.append(
            "Two neighbouring directions that swap their ranks give cosines near 0 although nothing is lost: the "
            "principal angles between the larger halves do not suffer from that, nor does match: optimal."
        )
    if found.features:
        first = found.features[0]
        dropped = first.images - len(first.spectra) * options.batch_size
        lines.append(
            f"Features: eval mode, no augmentation, not centred; {len(first.spectra)} full batches of "
            f"{options.batch_size} in an order drawn by seed {session.seed}, the same for every model; {dropped} "
            "images at the end left out."
        )
        lines.append(f"Collapsed means: over {percent(COLLAPSED)} of the energy in the largest singular value.")
        lines += _widths(found.features)
    if found.sweep:
        lines.append("The sweep has one run per row: differences smaller than those between seeds mean nothing.")
    return lines


def _widths(features: Sequence[Features]) -> list[str]:
    if len({known.spectra.shape[1] for known in features}) > 1:
        return ["The models have different numbers of singular values; indices are not comparable between them."]
    dead = [known.name for known in features if bool(np.any(known.mean[-1] < 1e-9 * known.mean[0]))]
    if dead:
        return [f"The smallest singular values of {', '.join(dead)} are zero: fewer features are alive than images."]
    return []
