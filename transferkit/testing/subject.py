"""The plugin under test, called as the core calls it; and proof that a hook changed nothing it was only lent."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.model.witness import remedy
from transferkit.plugins.hooks import Call, RunPlugins
from transferkit.testing.tiny import TinySession
from transferkit.words.kinds import reason


class Subject:
    """The plugin under test together with the session it is tested in."""

    def __init__(self, name: str, plugins: RunPlugins, session: TinySession) -> None:
        self.name = name
        self.session = session
        self.plugins = plugins
        self.plugin = plugins.plugins[0]
        self.own: nn.Module | None = None
        """What its `parameters` returned."""

    def hook(self, name: str) -> Hook | None:
        """The plugin's implementation of the hook, if it has one."""
        found = self.plugins.calls(name)
        return Hook(f"{self.name}.{name}", found[0], self) if found else None

    def run(self, name: str, **offer: Any) -> None:
        """Call the hook, which may also ask for the session, where the plugin has it."""
        hook = self.hook(name)
        if hook is not None:
            hook(session=self.session, **offer)


@dataclass(frozen=True)
class Hook:
    """One implementation, and `where` it is in sentences."""

    where: str
    call: Call
    subject: Subject

    def __call__(self, /, lent: Mapping[str, Tensor] | None = None, **offer: Any) -> Any:
        """The value for the offer. Raises AssertionError when the hook raises, or changes what it was lent."""
        session = self.subject.session
        with unchanged(self.where, tensors=lent, model=session.model, reference=session.reference):
            return self.invoke(offer)

    def invoke(self, offer: Mapping[str, Any], when: str = "", refusals: tuple[type[Exception], ...] = ()) -> Any:
        """The value for the offer; an exception becomes an AssertionError that names the hook, but not `refusals`."""
        try:
            return self.call(SimpleNamespace(**offer))
        except Exception as error:
            if isinstance(error, (AssertionError, *refusals)):
                raise
            raise self.broken(f"raises {type(error).__name__}{when}: {reason(error)}") from error

    def broken(self, text: str) -> AssertionError:
        """The sentence that says what the hook does, or must do."""
        return AssertionError(f"{self.where} {text}")


@contextmanager
def unchanged(
    where: str, *, tensors: Mapping[str, Tensor] | None = None, **modules: nn.Module | None
) -> Iterator[None]:
    """Raise AssertionError when the block changes a tensor, a module or a global random generator."""
    lent = dict(tensors or {})
    before = {name: (tensor.detach().clone(), tensor._version) for name, tensor in lent.items()}
    parts = {name: module for name, module in modules.items() if module is not None}
    kept = {name: _snapshot(module) for name, module in parts.items()}
    generators = _generators()
    yield
    for name, (copy, version) in before.items():
        if lent[name]._version != version or not torch.equal(lent[name].detach(), copy):
            raise AssertionError(f"{where} changes {name} in place; return a new tensor instead")
    for name, module in parts.items():
        _compare(where, name, kept[name], _snapshot(module))
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


def _compare(where: str, name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    if list(after["weights"]) != list(before["weights"]):
        raise AssertionError(f"{where} adds or removes parts of the {name}")
    for key, tensor in before["weights"].items():
        if not torch.equal(after["weights"][key], tensor):
            advice = remedy(key) or "; plugins return values, the core makes changes"
            raise AssertionError(f"{where} changes {key} of the {name}{advice}")
    for what in ("modes", "gradients wanted", "gradients"):
        if after[what] != before[what]:
            raise AssertionError(f"{where} changes the {name}'s {what}; leave them as they are")
