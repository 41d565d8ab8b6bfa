"""Layers of adapters: put in place of a model's own, and made plain again on saving.

A plugin returns modules by layer name; every change of the model is made here.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from transferkit.errors import InputError, Problem
from transferkit.model.adapted import Adapted
from transferkit.model.compatibility import check_forward, probe_batch
from transferkit.model.modes import evaluating
from transferkit.model.wrapper import TransferModel
from transferkit.words.formats import some
from transferkit.words.kinds import reason
from transferkit.words.suggest import closest, did_you_mean

L = TypeVar("L", bound=nn.Module)


def put_in(model: TransferModel, modules: Mapping[str, nn.Module], adapter: Adapted) -> None:
    """Let each module take the place of the layer of that name, and note in `model.adapters` what was changed.

    `adapter` says whose they are; its `layers` and `own` are found out here. Raises InputError before anything is
    changed for what cannot be: an unknown name, the head, a layer that another adapter has changed, a module whose
    `merged()` is not like the plain layer; and afterwards for layers that the network does not call, and for a
    network that does not run any more.
    """
    if not isinstance(modules, Mapping) or not all(isinstance(one, nn.Module) for one in modules.values()):
        raise InputError(f"{adapter}: adapt must return {{layer: module}}, not {modules!r:.80}")
    if not modules:
        raise InputError(f"{adapter} changes no layer of {model.architecture}; name layers in its options")
    plain = {name: _plain_layer(model, name, adapter) for name in modules}
    own: list[str] = []
    for name, module in modules.items():
        if adapter.merges:
            _require_merge(module, plain[name], name, adapter)
        had = {inner for inner, _ in plain[name].named_parameters()}
        own += [f"{name}.{inner}" for inner, _ in module.named_parameters() if inner not in had]
        like = next(plain[name].parameters(), next(model.net.parameters()))
        _place(model.net, name, module.to(like.device).train(plain[name].training))
    model.adapters.append(replace(adapter, layers=tuple(modules), own=tuple(own)))
    try:
        idle = sorted(modules.keys() - called_layers(model))
    except Exception as error:
        raise InputError(f"{model.architecture} does not run with the layers of {adapter}: {reason(error)}") from error
    if idle:
        raise InputError(
            f"{adapter} changes {some(idle)}, which {model.architecture} does not call: it reads the layer's weights "
            "itself, so what is put in its place does nothing; choose other layers"
        )
    images, net = probe_batch(model, 1), model.net
    with evaluating(net), torch.no_grad():
        if not torch.equal(net(images), net(images)):
            raise InputError(
                f"{adapter}: its layers answer differently in evaluation mode; draw where they train alone"
            )
    check_forward(model, f"{model.architecture} with the layers of {adapter}")


def _plain_layer(model: TransferModel, name: str, adapter: Adapted) -> nn.Module:
    layers: dict[str, nn.Module] = dict(model.net.named_modules())
    if not name or name not in layers:
        hint = did_you_mean(str(name), [known for known in layers if known], limit=20)
        raise InputError(f'{adapter}: {model.architecture} has no layer "{name}"; {hint}')
    layer = layers[name]
    if any(inner is model.head for inner in layer.modules()):
        raise InputError(f'{adapter}: "{name}" holds the classifier, which is new and trains as it is; leave it out')
    for other in model.adapters:
        for taken in other.layers:
            if name == taken or name.startswith(f"{taken}.") or taken.startswith(f"{name}."):
                raise InputError(
                    f'{adapter}: "{name}" is changed by {other} already; let each of them have other layers'
                )
    return layer


def _require_merge(module: nn.Module, plain: nn.Module, name: str, adapter: Adapted) -> None:
    merge = getattr(module, "merged", None)
    if not callable(merge):
        raise InputError(
            f'{adapter}: its layer for "{name}" ({type(module).__name__}) has no merged(), which gives the plain layer '
            "that is saved; if there can be none, the class must say merges = False"
        )
    with torch.no_grad():
        made = merge()
    shapes = [{key: tuple(tensor.shape) for key, tensor in one.state_dict().items()} for one in (plain, made)]
    if shapes[0] != shapes[1]:
        names = sorted(key for key in shapes[0].keys() | shapes[1].keys() if shapes[0].get(key) != shapes[1].get(key))
        raise InputError(
            f'{adapter}: merged() of its layer for "{name}" is not like the plain {type(plain).__name__}: {some(names)}'
        )


def _place(net: nn.Module, name: str, module: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    setattr(net.get_submodule(above), last, module)


def called_layers(model: TransferModel) -> set[str]:
    """The layers, by timm's names, that a forward pass of the backbone calls. One small pass tells."""
    found: set[str] = set()
    net: Any = model.net

    def note(name: str, module: nn.Module, given: Any) -> None:
        found.add(name)

    with ExitStack() as hooks, evaluating(net), torch.no_grad():
        for name, layer in net.named_modules():
            hooks.enter_context(layer.register_forward_pre_hook(partial(note, name)))
        net.forward_head(net.forward_features(probe_batch(model, 1)), pre_logits=True)
    return found


def layers_of(
    model: TransferModel, types: type[L] | Collection[type[L]], patterns: Sequence[str] | None = None
) -> dict[str, L]:
    """{timm's name: layer} of the backbone's layers that are of just these types and match one of the glob patterns.

    Without patterns all of them. Left out are the classifier and layers that a forward pass does not call (some
    attention layers read the weights of another layer themselves). Raises InputError for a pattern that matches none.
    """
    exact, called = set(types) if isinstance(types, Collection) else {types}, called_layers(model)
    named = {
        name: layer for name, layer in model.net.named_modules() if layer is not model.head and type(layer) in exact
    }
    fit: dict[str, Any] = {name: layer for name, layer in named.items() if name in called}
    if patterns is None:
        return fit
    problems = []
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in fit):
            uncalled = [name for name in named if fnmatchcase(name, pattern)]
            kinds, near = " or ".join(sorted(one.__name__ for one in exact)), closest(pattern, fit)
            if uncalled:
                text, hint = f'"{pattern}" matches {some(uncalled)}, which the network does not call', None
            else:
                text = f'"{pattern}" matches no {kinds} layer of {model.architecture}'
                hint = f'did you mean "{near}"?' if near else (f"there are {some(list(fit))}" if fit else None)
            problems.append(Problem("adapters", text, hint))
    if problems:
        raise InputError(problems)
    return {name: layer for name, layer in fit.items() if any(fnmatchcase(name, one) for one in patterns)}


def recast(layer: nn.Module, cls: type[L]) -> L:
    """A layer of another class with all that this one has: settings, hooks, and the very parameters and buffers.

    For a subclass that adds to a plain layer, and back: `recast(layer, nn.Linear)` in its `merged()`. Parameters of
    the same names stay what all that goes by names knows them by.
    """
    made = cls.__new__(cls)
    made.__dict__ = {key: copy.copy(value) if isinstance(value, dict) else value for key, value in vars(layer).items()}
    return made


def merged(model: TransferModel) -> TransferModel:
    """The model with plain layers in place of those of adapters that merge: a copy without taps, or itself if none is.

    Its outputs are the model's in evaluation mode, but for rounding.
    """
    if not any(adapter.merges for adapter in model.adapters):
        return model
    plain = copy.deepcopy(model)
    plain.untap()
    with torch.no_grad():
        for adapter in plain.adapters:
            for name in adapter.layers if adapter.merges else ():
                layer: Any = plain.net.get_submodule(name)
                _place(plain.net, name, layer.merged().train(layer.training))
    plain.adapters = [adapter for adapter in plain.adapters if not adapter.merges]
    return plain
