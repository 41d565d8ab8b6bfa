"""The pictures of the analyzer `representation`: CKA as a heat map; probes and ranks along the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis import COLOURS, GRID, SOFT, heat, short_name
from transferkit_representation.measure import Findings, Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferkit.analysis import AnalysisSession

NUMBERED = 12  # layers up to which each field shows its number
DARK, PALE = "#151515", "#fdfdfd"  # on the fields, in light and dark mode alike
BEFORE, AFTER = "x", "o"


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is; {file: caption}."""
    captions = {}
    if found.similarity is not None:
        captions["cka.svg"] = _heat_map(session, found.similarity, found.main.data)
    captions["layers.svg"] = _layers(session, found)
    return captions


def _heat_map(session: AnalysisSession, similarity: Similarity, data: str) -> str:
    most = max(similarity.values.shape)
    side = max(4.6, 0.52 * most + 2.2) if most <= NUMBERED else 6.4
    with session.picture("cka", side + 0.9, side) as (_, axes):
        heat(axes, similarity.values, label="CKA", rows=similarity.before, columns=similarity.after, low=0, high=1)
        axes.invert_yaxis()
        axes.set(aspect="equal", xlabel="layer after", ylabel="layer before")
        for name in axes.get_xticklabels():
            name.set(rotation=45, ha="right")
        shown = similarity.values.numpy() if most <= NUMBERED else np.empty((0, 0))
        for (i, j), value in np.ndenumerate(shown):
            text = "–" if np.isnan(value) else f"{value:.2f}".replace("0.", ".").replace("-", "−")
            colour = DARK if np.isnan(value) or value > 0.45 else PALE
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=10.5)
    return (
        f"CKA of every layer before (up: deeper) with every layer after, on {data}. 1: the same up to rotation and "
        "scale; 0: unrelated. The diagonal is a layer with itself; grey fields have no CKA."
    )


def _layers(session: AnalysisSession, found: Findings) -> str:
    """Two panels over the same layers, as in the paper's figure 4: crosses before, dots after."""
    from matplotlib.ticker import LogLocator

    names = list(dict.fromkeys(row.layer for row in found.ranks))
    place = {name: i for i, name in enumerate(names)}
    with session.picture("layers", 6.4, 6.0) as (figure, axes):
        axes.remove()
        upper, lower = figure.subplots(2, 1, sharex=True)
        for panel in (upper, lower):
            panel.set_axisbelow(True)
            panel.grid(axis="y", color=GRID, linewidth=0.8)
        for colour, data in zip(COLOURS, dict.fromkeys(row.data for row in found.probes), strict=False):
            of_data = [row for row in found.probes if row.data == data]
            spots = [place[row.layer] for row in of_data]
            _pair(
                upper,
                spots,
                [100 * row.before.value for row in of_data],
                [100 * row.after.value for row in of_data],
                colour,
            )
            upper.plot([], [], color=colour, linewidth=3, label=short_name(data))
            upper.axhline(100 * of_data[0].chance, color=colour, linestyle=":", linewidth=1)
        _ranks(lower, found, place)
        upper.set(ylim=(-3, 103), ylabel="probe accuracy, %")
        lower.set(yscale="log", ylabel="dimensions")
        lower.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        lower.set_xticks(range(len(names)), [short_name(name, 18) for name in names], rotation=30, ha="right")
        if "source" in found.layers:
            for mark, name in ((BEFORE, "before"), (AFTER, "after")):
                upper.plot([], [], color=SOFT, marker=mark, markersize=7, linestyle="none", label=name)
        for panel in (upper, lower):
            panel.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, columnspacing=1.2, borderaxespad=0.2)
    return (
        "Along the layers: accuracy of linear probes on images they have not seen (dotted: chance), and the "
        "dimensions a layer uses. Crosses: before; dots: after."
    )


def _ranks(axes: Axes, found: Findings, place: dict[str, int]) -> None:
    shown = {"numerical rank": "rank", "participation ratio": "participation"}
    for colour, (name, of) in zip(COLOURS[3:5], shown.items(), strict=True):
        known = {(row.model, row.layer): getattr(row, of) for row in found.ranks}
        before, after = ([known.get((model, layer)) or np.nan for layer in place] for model in ("before", "after"))
        _pair(axes, list(range(len(place))), before, after, colour)
        axes.plot([], [], color=colour, linewidth=3, label=name)


def _pair(axes: Axes, spots: list[int], before: list[float], after: list[float], colour: str) -> None:
    for values, mark, style in ((before, BEFORE, "--"), (after, AFTER, "-")):
        if not np.isnan(np.array(values, dtype=float)).all():
            axes.plot(spots, values, color=colour, marker=mark, markersize=7, linewidth=1, linestyle=style)
