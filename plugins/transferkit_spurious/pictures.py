"""The pictures of the analyzer `spurious`: what moves the answers, LIME by column, and patches of images."""

from __future__ import annotations

import numpy as np

from transferkit.analysis import COLOURS, SOFT, AnalysisSession, curves, dots, heat, legend_above, short_name
from transferkit_spurious.findings import Findings, Lime, Patches
from transferkit_spurious.options import INTERVENTIONS, Options


def draw(session: AnalysisSession, options: Options, found: Findings) -> dict[str, str]:
    """{file: caption}: the suspect block under every intervention and LIME by column, or every model's patches."""
    captions = {}
    if not found.patches:
        captions["moved.svg"] = _moved(session, options, found)
    if found.lime is not None:
        captions["lime.svg"] = _lime(session, options, found.lime)
    for number, (name, patches) in enumerate(found.patches.items()):
        captions[f"patches-{number}.svg"] = _patches(session, f"patches-{number}", name, patches)
    return captions


def _moved(session: AnalysisSession, options: Options, found: Findings) -> str:
    """Points on a log axis, because a source model that needs these columns dwarfs the others."""
    places, width, known = np.arange(len(INTERVENTIONS)), 0.6 / len(found.models), []
    with session.picture("moved", 6.4, 4.0) as (_, axes):
        for i, name in enumerate(found.loss):
            moved = [found.effects[name, options.suspect, how].moved for how in INTERVENTIONS]
            x = places + width * (i - (len(found.models) - 1) / 2)
            dots(axes, x, moved, colour=COLOURS[i % len(COLOURS)], label=short_name(name))
            known += [one.value for one in moved]
        if min(known) > 0:
            axes.set_yscale("log")
        axes.set_xticks(places, INTERVENTIONS)
        axes.set_ylabel("the answer moves by, s.d.")
        legend_above(axes, len(found.models))
    first, end = options.blocks[options.suspect]
    return (
        f"How far the answers move when the columns {first} to {end - 1} ({options.suspect}) are changed, with 95 % "
        "intervals over rows. Permuting columns that do not matter changes nothing in law."
    )


def _lime(session: AnalysisSession, options: Options, lime: Lime) -> str:
    means = {name: impact.mean(axis=0) for name, impact in lime.impact.items()}
    with session.picture("lime", 6.4, 3.8) as (_, axes):
        lines = {name: (np.arange(len(values)), values) for name, values in means.items()}
        curves(axes, lines, linestyle="none", marker="o", markersize=3.5)
        for first, _ in sorted(options.blocks.values())[1:]:
            axes.axvline(first - 0.5, color=SOFT, linewidth=0.8, linestyle="--")
        axes.set_xlabel("column")
        axes.set_ylabel("impact on the answer, s.d.")
        axes.set_ylim(bottom=0)
        legend_above(axes, len(lines))
    return (
        "LIME: |coefficient x s.d. of the column|, mean over the explained rows, per column; dashed lines part the "
        f"blocks ({', '.join(options.blocks)})."
    )


def _patches(session: AnalysisSession, file: str, name: str, patches: Patches) -> str:
    with session.picture(file, 4.2, 3.6) as (_, axes):
        heat(axes, patches.moved, label="label's probability moves by", low=0, colours="Blues")
        axes.set_aspect("equal")
    return f"{name}: what occluding each patch does to the label's probability, mean over images."
