"""The pictures of the analyzer `spurious`: what moves the answers, LIME by column, and patches of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis.plots import COLOURS, SOFT, short_name
from transferkit_spurious.analyzer import INTERVENTIONS

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_spurious import regions, rows
    from transferkit_spurious.analyzer import Spurious


def of_rows(session: AnalysisSession, options: Spurious, found: rows.Table) -> dict[str, str]:
    """{file: caption}: the suspect block under every intervention, and LIME by column."""
    captions = {"moved.svg": _moved(session, options, found)}
    if found.impact:
        captions["lime.svg"] = _lime(session, options, found)
    return captions


def _moved(session: AnalysisSession, options: Spurious, found: rows.Table) -> str:
    """Points on a log axis, because a source model that needs these columns dwarfs the others."""
    models, places = list(found.loss), np.arange(len(INTERVENTIONS))
    width = 0.6 / len(models)
    with session.picture("moved", 6.4, 4.0) as (_, axes):
        for i, name in enumerate(models):
            effects = [found.effect(name, options.suspect, how) for how in INTERVENTIONS]
            moved = [one.moved for one in effects if one is not None]
            x = places + width * (i - (len(models) - 1) / 2)
            means = [one.mean for one in moved]
            ends = np.array([[one.mean - one.low, one.high - one.mean] for one in moved]).T.clip(min=0)
            whiskers = ends if all(one.known for one in moved) else None
            axes.errorbar(x, means, whiskers, fmt="o", color=COLOURS[i % 8], capsize=3, label=short_name(name))
        if all(one.moved.mean > 0 for one in found.effects if one.block == options.suspect):
            axes.set_yscale("log")
        axes.set_xticks(places, INTERVENTIONS)
        axes.set_ylabel("the answer moves by, s.d.")
        axes.legend(loc="lower left", ncols=len(models), bbox_to_anchor=(0, 1))
    first, end = options.blocks[options.suspect]
    return (
        f"How far the answers move when the columns {first} to {end - 1} ({options.suspect}) are changed, with 95 % "
        "intervals over rows. Permuting columns that do not matter changes nothing in law."
    )


def _lime(session: AnalysisSession, options: Spurious, found: rows.Table) -> str:
    with session.picture("lime", 6.4, 3.8) as (_, axes):
        for i, (name, impact) in enumerate(found.impact.items()):
            means = impact.mean(axis=0)
            axes.plot(np.arange(len(means)), means, "o", markersize=3.5, color=COLOURS[i % 8], label=short_name(name))
        for first, _ in sorted(options.blocks.values())[1:]:
            axes.axvline(first - 0.5, color=SOFT, linewidth=0.8, linestyle="--")
        axes.set_xlabel("column")
        axes.set_ylabel("impact on the answer, s.d.")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left", ncols=len(found.impact), bbox_to_anchor=(0, 1))
    return (
        "LIME: |coefficient x s.d. of the column|, mean over the explained rows, per column; dashed lines part the "
        f"blocks ({', '.join(options.blocks)})."
    )


def of_images(session: AnalysisSession, found: regions.Pictures) -> dict[str, str]:
    """{file: caption}: a map of patches for every model."""
    captions = {}
    for number, (name, (_, moved)) in enumerate(found.patches.items()):
        file = f"patches-{number}"
        with session.picture(file, 4.2, 3.6) as (figure, axes):
            drawn = axes.imshow(moved, cmap="Blues", vmin=0)
            axes.grid(visible=False)
            axes.set_xticks([])
            axes.set_yticks([])
            figure.colorbar(drawn, ax=axes, label="label's probability moves by")
        captions[f"{file}.svg"] = (
            f"{name}: what occluding each patch does to the label's probability, mean over images."
        )
    return captions
