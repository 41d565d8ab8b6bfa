"""Whether models and images fit together, before any number is believed: what is refused, and what is said aloud."""

from __future__ import annotations

import math

from torch import Tensor

from transferkit.analysis.workbench import Workbench
from transferkit.errors import InputError
from transferkit.formats import percent
from transferkit.model import TransferModel

NEAR_CHANCE = 0.1  # of the way from guessing to perfect
UNRELATED = 0.5  # cosine of the weights; fine-tuned models measured above 0.95, independent ones below 0.1
LISTED = 5


def check(workbench: Workbench) -> list[str]:
    """Raise InputError where no analysis could be right; return what the reader of the report must know.

    A target that does not descend from the source is refused. Class mapping, unreadable images and
    accuracies near chance are looked at on the images themselves.
    """
    found: list[str] = []
    if "source" in workbench.models:
        refuse_strangers(workbench.model("source"), workbench.model("target"), _labels(workbench))
        found += _relation(workbench)
    found += _images(workbench)
    found += _accuracies(workbench)
    return found


def _labels(workbench: Workbench) -> tuple[str, str]:
    return workbench.given("source").label, workbench.given("target").label


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
    found = []
    if "source" in workbench.models and not workbench.source_head_is_probe and workbench.data.get("source"):
        text = "a wrong class mapping or the wrong preprocessing: retention, bias and lingering would be wrong too"
        found += _near_chance(workbench, "source", "source", text)
    if workbench.data.get("target"):
        text = "wrong preprocessing, a wrong class mapping, or a model that never learned its task"
        found += _near_chance(workbench, "target", "target", text)
    return found


def _near_chance(workbench: Workbench, role: str, data: str, text: str) -> list[str]:
    predictions = workbench.predictions(role, data, None)
    right = float((predictions.predicted() == predictions.labels).double().mean())
    chance = 1 / max(len(predictions.head.classes), 1)
    if right >= chance + NEAR_CHANCE * (1 - chance):
        return []
    return [
        f"The {role} model is right on only {percent(right)} of the {len(predictions)} {data} images; guessing gives "
        f"{percent(chance)}. That is the mark of {text}."
    ]
