"""One trial, as it was held: the composites, what each model answered, and what that says of the backgrounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from transferkit.analysis import Composites
from transferkit.statistics import Estimate, difference, share_of
from transferkit_confusion.intervals import clustered_share, mean_share, over_both, weighted_means
from transferkit_confusion.picks import GROUPS, Background

NEUTRAL = 0.2  # of the bias index: with two classes, a vote between 40 and 60 %
LISTED = 5
COLOUR = "colour"
"""The control: overlays on one colour."""
SHOWN = (*GROUPS, COLOUR)

Flags = NDArray[np.bool_]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """What was shown to the models and what they answered; arrays are over the n composites."""

    classes: list[str]
    """The target classes."""
    names: list[str]
    """The source classes."""
    backgrounds: list[Background]
    overlays: dict[int, list[int]]
    sureness: dict[str, NDArray[np.float64]]
    """Per role: the probability of the correct class on every target image that could be an overlay."""
    composites: Composites
    plain: Ids
    """(m,) indices of the composites that are shown again on one colour."""
    choosing: Ids
    """(K_s,) images whose votes chose among the source classes."""
    votes: dict[str, Ids]
    """Per role (K_s, K_t): the votes of the images that were held out of the choice, and pasted on."""
    eligible: list[int]
    """The source classes that could have been chosen."""
    limit: int
    """Composites of each pair at most."""
    halved: bool
    """Whether the images that chose and those held out are two halves; otherwise all images are both."""
    answers: dict[str, tuple[Ids, Ids]]
    """Per role (n,) and (m,): the class that each composite, and each of the plain ones, was taken for."""

    @cached_property
    def label(self) -> Ids:
        """(n,) the overlay's class."""
        return np.array([item.overlay_class for item in self.composites.items], dtype=np.int64)

    @cached_property
    def source(self) -> Ids:
        """(n,) the background's class."""
        return np.array([item.source_class for item in self.composites.items], dtype=np.int64)

    @cached_property
    def overlay(self) -> Ids:
        """(n,) which image was pasted."""
        return np.array([item.overlay for item in self.composites.items], dtype=np.int64)

    @cached_property
    def group(self) -> NDArray[np.str_]:
        """(n,) with, neutral or against."""
        groups = {(one.target, one.source): one.group for one in self.backgrounds}
        return np.array([groups[item.overlay_class, item.source_class] for item in self.composites.items])

    def right(self, role: str) -> Flags:
        """(n,) whether the model called the composite by its overlay's class."""
        return np.asarray(self.answers[role][0] == self.label)

    def outcomes(self, role: str, shown: str, target: int | None = None) -> tuple[Flags, Ids]:
        """Which composites of a group, or on one colour, were called right, and which overlay each has.

        Of overlays of one target class, or of all.
        """
        if shown == COLOUR:
            index, right = self.plain, self.answers[role][1] == self.label[self.plain]
        else:
            index = np.flatnonzero(self.group == shown)
            right = self.right(role)[index]
        own = np.full(len(index), True) if target is None else self.label[index] == target
        return right[own], self.overlay[index][own]

    def accuracy(self, role: str, target: int | None = None) -> dict[str, Estimate]:
        """By the background's group, and on one colour, on overlays of one target class or of all.

        Composites of one overlay or one background class are not independent trials.
        """
        return {shown: self._right(role, self.group == shown, target) for shown in GROUPS} | {
            COLOUR: clustered_share(*self.outcomes(role, COLOUR, target))
        }

    def overall(self, role: str) -> Estimate:
        """How many of all composites were called right."""
        return self._right(role, np.full(len(self.label), True))

    def _right(self, role: str, chosen: Flags, target: int | None = None) -> Estimate:
        own = chosen if target is None else chosen & (self.label == target)
        return clustered_share(self.right(role)[own], self.overlay[own], self.source[own])

    def at_chance(self, role: str) -> bool:
        """Whether nothing shows that the model sees the pasted objects, neither on backgrounds nor on one colour.

        One that knows them on a colour and answers by the background before others does see them.
        """
        even = 1 / len(self.classes)
        return not (self.overall(role).above(even) or self.accuracy(role)[COLOUR].above(even))

    def bias(self, role: str, source: int, target: int) -> Estimate:
        """The share of a background class's held-out images that the model takes for the target class."""
        votes = self.votes[role][source]
        return share_of(int(votes[target]), int(votes.sum()))

    def bias_chosen(self, role: str) -> Estimate:
        """The mean of `bias` over the backgrounds chosen as biased towards their overlay's class."""
        chosen = [one for one in self.backgrounds if one.group == "with"]
        votes = np.stack([self.votes[role][one.source] for one in chosen])
        return mean_share(votes[range(len(chosen)), [one.target for one in chosen]], votes.sum(axis=1),
                          np.array([one.source for one in chosen]))  # fmt: skip

    @property
    def bias_of_all(self) -> float:
        """What `bias_chosen` of the fine-tuned model would be if the choice said nothing: its share of all votes."""
        every = self.votes["target"][self.eligible].sum(axis=0)
        chosen = [one.target for one in self.backgrounds if one.group == "with"]
        return float((every / every.sum())[chosen].mean())


