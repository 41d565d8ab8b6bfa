"""One trial: backgrounds and overlays chosen, composites made, and what each model answered."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from transferkit_bias import bias

from transferkit.analysis.composites import Composites
from transferkit.errors import InputError
from transferkit_confusion.asking import ask
from transferkit_confusion.making import Maker
from transferkit_confusion.picks import Background, halves, pick_backgrounds, pick_overlays, within

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.analysis.predictions import Predictions
    from transferkit_confusion.analyzer import Confusion


COMMON = 0.01  # share of the target images for which a class is the source model's first guess


@dataclass
class Trial:
    """What was shown to the models and what they answered; arrays are over the composites."""

    classes: list[str]
    """The target classes."""
    names: list[str]
    """The source classes."""
    backgrounds: list[Background]
    overlays: dict[int, list[int]]
    sureness: dict[str, NDArray[np.float64]]
    """Per role (n,): the probability of the correct class on every target image that could be an overlay."""
    composites: Composites
    plain: NDArray[np.int64]
    """(m,) indices of the composites that are shown again on one colour."""
    images: dict[int, tuple[int, int]]
    """Per background class: images that bias was measured on, images that were pasted on."""
    bias_pasted: NDArray[np.float64]
    """(K_s, K_t): the bias of the images that were pasted on, which had no say in the choice where halved."""
    limit: int
    """Composites of each pair at most."""
    halved: bool
    """Whether no background's bias was measured on images that were pasted on."""
    group: NDArray[np.str_] = field(init=False)
    label: NDArray[np.int64] = field(init=False)
    overlay: NDArray[np.int64] = field(init=False)
    source: NDArray[np.int64] = field(init=False)
    answers: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Per role (n,): the class that each composite was taken for."""
    plain_answers: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        items = self.composites.items
        group = {(one.target, one.source): one.group for one in self.backgrounds}
        self.label = np.array([item.overlay_class for item in items], dtype=np.int64)
        self.source = np.array([item.source_class for item in items], dtype=np.int64)
        self.overlay = np.array([item.overlay for item in items], dtype=np.int64)
        self.group = np.array([group[item.overlay_class, item.source_class] for item in items])


def hold(session: AnalysisSession, options: Confusion) -> Trial:
    """Choose, make, and ask the models. Raises InputError where there are too few images or classes."""
    models, gaps, notes = _models(session)
    classes = list(session.model("target").classes)
    if len(classes) < 2:
        raise InputError("the target model has one class only, so no background can lead it to another")
    sureness = {role: _sureness(session, role, order) for role, order in models.items()}
    overlays = session.overlays()
    chosen = pick_overlays(np.stack(list(sureness.values())), overlays.labels, overlays.ids, options.overlays)
    gaps += [f"There is no image of {name} to paste." for j, name in enumerate(classes) if j not in chosen]
    votes = session.predictions("target", "source")
    labels = votes.labels.numpy()
    measured, pasted = halves(labels, votes.ids, session.seed) if options.halves else (np.ones(len(labels), bool),) * 2
    shares = _bias(votes, measured, len(classes))
    eligible = _eligible(session, options, labels, notes, gaps)
    picked = [b for j in chosen for b in pick_backgrounds(shares, eligible, j, options.backgrounds, options.neutral)]
    if not picked:
        raise InputError(
            f"backgrounds need at least three source classes with {options.min_images} images, and {len(eligible)} "
            "have them; give more source images, or a smaller min_images"
        )
    every = len(picked)
    picked, limit = within(picked, options.limit, options.most, session.seed)
    if len(picked) < every or limit < options.limit:
        notes.append(_bounded(options, every, len(picked), limit, len(chosen)))
        chosen = {target: chosen[target] for target in dict.fromkeys(one.target for one in picked)}
    composites = _compose(session, options, limit, picked, chosen, pasted)
    counts = {b.source: (_count(measured, labels, b), _count(pasted, labels, b)) for b in picked}
    trial = Trial(
        classes=classes,
        names=list(votes.classes),
        backgrounds=picked,
        overlays=chosen,
        sureness=sureness,
        composites=composites,
        plain=_plain(composites, options.repeats),
        images=counts,
        bias_pasted=_bias(votes, pasted, len(classes)),
        limit=limit,
        halved=not any((measured & pasted & (labels == b.source)).any() for b in picked),
        gaps=gaps,
        notes=notes,
    )
    for role, order in models.items():
        trial.answers[role], trial.plain_answers[role] = ask(session, role, order, composites, trial.plain)
    if options.save:
        composites.write(session.out / "composites")
    return trial


def _models(session: AnalysisSession) -> tuple[dict[str, list[int]], list[str], list[str]]:
    """{role: where each target class is among the role's outputs}, and why a model is not compared."""
    classes = list(session.model("target").classes)
    found = {"target": list(range(len(classes)))}
    if not session.has("baseline"):
        return found, ["There is no baseline model, so nothing says how much of this is due to the pretraining."], []
    own = list(session.model("baseline").classes)
    if sorted(own) != sorted(classes):
        return found, [f"The baseline tells other classes apart ({_some(own)}), so it is not compared."], []
    return found | {"baseline": [own.index(name) for name in classes]}, [], []


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _sureness(session: AnalysisSession, role: str, order: list[int]) -> NDArray[np.float64]:
    """(n,) the probability of the correct class on each image that could be an overlay."""
    found: Predictions = session.predictions(role, "target", session.overlay_split())
    labels = torch.from_numpy(session.overlays().labels)
    parts = [
        logits[:, order].double().softmax(dim=1).gather(1, labels[part, None]).squeeze(1)
        for part, logits in found.chunks()
    ]
    return torch.cat(parts).numpy()


def _eligible(
    session: AnalysisSession, options: Confusion, labels: NDArray[np.int64], notes: list[str], gaps: list[str]
) -> list[int]:
    """Source classes with enough images, without those that the target images show."""
    counts = np.bincount(labels, minlength=1)
    enough = np.flatnonzero(counts >= options.min_images).tolist()
    notes.append(f"{len(enough)} source classes have at least {options.min_images} images and could be backgrounds.")
    if not options.source_only:
        return enough
    try:
        from transferkit_lingering import Lingering, memories

        # a rule of its own: with other thresholds of `lingering` the same pictures serve again
        only = set(memories(session, Lingering(k=1, v_lo=COMMON)).source_only.tolist())
    except InputError as error:
        gaps.append(
            f"Backgrounds that show a target class themselves could not be left out: {error}. Look at their names."
        )
        return enough
    found = [number for number in enough if number in only]
    if len(found) < 3:
        gaps.append(
            f"Only {len(found)} of these {len(enough)} source classes do not show in the target images, so backgrounds "
            "were taken from all of them: some may show a target class themselves."
        )
        return enough
    notes.append(
        f"{len(found)} of them are the source model's first guess for at most {COMMON:.0%} of the target images; only "
        "these were taken."
    )
    return found


def _compose(
    session: AnalysisSession,
    options: Confusion,
    limit: int,
    picked: list[Background],
    overlays: dict[int, list[int]],
    pasted: NDArray[np.bool_],
) -> Composites:
    backgrounds, tops = session.samples("source"), session.overlays()
    maker = Maker(backgrounds, tops, session.seed, math.sqrt(options.area), options.repeats, limit)
    items = []
    for one in picked:
        images = np.flatnonzero(pasted & (backgrounds.labels == one.source)).tolist()
        items += maker.items(one.source, images, overlays[one.target])
    return Composites(backgrounds, tops, items)


def _bounded(options: Confusion, every: int, kept: int, limit: int, classes: int) -> str:
    text = (
        f"Left out: {every} pairs of background class and target class ({classes} target classes) with up to "
        f"{options.limit} composites each are {every * options.limit:,}, more than the {options.most:,} that `most` "
        f"allows, so at most {limit} of each pair were made"
    )
    return f"{text}, and only {kept} pairs were tried." if kept < every else f"{text}."


def _count(chosen: NDArray[np.bool_], labels: NDArray[np.int64], one: Background) -> int:
    return int((chosen & (labels == one.source)).sum())


def _bias(votes: Predictions, chosen: NDArray[np.bool_], num_classes: int) -> NDArray[np.float64]:
    """(K_s, K_t) bias of the target model, of the chosen images only."""
    found = bias(votes.predicted()[chosen], votes.labels[chosen], len(votes.classes), num_classes)
    return np.asarray(found.numpy())


def _plain(composites: Composites, places: int) -> NDArray[np.int64]:
    """Of each overlay the first few composites: the places at which it is shown on one colour."""
    seen: dict[int, int] = {}
    chosen = []
    for index, item in enumerate(composites.items):
        seen[item.overlay] = seen.get(item.overlay, 0) + 1
        if seen[item.overlay] <= places:
            chosen.append(index)
    return np.array(chosen, dtype=np.int64)
