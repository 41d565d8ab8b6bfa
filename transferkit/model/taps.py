"""Taps: the outputs of named inner layers, collected during a forward pass by persistent hooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.words.kinds import type_of
from transferkit.words.suggest import did_you_mean

DEFAULT_TAPS = 4


class Store(dict[str, Tensor]):
    """Outputs by layer, shared by a model and its taps. torch.export puts copies in place of a plain dict's."""

    closed = False
    """Whether what layers return now is not kept."""


class Tap:
    """A forward hook that puts a layer's output into a shared store.

    It is an object rather than a closure so that a deep copy of the model gets taps and a store of its own.
    `copy` is set where the network later changes that output in place.
    """

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.store = store
        self.copy = False

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Keep what the layer returned."""
        if self.store.closed:
            return
        tensor = first_tensor(output)
        self.store[self.name] = tensor.clone() if self.copy else tensor


def first_tensor(output: Any) -> Tensor:
    """The output itself, or the first tensor in a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, Mapping) else output
    for value in values:
        if isinstance(value, Tensor):
            return value
    raise TypeError(f"a tapped layer returned {type_of(output)} without a tensor in it")


def find_layer(net: nn.Module, name: str) -> nn.Module:
    """The layer of that name. Raises InputError with a suggestion."""
    layers: dict[str, nn.Module] = dict(net.named_modules())
    if name and name in layers:
        return layers[name]
    hint = did_you_mean(name, [known for known in layers if known], limit=20)
    raise InputError(f'the model has no layer "{name}" to tap; {hint}')


def feature_layers(net: nn.Module) -> list[tuple[str, int | None, int | None]]:
    """(layer, channels, reduction) of each stage output that timm's `feature_info` lists and the model has."""
    info = getattr(net, "feature_info", None) or []
    entries = info if isinstance(info, list) else getattr(info, "info", [])
    layers = dict(net.named_modules())
    return [
        (entry["module"], entry.get("num_chs"), entry.get("reduction"))
        for entry in entries
        if entry.get("module") in layers
    ]


def default_taps(net: nn.Module) -> list[str]:
    """Up to four layers: the last stages, or blocks spread evenly over a family without stages.

    Raises InputError where timm says nothing about the model's stages.
    """
    stages = feature_layers(net)
    names = [name for name, _, _ in stages]
    if not names:
        raise InputError("timm lists no stages for this model; name the layers to tap yourself")
    flat = len({reduction for _, _, reduction in stages}) == 1
    if not flat or len(names) <= DEFAULT_TAPS:
        return names[-DEFAULT_TAPS:]
    ends = [-(-(part + 1) * len(names) // DEFAULT_TAPS) - 1 for part in range(DEFAULT_TAPS)]
    return [names[end] for end in ends]


def tap_channels(net: nn.Module, name: str) -> int | None:
    """The number of channels of a layer, or of the stage it is in, where timm's `feature_info` knows it."""
    known = {layer: channels for layer, channels, _ in feature_layers(net)}
    parts = name.split(".")
    above = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((known[layer] for layer in above if known.get(layer)), None)


def install(net: nn.Module, names: Iterable[str], store: Store) -> dict[str, Tap]:
    """Hook the named layers; their outputs land in `store`."""
    taps: dict[str, Tap] = {}
    for name in names:
        taps[name] = Tap(name, store)
        find_layer(net, name).register_forward_hook(taps[name])
    return taps


def install_inside(net: nn.Module, taps: Mapping[str, Tap]) -> None:
    """Hook the last parts of layers that are plain sequences as well.

    With gradient checkpointing timm calls the parts of such a sequence, and never the sequence itself.
    """
    for name, tap in taps.items():
        layer = find_layer(net, name)
        if (last := _last_of(layer)) is not layer:
            last.register_forward_hook(tap)


def _last_of(layer: nn.Module) -> nn.Module:
    """What computes a layer's output: of a plain sequence its last part."""
    while type(layer).forward is nn.Sequential.forward and len(layer):  # type: ignore[arg-type]
        *_, layer = layer.children()
    return layer
