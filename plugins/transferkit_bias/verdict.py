"""Bias in sentences: up to three for a reader who knows no paper, and the small print."""

from __future__ import annotations

import math
from functools import partial

from transferkit.analysis import AnalysisSession
from transferkit.report import count, first_name, listing, percent
from transferkit.statistics import Estimate, share_of
from transferkit_bias.comparison import Comparison
from transferkit_bias.measure import HIGH, Findings, Votes
from transferkit_bias.options import Options

WHOLE = partial(percent, digits=0)
SKEWED = 0.2  # index of the share of all votes; from here on the preference of the classifier shows in raw bias


def verdict(found: Findings) -> str:
    """How one-sided, whether more than by chance, and which source-only classes are."""
    target = found.target
    if len(target.targets) < 2 or not target.images.sum():
        return "Bias could not be measured: there is a single target class, or there are no source images."
    chance = target.expected[HIGH]
    how = "at least 80 % of their images get the same answer" if len(target.targets) == 2 else "index 0.6 or more"
    text = (
        f"{percent(target.part(HIGH), 0)} of {int((target.images > 0).sum())} source classes are highly biased towards "
        f"one target class ({how}); by chance alone {chance.told(WHOLE)} would look so"
    )
    if target.prior_index >= SKEWED:
        favourite = int(target.share.argmax())
        text += (
            f", also because the model answers {target.targets[favourite]} for "
            f"{percent(target.share[favourite], 0)} of all source images, whatever they show"
        )
    return " ".join(
        part
        for part in (f"{text}.", _beyond_chance(found.comparison, found.baseline is not None), _named(found))
        if part
    )


def _beyond_chance(both: Comparison, baseline: bool) -> str:
    """Whether answers go with the source class, more than they do for a model that never saw one."""
    if math.isnan(both.alike.value):
        return "Too few classes have two images, or all answers are the same, so memories cannot be told from chance."
    alike = f"intraclass correlation {_told(both.alike)}"
    if not baseline:
        goes = "go with the source class" if both.alike.above(0) else "do not certainly go with the source class"
        return f"Answers {goes}: {alike}, 0 by chance; how much of this images alone explain is unknown."
    if not both.difference.known:
        return f"Answers to images of one class: {alike}; they could not be compared with the baseline's."
    rest = f"{alike} against {_told(both.alike_baseline)}, difference {_told(both.difference)}"
    if both.difference.above(0):
        return f"Answers go with the source class more than the baseline's: {rest}."
    if both.difference.below(0):
        return f"Answers go with the source class less than the baseline's: {rest}."
    return f"Whether answers go with the source class more than the baseline's is not certain: {rest}."


def _told(found: Estimate) -> str:
    return found.told("{:.2f}".format)


def _named(found: Findings) -> str:
    """Source-only classes that are highly biased and significantly so, the clearest first."""
    target = found.target
    if found.known is None or not target.tested.any():
        return ""
    tested = [c for c in found.biased_source_only.tolist() if target.tested[c]]
    sure = [c for c in tested if target.significant[c]]
    of = f"Of the {count(len(tested), 'highly biased class')} that hardly show in the target"
    of += f" and have at least {found.min_images} images"
    if not sure:
        return f"{of}, none certainly goes beyond chance."
    level = 1 - 0.05 * len(sure) / int(target.tested.sum())  # chosen ones need wider intervals (false coverage rate)
    shown = []
    for c in sure[:3]:
        votes = share_of(int(target.counts[c].max()), int(target.images[c]), level)
        shown.append(
            f"{first_name(found.names[c])} ({WHOLE(votes.value)} {target.targets[target.favoured[c]]}, interval "
            f"{WHOLE(votes.low)} to {WHOLE(votes.high)}, {count(int(target.images[c]), 'image')})"
        )
    verb = "goes" if len(sure) == 1 else "go"
    return f"{of}, {len(sure)} {verb} beyond chance: {listing(shown)}."


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Counts, what the groups and tests are, what chance gives, and which model the baseline is."""
    target = found.target
    with_images, tested = int((target.images > 0).sum()), int(target.tested.sum())
    lines = [
        f"{count(int(target.images.sum()), 'source image')} of {with_images} of {len(found.names)} source classes, "
        f"{tested} of them with at least {found.min_images} images; a class with one image is always one-sided.",
        "How many classes are in a group, or significant, depends on how many images they have: compare with what "
        "chance gives for the same classes (95 % of shuffled votes lie between the ends of high_expected), or with the "
        "baseline on the same classes (high_certain, high_certain_baseline).",
        "Groups by the bias index: neutral below 0.2, slight below 0.6, high from 0.6 on (with two target classes: "
        "60 % and 80 % of the votes).",
        "p_value: exact test against the share of all votes, two-sided, Bonferroni over target classes where there are "
        f"more than two; significant: false discovery rate {options.fdr:g} (Benjamini-Hochberg) over the {tested} "
        "classes with enough images. p_uniform: the same test against an even vote.",
        *(_dispersion(name, votes) for name, votes in found.models.items()),
    ]
    lines.append(
        "Intraclass correlation: how much more alike answers to images of one class are than answers to any images, 0 "
        "by chance; it does not grow with the images per class. Intervals: 95 %, over classes (jackknife)."
    )
    if found.baseline is not None:
        lines += [f"Baseline: {session.describe('baseline')}.", _correlation(found)]
    lines.append(
        "Overdispersion grows with the images per class, so it can be compared on the same images only; it leaves "
        f"classes with one image out; chance: {options.permutations} shuffles of the votes, seed {session.seed}."
    )
    if target.prior_index >= SKEWED:
        lines.append(
            "The votes as a whole are uneven, so raw bias reflects the classifier's own preference: go by the "
            "corrected index and the p-values."
        )
    return lines


def _correlation(found: Findings) -> str:
    both, first = found.comparison, found.target.targets[0]
    if math.isnan(both.r.value):
        return (
            "Whether the same classes are biased in the baseline: too few classes have enough images, or none varies."
        )
    return (
        f"Shares of {first} of the two models over {both.r.n} classes with enough images: Pearson's r {_told(both.r)}. "
        f"Noise pulls r to 0: by the reliability of both (split halves) it could be at most {both.ceiling:.2f} here."
    )


def _dispersion(name: str, votes: Votes) -> str:
    low, high = votes.by_chance
    text = ", ".join(f"{target} {percent(share)}" for target, share in zip(votes.targets, votes.share, strict=True))
    shown = text if len(votes.targets) <= 8 else f"{len(votes.targets)} classes"
    if math.isnan(votes.overdispersion):
        return f"{name}: all votes {shown}; they vary too little for an overdispersion."
    chance = "" if math.isnan(low) else f", by chance {low:.2f} to {high:.2f}"
    return f"{name}: all votes {shown}; overdispersion {votes.overdispersion:.2f}{chance}."
