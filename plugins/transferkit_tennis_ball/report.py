"""What `attraction` says of what it found: metrics, tables, the picture, sentences."""

from __future__ import annotations

import math

import numpy as np

from transferkit.analysis import COLOURS, SOFT, AnalysisSession, dots, legend_above, short_name
from transferkit.report import Report, Table, hundredths, listing, percent, points
from transferkit.statistics import Estimate
from transferkit_tennis_ball.measure import CONSTANT, UNKNOWN, Arm, Findings, Versus, measure
from transferkit_tennis_ball.options import Options


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Attraction.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(found),
        tables=tables(options, found),
        captions=draw(session, found),
        verdict=verdict(options, found),
        notes=notes(options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric that the analyzer declares."""
    source, own = found.source, found.own
    return {
        "recall_gained": found.mark.gate,
        "attraction_source": UNKNOWN if source is None else source.attraction_marked,
        "attraction_target": UNKNOWN if own is None else own.attraction_marked,
        "attraction_target_clean": UNKNOWN if own is None else own.attraction_clean,
        "attraction_added": UNKNOWN if own is None else own.added,
        "accuracy_marked": UNKNOWN if own is None else own.accuracy_marked,
        "accuracy_clean": UNKNOWN if own is None else own.accuracy_clean,
        "largest_share": math.nan if own is None else own.largest[1],
        "target_images": math.nan if own is None else own.target_images,
    }


def tables(options: Options, found: Findings) -> dict[str, Table]:
    """The gate, every model with what it was trained on, and the arms against the analysis's own stage."""
    mark = {
        "treated_class": options.treated,
        "images": found.mark.images,
        "recall_marked": found.mark.recall_marked,
        "recall_clean": found.mark.recall_clean,
    } | found.mark.gate.columns("gate")
    arms = [
        {"model": name}
        | arm.attraction_marked.columns("attraction_marked", "attraction_low", "attraction_high")
        | {"attraction_clean": arm.attraction_clean.value}
        | arm.added.columns("attraction_added", "added_low", "added_high")
        | arm.accuracy_marked.columns("accuracy_marked")
        | {
            "accuracy_clean": arm.accuracy_clean.value,
            "most_predicted": arm.largest[0],
            "largest_share": arm.largest[1],
            "target_images": arm.target_images,
            "source_images": arm.source_images,
        }
        for name, arm in found.arms.items()
    ]
    versus = [
        {"model": one.arm.name, "minus": one.own.name}
        | one.accuracy.columns("accuracy_marked", "accuracy_low", "accuracy_high")
        | one.attraction.columns("attraction_marked", "attraction_low", "attraction_high")
        | {"target_images": one.arm.target_images, "target_images_of_other": one.own.target_images}
        for one in found.versus
    ]
    shown = {"arms": arms, "differences": versus}
    return {"mark": Table.of([mark])} | {name: Table.of(rows) for name, rows in shown.items() if rows}


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Every model with and without the mark, {file: caption}; nothing where attraction is not defined."""
    if found.classes is None or not found.arms:
        return {}
    arms, places = list(found.arms.values()), np.arange(len(found.arms))
    with session.picture("attraction", height=1.4 + 0.8 * len(arms)) as (_, axes):
        marked, clean = ([getattr(arm, f"attraction_{how}") for arm in arms] for how in ("marked", "clean"))
        dots(axes, places - 0.1, marked, colour=COLOURS[1], label="with the mark", horizontal=True)
        dots(axes, places + 0.1, clean, colour=COLOURS[0], label="without", horizontal=True)
        axes.axvline(1 / found.classes, color=SOFT, linestyle=":", label="guessing")
        axes.set_yticks(places, [short_name(arm.name, 28) for arm in arms])
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel("share predicted as the treated label")
        legend_above(axes, 3)
    return {
        "attraction.svg": "How often target images are taken for the class that the mark stood for in the source, "
        "with 95 % intervals over the target's classes."
    }


def verdict(options: Options, found: Findings) -> str:
    """The gate, then where the mark draws, then how the arms compare."""
    mark, source, own = found.mark, found.source, found.own
    if math.isnan(mark.gate.value):
        return f"Without source images of {options.treated} nothing says whether the mark was learned."
    gained = f"The mark adds {_points(mark.gate)} to the source model's recall of {options.treated}"
    if mark.gate.below(options.learned):
        return f"{gained}: it was not learned, so nothing here says how a learned mark transfers."
    sentences = [f"{gained}, from {percent(mark.recall_clean)} without it."]
    if mark.gate.low < options.learned:
        sentences.append(
            f"Whether it was learned, by {points(options.learned)} or more, is not certain on {mark.images} images; "
            "if not, what follows says nothing of transfer."
        )
    if source is not None and own is not None and own.added.known:
        sentences.append(
            f"On target images with the mark the source model says {options.treated}'s label for "
            f"{percent(source.attraction_marked.value)}, the fine-tuned one for {_percent(own.attraction_marked)}, "
            f"{_added(own)}."
        )
    sentences += [_compared(one, shared=found.classes is not None) for one in found.versus]
    guessing = [arm.name for arm in found.tuned if arm.guesses]
    if guessing:
        verb = "is" if len(guessing) == 1 else "are"
        sentences.append(f"With the mark {listing(guessing)} {verb} not distinguishable from guessing.")
    stuck = [arm.name for arm in found.tuned if arm.constant]
    if stuck:
        sentences.append(f"{listing(stuck)} {'gives' if len(stuck) == 1 else 'give'} nearly one answer to everything.")
    return " ".join(sentences)


def _compared(one: Versus, *, shared: bool) -> str:
    """An arm against the analysis's own: words by the intervals, and what both were trained on."""
    own, arm = one.own, one.arm
    right = "more often right" if one.accuracy.above(0) else "less often right" if one.accuracy.below(0) else ""
    drawn = "less attracted" if one.attraction.below(0) else "more attracted" if one.attraction.above(0) else ""
    told = f"{arm.name} {percent(arm.accuracy_marked.value)} against {percent(own.accuracy_marked.value)} of {own.name}"
    gap = f"{_points(one.accuracy)}, {right or 'not certain which is right more often'}"
    if shared:
        gap += f"; attraction {_points(one.attraction)}, {drawn or 'not certain which is attracted more'}"
    if one.equal:
        seen = f"both trained on {own.target_images:,.0f} target images"
    else:
        shown = " and ".join(
            "an unknown number" if math.isnan(n) else f"{n:,.0f}" for n in (arm.target_images, own.target_images)
        )
        seen = f"trained on {shown} target images, which may be the whole difference"
    return f"Right with the mark: {told} ({gap}; {seen}; one training each)."


def _added(own: Arm) -> str:
    """What the mark does to the fine-tuned model's answers, beside what it says without."""
    without = f"{percent(own.attraction_clean.value)} without the mark"
    if own.added.above(0) or own.added.below(0):
        return f"{_points(own.added)} {'more' if own.added.above(0) else 'less'} than {without}"
    return f"against {without}, which is no certain difference ({_points(own.added)})"


def _points(found: Estimate) -> str:
    """-4.0 points (-6.7 to -1.5)."""
    return found.told(hundredths, " points")


def _percent(found: Estimate) -> str:
    """37.5 % (14 to 69)."""
    return found.told(hundredths, " %")


def notes(options: Options, found: Findings) -> list[str]:
    """Counts, chance, exposures, and what the intervals are of."""
    mark, treated = found.mark, options.treated
    lines = [f"The gate: recall of {treated} on {mark.images} source images with the mark minus without it."]
    if found.classes is not None and found.arms:
        images = next(iter(found.arms.values())).images
        lines.append(
            f"Attraction: the share of target images predicted as {treated}'s label, without those of the target class "
            f"that has this label; {images} images; guessing gives {100 / found.classes:.1f} %."
        )
    lines += [
        "Intervals are 95 %: the gate's over images of its one class (Newcombe, paired); the others over the target's "
        "classes (Student's t), whose images are not independent: few classes make them wide. Differences are of the "
        "same images, and between arms they hold all at once (Bonferroni). None is over trainings: `repeat: 5` "
        "takes several seeds.",
        f"A model is called nearly constant when more than {100 * CONSTANT:.0f} % of its answers are one class.",
    ]
    return lines
