"""The promises of `score`: numbers, a function of its arguments alone, that do not depend on the order of images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from transferkit.testing.subject import Hook
from transferkit.testing.tiny import tiny_labels
from transferkit.words.kinds import reason

IMAGES, CLASSES = 24, 3


def check_score(hook: Hook) -> None:
    """{name: number}, the same for the same images in any order; those that the class declares, and no others."""
    generator = torch.Generator().manual_seed(0)
    labels = tiny_labels(IMAGES)
    logits = torch.randn(IMAGES, CLASSES, generator=generator) + torch.eye(CLASSES)[labels]
    lent = {"logits": logits, "labels": labels, "groups": 2 * labels + torch.arange(IMAGES) % 2}
    found, again = (_numbers(hook, hook(lent, **lent)) for _ in range(2))
    if not _same(found, again):
        raise hook.broken("gives other numbers for the same logits; it must be a function of them")
    order = torch.randperm(IMAGES, generator=generator)
    if not _same(found, _numbers(hook, hook.invoke({name: tensor[order] for name, tensor in lent.items()}))):
        raise hook.broken("gives other numbers when the images come in another order; none of them is special")
    declared = hook.subject.plugin.component.declared.metric_keys
    if differ := sorted(set(found) ^ set(declared or found)):
        raise hook.broken(f"returns other numbers than the class declares as metrics: {', '.join(differ)}")
    one = {name: tensor[:1] for name, tensor in lent.items()}
    _numbers(hook, hook.invoke(one, " for a data set of one image"))


def _numbers(hook: Hook, value: object) -> dict[str, float]:
    if not isinstance(value, Mapping) or not value:
        raise hook.broken(f"must return {{name: number}}, not {value!r:.60}")
    for name, number in value.items():
        if not isinstance(name, str) or isinstance(number, bool | str):
            raise hook.broken(f"must return {{name: number}}, and has {name!r}: {number!r}")
        if isinstance(number, Tensor) and number.numel() != 1:
            raise hook.broken(f"returns a tensor of shape {tuple(number.shape)} as {name}; one number is needed")
    try:
        return {name: float(number) for name, number in value.items()}
    except (TypeError, ValueError) as error:
        raise hook.broken(f"must return {{name: number}}: {reason(error)}") from error


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(math.isclose(one[key], other[key], rel_tol=1e-5, abs_tol=1e-7) or one[key] != one[key] for key in one)
