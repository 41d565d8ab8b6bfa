"""What was found in up to three sentences for a reader who knows no paper, and what could not be measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit_distraction.wording import between, mean, percent_of, value

if TYPE_CHECKING:
    from transferkit_distraction.study import Study
    from transferkit_distraction.summary import Summary

ROLES = ("target", "baseline")


def verdict(summary: Summary) -> str:
    """One to three sentences for a reader who knows no paper."""
    if not summary.of("lingering"):
        return (
            "None of the source classes with images lingers in the fine-tuned model, so no memory of them could "
            f"distract it.{_shared(summary)}"
        )
    if math.isnan(summary.metrics["target_mean"]):
        return "On no composite do the maps say anything, so whether the fine-tuned model is distracted is unknown."
    compared = _against_baseline(summary) if summary.pairs else _against_chance(summary)
    return f"{compared} {_behaviour(summary)}"


def _against_baseline(summary: Summary) -> str:
    low, high = summary.difference_interval
    metrics, count = summary.metrics, len(summary.pairs)
    numbers = (
        f"overlap {value(mean([row.target for row in summary.pairs]))} against "
        f"{value(mean([row.baseline for row in summary.pairs]))}, difference "
        f"{summary.difference:+.2f}{between(summary.difference_interval, '+.2f')}"
    )
    classes = f"{metrics['classes_above_diagonal']:.0f} of {count} lingering classes"
    looks = "at what the source model sees outside the pasted image"
    if low > 0:
        return f"In {classes} the fine-tuned model looks more than the baseline {looks} ({numbers}).{_general(summary)}"
    if high < 0:
        return (
            f"The fine-tuned model is not distracted more than the baseline but less: in only {classes} it looks more "
            f"{looks} ({numbers})."
        )
    return (
        f"No more distraction than in the baseline shows: in {classes} the fine-tuned model looks more {looks}, which "
        f"is no clear difference ({numbers})."
    )


def _general(summary: Summary) -> str:
    """How much of the difference stays when what both share with unrelated pictures is taken off."""
    low, high = summary.excess_interval
    if math.isnan(low):
        return ""
    target, baseline = (mean([getattr(row, f"unrelated_{role}") for row in summary.pairs]) for role in ROLES)
    text = f" With its view of other pictures instead, the overlaps are {value(target)} and {value(baseline)}: "
    part = f"{summary.excess:+.2f}{between((low, high), '+.2f')}"
    if low > 0:
        return f"{text}{part} of the difference comes from what the picture shows."
    return f"{text}no clear part of the difference ({part}) comes from what the picture shows."


def _against_chance(summary: Summary) -> str:
    metrics, (low, high) = summary.metrics, summary.above_unrelated_interval
    found, chance = metrics["target_mean"], metrics["unrelated_target"]
    numbers = (
        f"overlap {value(found)} against {value(chance)} with its view of other pictures, difference "
        f"{found - chance:+.2f}{between((low, high), '+.2f')}"
    )
    more = "more" if low > 0 else "less" if high < 0 else "neither more nor less"
    return (
        f"On {metrics['classes']:.0f} lingering classes the fine-tuned model looks {more} than by chance at what the "
        f"source model sees outside the pasted image ({numbers}); there is no baseline to compare it with."
    )


def _behaviour(summary: Summary) -> str:
    metrics, occlusion = summary.metrics, summary.occlusion
    text = f"The background changes its answer in {percent_of(metrics['flip_rate_target'])} of the composites"
    if not math.isnan(metrics["flip_rate_baseline"]):
        text += f" (baseline: {percent_of(metrics['flip_rate_baseline'])})"
    if not occlusion.tried:
        return f"{text}."
    low, high = occlusion.difference
    clear = "" if low > 0 or high < 0 else ", no clear difference"
    return (
        f"{text}; hiding what the source model sees puts {percent_of(metrics['recovered'])} of {occlusion.tried} wrong "
        f"answers right, hiding as much elsewhere {percent_of(metrics['recovered_control'])}{clear}."
    )


def _shared(summary: Summary) -> str:
    found = summary.metrics["shared_target_mean"]
    if math.isnan(found):
        return ""
    count = len(summary.of("shared"))
    return f" On {count} source classes that it shares with the target the overlap is {value(found)}."


def gaps(study: Study, summary: Summary) -> list[str]:
    """What the images and models at hand cannot show."""
    found = [
        f"The maps of the {role} model have a single cell, which says nothing about places; look at another layer "
        "(layer=…) or at larger pictures."
        for role, viewer in study.viewers.items()
        if viewer.maps.grid == (1, 1)
    ]
    if not summary.of("lingering"):
        found.append(
            "No source class with images lingers, so the numbers of equation 4 are empty; what the table shows are the "
            "other classes."
        )
    elif not summary.occlusion.tried:
        found.append(
            "Nothing could be occluded: the fine-tuned model is right on every composite of a lingering class whose "
            "background the source model looks at."
        )
    return found
