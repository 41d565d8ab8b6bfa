"""What the analyzer `confusion` says: metrics, verdict, small print, tables and the picture put together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis import mean_colour
from transferkit.report import Report
from transferkit_confusion import pictures
from transferkit_confusion.clustered import Resamples, Share
from transferkit_confusion.picks import GROUPS
from transferkit_confusion.tables import accuracy_table, background_table, overlay_table, right, shares
from transferkit_confusion.trial import Trial, hold

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_confusion.analyzer import Confusion

ROLES = {"target": "fine-tuned model", "baseline": "baseline"}
RESAMPLES = 2000
NEUTRAL = 0.2  # of the bias index: with two classes, a vote between 40 and 60 %
FEW = 5  # images
LISTED = 5


@dataclass(frozen=True)
class Contrast:
    """Accuracy with the background's bias minus against it, and its 95 % interval over overlays."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        text = f"{100 * self.value:+.0f} points"
        return (
            text if math.isnan(self.low) else f"{text} (95 % interval {100 * self.low:+.0f} to {100 * self.high:+.0f})"
        )

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def report(session: AnalysisSession, options: Confusion) -> Report:
    """Everything `Confusion.analyze` returns."""
    trial = hold(session, options)
    found = {role: shares(trial, role) for role in trial.answers}
    contrasts = contrasts_of(trial, session.rng("confusion", "bootstrap"))
    captions = pictures.draw(session, found, len(trial.classes))
    return Report(
        metrics=metrics(trial, found, contrasts),
        tables={
            "accuracy": accuracy_table(trial),
            "backgrounds": background_table(trial),
            "overlays": overlay_table(trial),
        },
        figures=list(captions),
        captions=captions,
        verdict=verdict(found, contrasts),
        notes=[*trial.notes, *notes(session, trial, options, contrasts)],
        gaps=[*trial.gaps, *weak_groups(trial)],
    )


def contrasts_of(trial: Trial, rng: np.random.Generator) -> dict[str, Contrast]:
    """With minus against, per role, and their `difference` where there are two models; overlays drawn together."""
    used, overlay = np.unique(trial.overlay, return_inverse=True)
    label = dict(zip(trial.overlay.tolist(), trial.label.tolist(), strict=True))
    resamples = Resamples([label[int(one)] for one in used], RESAMPLES, rng)
    towards, against = trial.group == "with", trial.group == "against"
    values, draws = {}, {}
    for role in trial.answers:
        correct = right(trial, role)
        values[role] = float(correct[towards].mean() - correct[against].mean())
        draws[role] = resamples.shares(correct[towards], overlay[towards]) - resamples.shares(
            correct[against], overlay[against]
        )
    if "baseline" in values:
        values["difference"] = values["target"] - values["baseline"]
        draws["difference"] = draws["target"] - draws["baseline"]
    return {name: Contrast(value, *resamples.interval(draws[name])) for name, value in values.items()}


def metrics(trial: Trial, found: dict[str, dict[str, Share]], contrasts: dict[str, Contrast]) -> dict[str, float]:
    """Every metric the analyzer declares."""
    names = ("target", "baseline", "difference")
    values = {f"contrast_{name}": contrasts[name].value if name in contrasts else math.nan for name in names}
    for role in ROLES:
        for group in (*GROUPS, "colour"):
            values[f"accuracy_{group}_{role}"] = found[role][group].value if role in found else math.nan
    return values | {"composites": float(len(trial.composites)), "overlays": float(len(np.unique(trial.overlay)))}


def verdict(found: dict[str, dict[str, Share]], contrasts: dict[str, Contrast]) -> str:
    """Up to three sentences for a reader who knows no paper."""
    group, contrast = found["target"], contrasts["target"]
    text = (
        f"The fine-tuned model recognises {_percent(group['with'])} of the pasted objects on backgrounds that it takes "
        f"for the same class when they are alone, and {_percent(group['against'])} on backgrounds that it takes for "
        f"another: {contrast}. {_meaning(contrast)}"
    )
    if "baseline" not in contrasts:
        return text
    difference = contrasts["difference"]
    text += f" For the baseline the same pictures give {contrasts['baseline']}"
    if math.isnan(difference.low):
        return f"{text}; how sure the difference is cannot be said."
    if not difference.certain:
        return f"{text}; the two models cannot be told apart."
    which = "more" if difference.value > 0 else "less"
    own = ", part of which is because the backgrounds are its own extremes" if difference.value > 0 else ""
    return f"{text}; the background moves the fine-tuned model {which}, by {difference}{own}."


