"""Whether models and images fit together, before any number is believed: what is refused, and what is said aloud."""

from __future__ import annotations

import math

from torch import Tensor

from transferkit.analysis.class_mapping import nameless
from transferkit.analysis.workbench import SPLITS, Workbench, has_classifier
from transferkit.data.sources import split_contents
from transferkit.errors import InputError
from transferkit.model.wrapper import TransferModel
from transferkit.words.formats import percent

NEAR_CHANCE = 0.1  # of the way from guessing to perfect
UNRELATED = 0.5  # cosine of the weights; fine-tuned models measured above 0.95, independent ones below 0.1
LISTED = 5
SHOWN = 4  # names of classes


def check(workbench: Workbench) -> list[str]:
    """Raise InputError where no analysis could be right; return what the reader of the report must know.

    Refused: a target or baseline without a classifier, with other classes than there are images of, or where the
    two number their classes differently; a target that does not descend from the source. Models without class names
    get those of the target images. Class mapping, unreadable images and accuracies near chance are looked at on the
    images themselves.
    """
    found: list[str] = []
    for role in ("target", "baseline") if workbench.data["target"] else ():
        if role in workbench.models:
            found += _name_classes(workbench, role)
    if "baseline" in workbench.models:
        _refuse_other_order(workbench)
    if "source" in workbench.models:
        labels = workbench.given("source").label, workbench.given("target").label
        refuse_strangers(workbench.model("source"), workbench.model("target"), labels)
        found += _relation(workbench)
    found += _images(workbench)
    found += _accuracies(workbench)
    return found


def _name_classes(workbench: Workbench, role: str) -> list[str]:
    model, label = workbench.model(role), workbench.given(role).label
    if not has_classifier(model):
        raise InputError(f"the {role} model {label} has no classifier: it was not fine-tuned for a task of its own")
    found = _folders(workbench)
    if not nameless(model.classes) or all(name.isdigit() for name in found):
        return []
    if len(found) != len(model.classes):
        raise InputError(
            f"the {role} model {label} has {len(model.classes)} classes without names, and the target images are of "
            f"{len(found)} classes ({_listed(found)}); give the images that it was fine-tuned for"
        )
    model.classes = found
    return [
        f"The classes of the {role} model have no names; they are assumed to be the class folders of the target "
        f"images in sorted order: {_listed(found)}."
    ]


def _folders(workbench: Workbench) -> list[str]:
    """The class folders of the target images, all splits together, sorted."""
    found: set[str] = set()
    for split in SPLITS["target"]:
        one = split_contents(workbench.dataset("target"), workbench.datasets, split)
        found |= set(one.classes) if one is not None else set()
    return sorted(found)


def _refuse_other_order(workbench: Workbench) -> None:
    ours, theirs = workbench.model("target").classes, workbench.model("baseline").classes
    if ours == theirs:
        return
    raise InputError(
        "target and baseline do not have the same classes in the same order, so they cannot be compared: "
        f"{workbench.given('target').label} ({_listed(ours)}) and {workbench.given('baseline').label} "
        f"({_listed(theirs)}); give a baseline that was trained for the same task"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", … ({len(names)})" if len(names) > SHOWN else "")


def refuse_strangers(source: TransferModel, target: TransferModel, labels: tuple[str, str]) -> None:
    """Raise InputError when the target's backbone is not the source's: then a head swap means nothing."""
    advice = "give the model that it was fine-tuned from"
    if source.num_features != target.num_features:
        raise InputError(
            f"{labels[1]} does not descend from {labels[0]}: its features have {target.num_features} values, those of "
            f"the source {source.num_features}; {advice}"
        )
    ours, theirs = _backbone(target), _backbone(source)
    different = set(ours) ^ set(theirs)
    if different:
        shown = ", ".join(sorted(different)[:LISTED])
        raise InputError(
            f"{labels[1]} ({target.architecture}) does not descend from {labels[0]} ({source.architecture}): "
            f"{len(different)} layers are in only one of them ({shown}); {advice}"
        )
    pools = [getattr(model.net, "global_pool", None) for model in (source, target)]
    if all(isinstance(pool, str) for pool in pools) and pools[0] != pools[1]:
        raise InputError(
            f"{labels[1]} pools its features by {pools[1]!r}, {labels[0]} by {pools[0]!r}: the source's head cannot "
            f"read them; {advice}"
        )


def _backbone(model: TransferModel) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_backbone_parameters()}


def similarity(source: TransferModel, target: TransferModel) -> float:
    """The cosine between the two backbones' weights (matrices and kernels only, float64); NaN where there are none."""
    ours, theirs = _backbone(source), _backbone(target)
    names = [name for name in ours if ours[name].ndim > 1 and ours[name].shape == theirs[name].shape]
    dot = one = two = 0.0
    for name in names:
        a, b = ours[name].cpu().double(), theirs[name].cpu().double()
        dot, one, two = dot + float((a * b).sum()), one + float(a.square().sum()), two + float(b.square().sum())
    return dot / math.sqrt(one * two) if one and two else math.nan


def _relation(workbench: Workbench) -> list[str]:
    alike = similarity(workbench.model("source"), workbench.model("target"))
    if not alike < UNRELATED:
        return []
    return [
        f"The target's weights do not look fine-tuned from the source's (their cosine is {alike:.2f}; fine-tuned "
        "models are usually above 0.95). If the target was trained from another start, nothing below is about memories."
    ]


def _images(workbench: Workbench) -> list[str]:
    """Open every split that will be looked at, so that wrong classes and missing folders are said now."""
    found = []
    for data in ("source", "target"):
        if workbench.data.get(data) is None:
            continue
        split = workbench.default_split(data)
        part = workbench.part(data, split)
        assert part is not None
        if bad := part.left_out:
            names = ", ".join(one.path for one in bad[:LISTED])
            more = " and more" if len(bad) > LISTED else ""
            found.append(
                f"{len(bad)} of {len(bad) + len(part.readable)} {data} images could not be read "
                f"and were left out: {names}{more}."
            )
        if data == "source" and workbench.class_list.assumed:
            found.append(workbench.class_list.how)
    return found


def _accuracies(workbench: Workbench) -> list[str]:
    """What is said of a source or target model that is hardly better than guessing on its own images."""
    marks = {
        "source": "a wrong class mapping or the wrong preprocessing: retention, bias and lingering would be wrong too",
        "target": "wrong preprocessing, a wrong class mapping, or a model that never learned its task",
    }
    found = []
    for role, mark in marks.items():
        fitted = role == "source" and workbench.source_head_is_probe
        if role not in workbench.models or workbench.data[role] is None or fitted:
            continue
        predictions = workbench.predictions(role, role, None)
        right = float((predictions.predicted() == predictions.labels).double().mean())
        chance = 1 / max(len(predictions.head.classes), 1)
        if right < chance + NEAR_CHANCE * (1 - chance):
            found.append(
                f"The {role} model is right on only {percent(right)} of the {len(predictions)} {role} images; guessing "
                f"gives {percent(chance)}. That is the mark of {mark}."
            )
    return found
