"""State dicts of torchvision's models in timm's: other names, the same layers in the same order.

A safetensors file keeps no order, so the file's names say which torchvision model it is, and that model's own order
is compared with timm's. Nothing is believed before both models have given the same logits.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model.modes import evaluating

COUNTERS = "num_batches_tracked"
"""Old files lack them; batch norm uses them only with momentum=None, which timm never sets."""
TOLERANCE = 1e-4  # of the largest logit


@dataclass(frozen=True)
class Translation:
    """A torchvision state dict with timm's names."""

    name: str
    """torchvision's name of the model."""
    state: dict[str, Tensor]
    original: nn.Module
    """torchvision's model with these weights."""

    @torch.no_grad()
    def verify(self, net: nn.Module, where: str) -> None:
        """Raise InputError unless the filled timm model gives the logits of torchvision's on the same input.

        Equal shapes do not mean equal models: paddings and epsilons are not in a state dict.
        """
        size = getattr(net, "pretrained_cfg", {}).get("input_size") or (3, 224, 224)
        images = torch.sin(torch.arange(torch.Size(size).numel(), dtype=torch.float64) * 0.37).reshape(1, *size).float()
        with evaluating(net):
            ours, theirs = net(images), self.original.eval()(images)
        difference = float((ours - theirs).abs().max())
        if not difference <= TOLERANCE * float(theirs.abs().max()):
            raise InputError(
                f"{where}: these are weights of torchvision's {self.name}. Their shapes fit {_label(net)}, but the two "
                f"models give different logits (by up to {difference:.3g}), so they differ in what no file records, "
                "such as padding or epsilons; give the timm model and the options that match (bn_eps, pad_type, …)"
            )


def translate(net: nn.Module, state: Mapping[str, Tensor]) -> Translation | None:
    """The state under timm's names, if it is of a torchvision classifier whose layers come in the same order.

    The number of classes may differ from that of `net`. None for anything else.
    """
    if Counter(_kinds(state)) != Counter(_kinds(net.state_dict())):
        return None  # the cheap answer to almost every file
    import torchvision

    names = {name for name in state if not name.endswith(COUNTERS)}
    known: list[str] = torchvision.models.list_models(module=torchvision.models)
    # those with a similar name first: the right one is found sooner
    for candidate in sorted(known, key=lambda name: SequenceMatcher(None, name, _label(net)).ratio(), reverse=True):
        order = [name for name in _built(candidate, "meta").state_dict() if not name.endswith(COUNTERS)]
        if set(order) != names:
            continue
        translated = _in_order(net, {name: state[name] for name in order})
        if translated is None:
            continue
        original = _built(candidate, "cpu", classes=len(state[order[-1]]))
        filled = original.state_dict()  # with the format version that some of its models look for
        filled.update(state)
        try:
            original.load_state_dict(filled)
        except RuntimeError:  # a sibling with the same names and other shapes
            continue
        return Translation(candidate, translated, original)
    return None


def _kinds(state: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Leaf name and shape of every tensor but the classifier's, whose number of classes is free."""
    for name, tensor in state.items():
        leaf = name.rpartition(".")[2]
        if leaf != COUNTERS and "classifier" not in name and not name.startswith(("fc.", "head.", "heads.")):
            yield leaf, tuple(tensor.shape)


def _in_order(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    own = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith(COUNTERS)}
    if len(own) != len(state):
        return None
    free = len(own) - 2  # the classifier's weight and bias come last
    for at, ((name, ours), (other, theirs)) in enumerate(zip(own.items(), state.items(), strict=True)):
        skip = 1 if at >= free else 0
        if name.rpartition(".")[2] != other.rpartition(".")[2] or ours.shape[skip:] != theirs.shape[skip:]:
            return None
    return dict(zip(own, state.values(), strict=True))


def _built(name: str, device: str, classes: int | None = None) -> nn.Module:
    """torchvision's model without trained weights; on the meta device only its names and shapes exist."""
    import torchvision

    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.device(device):
        warnings.simplefilter("ignore")
        try:
            model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        except NotImplementedError:  # regnets compute their widths with tensors, which have no values on meta
            return nn.Module()
    return model


def _label(net: nn.Module) -> str:
    return str(getattr(net, "pretrained_cfg", {}).get("architecture") or type(net).__name__)
