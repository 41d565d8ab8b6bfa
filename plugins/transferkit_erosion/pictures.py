"""The pictures of `erosion`: forgetting while training, over the ratio of corrupted images, and plasticity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.analysis import COLOURS, LIGHT, SOFT, TEXT, curves, dots, legend_above
from transferkit_erosion.arms import AFTER, BEFORE, Point, ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferkit.analysis import AnalysisSession
    from transferkit_erosion.measure import Findings
    from transferkit_erosion.options import Options

CONTROL, MARK, GROUND = COLOURS[0], COLOURS[1], LIGHT["bg"]


def draw(session: AnalysisSession, options: Options, found: Findings) -> dict[str, str]:
    """{file: caption} of those there is something to draw for."""
    drawn: dict[str, str] = {}
    while_training = {arm: found.curves[arm] for arm in (AFTER, options.control) if arm in found.curves}
    if while_training:
        with session.picture("forgetting") as (_, axes):
            _forgetting(axes, options, found, while_training)
        drawn["forgetting.svg"] = (
            "Accuracy on clean images while the stage trains, and of its control (figure 1). Filled: all images, at "
            "the ends of epochs; hollow: a fixed part of them."
        )
    if options.sweep and len(found.ratios) > 1:
        with session.picture("ratio_sweep") as (_, axes):
            _sweep(axes, found)
        drawn["ratio_sweep.svg"] = (
            "Forgetting over the share of training images that bear the mark (figure 6), with 95 % intervals over "
            f"images{'' if options.control is None else '; at 0 the control'}."
        )
    learners = (options.scratch, options.relearn, options.warm)
    learning = {name: found.curves[name] for name in learners if name in found.curves}
    if len(learning) > 1:
        with session.picture("plasticity") as (_, axes):
            _plasticity(axes, options, learning)
        drawn["plasticity.svg"] = "Learning the clean task again, and anew on the same budget (figure 5)."
    return drawn


def _forgetting(axes: Axes, options: Options, found: Findings, lines: dict[str, list[Point]]) -> None:
    labels = {AFTER: "with the mark", options.control: "control, clean images"}
    for arm, points in lines.items():
        colour = MARK if arm == AFTER else CONTROL
        early, whole = ([p for p in points if p.early is part] for part in (True, False))
        axes.plot([p.step for p in whole], [p.accuracy for p in whole], "o-", color=colour, markersize=4, zorder=3,
                  label=labels[arm])  # fmt: skip
        axes.plot([p.step for p in early], [p.accuracy for p in early], "o--", color=colour, markersize=4,
                  markerfacecolor=GROUND, linewidth=1, zorder=2)  # fmt: skip
    before = found.arms.on(BEFORE, "clean")
    if before is not None:
        axes.axhline(before.accuracy.value, color=TEXT, linestyle="--", linewidth=1, label="before")
    axes.axhline(found.chance, color=SOFT, linestyle=":", linewidth=1, label="guessing")
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(left=0)
    axes.set(ylim=(0, 1), xlabel="optimizer steps", ylabel="accuracy on clean images")
    legend_above(axes)


def _sweep(axes: Axes, found: Findings) -> None:
    arms = sorted(found.ratios, key=lambda arm: found.ratios[arm])
    ratios = [found.ratios[arm] for arm in arms]
    values = [found.losses[arm].forgetting for arm in arms]
    axes.plot(ratios, [value.value for value in values], color=MARK)
    dots(axes, ratios, values, colour=MARK)
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.set(xlim=(-0.03, 1.03), ylabel="forgetting (accuracy before − after)")
    axes.set_xlabel("share of training images that bear the mark")


def _plasticity(axes: Axes, options: Options, learning: dict[str, list[Point]]) -> None:
    labels = {options.scratch: "from scratch", options.relearn: "after the mark", options.warm: "after the control"}
    colours = {options.scratch: TEXT, options.relearn: MARK, options.warm: CONTROL}
    lines = {
        labels[name]: ([point.epoch + 1 for point in ends(points)], [point.accuracy for point in ends(points)])
        for name, points in learning.items()
    }
    curves(axes, lines, colours=[colours[name] for name in learning], marker="o", markersize=3)
    axes.locator_params(axis="x", integer=True)
    axes.set(ylim=(0, 1), xlabel="epochs", ylabel="accuracy on clean images")
    legend_above(axes)
