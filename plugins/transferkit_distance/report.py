"""What `distance` says of what it found: metrics, tables, pictures, sentences.

Lengths in weights and in predictions have different units, and pictures of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from transferkit.analysis import SOFT, AnalysisSession, curves
from transferkit.report import Report, Table, listing, number
from transferkit_distance.measure import LENGTHS, Findings, Path, measure
from transferkit_distance.options import Options


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Distance.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(found),
        tables=tables(found),
        captions=draw(session, found),
        verdict=verdict(found),
        notes=notes(found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float]:
    """Every metric the analyzer declares, at the end of the analysis's own stage or else of the first one."""
    return {name: math.nan if found.own is None else found.own.end[name] for name in ("steps", *LENGTHS)}


def tables(found: Findings) -> dict[str, Table]:
    """The lengths at the end of every stage, and of all its epochs; none where nothing was recorded."""
    if not found.paths:
        return {}
    ends = [
        {"stage": path.stage}
        | {name: path.end[name] for name in ("steps", *LENGTHS)}
        | {"target_images": path.target_images, "source_images": path.source_images}
        for path in found.paths
    ]
    epochs = [{"stage": path.stage, **record} for path in found.paths for record in path.records]
    return {"distances": Table.of(ends), "by_epoch": Table.of(epochs, folded=True)}


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Distance with displacement, and Fisher lengths in a picture of their own; {file: caption}."""
    captions = {}
    if found.paths:
        _ways(session, "distance", found.paths, ("distance", "displacement"), "‖Δw‖", "displacement")
        captions["distance.svg"] = "Fine-tuning distance (solid) and displacement (dashed) of the backbone's weights."
    looked = [path for path in found.paths if path.has_fisher]
    if looked:
        lengths = ("fisher_length", "fisher_length_definition_2")
        _ways(session, "fisher_length", looked, lengths, "Fisher length", "Definition 2")
        captions["fisher_length.svg"] = (
            "Length of the way of the predictions: mean over images inside the root (solid), outside (dashed). "
            "Looks every few steps underestimate it."
        )
    return captions


def _ways(
    session: AnalysisSession, name: str, paths: Sequence[Path], lengths: tuple[str, str], label: str, dashed: str
) -> None:
    with session.picture(name, 6.4, 4.0) as (_, axes):
        for length, style, hidden in zip(lengths, ("-", "--"), ("", "_"), strict=True):  # a legend has no "_names"
            lines = {
                f"{hidden}{path.stage}": (
                    [0, *(record["epoch"] for record in path.records)],
                    [0.0, *(record[length] for record in path.records)],
                )
                for path in paths
            }
            curves(axes, lines, linestyle=style, linewidth=2)
        axes.plot([], [], "--", color=SOFT, label=dashed)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.legend(loc="best")


def verdict(found: Findings) -> str:
    """A sentence for each of the first three stages."""
    sentences = []
    for path in found.paths[:3]:
        end = path.end
        if not end["distance"]:
            sentences.append(f"The backbone did not move in the stage {path.stage}.")
            continue
        ratio = f", {number(1 / end['straightness'], 3)} times less" if end["displacement"] else ""
        sentences.append(
            f"In {end['steps']} steps of the stage {path.stage} the backbone's weights travelled "
            f"{number(end['distance'], 3)} and ended {number(end['displacement'], 3)} from where they began{ratio}."
        )
    if len(found.paths) > 1:
        sentences.append(
            f"These are one training each: which way is longer in general is not certain. {_exposed(found.paths)}"
        )
    return " ".join(sentences) or "No distances were recorded."


def _exposed(paths: Sequence[Path]) -> str:
    """Whether the stages were trained on as many steps and target images, which lengths follow."""
    steps, images = {path.end["steps"] for path in paths}, {path.target_images for path in paths}
    if len(steps) == 1 and len(images) == 1 and math.isfinite(paths[0].target_images):
        return f"Each took {paths[0].end['steps']:,.0f} steps on {paths[0].target_images:,.0f} target images."
    told = listing(
        [
            f"{path.end['steps']:,.0f} and "
            + ("an unknown number" if math.isnan(path.target_images) else f"{path.target_images:,.0f}")
            + f" in {path.stage}"
            for path in paths
        ]
    )
    return f"Steps and target images differ, and lengths with them: {told}."


def notes(found: Findings) -> list[str]:
    """What is added up."""
    if found.own is None:
        return []
    lines = [
        "Every length is of one training and exact for it; there is no interval. With `repeat: 5` the "
        "recipe runs over seeds, whose means can be compared.",
        "Distance: the sum over optimizer steps of ‖w after − w before‖ over the parameters of the backbone, without "
        "the head and without the buffers of batch norm. Displacement: ‖w now − w at the start of the stage‖. "
        "Straightness: displacement over distance, 1 for a straight line.",
        "The distance grows with the number of steps, the learning rate and the noise of batches: it compares "
        "trainings of the same length. Sampled once per epoch instead of once per step it would come out smaller.",
    ]
    if len(found.paths) > 1:
        lines.append(f"The metrics are of the stage {found.own.stage}.")
    if any(path.has_fisher for path in found.paths):
        lines.append(
            "Fisher length: Σ sqrt(2 KL) between looks at the predictions on fixed images; the mean over images is "
            "inside the root, and outside for Definition 2. Looks every few steps cut the corners between them, so it "
            "is underestimated. Its unit is not that of weights."
        )
    return lines
