"""What the analyzer `distance` says. Lengths in weights and in predictions have different units: never on one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferkit.analysis.plots import COLOURS, SOFT, short_name
from transferkit.errors import InputError
from transferkit.formats import number
from transferkit.report import Report, Table
from transferkit_distance.records import LENGTHS, Path, read_path

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_distance.analyzer import Distance


def report(session: AnalysisSession, options: Distance) -> Report:
    """Everything `Distance.analyze` returns."""
    gaps: list[str] = []
    paths = []
    for stage in dict.fromkeys(options.stages or [session.stage_name or ""]):
        try:
            paths.append(read_path(session, stage))
        except InputError as error:
            text = " ".join(str(error).split())
            gaps.append(f"{text[:1].upper()}{text[1:]}.")
    own = next((path for path in paths if path.stage == session.stage_name), paths[0] if paths else None)
    drawn = draw(session, paths)
    return Report(
        metrics=metrics(own),
        tables={"distances": table(paths), "by_epoch": by_epoch(paths)} if paths else {},
        figures=list(drawn),
        captions=drawn,
        verdict=verdict(paths),
        notes=notes(paths, own),
        gaps=gaps,
    )


def metrics(own: Path | None) -> dict[str, float]:
    """Every metric the analyzer declares, at the end of the analysis's own stage or else of the first one."""
    if own is None:
        return dict.fromkeys(("steps", *LENGTHS), math.nan)
    return {"steps": float(own.end.step)} | {name: own.end[name] for name in LENGTHS}


def table(paths: Sequence[Path]) -> Table:
    """One row per stage: the lengths at its end."""
    rows = [[path.stage, path.end.step, *(path.end[name] for name in LENGTHS)] for path in paths]
    return Table(["stage", "steps", *LENGTHS], rows)


def by_epoch(paths: Sequence[Path]) -> Table:
    """Every epoch of every stage."""
    rows = [[path.stage, r.epoch, r.step, *(r[name] for name in LENGTHS)] for path in paths for r in path.records]
    return Table(["stage", "epoch", "steps", *LENGTHS], rows, folded=True)


def verdict(paths: Sequence[Path]) -> str:
    """How far, and how straight."""
    texts = []
    for path in paths[:3]:
        end = path.end
        if not end["distance"]:
            texts.append(f"The backbone did not move in the stage {path.stage}.")
            continue
        ratio = "" if not end["displacement"] else f", {number(1 / end['straightness'], 3)} times less"
        texts.append(
            f"In {end.step} steps of the stage {path.stage} the backbone's weights travelled "
            f"{number(end['distance'], 3)} and ended {number(end['displacement'], 3)} from where they began{ratio}."
        )
    return " ".join(texts) or "No distances were recorded."


def notes(paths: Sequence[Path], own: Path | None) -> list[str]:
    """What is added up."""
    if own is None:
        return []
    lines = [
        "Distance: the sum over optimizer steps of ‖w after − w before‖ over the parameters of the backbone, without "
        "the head and without the buffers of batch norm. Displacement: ‖w now − w at the start of the stage‖. "
        "Straightness: displacement over distance, 1 for a straight line.",
        "The distance grows with the number of steps, the learning rate and the noise of batches: it compares "
        "trainings of the same length. Sampled once per epoch instead of once per step it would come out smaller.",
    ]
    if len(paths) > 1:
        lines.append(f"The metrics are of the stage {own.stage}.")
    if any(path.has_fisher for path in paths):
        lines.append(
            "Fisher length: Σ sqrt(2 KL) between looks at the predictions on fixed images; the mean over images is "
            "inside the root, and outside for Definition 2. Looks every few steps cut the corners between them, so it "
            "is underestimated. Its unit is not that of weights."
        )
    return lines


def draw(session: AnalysisSession, paths: Sequence[Path]) -> dict[str, str]:
    """Distance with displacement, and Fisher lengths in a picture of their own; {file: caption}."""
    captions = {}
    if paths:
        _curves(session, "distance", paths, ("distance", "displacement"), "‖Δw‖")
        captions["distance.svg"] = "Fine-tuning distance (solid) and displacement (dashed) of the backbone's weights."
    looked = [path for path in paths if path.has_fisher]
    if looked:
        _curves(session, "fisher_length", looked, ("fisher_length", "fisher_length_definition_2"), "Fisher length")
        captions["fisher_length.svg"] = (
            "Length of the way of the predictions: mean over images inside the root (solid), outside (dashed). "
            "Looks every few steps underestimate it."
        )
    return captions


def _curves(session: AnalysisSession, name: str, paths: Sequence[Path], lengths: tuple[str, str], label: str) -> None:
    with session.picture(name, 6.4, 4.0) as (_, axes):
        for index, path in enumerate(paths):
            colour = COLOURS[index % len(COLOURS)]
            epochs = [0, *(record.epoch for record in path.records)]
            for length, style in zip(lengths, ("-", "--"), strict=True):
                values = [0.0, *(record[length] for record in path.records)]
                stage = short_name(path.stage) if style == "-" else None
                axes.plot(epochs, values, style, color=colour, linewidth=2, label=stage)
        axes.plot([], [], "--", color=SOFT, label=lengths[1].replace("fisher_length_definition_2", "Definition 2"))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.legend(loc="best")
