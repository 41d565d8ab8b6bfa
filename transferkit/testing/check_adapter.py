"""The promises of `adapt`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.data.randomness import numpy_rng, seeded
from transferkit.errors import InputError
from transferkit.model.adapted import Adapted
from transferkit.model.adapting import merged, put_in
from transferkit.model.wrapper import Output, TransferModel
from transferkit.testing.subject import Hook, unchanged
from transferkit.testing.tiny import tiny_images, tiny_labels
from transferkit.words.kinds import reason

BATCH = 8
EQUAL = 1e-5  # of the largest logit: what float32 rounds in a merged network


def check_adapt(hook: Hook) -> None:
    """Layers that fit, train with finite gradients, answer alike for the same input, copy, store, and merge."""
    model, declared = copy.deepcopy(hook.subject.session.model), hook.subject.plugin.component.declared
    modules = _layers(hook, model)
    name = hook.subject.plugin.component.name
    adapter = Adapted(name, "under-test", "0", (), {}, (), declared.freezes, declared.merges)
    _put_in(hook, model, modules, adapter)
    own = dict(model.named_adapter_parameters())
    if declared.freezes and not own:
        raise hook.broken("says freezes = True, and none of its layers has a parameter of its own: nothing would train")
    _check_training(hook, model, own, freezes=declared.freezes)
    _move(own)
    _check_answers(hook, model)
    _check_stored(hook, model, adapter)
    if declared.merges:
        _check_merged(hook, model, modules)


def _layers(hook: Hook, model: TransferModel) -> Mapping[str, nn.Module]:
    """What it returns; twice the same for the same key, without a change to what it was lent."""
    session = hook.subject.session
    found = []
    for one in (copy.deepcopy(model), model):
        with unchanged(hook.where, model=one, reference=session.reference), seeded("check_plugin", "adapt"):
            found.append(hook.invoke({"model": one, "reference": session.reference}))
    first, second = found
    if isinstance(second, Mapping) and isinstance(first, Mapping):
        for name, module in second.items():
            other = first.get(name)
            if isinstance(module, nn.Module) and not (isinstance(other, nn.Module) and _equal(module, other)):
                raise hook.broken(
                    f'gives another layer for "{name}" when it is called again; draw from torch\'s generator alone, '
                    "which the core keys to the seed"
                )
    return second  # type: ignore[no-any-return]


def _equal(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def _put_in(hook: Hook, model: TransferModel, modules: Any, adapter: Adapted) -> None:
    try:
        put_in(model, modules, adapter)
    except InputError as error:
        raise AssertionError(f"{hook.where}: {error}") from error


def _check_training(hook: Hook, model: TransferModel, own: Mapping[str, nn.Parameter], *, freezes: bool) -> None:
    """A step's gradients, in float32 and bfloat16, with everything frozen that the class says is."""
    for name, parameter in model.net.named_parameters():
        parameter.requires_grad_(not freezes or name in own or any(parameter is one for one in model.head.parameters()))
    for precision, half in (("float32", False), ("bfloat16", True)):
        model.train()
        model.zero_grad()
        try:
            with seeded("check_plugin", "step"), torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits = model(tiny_images(BATCH)).logits
            nn.functional.cross_entropy(logits.float(), tiny_labels(BATCH)).backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise hook.broken(f"gives layers that do not train in {precision}: {reason(error)}") from error
        _check_gradients(hook, own, precision)
    model.requires_grad_(True)


def _check_gradients(hook: Hook, own: Mapping[str, nn.Parameter], precision: str) -> None:
    for name, parameter in own.items():
        if parameter.requires_grad and parameter.grad is None:
            raise hook.broken(f"gives a parameter that the layer does not use: {name}; leave it out or use it")
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise AssertionError(f"{hook.where}: the gradient of {name} is not finite in {precision}")
    gradients = [parameter.grad for parameter in own.values() if parameter.grad is not None]
    if gradients and not any(gradient.abs().max() > 0 for gradient in gradients):
        raise AssertionError(
            f"{hook.where}: the gradient of every parameter of its own is zero, so it would never learn; not all of "
            "them may begin at zero"
        )


def _move(own: Mapping[str, nn.Parameter]) -> None:
    """As after some training."""
    with torch.no_grad():
        for name, parameter in own.items():
            noise = numpy_rng("check_plugin move", name).standard_normal(tuple(parameter.shape))
            parameter.add_(torch.as_tensor(noise, dtype=parameter.dtype), alpha=0.05)


@torch.no_grad()
def _logits(model: TransferModel, size: int = BATCH) -> Tensor:
    output: Output = model.eval()(tiny_images(size))
    return output.logits


def _check_answers(hook: Hook, model: TransferModel) -> None:
    """In evaluation mode: finite, the same for an image alone, and whatever becomes of a copy."""
    first = _logits(model)
    if not first.isfinite().all():
        raise hook.broken("gives layers whose outputs are not finite")
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.data.zero_()
    if not torch.equal(first, _logits(model)):
        raise hook.broken("gives layers whose copies share weights with them; an average of weights is such a copy")
    if _far(_logits(model, 1), first[:1]):
        raise hook.broken("gives layers that answer differently for an image alone in evaluation mode")


def _check_stored(hook: Hook, model: TransferModel, adapter: Adapted) -> None:
    """What a checkpoint keeps is enough: put in anew and filled with it, the layers answer as before."""
    session, anew = hook.subject.session, copy.deepcopy(hook.subject.session.model)
    with seeded("check_plugin", "another key"):
        modules = hook.call(SimpleNamespace(model=anew, reference=session.reference))
    _put_in(hook, anew, modules, adapter)
    anew.load_state_dict(model.state_dict())
    if not torch.equal(_logits(anew), _logits(model)):
        raise hook.broken("gives layers with something that is in no parameter or buffer: a resumed run would lack it")


def _check_merged(hook: Hook, model: TransferModel, modules: Mapping[str, nn.Module]) -> None:
    """`merged()` has the outputs of the layer, and no more than the plain layer has."""
    before, state = _logits(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        plain = {name: module.merged() for name, module in modules.items()}  # type: ignore[operator]
    if any(not torch.equal(state[name], tensor) for name, tensor in model.state_dict().items()):
        raise hook.broken("gives layers whose merged() changes them; return a new layer")
    after = _logits(merged(model))
    if _far(after, before):
        off = float((after - before).abs().max() / before.abs().max())
        raise hook.broken(
            f"gives layers whose merged() answers differently (by {off:.1e} of the largest logit): the model that is "
            "saved would not be the one that was trained; if it cannot be merged, say merges = False"
        )
    original = dict(hook.subject.session.model.net.named_modules())
    for name, made in plain.items():
        kind, wanted = type(made), type(original[name])
        if kind is not wanted:
            raise hook.broken(f'gives a merged() for "{name}" that is a {kind.__name__}, not a {wanted.__name__}')


def _far(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() > EQUAL * other.abs().max())
