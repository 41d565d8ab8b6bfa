"""The pictures of the analyzer `representation`: CKA as a heat map; probes and ranks along the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.analysis.plots import COLOURS, GRID, SOFT, short_name

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_representation.findings import Similarity
    from transferkit_representation.report import Findings

NUMBERED = 12  # layers up to which each field shows its number
PLAIN = 30  # layers up to which fields are drawn as lines rather than as a bitmap
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
    values = np.ma.masked_invalid(similarity.values.numpy())
    rows, columns = values.shape
    side = max(4.6, 0.52 * max(rows, columns) + 2.2) if max(rows, columns) <= NUMBERED else 6.4
    with session.picture("cka", side + 0.9, side) as (figure, axes):
        axes.grid(visible=False)
        axes.set_facecolor(GRID)
        drawn = axes.pcolormesh(values, cmap="viridis", vmin=0, vmax=1, rasterized=max(rows, columns) > PLAIN)
        axes.set_xticks(*_ticks(similarity.after), rotation=45, ha="right")
        axes.set_yticks(*_ticks(similarity.before))
        axes.set_aspect("equal")
        axes.set_xlabel("layer after")
        axes.set_ylabel("layer before")
        axes.tick_params(length=0)
        if max(rows, columns) <= NUMBERED:
            _numbers(axes, values)
        bar = figure.colorbar(drawn, ax=axes, shrink=0.8, extend="min" if values.min() < 0 else "neither")
        bar.outline.set_visible(False)
        bar.set_label("CKA")
    return (
        f"CKA of every layer before (up: deeper) with every layer after, on {data}. 1: the same up to rotation and "
        "scale; 0: unrelated. The diagonal is a layer with itself; grey fields have no CKA."
    )


def _ticks(names: list[str]) -> tuple[list[float], list[str]]:
    step = max(1, -(-len(names) // 20))
    return [i + 0.5 for i in range(0, len(names), step)], [short_name(name, 18) for name in names[::step]]


def _numbers(axes: Any, values: Any) -> None:
    for (i, j), value in np.ndenumerate(values.filled(np.nan)):
        text = "–" if np.isnan(value) else f"{value:.2f}".replace("0.", ".").replace("-", "−")
        colour = DARK if np.isnan(value) or value > 0.45 else PALE
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=10.5)


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
            _pair(upper, spots, [100 * row.before for row in of_data], [100 * row.after for row in of_data], colour)
            upper.plot([], [], color=colour, linewidth=3, label=short_name(data))
            upper.axhline(100 * of_data[0].chance, color=colour, linestyle=":", linewidth=1)
        _ranks(lower, found, place)
        upper.set_ylim(-3, 103)
        upper.set_ylabel("probe accuracy, %")
        lower.set_yscale("log")
        lower.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        lower.set_ylabel("dimensions")
        lower.set_xticks(range(len(names)), [short_name(name, 18) for name in names], rotation=30, ha="right")
        _legends(upper, lower, compared="source" in found.layers)
    return (
        "Along the layers: accuracy of linear probes on images they have not seen (dotted: chance), and the "
        "dimensions a layer uses. Crosses: before; dots: after."
    )


def _ranks(axes: Any, found: Findings, place: dict[str, int]) -> None:
    for colour, name, of in (
        (COLOURS[3], "numerical rank", "rank"),
        (COLOURS[4], "participation ratio", "participation"),
    ):
        before, after = (
            {place[row.layer]: getattr(row, of) for row in found.ranks if row.model == model}
            for model in ("before", "after")
        )
        spots = list(range(len(place)))
        _pair(axes, spots, [before.get(i) or np.nan for i in spots], [after.get(i) or np.nan for i in spots], colour)
        axes.plot([], [], color=colour, linewidth=3, label=name)


def _pair(axes: Any, spots: list[int], before: list[float], after: list[float], colour: str) -> None:
    for values, mark, style in ((before, BEFORE, "--"), (after, AFTER, "-")):
        if not np.isnan(np.array(values, dtype=float)).all():
            axes.plot(spots, values, color=colour, marker=mark, markersize=7, linewidth=1, linestyle=style)


def _legends(upper: Any, lower: Any, *, compared: bool) -> None:
    if compared:
        for mark, name in ((BEFORE, "before"), (AFTER, "after")):
            upper.plot([], [], color=SOFT, marker=mark, markersize=7, linestyle="none", label=name)
    for panel in (upper, lower):
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, columnspacing=1.2, borderaxespad=0.2)
