"""The pictures of the analyzer `lingering`: figure 4 of paper 000, and how well all source-only classes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.analysis.plots import COLOURS, GRID, SIZE, SOFT, short_name
from transferkit_lingering.wording import first_name

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_lingering.memory import Memories
    from transferkit_lingering.ranking import Ranking

BARS = 12


def draw(session: AnalysisSession, found: Memories, ranked: Ranking) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {"shared_and_source_only.svg": _figure_4(session, found, ranked)}
    if len(found.source_only) and (found.images[found.source_only] > 0).any():
        captions["mean_probability.svg"] = _distribution(session, found)
    return captions


def _figure_4(session: AnalysisSession, found: Memories, ranked: Ranking) -> str:
    common = np.argsort(-found.prevalence, kind="stable")[:BARS]
    common = common[found.prevalence[common] > found.v_lo]
    known = ranked.certain[:BARS] if len(ranked.certain) else ranked.others[:BARS]
    rows = max(len(common), len(known), 3)
    with session.picture("shared_and_source_only", 6.4, 1.4 + 0.29 * 2 * rows) as (figure, axes):
        axes.remove()
        upper, lower = figure.subplots(2, 1)
        _bars(upper, [found.names[c] for c in common], 100 * found.prevalence[common] / found.n_target, COLOURS[0])
        upper.set_title("Common in the target images", loc="left")
        upper.set_xlabel(f"target images that show it, % (top {found.k})")
        _bars(lower, [found.names[c] for c in known], found.mean_probability[known], COLOURS[1])
        places = np.arange(len(known))
        lower.errorbar(
            found.mean_probability[known], places, xerr=_whiskers(found, ranked, known), fmt="none", ecolor=SOFT,
            elinewidth=1,
        )  # fmt: skip
        lower.plot(found.source_probability[known], places, "|", color=SOFT, markersize=11, markeredgewidth=2)
        lower.set_title("Source-only, and still recognised", loc="left")
        lower.set_xlabel("mean probability after fine-tuning; | before")
        lower.set_xlim(0, 1)
    few = "" if len(ranked.certain) else f" None of them has {found.min_images} images."
    return (
        "Source classes that the target images show most often, and the source-only classes that are remembered best "
        f"relative to the source model, with 95 % intervals.{few} Bars: the fine-tuned backbone under the source's "
        "head; |: the source model itself."
    )


def _whiskers(found: Memories, ranked: Ranking, ids: Any) -> Any:
    """(2, m) lengths to the ends of the intervals; none where there is no interval."""
    low, high = ranked.mean_interval[:, ids]
    means = found.mean_probability[ids]
    return np.nan_to_num(np.clip(np.stack([means - low, high - means]), 0, None))


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


def _distribution(session: AnalysisSession, found: Memories) -> str:
    """The share of source-only classes above each mean probability, after and before fine-tuning."""
    ids = found.source_only[found.images[found.source_only] > 0]
    with session.picture("mean_probability", 6.4, 3.6) as (_, axes):
        for values, name, colour in (
            (found.source_probability[ids], "source model", COLOURS[0]),
            (found.mean_probability[ids], "after fine-tuning", COLOURS[1]),
        ):
            above = 1 - np.arange(len(ids)) / len(ids)
            axes.step([0, *np.sort(values)], [100, *(100 * above)], where="pre", color=colour, label=name)
        axes.axvline(found.p_lo, color=SOFT, linestyle="--", linewidth=1, label=f"threshold {found.p_lo:.3g}")
        axes.axvline(1 / len(found.names), color=SOFT, linestyle=":", linewidth=1, label="chance")
        axes.set_xscale("log")
        axes.set_xlim(min(0.5 / len(found.names), found.p_lo / 2 or 1), 1)
        axes.set_ylim(0, 102)
        axes.set_xlabel("mean probability of a class on its own images")
        axes.set_ylabel("source-only classes, %")
        axes.legend(loc="lower left")
    return (
        f"How many of the {len(ids)} source-only classes with images have at least that mean probability, for the "
        "source model and for the fine-tuned backbone under the source's head."
    )
