"""Proof that a hook changed nothing it was only lent: inputs, model, reference, global random generators."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def unchanged(
    where: str, *, tensors: Mapping[str, Tensor] | None = None, **modules: nn.Module | None
) -> Iterator[None]:
    """Raise AssertionError when the block changes a tensor, a module or a global random generator."""
    lent = dict(tensors or {})
    before = {name: (tensor.detach().clone(), tensor._version) for name, tensor in lent.items()}
    kept = {name: _snapshot(module) for name, module in modules.items() if module is not None}
    generators = _generators()
    yield
    for name, (copy, version) in before.items():
        if lent[name]._version != version or not torch.equal(lent[name].detach(), copy):
            raise AssertionError(f"{where} changes {name} in place; return a new tensor instead")
    for name, snapshot in kept.items():
        _compare(where, name, modules[name], snapshot)
    for name, state in _generators().items():
        if state != generators[name]:
            raise AssertionError(
                f"{where} draws from the global random generator of {name}; "
                "ask for `rng`, or use session.rng(…) in setup"
            )


def _generators() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
        "numpy": (name, np.asarray(keys).tobytes(), *rest),
    }


def _snapshot(module: nn.Module) -> dict[str, Any]:
    return {
        "weights": {name: tensor.detach().clone() for name, tensor in module.state_dict().items()},
        "modes": [part.training for part in module.modules()],
        "gradients wanted": [parameter.requires_grad for parameter in module.parameters()],
        "gradients": [parameter.grad is None for parameter in module.parameters()],
    }


def _compare(where: str, name: str, module: nn.Module | None, before: dict[str, Any]) -> None:
    assert module is not None
    after = _snapshot(module)
    if list(after["weights"]) != list(before["weights"]):
        raise AssertionError(f"{where} adds or removes parts of the {name}")
    for key, tensor in before["weights"].items():
        if not torch.equal(after["weights"][key], tensor):
            raise AssertionError(f"{where} changes {key} of the {name}; plugins return values, the core makes changes")
    for what in ("modes", "gradients wanted", "gradients"):
        if after[what] != before[what]:
            raise AssertionError(f"{where} changes the {name}'s {what}; leave them as they are")
