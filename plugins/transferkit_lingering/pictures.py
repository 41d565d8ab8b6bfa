"""The pictures of the analyzer `lingering`: figure 4 of paper 000, and how well all source-only classes are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit.analysis import COLOURS, GRID, SIZE, SOFT, AnalysisSession, curves, short_name
from transferkit.report import first_name
from transferkit_lingering.measure import Findings

BARS = 12


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {"shared_and_source_only.svg": _figure_4(session, found)}
    if len(found.with_images):
        captions["mean_probability.svg"] = _distribution(session, found)
    return captions


def _figure_4(session: AnalysisSession, found: Findings) -> str:
    known = found.memories
    common = np.argsort(-known.prevalence, kind="stable")[:BARS]
    common = common[known.prevalence[common] > known.v_lo]
    best = (found.best if len(found.best) else found.others)[:BARS]
    rows = max(len(common), len(best), 3)
    with session.picture("shared_and_source_only", 6.4, 1.4 + 0.29 * 2 * rows) as (figure, axes):
        axes.remove()
        upper, lower = figure.subplots(2, 1)
        _bars(upper, [known.names[c] for c in common], 100 * known.prevalence[common] / known.n_target, COLOURS[0])
        upper.set_title("Common in the target images", loc="left")
        upper.set_xlabel(f"target images that show it, % (top {known.k})")
        _bars(lower, [known.names[c] for c in best], known.mean_probability[best], COLOURS[1])
        places = np.arange(len(best))
        lower.hlines(places, known.probability_low[best], known.probability_high[best], color=SOFT, linewidth=1)
        lower.plot(known.source_probability[best], places, "|", color=SOFT, markersize=11, markeredgewidth=2)
        lower.set_title("Source-only, and still recognised", loc="left")
        lower.set_xlabel("mean probability after fine-tuning; | before")
        lower.set_xlim(0, 1)
    few = "" if len(found.best) else f" None of them has {known.min_images} images."
    return (
        "Source classes that the target images show most often, and the source-only classes of which most is left for "
        f"sure relative to the source model (by the lower end), with 95 % intervals.{few} Bars: the fine-tuned "
        "backbone under the source's head; |: the source model itself."
    )


def _bars(axes: Any, names: list[str], values: Any, colour: str) -> None:
    """Horizontal bars, the first on top."""
    places = np.arange(len(names))
    axes.barh(places, values, color=colour, height=0.66)
    axes.set_yticks(places, [short_name(first_name(name), 26) for name in names])
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    if not names:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=SOFT, size=SIZE)


def _distribution(session: AnalysisSession, found: Findings) -> str:
    """The share of source-only classes above each mean probability, after and before fine-tuning."""
    known, ids = found.memories, found.with_images
    models = {"source model": known.source_probability[ids], "after fine-tuning": known.mean_probability[ids]}
    above = [100, *(100 * (1 - np.arange(len(ids)) / len(ids)))]
    with session.picture("mean_probability", 6.4, 3.6) as (_, axes):
        steps = {name: ([0, *np.sort(values)], above) for name, values in models.items()}
        curves(axes, steps, drawstyle="steps-pre")
        axes.axvline(known.p_lo, color=SOFT, linestyle="--", linewidth=1, label=f"threshold {known.p_lo:.3g}")
        axes.axvline(1 / len(known.names), color=SOFT, linestyle=":", linewidth=1, label="chance")
        axes.set_xscale("log")
        axes.set_xlim(min(0.5 / len(known.names), known.p_lo / 2 or 1), 1)
        axes.set_ylim(0, 102)
        axes.set_xlabel("mean probability of a class on its own images")
        axes.set_ylabel("source-only classes, %")
        axes.legend(loc="lower left")
    return (
        f"How many of the {len(ids)} source-only classes with images have at least that mean probability, for the "
        "source model and for the fine-tuned backbone under the source's head."
    )
