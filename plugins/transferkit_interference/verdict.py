"""What the numbers say, for a reader who knows no paper, and where the detector loses; and the small print."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transferkit.report import count, hundredths, listing, percent
from transferkit_interference.detectors import ByPlugin, Detector
from transferkit_interference.evaluation import Rival, clearly_better
from transferkit_interference.measure import Findings
from transferkit_interference.threshold import luck

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.statistics import Estimate
    from transferkit_interference.options import Options

QUESTIONS = {
    "presence": "noticing unseen source images",
    "composites": "noticing source images behind a pasted target image",
    "harm": "finding the inputs that the model gets wrong",
    "specificity": "staying silent on source classes that are common in the target",
}


def verdict(options: Options, found: Findings) -> str:
    """Up to four sentences."""
    shipped, images = found.shipped, len(found.groups.seen["lingering"])
    chosen = found.chosen
    alarms = chosen.false_alarms
    watched = "watches no class"
    if len(shipped.score.lingering):
        of_half = count(len(shipped.score.lingering), "lingering source class")
        watched = f"made with half of the source images, watches {of_half}"
    whose = "The detector" if not isinstance(shipped.score, ByPlugin) else f"The detector {chosen.detector.name}"
    between = ", " if len(shipped.score.lingering) else " "
    text = f"{whose}{between}{watched} and flags scores above {shipped.file.detect_p:.3g}; "
    if alarms.n:
        text += (
            f"it flagged {_shares(alarms)} of {count(alarms.n, 'clean image')} that had no part in it"
            f"{_kept(options, alarms)}"
            if found.groups.halves is None or options.detect_p is not None
            else f"{_shares(alarms)} of {count(alarms.n, 'clean image')} were flagged, each half by the threshold of "
            f"the other{_kept(options, alarms)}"
        )
    elif found.groups.halves is None:
        text += "no clean image is left to see how many of these it flags"
    else:
        text += "half of the clean images are too few to see how many of these it flags"
    auroc = f"AUROC {_chance(found)}" if math.isfinite(chosen.presence.value) else ""
    if math.isfinite(chosen.tpr.value):
        text += f". Of {count(images, 'unseen source image')} it flagged {_shares(chosen.tpr)}"
        text += f" ({auroc})" if auroc else ""
    elif auroc:
        text += f". {auroc} for {count(images, 'unseen source image')} against clean ones"
    return " ".join([f"{text}.", *_luck(options, found), _standing(found)])


def _kept(options: Options, alarms: Estimate) -> str:
    """Whether the promise on false alarms was kept on the images that judge; nothing where nothing was promised."""
    if options.detect_p is not None:
        return ""
    promised = f"the {100 * options.alpha:g} % promised"
    if alarms.above(options.alpha):
        return f", more than {promised}"
    if alarms.below(options.alpha):
        return f", fewer than {promised}"
    return f", which {promised} may well be"


def _luck(options: Options, found: Findings) -> list[str]:
    """Where more were flagged than promised: whether a threshold from so few images may do that."""
    alarms, size = found.chosen.false_alarms, found.shipped.file.guarantee.calibration_size
    if options.detect_p is not None or not alarms.above(options.alpha):
        return []
    flagged, images, times = round(alarms.value * alarms.n), alarms.n, 1
    if found.groups.halves is not None:  # one half at least has half of the flags, and there are two of them
        size, flagged, images, times = size // 2, math.ceil(flagged / 2), math.ceil(images / 2), 2
    low, high, p = luck(size, options.alpha, options.confidence, flagged, images)
    p = min(1.0, times * p)
    said = f"Thresholds from {count(size, 'image')} flag {percent(low)} to {percent(high)} in 95 of 100 calibrations"
    if p >= 0.025:
        return [f"{said}, so it may be the luck of this one (p = {p:.2g})."]
    return [
        f"{said}; so many flags are more than that luck (p = {p:.2g}): the images that calibrate and those that judge "
        "may not be alike."
    ]


def _chance(found: Findings) -> str:
    """The AUROC of presence beside 0.5."""
    presence = found.chosen.presence
    if not presence.known or presence.above(0.5):
        return _numbers(presence)
    return (
        f"{_numbers(presence)}, {'below chance' if presence.below(0.5) else 'not certainly above chance, which is'} 0.5"
    )


def _standing(found: Findings) -> str:
    """Who is better at the same cost, by paired intervals that hold for all rivals and questions at once."""
    asked = {rival.question for rival in found.rivals}
    if not asked:
        return "What others of the same cost are worth beside it could not be measured."
    lost = [
        f"{what} ({_loss(found, max(better, key=lambda rival: rival.gain.value))})"
        for question, what in QUESTIONS.items()
        if (better := [rival for rival in found.rivals if rival.question == question and rival.gain.above(0)])
    ]
    if not lost:
        return (
            "That another detector of the same cost is better could not be shown for "
            f"{'the one question' if len(asked) == 1 else f'any of the {len(asked)} questions'} asked."
        )
    named = "; ".join([*lost[:-1], f"and {lost[-1]}" if lost[1:] else lost[-1]])
    return f"At the same cost others are better at {named}. {_advice(found)}"


def _loss(found: Findings, rival: Rival) -> str:
    named = f"{rival.detector.name}, {change(found, rival.detector)}"
    return f"{named}: {rival.theirs:.3f} against {rival.ours:.3f}, better by {_numbers(rival.gain)}"


def _advice(found: Findings) -> str:
    """Which to take: one that is certainly better at something and certainly worse at nothing, if there is one."""
    best = clearly_better(found.rivals)
    if not best:
        return "Each of these is certainly worse at another question (table rivals): change only for what counts more."
    return (
        f"Better all in all is {best[0].detector.name}, which is certainly worse at none: set "
        f"{change(found, best[0].detector)} for the analysis interference."
    )


def change(found: Findings, detector: Detector) -> str:
    """What of the options is to be set for that detector to be written, as a recipe has it."""
    fixed = found.shipped.file.detect_p if found.shipped.file.guarantee.alpha is None else None
    now = {"deploy": None, "detect_p": fixed, **found.chosen.detector.settings}
    return listing([f"`{name}: {_yaml(value)}`" for name, value in detector.settings.items() if value != now.get(name)])


def _yaml(value: Any) -> str:
    """A value of the settings: a word, null, or {use: NAME, …} which without options is the name alone."""
    if not isinstance(value, Mapping):
        return "null" if value is None else str(value)
    if set(value) == {"use"}:
        return str(value["use"])
    return "{" + ", ".join(f"{name}: {json.dumps(of)}" for name, of in value.items()) + "}"


def _numbers(found: Estimate) -> str:
    return found.told("{:.3f}".format, brackets=True)


def _shares(found: Estimate) -> str:
    return found.told(hundredths, " %", brackets=True)


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Counts, splits, what the threshold promises, seeds."""
    by_plugin = isinstance(found.shipped.score, ByPlugin)
    material, refitted, wrong = found.material, found.refitted, found.groups.wrong
    split, sizes = material.clean_split, {name: len(seen) for name, seen in found.groups.seen.items()}
    lines = [
        found.shipped.file.guarantee.text,
        (
            f"Clean images: {sizes['calibration']} of the {split} split calibrate, the other {sizes['clean']} judge, a "
            "keyed choice."
            if found.groups.halves is None
            else f"Clean images: all {sizes['calibration']} of the {split} split set the threshold. The false alarms "
            "are those of two other thresholds, each from a keyed half of these images and counted on the other half; "
            "nothing but thresholds was made of them, so all of them judge everything else."
        )
        + " The fine-tuning's best epoch was chosen on the val split, which can make the calibration a little "
        "optimistic.",
        f"Its {count(len(material.memories.lingering), 'lingering class')} were chosen, and its "
        f"{'module' if by_plugin else 'map'} was fitted, on {int(material.fit.sum())} source images; the other "
        f"{int(material.hold.sum())} judge it. So what is judged is what is written; the analysis lingering, which "
        "looks at all of them, may find more classes or fewer.",
        f"Map: λ {refitted.lam:.4g} on standardised features of {count(refitted.images, 'image')} (target training "
        f"images included, no labels); leave-one-out it explains "
        + (
            f"{percent(refitted.explained)}"
            if math.isfinite(refitted.explained)
            else "nothing, for there is nothing to explain,"
        )
        + " of the source features' variance.",
        f"Groups: {sizes['lingering']} source images of lingering classes, {sizes['shared']} of classes common in the "
        f"target, {sizes['composites']} composites and as many of each control.",
        "TPR and false alarms in the comparison: every detector with a threshold of its own from the calibration "
        f"images (alpha {options.alpha:g})"
        + (f", the one that is written at its {options.detect_p:.3g}." if options.detect_p is not None else "."),
    ]
    if math.isfinite(found.named.value):
        named = _shares(found.named)
        lines.append(f"The class that is named is the right one for {named} of the unseen source images.")
    if len(wrong):
        lines.append(
            f"Harm: {int(wrong.sum())} of {len(wrong)} composites and clean images are answered wrongly "
            f"({percent(float(wrong.mean()))}, the AURC of a detector that knows nothing)."
        )
    lines.append(
        "Intervals are 95 %. What was drawn: source classes with their images (images of a class are not independent), "
        "and clean images; AUROC by leaving out one class or image at a time, shares as of so many trials as the "
        "classes are worth"
        + (f", AURC by {options.bootstrap} resamples (seed {session.seed})." if options.bootstrap else ".")
        + " That one overlay is pasted several times, and that another calibration would give another threshold, is "
        "not in them."
    )
    if found.choice is not None:
        lines.append(found.choice)
    if found.rivals:
        lines.append(
            f"Better or worse at the same cost: differences on the same images; their intervals hold for all "
            f"{len(found.rivals)} at once (Bonferroni), so the largest is not chosen by luck. Table rivals."
        )
    if session.source_head_is_probe:
        lines.append("The source model has no classifier; a ridge regression on its features stands in for it.")
    return lines
