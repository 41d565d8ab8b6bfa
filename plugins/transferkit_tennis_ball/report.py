"""What the analyzer `attraction` says: the gate first, then every model with and without the mark."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis.plots import COLOURS, SOFT, short_name
from transferkit.errors import InputError
from transferkit.formats import percent, points
from transferkit.report import Report, Table
from transferkit.suggest import did_you_mean
from transferkit_tennis_ball.study import CONSTANT, SOURCE, Arm, Mark, study_arm, study_mark, treated_label

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_tennis_ball.analyzer import Attraction


def report(session: AnalysisSession, options: Attraction) -> Report:
    """Everything `Attraction.analyze` returns. Raises InputError in an audit, which has no stages."""
    if session.recipe is None or session.stage_name is None:
        raise InputError("attraction compares the stages of a recipe; an audit of single models has none")
    for data in (options.source_clean, options.source_marked, options.target_clean, options.target_marked):
        if data not in session.recipe.datasets:
            hint = did_you_mean(data, session.recipe.datasets)
            raise InputError(f'attraction: the recipe has no data set called "{data}"; {hint}')
    gaps: list[str] = []
    mark = study_mark(session, options)
    if math.isnan(mark.gate):
        gaps.append(f"There are no source images of {options.treated}: whether the mark was learned is unknown.")
    source_classes = session.model("source").classes
    label = treated_label(source_classes, options.treated)
    shared = len(session.model("target").classes) == len(source_classes)
    if not shared:
        gaps.append(
            f"The target has {len(session.model('target').classes)} classes and the source {len(source_classes)}: no "
            "target class has the treated label, so attraction is not defined; see the most predicted class instead."
        )
    arms = []
    for name in dict.fromkeys([SOURCE, session.stage_name, *options.arms]):
        if name == SOURCE and not shared:
            continue
        try:
            arms.append(study_arm(session, options, name, label))
        except InputError as error:
            gaps.append(" ".join(f"{name} was left out: {error}.".split()))
    figures = _draw(session, arms) if shared else {}
    return Report(
        metrics=metrics(mark, arms, str(session.stage_name)),
        tables={"mark": _mark(mark, options), "arms": _arms(arms)},
        figures=list(figures),
        captions=figures,
        verdict=verdict(options, mark, arms, str(session.stage_name)),
        notes=notes(options, mark, arms, len(source_classes) if shared else None),
        gaps=gaps,
    )


def metrics(mark: Mark, arms: list[Arm], stage: str) -> dict[str, float]:
    """Every metric that `Attraction` declares."""
    by_name = {arm.name: arm for arm in arms}
    source, target = by_name.get(SOURCE), by_name.get(stage)
    nan = math.nan
    return {
        "gate": mark.gate,
        "attraction_source": source.attraction_marked if source is not None else nan,
        "attraction_target": target.attraction_marked if target is not None else nan,
        "attraction_target_clean": target.attraction_clean if target is not None else nan,
        "accuracy_marked": target.accuracy_marked if target is not None else nan,
        "accuracy_clean": target.accuracy_clean if target is not None else nan,
        "largest_share": target.largest[1] if target is not None else nan,
        "target_images": target.target_images if target is not None else nan,
    }


def _mark(mark: Mark, options: Attraction) -> Table:
    columns = ["treated_class", "images", "recall_marked", "recall_clean", "gate"]
    return Table(columns, [[options.treated, mark.images, mark.recall_marked, mark.recall_clean, mark.gate]])


def _arms(arms: list[Arm]) -> Table:
    columns = [
        "model",
        "attraction_marked",
        "attraction_clean",
        "accuracy_marked",
        "low",
        "high",
        "accuracy_clean",
        "most_predicted",
        "largest_share",
        "target_images",
        "source_images",
    ]
    rows = [
        [
            arm.name,
            arm.attraction_marked,
            arm.attraction_clean,
            arm.accuracy_marked,
            *arm.interval_marked,
            arm.accuracy_clean,
            *arm.largest,
            arm.target_images,
            arm.source_images,
        ]
        for arm in arms
    ]
    return Table(columns, rows)


def verdict(options: Attraction, mark: Mark, arms: list[Arm], stage: str) -> str:
    """The gate, then where the mark draws, then how the arms compare."""
    if math.isnan(mark.gate):
        return f"Without source images of {options.treated} nothing says whether the mark was learned."
    gained = f"The mark adds {points(mark.gate)} to the source model's recall of {options.treated}"
    if not mark.gate >= options.learned:
        return f"{gained}: it was not learned, so nothing here says how a learned mark transfers."
    by_name = {arm.name: arm for arm in arms}
    sentences = [f"{gained} ({percent(mark.recall_clean)} without it)."]
    source, own = by_name.get(SOURCE), by_name.get(stage)
    if source is not None and own is not None and not math.isnan(own.attraction_marked):
        sentences.append(
            f"On target images with the mark the source model says {options.treated}'s label for "
            f"{percent(source.attraction_marked)}, the fine-tuned one for {percent(own.attraction_marked)} "
            f"({percent(own.attraction_clean)} without the mark)."
        )
    compared = [f"{arm.name} {percent(arm.accuracy_marked)}" for arm in arms if arm.name != SOURCE]
    if len(compared) > 1:
        sentences.append(f"Accuracy with the mark on everything: {', '.join(compared)}; of one training each.")
    stuck = [arm.name for arm in arms if arm.constant and arm.name != SOURCE]
    if stuck:
        verb = "gives" if len(stuck) == 1 else "give"
        sentences.append(f"{' and '.join(stuck)} {verb} nearly one answer to everything.")
    return " ".join(sentences)


def notes(options: Attraction, mark: Mark, arms: list[Arm], classes: int | None) -> list[str]:
    """Counts, chance, exposures, and what the intervals are of. `classes`: of the shared head, where there is one."""
    lines = [f"The gate: recall of {options.treated} on {mark.images} source images with the mark minus without it."]
    if classes is not None and arms:
        lines.append(
            f"Attraction: the share of target images predicted as {options.treated}'s label, without those of the "
            f"target class that has this label; {arms[0].images} images; guessing gives {100 / classes:.1f} %."
        )
    lines += [
        "Intervals are 95 % over images, not over trainings: compare several seeds.",
        f"A model is called nearly constant when more than {100 * CONSTANT:.0f} % of its answers are one class.",
    ]
    exposed = {arm.name: arm.target_images for arm in arms if arm.name != SOURCE}
    if len(set(exposed.values())) > 1:
        told = ", ".join(
            f"{name} {'an unknown number' if math.isnan(images) else f'{images:,.0f}'}"
            for name, images in exposed.items()
        )
        lines.append(f"The arms saw different numbers of target images while training: {told}.")
    return lines


def _draw(session: AnalysisSession, arms: list[Arm]) -> dict[str, str]:
    if not arms:
        return {}
    with session.picture("attraction", height=1.4 + 0.8 * len(arms)) as (_, axes):
        places = np.arange(len(arms))
        marked = axes.barh(
            places - 0.2, [arm.attraction_marked for arm in arms], 0.4, label="with the mark", color=COLOURS[1]
        )
        clean = axes.barh(places + 0.2, [arm.attraction_clean for arm in arms], 0.4, label="without", color=COLOURS[0])
        for bars in (marked, clean):
            axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=10, color=SOFT)
        chance = axes.axvline(1 / len(session.model("target").classes), color=SOFT, linestyle=":", label="guessing")
        axes.grid(visible=False)
        axes.set_yticks(places, [short_name(arm.name, 28) for arm in arms])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.08)
        axes.set_xlabel("share predicted as the treated label")
        handles = [marked, clean, chance]
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, frameon=False)
    return {"attraction.svg": "How often target images are taken for the class that the mark stood for in the source."}
