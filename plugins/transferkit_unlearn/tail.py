"""The end of a backbone: its last linear layer, and what makes features of it, to be run again without the rest."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model import TransferModel

LINEAR = (nn.Conv2d, nn.Linear)


@dataclass
class Tail:
    """`layer` lies in `block`, the smallest part of the network after which there are only `after` and the pooling."""

    net: Any
    layer: nn.Conv2d | nn.Linear
    name: str
    norm: str | None
    block: nn.Module
    block_name: str
    after: list[nn.Module]

    @torch.no_grad()
    def features(self, given: Tensor) -> Tensor:
        """What the block gets (b, …) -> features (b, d)."""
        maps = self.block(given)
        for module in self.after:
            maps = module(maps)
        features: Tensor = self.net.forward_head(maps, pre_logits=True)
        return features


@torch.no_grad()
def tail_of(model: TransferModel, image: Tensor) -> Tail:
    """The end of a copy of the network, found by one image (1, C, H, W).

    Raises InputError for networks that end in another way: their last linear layer is not followed by steps that
    keep its outputs apart, one feature for each.
    """
    net: Any = copy.deepcopy(model.net).eval()
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    copies: list[Tensor] = []  # what each got: a network may change it in place later

    def record(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor):
            calls.append((module, given[0], output))
            copies.append(given[0].clone())

    hooks = [module.register_forward_hook(record) for module in net.modules()]
    maps = net.forward_features(image)
    features = net.forward_head(maps, pre_logits=True)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in net.named_modules()}
    at = max((i for i, (module, _, _) in enumerate(calls) if isinstance(module, LINEAR)), default=-1)
    layer: Any = calls[at][0] if at >= 0 else None
    for start in range(at, len(calls)) if at >= 0 and getattr(layer, "groups", 1) == 1 else ():
        block, _, reached = calls[start]
        after: list[nn.Module] = []
        while reached is not maps and layer in set(block.modules()):
            here = [call for call in calls[start + 1 :] if call[1] is reached and call[2] is not reached]
            if not here:
                break
            after, reached = [*after, here[-1][0]], here[-1][2]
        if reached is maps and layer in set(block.modules()):
            norms = [m for m, g, _ in calls if g is calls[at][2] and isinstance(m, nn.modules.batchnorm._BatchNorm)]
            tail = Tail(net, layer, names[layer], names[norms[0]] if norms else None, block, names[block], after)
            given = copies[start]
            if torch.allclose(tail.features(given.clone()), features, rtol=1e-4, atol=1e-5) and _apart(tail, given):
                return tail
    raise InputError(
        f"unlearn: {model.architecture} does not end in a convolution or linear layer whose outputs become one feature "
        "each; use leace, which works on the heads of any model"
    )


def _apart(tail: Tail, given: Tensor) -> bool:
    """Whether each output of the layer moves one feature, its own, and the constant has a place to go to."""
    before, width = tail.features(given.clone()), len(tail.layer.weight)
    if before.shape[1] != width or (tail.layer.bias is None and tail.norm is None):
        return False
    for channel in (0, width - 1):
        shift = torch.zeros(width).index_fill_(0, torch.tensor([channel]), 1.0).to(given)
        form = shift[:, None, None] if isinstance(tail.layer, nn.Conv2d) else shift
        hook = tail.layer.register_forward_hook(lambda module, inputs, output, form=form: output + form)
        moved = (tail.features(given.clone()) - before).abs().sum(0)
        hook.remove()
        if bool((moved > 1e-4 * moved.max()).sum() > 1) or float(moved[channel]) < float(moved.max()):
            return False
    return True
