"""The pictures of `erosion`: forgetting while training, over the ratio of corrupted images, and plasticity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit_erosion.arms import AFTER, BEFORE, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferkit.analysis import AnalysisSession
    from transferkit_erosion.analyzer import Erosion
    from transferkit_erosion.report import Findings


def draw(session: AnalysisSession, options: Erosion, found: Findings) -> dict[str, str]:
    """{file: caption} of those there is something to draw for."""
    drawn: dict[str, str] = {}
    while_training = {arm: found.curves[arm] for arm in (AFTER, options.control) if arm in found.curves}
    if while_training:
        with session.picture("forgetting") as (_, axes):
            _forgetting(axes, options, found, while_training)
        drawn["forgetting.svg"] = "Accuracy on clean images while the stage trains, and of its control (figure 1)."
    if len(found.ratios) > 1:
        with session.picture("ratio_sweep") as (_, axes):
            _sweep(axes, found)
        drawn["ratio_sweep.svg"] = "Forgetting over the share of images that bear the mark (figure 6)."
    learning = {name: found.curves[name] for name in _learners(options) if name in found.curves}
    if len(learning) > 1:
        with session.picture("plasticity") as (_, axes):
            _plasticity(axes, options, learning)
        drawn["plasticity.svg"] = "Learning the clean task again, and anew on the same budget (figure 5)."
    return drawn


def _learners(options: Erosion) -> list[str]:
    return [name for name in (options.scratch, options.relearn, options.warm) if name is not None]


def _forgetting(axes: Axes, options: Erosion, found: Findings, curves: dict[str, list[Point]]) -> None:
    labels = {AFTER: "with the mark", options.control: "control, clean images"}
    for arm, points in curves.items():
        colour = "tab:red" if arm == AFTER else "tab:blue"
        axes.plot([p.step for p in points], [p.accuracy for p in points], color=colour, label=labels[arm], zorder=2)
        whole = [p for p in points if not p.early]
        axes.plot([p.step for p in whole], [p.accuracy for p in whole], "o", color=colour, markersize=4, zorder=3)
    before = found.arms.on(BEFORE, "clean")
    if before is not None:
        axes.axhline(before.accuracy, color="black", linestyle="--", linewidth=1, label="before")
    axes.axhline(found.chance, color="grey", linestyle=":", linewidth=1, label="guessing")
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    axes.set_xlabel("optimizer steps")
    axes.set_ylabel("accuracy on clean images")
    _legend_beside(axes)


def _sweep(axes: Axes, found: Findings) -> None:
    arms = sorted(found.ratios, key=lambda arm: found.ratios[arm])
    ratios = [found.ratios[arm] for arm in arms]
    values = [found.losses[arm].value for arm in arms]
    below = [max(found.losses[arm].value - found.losses[arm].low, 0) for arm in arms]
    above = [max(found.losses[arm].high - found.losses[arm].value, 0) for arm in arms]
    axes.errorbar(ratios, values, yerr=[below, above], marker="o", capsize=3, color="tab:red")
    axes.axhline(0, color="grey", linewidth=1)
    axes.set_xlim(0, 1.03)
    axes.set_xlabel("share of training images that bear the mark")
    axes.set_ylabel("forgetting (accuracy before − after)")


def _plasticity(axes: Axes, options: Erosion, curves: dict[str, list[Point]]) -> None:
    labels = {options.scratch: "from scratch", options.relearn: "after the mark", options.warm: "after the control"}
    colours = {options.scratch: "black", options.relearn: "tab:red", options.warm: "tab:blue"}
    for name, points in curves.items():
        ends = [point for point in points if not point.early and point.epoch >= 0]
        epochs, accuracies = [p.epoch + 1 for p in ends], [p.accuracy for p in ends]
        axes.plot(epochs, accuracies, marker="o", markersize=3, color=colours[name], label=labels[name])
    axes.set_ylim(0, 1)
    axes.set_xlabel("epochs")
    axes.set_ylabel("accuracy on clean images")
    _legend_beside(axes)


def _legend_beside(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