def _percent(share: Share) -> str:
    return "–" if math.isnan(share.value) else f"{100 * share.value:.0f} %"


def _meaning(contrast: Contrast) -> str:
    if math.isnan(contrast.low):
        return "One overlay is not enough to say how sure that is."
    if not contrast.certain:
        return "That is within the noise: these backgrounds do not visibly decide its answers."
    if contrast.value > 0:
        return "What is behind an object helps to decide what the model calls it."
    return "The backgrounds work against what the model takes them for when they are alone."


def notes(session: AnalysisSession, trial: Trial, options: Confusion, contrasts: dict[str, Contrast]) -> list[str]:
    """Counts, choices, seeds, chance level, what the intervals are of."""
    per_class = ", ".join(f"{len(chosen)} of {trial.classes[j]}" for j, chosen in trial.overlays.items())
    lines = [
        f"{len(trial.composites)} composites: at most {trial.limit} for each of {len(trial.backgrounds)} pairs of "
        f"background class and target class (the paper has 5000). Overlays cover {100 * options.area:.0f} % of the "
        f"picture; chance is {100 / len(trial.classes):.0f} %; seed {session.seed}.",
        f"Overlays: {per_class}, from the {session.overlay_split()} images: those whose least probability of the "
        "correct class over the models compared is largest.",
        "Intervals: 95 %, Wilson's, with the effective number of trials, because composites of one overlay are not "
        f"independent; contrasts by {RESAMPLES} bootstrap resamples of overlays within their class. They say what "
        "other overlays would give on these backgrounds, not what other backgrounds would.",
    ]
    lines += [f"Contrast, {ROLES.get(name, name)}: {contrast}." for name, contrast in contrasts.items()]
    lines.append(_selection(trial))
    few = {b.source for b in trial.backgrounds if trial.images[b.source][0] < FEW}
    if few:
        lines.append(f"The bias of {len(few)} background classes was measured on fewer than {FEW} images.")
    unsure = sum(bool(least < 0.5) for least in _least(trial))
    if unsure:
        lines.append(f"{unsure} of the overlays are not recognised with more than 50 % by every model even when alone.")
    if session.overlay_split() == "train":
        lines.append("There are no other target images, so the overlays are training images.")
    rgb = mean_colour(session.model("target").preprocessing.mean)
    lines.append(
        f"Control: the overlays at {options.repeats} of their places on one colour, RGB {rgb}, the mean input."
    )
    return lines


def _selection(trial: Trial) -> str:
    text = "Backgrounds are picked by the fine-tuned model's own bias, so they are its extremes and not the baseline's"
    if trial.halved:
        return (
            f"{text}; bias was measured on one half of each class's images and composites were made of the other half."
        )
    return (
        f"{text}, and bias was measured on images that composites were made of: part of the contrast is due to that "
        "choice alone."
    )


def _least(trial: Trial) -> list[float]:
    return [
        min(float(values[i]) for values in trial.sureness.values())
        for chosen in trial.overlays.values()
        for i in chosen
    ]


def weak_groups(trial: Trial) -> list[str]:
    """Groups whose backgrounds are not what the group's name says."""
    even, found = 1 / len(trial.classes), []
    for target in trial.overlays:
        own = [b for b in trial.backgrounds if b.target == target]
        name = trial.classes[target]
        for group, wrong, text in (
            ("with", [b for b in own if b.bias <= even], f"do not favour {name}"),
            ("against", [b for b in own if b.bias >= even], f"do not disfavour {name}"),
            ("neutral", [b for b in own if b.index >= NEUTRAL], "do not have an even vote"),
        ):
            members = [b for b in own if b.group == group]
            off = [b for b in wrong if b.group == group]
            if off:
                shares_off = ", ".join(f"{100 * b.bias:.0f} %" for b in off[:LISTED])
                found.append(
                    f"Overlays of {name}: {len(off)} of {len(members)} backgrounds in the group “{group}” {text} "
                    f"(share of {name}: {shares_off}); no better ones are there."
                )
    return found