def contrasts(trial: Trial) -> dict[str, Estimate]:
    """Accuracy with the background's bias minus against it, per role, and their `difference` where there are two.

    The mean over target classes, so that what differs between these is not taken for a spread of backgrounds.
    Intervals are over background classes and overlays, the same for all models; none where a target class has a
    single background class in a group.
    """
    extreme = np.isin(trial.group, ("with", "against"))
    source, overlay = trial.source[extreme], trial.overlay[extreme]
    targets, cell = np.unique(trial.label[extreme], return_inverse=True)
    cell = 2 * cell + (trial.group[extreme] == "against")
    weights = np.tile([1.0, -1.0], len(targets)) / len(targets)
    right = {role: trial.right(role)[extreme].astype(np.float64) for role in trial.answers}
    if "baseline" in right:
        right["difference"] = right["target"] - right["baseline"]
    found = {
        name: over_both(partial(weighted_means, values, cell, weights), source, overlay)
        for name, values in right.items()
    }
    for role in trial.answers:
        if found[role].low == found[role].high:  # every composite of a group ended alike: nothing varies to be seen
            accuracy = trial.accuracy(role)
            found[role] = difference(accuracy["with"], accuracy["against"])
    if "difference" in found and found["difference"].low == found["difference"].high:
        found["difference"] = difference(found["target"], found["baseline"])
    return {name: one.within(*((-2, 2) if name == "difference" else (-1, 1))) for name, one in found.items()}


def weak_groups(trial: Trial) -> list[str]:
    """Groups whose backgrounds are not, or not surely, what the group's name says on the images held out."""
    even, found = 1 / len(trial.classes), []
    for target in trial.overlays:
        name = trial.classes[target]
        members = {group: [b for b in trial.backgrounds if (b.target, b.group) == (target, group)] for group in GROUPS}
        shares = {one: trial.bias("target", one.source, target) for group in members.values() for one in group}
        most = {one: int(trial.votes["target"][one.source].argmax()) for one in members["neutral"]}
        uneven = even + NEUTRAL * (1 - even)
        weak = {
            ("with", f"are not certain to favour {name}"): [b for b in members["with"] if not shares[b].above(even)],
            ("against", f"are not certain to disfavour {name}"): [
                one for one in members["against"] if not shares[one].below(even)
            ],
            ("neutral", "do not have an even vote"): [
                one for one in members["neutral"] if trial.bias("target", one.source, most[one]).above(uneven)
            ],
        }
        for (group, text), off in weak.items():
            if off:
                each = ", ".join(f"{100 * shares[one].value:.0f} %" for one in off[:LISTED])
                found.append(
                    f"Overlays of {name}: {len(off)} of {len(members[group])} backgrounds in the group “{group}” "
                    f"{text} (share of {name} on held-out images: {each})."
                )
    return found
