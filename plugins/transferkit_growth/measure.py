"""What `growth` finds: answers of both models, and of joint training, on old and on new images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.analysis import AnalysisSession, Predictions, matching_outputs, nameless
from transferkit.errors import InputError
from transferkit.model import TransferModel
from transferkit.report import attempt
from transferkit_growth.options import Options
from transferkit_growth.scores import Forgetting, forgetting

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Old:
    """Answers on images of old classes, as places in the grown list; `before` says where the old model was right."""

    labels: Ids
    before: Flags
    among_old: Ids
    after: Ids
    joint: Ids | None

    @property
    def right(self) -> Flags:
        """(n,) where the grown model is right among all classes."""
        return np.asarray(self.after == self.labels)

    @property
    def forgetting(self) -> Forgetting:
        """What is gone, and in which way."""
        return forgetting(self.before, self.among_old == self.labels, self.right, self.labels)


@dataclass(frozen=True)
class New:
    """Answers on images of new classes."""

    labels: Ids
    after: Ids
    joint: Ids | None


@dataclass(frozen=True)
class Findings:
    """Answers on old images; on new ones, where there are any; and what could not be measured."""

    classes: list[str]
    """The grown list."""
    old_classes: Ids
    """Places in it of the classes that the old model knew."""
    old: Old
    new: New | None
    split: str
    """Which split the new images are."""
    gaps: list[str]

    @property
    def new_classes(self) -> list[int]:
        """Places of the others."""
        known = set(self.old_classes.tolist())
        return [label for label in range(len(self.classes)) if label not in known]


def measure(session: AnalysisSession, options: Options) -> Findings:
    """Every model on the old and the new images, from cached predictions.

    Raises InputError without a source model, and where the two models share no class, or the list did not grow.
    """
    if not session.has("source"):
        raise InputError("growth compares a model with the one that it started from, and there is none here; name it")
    gaps: list[str] = []
    before, after = session.predictions("source", "source"), session.predictions("target", "source")
    classes, place = after.head.classes, places(before.head.classes, after.head.classes)
    old_classes = np.array(sorted(one for one in place if one >= 0), dtype=np.int64)
    labels = place[before.labels.numpy()]
    kept = labels >= 0
    if not kept.all():
        gone = [name for name, one in zip(before.head.classes, place, strict=True) if one < 0]
        some = ", ".join(gone[:3]) + (" …" if len(gone) > 3 else "")
        gaps.append(f"{int((~kept).sum())} images are of classes that the list no longer has: {some}.")
    if not kept.any():
        raise InputError("growth: there is no image of an old class that the grown model lists")
    joint = _joint(session, options, gaps, classes)
    old = Old(
        labels[kept],
        (before.predicted() == before.labels).numpy()[kept],
        old_classes[_answers(after, old_classes)][kept],
        _answers(after)[kept],
        None if joint is None else _answers(session.predictions(joint[0], "source"), joint[1])[kept],
    )
    split = session.overlay_split() if session.has_data("target") else ""
    new = attempt(gaps, "New classes were not measured", lambda: _new(session, split, old_classes, joint))
    return Findings(list(classes), old_classes, old, new, split, gaps)


def places(old: list[str], grown: list[str]) -> Ids:
    """The place of each old class in the grown list, −1 for one that is gone.

    By name; where the old model's classes have no names, the first ones. Raises InputError where no class is shared,
    or none is new.
    """
    known = {name: label for label, name in enumerate(grown)}
    names = grown[: len(old)] if nameless(old) and not set(old) & set(grown) and len(old) < len(grown) else old
    found = np.array([known.get(name, -1) for name in names], dtype=np.int64)
    if (found < 0).all():
        raise InputError(
            f"growth: the model has none of the classes of the one that it started from ({', '.join(old[:3])}, …)"
        )
    if len(set(found[found >= 0].tolist())) == len(grown):
        raise InputError("growth: the class list did not grow: the model it started from knows every class")
    return found


def _answers(given: Predictions, columns: Ids | None = None) -> Ids:
    """(n,) the largest logit of every image; of these columns, as places in them."""
    chosen = slice(None) if columns is None else torch.from_numpy(columns)
    found = [logits[:, chosen].argmax(dim=1) for _, logits in given.chunks()]
    return np.asarray(torch.cat(found).numpy(), dtype=np.int64)


def _joint(
    session: AnalysisSession, options: Options, gaps: list[str], classes: list[str]
) -> tuple[TransferModel, Ids] | None:
    """The model of joint training, and which of its outputs each of the classes is."""
    if options.joint is None:
        return None
    stage = options.joint

    def found() -> tuple[TransferModel, Ids]:
        model = session.stage_model(stage)
        return model, np.array(matching_outputs(classes, model.classes), dtype=np.int64)

    return attempt(gaps, "Joint training was not compared", found)


def _new(session: AnalysisSession, split: str, old_classes: Ids, joint: tuple[TransferModel, Ids] | None) -> New:
    """Answers on the images of new classes. Raises InputError where there are none."""
    if not split:
        raise InputError("there are no images of the data set that the model grew on")
    given = session.predictions("target", "target", split)
    labels = given.labels.numpy()
    kept = ~np.isin(labels, old_classes)
    if not kept.any():
        raise InputError(f"its {split} images show no new class")
    other = None if joint is None else _answers(session.predictions(joint[0], "target", split), joint[1])[kept]
    return New(labels[kept], _answers(given)[kept], other)
