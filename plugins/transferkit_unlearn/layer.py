"""The last linear layer with as much of a class's own direction in each output as evens the class out."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from transferkit.analysis import leace
from transferkit_unlearn.match import matched
from transferkit_unlearn.tail import Tail, tail_of

if TYPE_CHECKING:
    from transferkit import EditSession
    from transferkit.model import TransferModel

BATCH = 64


def block_inputs(model: TransferModel, session: EditSession, dataset: str) -> tuple[Tail, Tensor]:
    """The end of the network, and what its block gets (n, …) of every image of the train split, on the CPU."""
    work = copy.deepcopy(model)
    kept: list[Tensor] = []
    tail: Tail | None = None
    for images, _, _ in session.outputs(dataset, "train", model=work):
        if tail is None:
            tail = tail_of(work, images[:1])
            block = dict(work.net.named_modules())[tail.block_name]
            block.register_forward_pre_hook(lambda module, given: kept.append(given[0].detach().cpu().clone()))
            work(images)
    assert tail is not None
    return tail, torch.cat(kept)


class Layer:
    """The tail's layer on the inputs of some images: `features(T)` has T·u added to its outputs.

    u (k) are the classes' discriminant directions (LEACE's) in the layer's input, at every place of a map.
    """

    def __init__(self, tail: Tail, given: Tensor, concepts: Tensor, ridge: float | None) -> None:
        self.tail, self.given = tail, given
        pooled: list[Tensor] = []
        hook = tail.layer.register_forward_hook(lambda module, inputs, output: pooled.append(_pooled(inputs[0])))
        first = self._run()
        hook.remove()
        inputs, rest = torch.cat(pooled).double(), ~concepts.any(dim=1)
        erase = leace(inputs, concepts, ridge)
        apart = torch.stack([inputs[one].mean(0) - inputs[rest].mean(0) for one in concepts.bool().T], dim=1)
        self.filters = torch.linalg.pinv(erase.inn @ apart) @ erase.inn  # (k, C): a class has 1 more than the rest
        self.offset, self.width = self.filters @ erase.mean, first.shape[1]

    def _run(self) -> Tensor:
        return torch.cat([self.tail.features(part.clone()) for part in torch.split(self.given, BATCH)])

    def features(self, amounts: Tensor) -> Tensor:
        """(n, d) with these amounts T (d, k) of the directions in the layer."""
        weight, shift = self.changed(amounts)
        plain = self.tail.layer.weight
        hook = self.tail.layer.register_forward_hook(lambda module, inputs, output: output + shift.to(output))
        try:
            self.tail.layer.weight = nn.Parameter(weight, requires_grad=False)
            return self._run()
        finally:
            hook.remove()
            self.tail.layer.weight = plain

    def changed(self, amounts: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's weight with T·u in it, and what is added to its outputs, (d,) or (d, 1, 1)."""
        layer, more = self.tail.layer, amounts @ self.filters  # (d, C)
        shift = -(amounts @ self.offset)
        if isinstance(layer, nn.Linear):
            return (layer.weight + more).to(layer.weight.dtype), shift
        weight = layer.weight.detach().double().clone()
        weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] += more
        return weight.to(layer.weight.dtype), shift[:, None, None]


def _pooled(maps: Tensor) -> Tensor:
    """(b, C, H, W), (b, n, C) or (b, C) -> (b, C): the mean over places."""
    return maps.flatten(2).mean(2) if maps.dim() == 4 else maps.flatten(1, -2).mean(1) if maps.dim() == 3 else maps


def unlearnt(tail: Tail, given: Tensor, concepts: Tensor, ridge: float | None) -> dict[str, Tensor]:
    """New values of the tail's layer, with which every feature has the same mean in each class and in the rest."""
    layer = Layer(tail, given, concepts, ridge)
    amounts = matched(layer.features, concepts, layer.width)
    weight, shift = layer.changed(amounts)
    values, flat, own = {f"{tail.name}.weight": weight}, shift.flatten(), tail.net.state_dict()
    if tail.layer.bias is not None:
        values[f"{tail.name}.bias"] = (own[f"{tail.name}.bias"] + flat).to(weight.dtype)
    else:  # batch normalisation takes the mean away before anything else
        values[f"{tail.norm}.running_mean"] = (own[f"{tail.norm}.running_mean"] - flat).to(weight.dtype)
    return values
