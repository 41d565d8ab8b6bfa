"""The pictures of the analyzer `bias`: how one-sided the votes are, and the clearest source-only classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transferkit_lingering.wording import first_name

from transferkit.analysis.plots import COLOURS, GRID, SOFT, TEXT, short_name
from transferkit.analysis.run_folder import wilson
from transferkit_bias.significance import expected_histogram
from transferkit_bias.tables import models
from transferkit_bias.verdict import biased_source_only
from transferkit_bias.votes import BINS, bias_histogram

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_bias.measure import Votes
    from transferkit_bias.report import Findings

DOTS = 18
LABELS = {"target": "fine-tuned", "baseline": "baseline from scratch"}


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {}
    if found.target.images.any() and len(found.target.targets) > 1:
        captions["histogram.svg"] = _histogram(session, found)
    if len(biased_source_only(found)):
        captions["biased_source_only.svg"] = _dots(session, found)
    return captions


def _histogram(session: AnalysisSession, found: Findings) -> str:
    two = len(found.target.targets) == 2
    shown = models(found)
    width = 0.8 / len(shown)
    with session.picture("histogram", 6.4, 3.8) as (_, axes):
        for i, (name, part) in enumerate(shown.items()):
            places = np.arange(5) + width * (i - (len(shown) - 1) / 2)
            sizes = _two(part) if two else _index_bins(part)
            axes.bar(places, sizes, width=width * 0.94, color=(COLOURS[1], COLOURS[2])[i], label=LABELS[name])
            if two:
                chance = expected_histogram(part.images, float(part.share[0]))
                label = "by chance" if i == 0 else "_"  # matplotlib leaves names with an underscore out of the legend
                half = width * 0.47
                axes.hlines(chance, places - half, places + half, color=TEXT, linewidth=1.6, label=label)
        bins = BINS if two else ("0 to 0.2", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 0.8", "0.8 to 1")
        axes.set_xticks(np.arange(5), [name.replace(" %", "").replace(" to ", "–") for name in bins])
        favourite = short_name(found.target.targets[0], 20)
        axes.set_xlabel(f"images of a class answered with {favourite}, %" if two else "bias index of a class")
        axes.set_ylabel("source classes")
        axes.legend(loc="upper left", ncols=3, bbox_to_anchor=(0, 1.16))
    return (
        "Source classes by the votes of their images. Lines: how many there would be if every image voted at random by "
        "the model's share of all votes."
        if two
        else "Source classes by how one-sided their images vote: 0 is an even vote, 1 always the same answer."
    )


def _two(part: Votes) -> Any:
    return bias_histogram(torch.from_numpy(part.counts[:, 0]), torch.from_numpy(part.images)).numpy()


def _index_bins(part: Votes) -> Any:
    known = part.index[~np.isnan(part.index)]
    return np.bincount(np.minimum((5 * known + 1e-9).astype(int), 4), minlength=5)


def _dots(session: AnalysisSession, found: Findings) -> str:
    ids, target, baseline = biased_source_only(found)[:DOTS], found.target, found.baseline
    rows = np.arange(len(ids))
    favoured = target.favoured[ids]
    shares = target.shares[ids, favoured]
    ends = np.array([wilson(float(share), int(n)) for share, n in zip(shares, target.images[ids], strict=True)])
    names = [f"{short_name(first_name(found.names[c]), 22)} ({target.images[c]})" for c in ids.tolist()]
    with session.picture("biased_source_only", 6.4, 1.3 + 0.29 * max(len(ids), 3)) as (_, axes):
        axes.hlines(rows, 100 * ends[:, 0], 100 * ends[:, 1], color=SOFT, linewidth=1)
        axes.plot(100 * target.share[favoured], rows, "|", color=TEXT, markersize=12, label="all source images")
        if baseline is not None:
            axes.plot(100 * baseline.shares[ids, favoured], rows, "o", mfc="none", mec=COLOURS[2], label="baseline")
        axes.plot(100 * shares, rows, "o", color=COLOURS[1], label="fine-tuned")
        axes.set_yticks(rows, names)
        axes.set_ylim(len(ids) - 0.4, -0.6)
        axes.set_xlim(-3, 103)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_xlabel("images answered with the class's favourite, %")
        for row, j in zip(rows, favoured.tolist(), strict=True):
            axes.annotate(
                short_name(target.targets[j], 14), (1.01, row), xycoords=("axes fraction", "data"), va="center"
            )
        axes.legend(loc="lower left", ncols=3, bbox_to_anchor=(-0.3, 1.0))
    return (
        "Highly biased source classes that the target images hardly show, those least explicable by chance first; in "
        "brackets their images, on the right the favoured answer, with 95 % intervals."
    )
