"""Bias in up to three sentences for a reader who knows no paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from transferkit_lingering.wording import count, first_name, listing

from transferkit.formats import percent
from transferkit_bias.measure import HIGH, Votes
from transferkit_bias.votes import bias_index

if TYPE_CHECKING:
    from transferkit_bias.report import Findings

SKEWED = 0.2  # index of the share of all votes; from here on the preference of the classifier shows in raw bias


def prior_index(votes: Votes) -> float:
    """The bias index of all votes together: 0 for an even split."""
    return float(bias_index(torch.from_numpy(votes.share)))


def verdict(found: Findings) -> str:
    """How one-sided, whether more than by chance, and which source-only classes are."""
    target = found.target
    if len(target.targets) < 2 or not target.images.sum():
        return "Bias could not be measured: there is a single target class, or there are no source images."
    return " ".join(part for part in (_raw(target), _beyond_chance(found), _named(found)) if part)


def _raw(votes: Votes) -> str:
    how = "at least 80 % of their images get the same answer" if len(votes.targets) == 2 else "index 0.6 or more"
    text = (
        f"{percent(votes.part(HIGH), 0)} of {int((votes.images > 0).sum())} source classes are highly biased towards "
        f"one target class ({how}); by chance alone {percent(float(votes.expected[HIGH]), 0)} would look so"
    )
    if prior_index(votes) < SKEWED:
        return f"{text}."
    favourite = int(votes.share.argmax())
    return (
        f"{text}, also because the model answers {votes.targets[favourite]} for "
        f"{percent(float(votes.share[favourite]), 0)} of all source images, whatever they show."
    )


def _beyond_chance(found: Findings) -> str:
    target, baseline = found.target, found.baseline
    if math.isnan(target.overdispersion):
        return "Too few classes have two images to tell memories from chance."
    low, high = target.by_chance
    than = "more than" if target.overdispersion > high else "no more than"
    text = (
        f"Answers differ between source classes {than} chance explains: overdispersion {target.overdispersion:.2f}, "
        f"by chance {low:.2f} to {high:.2f}"
    )
    if baseline is None or math.isnan(baseline.overdispersion):
        return f"{text}."
    return f"{text}, {baseline.overdispersion:.2f} for the baseline trained from scratch."


def _named(found: Findings) -> str:
    """Source-only classes that are highly biased and significantly so, the clearest first."""
    target = found.target
    if found.known is None or not target.tested.any():
        return ""
    tested = [c for c in biased_source_only(found).tolist() if target.tested[c]]
    sure = [c for c in tested if target.significant[c]]
    of = f"Of the {count(len(tested), 'highly biased class')} that hardly show in the target"
    of += f" and have at least {found.min_images} images"
    if not sure:
        return f"{of}, none goes beyond chance."
    shown = [
        f"{first_name(found.names[c])} ({_share(target, c)} {target.targets[target.favoured[c]]}, "
        f"{count(int(target.images[c]), 'image')})"
        for c in sure[:3]
    ]
    verb = "goes" if len(sure) == 1 else "go"
    return f"{of}, {len(sure)} {verb} beyond chance: {listing(shown)}."


def _share(votes: Votes, c: int) -> str:
    return percent(float(votes.counts[c].max() / votes.images[c]), 0)


def biased_source_only(found: Findings) -> np.ndarray:
    """Ids of highly biased source-only classes, the least explicable by chance first."""
    if found.known is None:
        return np.array([], dtype=np.int64)
    ids = np.flatnonzero(found.high & found.among(found.known.source_only))
    target = found.target
    return ids[np.lexsort((ids, -target.images[ids], -target.corrected[ids], target.p_value[ids]))]
