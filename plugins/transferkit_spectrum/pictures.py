"""The pictures of the analyzer `spectrum`: figures 1b-d and 3b-d of paper 002, and every layer at one look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transferkit.analysis import COLOURS, SOFT, curves, heat
from transferkit_spectrum.features import smaller_half
from transferkit_spectrum.layers import binned, shown
from transferkit_spectrum.measure import Features, Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferkit.analysis import AnalysisSession

    Floats = NDArray[np.float64]

BINS = 40
FLOOR = 1e-9  # of the largest singular value: below is rounding, which a logarithm would blow up


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {}
    if found.layers:
        captions["angles.svg"] = _angles(session, found)
        captions["angles_by_layer.svg"] = _by_layer(session, found)
        captions["distances.svg"] = _distances(session, found)
    if found.features:
        captions["spectrum.svg"] = _spectrum(session, found)
        captions["smaller_half.svg"] = _smaller_half(session, found)
    if len({row.k or 0 for row in found.sweep}) > 1 and any(np.isfinite(row.top1_best) for row in found.sweep):
        captions["sweep.svg"] = _sweep(session, found)
    return captions


def _angles(session: AnalysisSession, found: Findings) -> str:
    lower, higher = shown(found.layers)
    with session.picture("angles", 6.4, 5.0) as (figure, axes):
        for layers, style, colours in ((lower, "-", COLOURS), (higher, ":", COLOURS[len(lower) :])):
            lines = {}
            for layer in layers:
                parts = min(BINS, len(layer.found.cosines))
                lines[layer.name] = ((np.arange(parts) + 0.5) / parts, binned(layer.found.cosines, parts))
            curves(axes, lines, colours=colours, linestyle=style, linewidth=1.8)
        axes.set(xlim=(0, 1), ylim=(0, 1.03), ylabel="|cosine|")
        axes.set_xlabel("direction, from the largest singular value to the smallest")
        figure.legend(loc="outside lower center", ncols=2)
    return (
        "Cosines between corresponding left singular vectors before and after fine-tuning, averaged over "
        f"up to {BINS} parts of the index; solid: the first layers, dotted: the last ones (figure 1b of the paper)."
    )


def _by_layer(session: AnalysisSession, found: Findings) -> str:
    cosines = [binned(layer.found.cosines, BINS) for layer in found.layers]
    with session.picture("angles_by_layer", 6.4, min(2.4 + 0.14 * len(cosines), 7.0)) as (_, axes):
        heat(axes, cosines, label="|cosine|", rows=[layer.name for layer in found.layers], low=0, high=1)
        axes.set_xticks([0, BINS - 1], ["largest", "smallest"])
        axes.set_xlabel("direction, by singular value")
    return (
        "The same for every layer, from the input at the top to the output at the bottom. Bright: the direction is "
        "where it was; grey: not determined, because of near-equal singular values."
    )


def _distances(session: AnalysisSession, found: Findings) -> str:
    values = [layer.found.distance for layer in found.layers]
    with session.picture("distances", 6.4, 3.4) as (_, axes):
        curves(axes, {"": (np.arange(1, len(values) + 1), values)}, marker="o", markersize=3.5, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="layer, from the input to the output", ylabel="‖W − W⁰‖ / ‖W⁰‖")
        axes.locator_params(axis="x", integer=True)
    return "How far each layer's weights moved, relative to the norm of where they were."


def _spectrum(session: AnalysisSession, found: Findings) -> str:
    with session.picture("spectrum", 6.4, 4.2) as (_, axes):
        for index, features in enumerate(found.features):
            values = features.mean
            kept = np.where(values > FLOOR * max(values[0], 1e-300), values, np.nan)
            _one_model(axes, features, index, kept)
        axes.set_yscale("log")
    return (
        "Singular values of batches of features, averaged over batches (figures 1c and 3b of the paper); dotted: "
        "trained with BSS. The scale is logarithmic."
    )


def _smaller_half(session: AnalysisSession, found: Findings) -> str:
    with session.picture("smaller_half", 6.4, 3.8) as (_, axes):
        for index, features in enumerate(found.features):
            start = min(smaller_half(len(features.mean)), len(features.mean) - 1)
            _one_model(axes, features, index, features.mean[start:], start)
        axes.set_ylim(bottom=0)
    return "The smaller half of the same singular values, on a linear scale (figures 1d and 3c of the paper)."


def _one_model(axes: Axes, features: Features, index: int, values: Floats, start: int = 0) -> None:
    """Grey for the source, a colour each for the others; dotted with BSS, as in the paper."""
    colour = SOFT if features.name == "source" else COLOURS[index % len(COLOURS)]
    name, style = (f"{features.name} (BSS)", ":") if features.penalised else (features.name, "-")
    places = np.arange(start + 1, start + len(values) + 1)
    curves(axes, {name: (places, values)}, colours=[colour], linestyle=style, linewidth=2.0)
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="index of the singular value", ylabel="singular value")
    axes.legend(loc="upper right")


def _sweep(session: AnalysisSession, found: Findings) -> str:
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for row in sorted(found.sweep, key=lambda row: row.k or 0):
        if row.k is not None:
            name = f"η = {row.eta:g}" if row.eta is not None else "η scheduled"
            ks, tops = lines.setdefault(name + ", relative" * (row.scale == "relative"), ([], []))
            ks.append(row.k)
            tops.append(100 * row.top1_best)
    with session.picture("sweep", 6.4, 3.8) as (_, axes):
        curves(axes, lines, marker="o")
        without = [100 * row.top1_best for row in found.sweep if row.k is None]
        for i, level in enumerate(without):
            axes.axhline(level, color=SOFT, linestyle="--", linewidth=1.2, label=None if i else "without BSS")
        axes.set_xticks(sorted({row.k for row in found.sweep if row.k is not None}))
        axes.set(xlabel="k, how many singular values are penalised", ylabel="validation top-1, %")
        axes.legend(loc="best")
    return "Best validation accuracy by k (figure 3d of the paper shows error rates). One run each."
