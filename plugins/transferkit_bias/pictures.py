"""The pictures of the analyzer `bias`: how one-sided the votes are, and the clearest source-only classes."""

from __future__ import annotations

import numpy as np
import torch

from transferkit.analysis import COLOURS, GRID, TEXT, AnalysisSession, dots, grouped_bars, short_name
from transferkit.report import first_name
from transferkit.statistics import share_of
from transferkit_bias.measure import Findings
from transferkit_bias.significance import expected_histogram
from transferkit_bias.votes import BINS, bias_histogram

DOTS = 18
LABELS = {"target": "fine-tuned", "baseline": "baseline from scratch"}
INDEX_BINS = ("0–0.2", "0.2–0.4", "0.4–0.6", "0.6–0.8", "0.8–1")


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {}
    if found.target.images.any() and len(found.target.targets) > 1:
        captions["histogram.svg"] = _histogram(session, found)
    if len(found.biased_source_only):
        captions["biased_source_only.svg"] = _dots(session, found)
    return captions


def _histogram(session: AnalysisSession, found: Findings) -> str:
    two = len(found.target.targets) == 2
    bins = [name.replace(" %", "").replace(" to ", "–") for name in BINS] if two else INDEX_BINS
    sizes = {}
    for name, part in found.models.items():
        if two:
            counts, images = torch.from_numpy(part.counts[:, 0]), torch.from_numpy(part.images)
            sizes[LABELS[name]] = bias_histogram(counts, images).tolist()
        else:
            known = part.index[~np.isnan(part.index)]
            fifths = np.minimum((5 * known + 1e-9).astype(int), 4)
            sizes[LABELS[name]] = np.bincount(fifths, minlength=5).tolist()
    with session.picture("histogram", 6.4, 3.8) as (_, axes):
        middles = grouped_bars(axes, bins, sizes, colours=COLOURS[1:3])
        for name, part in found.models.items() if two else ():
            chance, x = expected_histogram(part.images, float(part.share[0])), middles[LABELS[name]]
            label = "by chance" if name == "target" else "_"  # matplotlib leaves such names out of the legend
            axes.hlines(chance, x - 0.38 / len(sizes), x + 0.38 / len(sizes), color=TEXT, linewidth=1.6, label=label)
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


def _dots(session: AnalysisSession, found: Findings) -> str:
    ids, target, baseline = found.biased_source_only[:DOTS], found.target, found.baseline
    rows, favoured = np.arange(len(ids)), target.favoured[ids]
    shares = [share_of(*pair) for pair in zip(target.counts[ids, favoured], target.images[ids], strict=True)]
    names = [f"{short_name(first_name(found.names[c]), 22)} ({target.images[c]})" for c in ids.tolist()]
    with session.picture("biased_source_only", 6.4, 1.3 + 0.29 * max(len(ids), 3)) as (_, axes):
        axes.plot(100 * target.share[favoured], rows, "|", color=TEXT, markersize=12, label="all source images")
        if baseline is not None:
            axes.plot(100 * baseline.shares[ids, favoured], rows, "o", mfc="none", mec=COLOURS[2], label="baseline")
        dots(axes, rows, shares, colour=COLOURS[1], label="fine-tuned", scale=100, horizontal=True)
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
