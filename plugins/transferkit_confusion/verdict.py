"""Confusion in sentences: up to three for a reader who knows no paper, and the small print."""

from __future__ import annotations

from functools import partial

from transferkit.analysis import AnalysisSession, mean_colour
from transferkit.report import hundredths, percent
from transferkit.statistics import Estimate
from transferkit_confusion.measure import Findings
from transferkit_confusion.options import Options
from transferkit_confusion.trial import COLOUR, Trial

ROLES = {"target": "fine-tuned model", "baseline": "baseline"}
FEW = 5  # images
NAMED = "95 % interval "


def verdict(found: Findings) -> str:
    """How often the model is right with and against the background, how sure that is, and the baseline beside it."""
    trial, contrast = found.trial, found.contrasts["target"]
    accuracy = trial.accuracy("target")
    same, other = (percent(accuracy[group].value, 0) for group in ("with", "against"))
    text = (
        f"The fine-tuned model recognises {same} of the pasted objects on backgrounds that it takes for the same class "
        f"when they are alone, and {other} on backgrounds that it takes for another: {_words(contrast)}. "
        f"{_at_chance(trial, 'target') if trial.at_chance('target') else _meaning(contrast)}"
    )
    if "baseline" not in found.contrasts:
        return text
    difference = found.contrasts["difference"]
    text += f" For the baseline the same pictures give {_words(found.contrasts['baseline'])}"
    if trial.at_chance("target") or trial.at_chance("baseline"):
        text += f" (difference {_words(difference)})."
        return f"{text} {_at_chance(trial, 'baseline')}" if trial.at_chance("baseline") else text
    if not difference.known:
        return f"{text}; how sure the difference is cannot be said."
    if difference.above(0):
        more = "part of which is because the backgrounds are its own extremes"
        return f"{text}; the background moves the fine-tuned model more, by {_words(difference)}, {more}."
    if difference.below(0):
        return f"{text}; the background moves the fine-tuned model less, by {_words(difference)}."
    return f"{text}; the two models cannot be told apart (difference {_words(difference)})."


def _words(contrast: Estimate) -> str:
    return contrast.told(partial(hundredths, form="+.0f"), " points", NAMED)


def _share(found: Estimate) -> str:
    return found.told(partial(percent, digits=0), words=NAMED)


def _at_chance(trial: Trial, role: str) -> str:
    return (
        f"The {ROLES[role]} is right on {_share(trial.overall(role))} of all composites and on "
        f"{_share(trial.accuracy(role)[COLOUR])} on one colour, which chance ({percent(1 / len(trial.classes), 0)}) "
        "could give: whether it sees the pasted objects at all is not certain, so its contrast says nothing of them."
    )


def _meaning(contrast: Estimate) -> str:
    if not contrast.known:
        return "One overlay or one background class is not enough to say how sure that is."
    if contrast.above(0):
        return "What is behind an object helps to decide what the model calls it."
    if contrast.below(0):
        return "The backgrounds work against what the model takes them for when they are alone."
    return "Whether these backgrounds help to decide its answers is not certain."


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Choices, counts, seeds, chance level, what the intervals are of."""
    trial = found.trial
    whose = "Backgrounds are picked by the fine-tuned model's own bias, so they are its extremes and not the baseline's"
    measured = (
        "; one half of each class's images chose, and bias was measured and composites were made on the other half."
        if trial.halved
        else ", and bias was measured on the images that chose, which composites were made of too: part of the "
        "contrast is due to that choice alone."
    )
    per_class = ", ".join(f"{len(chosen)} of {trial.classes[j]}" for j, chosen in trial.overlays.items())
    lines = [
        *found.choices,
        f"{len(trial.composites)} composites: at most {trial.limit} for each of {len(trial.backgrounds)} pairs of "
        f"background class and target class (the paper has 5000). Overlays cover {100 * options.area:.0f} % of the "
        f"picture; chance is {100 / len(trial.classes):.0f} %; seed {session.seed}.",
        f"Overlays: {per_class}, from the {session.overlay_split()} images: those whose least probability of the "
        "correct class over the models compared is largest.",
        "Intervals: 95 %, over background classes and overlays at once, whole ones left out in turn, with Student's t; "
        "on one colour and for one background class over overlays. They say what other classes as biased and other "
        "overlays would give.",
        *(
            f"All composites, {ROLES[role]}: {_share(trial.overall(role))} right, chance "
            f"{percent(1 / len(trial.classes), 0)}."
            for role in trial.answers
        ),
        *(f"Contrast, {ROLES.get(name, name)}: {_words(one)}." for name, one in found.contrasts.items()),
        whose + measured,
        "Backgrounds rank by the end of Wilson's 90 % interval of their bias, so that few images do not make extremes.",
    ]
    if trial.halved:
        biased = {role: _share(trial.bias_chosen(role)) for role in trial.answers}
        baseline = f"; the baseline gives it to {biased['baseline']}" if "baseline" in biased else ""
        lines.append(
            f"Of the held-out images of classes chosen as biased {biased['target']} get the answer that their class "
            f"was chosen for, of all held-out images {percent(trial.bias_of_all, 0)}{baseline}."
        )
    few = {b.source for b in trial.backgrounds if trial.votes["target"][b.source].sum() < FEW}
    if few:
        lines.append(f"The bias of {len(few)} background classes was measured on fewer than {FEW} images.")
    unsure = sum(
        any(bool(values[i] < 0.5) for values in trial.sureness.values())
        for chosen in trial.overlays.values()
        for i in chosen
    )
    if unsure:
        lines.append(f"{unsure} of the overlays are not recognised with more than 50 % by every model even when alone.")
    if session.overlay_split() == "train":
        lines.append("There are no other target images, so the overlays are training images.")
    rgb = mean_colour(session.model("target").preprocessing.mean)
    lines.append(
        f"Control: the overlays at {options.repeats} of their places on one colour, RGB {rgb}, the mean input."
    )
    return lines
