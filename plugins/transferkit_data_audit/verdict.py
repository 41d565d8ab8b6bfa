"""The audit of the data in sentences, and the small print."""

from __future__ import annotations

from functools import partial

from transferkit.analysis import AnalysisSession
from transferkit.report import count, listing, percent
from transferkit_data_audit.issues import PLACES
from transferkit_data_audit.measure import Findings, unmeasured
from transferkit_data_audit.options import Options

SHORT = partial(percent, digits=1)


def verdict(found: Findings) -> str:
    """Labels, then leaks and copies, then shortcuts: what to know before believing a number."""
    parts = [_labels(found), _copies(found), _shortcuts(found)]
    return " ".join(part for part in parts if part) or "None of what was looked for was found."


def _labels(found: Findings) -> str:
    if "wrong label" in unmeasured(found):
        return ""
    wrong, doubts = len(found.of("wrong label")), len(found.of("doubtful label"))
    if not wrong + doubts:
        return "No label stands out as wrong."
    if not wrong:
        return f"No label is surely wrong; {doubts} of {count(len(found.pool), 'image')} may have another class."
    text = f"{count(wrong, 'label')} of {len(found.pool)} images {'is' if wrong == 1 else 'are'} likely wrong"
    text += f" ({found.shares['wrong label'].told(SHORT, brackets=True)})"
    return text + (f", and {doubts} more may be." if doubts else ".")


def _copies(found: Findings) -> str:
    leaks, copies = found.of("leak"), len(found.of("copy"))
    text = ""
    if leaks:
        held = found.shares["leak"].n
        text = (
            f"{len(leaks)} of {count(held, 'image')} that the model is tested on {'is' if len(leaks) == 1 else 'are'}"
        )
        text += f" also in train ({found.shares['leak'].told(SHORT, brackets=True)}), so its accuracy is flattered."
    if copies:
        are = "is in its split" if copies == 1 else "are in their split"
        text += f" {count(copies, 'image')} {are} already."
    return text.strip()


def _shortcuts(found: Findings) -> str:
    issues = found.of("shortcut")
    if not issues:
        return ""
    names = [name for name in PLACES if any(one.id == name for one in issues)]
    classes = list(dict.fromkeys(one.label for one in issues))
    shown = listing([f'"{one}"' for one in classes[:3]]) + (f" and {len(classes) - 3} more" if len(classes) > 3 else "")
    return (
        f"From {listing([PLACES[name] for name in names])} alone {shown} can be told from the rest: the model may "
        "answer without looking at the object."
    )


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """What was looked at and how, in the order in which doubts arise."""
    pool = found.pool
    numbers = listing([f"{number} of {split}" for split, number in pool.numbers().items()])
    lines = [
        f"{count(len(pool), 'image')}: {numbers}. Features: {session.describe(pool.role)}. Nothing went through a "
        "network for this that other analyses do not share; every picture was read once more for its pixels.",
        f"Labels are judged by {options.folds} probes on these features, each of images that it did not learn from: "
        "the fine-tuned model has learned its training labels by heart, so that it agrees with them is no evidence. "
        "Likely wrong is off the diagonal of the confident joint (Northcutt et al. 2021); doubtful is any other image "
        "that the probes would give another class.",
        "A copy is a pair whose small pictures agree at 0.9 or more when laid over each other, and far better "
        "than each agrees with other images.",
        f"Outliers: of those called, a share of at most {SHORT(options.rate)} is expected to be chance, if log "
        "distances are normal. Dark, blurred and the like: five robust standard deviations from the median.",
        "Intervals: 95 %, Wilson's, over images.",
    ]
    if pool.role == "target":
        lines.insert(
            1,
            "There is no source model here, so the features are the fine-tuned model's own: it has seen these labels, "
            "and wrong ones among the training images may be hidden.",
        )
    if found.shortcuts:
        lines.append(
            f"Shortcuts: {count(len(found.drawn), 'image')}; a class is named where corners, border, colour or file "
            f"tell it from the rest with an AUC of {options.strength:g} or more and p ≤ {options.alpha:g} against "
            f"{options.permutations} shuffles of the labels, for all comparisons at once. That colour tells bananas "
            "from plums is no mistake: whether it is one here, you know."
        )
    return lines
