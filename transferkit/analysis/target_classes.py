"""Whether target and baseline mean the same classes by the same numbers, and which class of theirs each folder is."""

from __future__ import annotations

from transferkit.analysis.class_mapping import nameless
from transferkit.analysis.workbench import SPLITS, Workbench, has_classifier
from transferkit.data.sources import split_contents
from transferkit.errors import InputError

SHOWN = 4


def agree_on_classes(bench: Workbench) -> list[str]:
    """Name the classes of models that come without names, after the target images; return what was assumed.

    Raises InputError for a target or baseline without a classifier, with other classes than there are images
    of, or where the two number their classes differently: predictions could not be compared.
    """
    assumed = []
    for role in ("target", "baseline"):
        if role in bench.models:
            assumed += _name_classes(bench, role)
    if "baseline" in bench.models:
        _refuse_other_order(bench)
    return assumed


def _name_classes(bench: Workbench, role: str) -> list[str]:
    model, label = bench.model(role), bench.given(role).label
    if not has_classifier(model):
        raise InputError(f"the {role} model {label} has no classifier: it was not fine-tuned for a task of its own")
    found = _folders(bench)
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


def _folders(bench: Workbench) -> list[str]:
    """The class folders of the target images, all splits together, sorted."""
    found: set[str] = set()
    for split in SPLITS["target"]:
        one = split_contents(bench.dataset("target"), bench.datasets, split)
        found |= set(one.classes) if one is not None else set()
    return sorted(found)


def _refuse_other_order(bench: Workbench) -> None:
    ours, theirs = bench.model("target").classes, bench.model("baseline").classes
    if ours == theirs:
        return
    labels = f"{bench.given('target').label} ({_listed(ours)}) and {bench.given('baseline').label} ({_listed(theirs)})"
    raise InputError(
        f"target and baseline do not have the same classes in the same order, so they cannot be compared: {labels}; "
        "give a baseline that was trained for the same task"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", … ({len(names)})" if len(names) > SHOWN else "")
