"""The pictures of the analyzer `spectrum`: figures 1b-d and 3b-d of paper 002, and every layer at one look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.analysis.plots import COLOURS, RULE, SOFT, short_name
from transferkit_spectrum.features import smaller_half
from transferkit_spectrum.layers import binned, shown

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_spectrum.measure import Features, Findings

BINS = 40
FLOOR = 1e-9  # of the largest singular value: below is rounding, which a logarithm would blow up


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {}
    if found.layers:
        captions["angles.svg"] = _angles(session, found)
        captions["angles_by_layer.svg"] = _heat(session, found)
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
        for layers, style in ((lower, "-"), (higher, ":")):
            for layer in layers:
                parts = min(BINS, len(layer.found.cosines))
                places = (np.arange(parts) + 0.5) / parts
                axes.plot(
                    places, binned(layer.found.cosines, parts), style, linewidth=1.8, label=short_name(layer.name, 30)
                )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("direction, from the largest singular value to the smallest")
        axes.set_ylabel("|cosine|")
        figure.legend(loc="outside lower center", ncols=2)
    return (
        "Cosines between corresponding left singular vectors before and after fine-tuning, averaged over "
        f"up to {BINS} parts of the index; solid: the first layers, dotted: the last ones (figure 1b of the paper)."
    )


def _heat(session: AnalysisSession, found: Findings) -> str:
    rows = np.stack([binned(layer.found.cosines, BINS) for layer in found.layers])
    size = len(rows)
    with session.picture("angles_by_layer", 6.4, min(2.4 + 0.14 * size, 7.0)) as (figure, axes):
        axes.grid(visible=False)
        axes.set_facecolor(RULE)  # what is not determined
        image = axes.imshow(
            rows, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest", extent=(0, 1, size, 0)
        )
        ticks = np.unique(np.linspace(0, size - 1, min(size, 12)).round().astype(int))
        axes.set_yticks(ticks + 0.5, [short_name(found.layers[i].name, 24) for i in ticks])
        axes.set_xlabel("direction, from the largest singular value to the smallest")
        figure.colorbar(image, ax=axes, label="|cosine|", shrink=0.9)
    return (
        "The same for every layer, from the input at the top to the output at the bottom. Bright: the direction is "
        "where it was; grey: not determined, because of near-equal singular values."
    )


def _distances(session: AnalysisSession, found: Findings) -> str:
    values = [layer.found.distance for layer in found.layers]
    with session.picture("distances", 6.4, 3.4) as (_, axes):
        axes.plot(np.arange(1, len(values) + 1), values, marker="o", markersize=3.5, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("layer, from the input to the output")
        axes.set_ylabel("‖W − W⁰‖ / ‖W⁰‖")
        axes.locator_params(axis="x", integer=True)
    return "How far each layer's weights moved, relative to the norm of where they were."


def _style(features: Features, index: int) -> dict[str, Any]:
    """Grey for the source, a colour each for the others; dotted with BSS, as in the paper."""
    colour = SOFT if features.name == "source" else COLOURS[index % len(COLOURS)]
    name = short_name(features.name, 30) + (" (BSS)" if features.penalised else "")
    return {"color": colour, "linestyle": ":" if features.penalised else "-", "linewidth": 2.0, "label": name}


def _spectrum(session: AnalysisSession, found: Findings) -> str:
    with session.picture("spectrum", 6.4, 4.2) as (_, axes):
        for index, features in enumerate(found.features):
            values = features.mean
            kept = np.where(values > FLOOR * max(values[0], 1e-300), values, np.nan)
            axes.plot(np.arange(1, len(values) + 1), kept, **_style(features, index))
        axes.set_yscale("log")
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("index of the singular value")
        axes.set_ylabel("singular value")
        axes.legend(loc="upper right")
    return (
        "Singular values of batches of features, averaged over batches (figures 1c and 3b of the paper); dotted: "
        "trained with BSS. The scale is logarithmic."
    )


def _smaller_half(session: AnalysisSession, found: Findings) -> str:
    with session.picture("smaller_half", 6.4, 3.8) as (_, axes):
        for index, features in enumerate(found.features):
            values = features.mean
            start = min(smaller_half(len(values)), len(values) - 1)
            axes.plot(np.arange(start + 1, len(values) + 1), values[start:], **_style(features, index))
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("index of the singular value")
        axes.set_ylabel("singular value")
        axes.legend(loc="upper right")
    return "The smaller half of the same singular values, on a linear scale (figures 1d and 3c of the paper)."


def _sweep(session: AnalysisSession, found: Findings) -> str:
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in found.sweep:
        if row.k is not None:
            name = f"η = {row.eta:g}" if row.eta is not None else "η scheduled"
            lines.setdefault(name + (", relative" if row.scale == "relative" else ""), []).append(
                (row.k, row.top1_best)
            )
    with session.picture("sweep", 6.4, 3.8) as (_, axes):
        for name, points in lines.items():
            ks, tops = zip(*sorted(points), strict=True)
            axes.plot(ks, [100 * top for top in tops], marker="o", label=name)
        without = [100 * row.top1_best for row in found.sweep if row.k is None]
        for i, level in enumerate(without):
            axes.axhline(level, color=SOFT, linestyle="--", linewidth=1.2, label=None if i else "without BSS")
        axes.set_xticks(sorted({row.k for row in found.sweep if row.k is not None}))
        axes.set_xlabel("k, how many singular values are penalised")
        axes.set_ylabel("validation top-1, %")
        axes.legend(loc="best")
    return "Best validation accuracy by k (figure 3d of the paper shows error rates). One run each."
