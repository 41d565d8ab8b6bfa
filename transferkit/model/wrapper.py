"""The module that Accelerate prepares: one forward pass gives logits, features and taps of every stream."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from transferkit.errors import InputError
from transferkit.model import taps as tapping
from transferkit.model.adapted import Adapted
from transferkit.model.compatibility import check_taps
from transferkit.model.layout import Reading, reading_of
from transferkit.model.preprocessing import Preprocessing

TARGET = "target"


class Output(NamedTuple):
    """What one forward pass gives: logits (b, K), features (b, d), and the tapped layers' outputs by name."""

    logits: Tensor
    features: Tensor
    taps: dict[str, Tensor]


@dataclass
class SourceHead:
    """The classifier of the model a stage started from: weight (K, d), bias (K,) or None, class names."""

    weight: Tensor
    bias: Tensor | None
    classes: list[str]

    def tensors(self) -> dict[str, Tensor]:
        """`weight`, and `bias` where there is one."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def logits(self, features: Tensor) -> Tensor:
        """(b, d) -> (b, K)."""
        weight = self.weight.to(features)
        return nn.functional.linear(features, weight, None if self.bias is None else self.bias.to(features))


class TransferModel(nn.Module):
    """A timm model with its target head, further heads for further streams, and taps.

    `stream_batchnorm` says how several streams go through the backbone: concatenated ("joint", one set of
    batch statistics) or one after the other ("separate"). With `joint_heads` the logits of every stream are those of
    all heads, the target's first. `between` changes the features on their way to the heads. Both hold for forward
    passes by stream only: evaluation sees the target's head on the plain features.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        architecture: str,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.heads = nn.ModuleDict()
        self.own = nn.ModuleDict()  # of plugins: trained with the model, and never part of what is saved
        self.classes = list(classes)
        self.preprocessing = preprocessing
        self.architecture = architecture
        self.options = dict(options or {})
        self.stream_batchnorm: Literal["joint", "separate"] = "joint"
        self.joint_heads = False
        self.feature_transform: Callable[[Tensor], Tensor] | None = None
        self.frozen = False
        self.adapters: list[Adapted] = []
        self._store = tapping.Store()
        self._taps: dict[str, tapping.Tap] = {}

    @overload
    def forward(self, images: Tensor) -> Output: ...
    @overload
    def forward(self, images: dict[str, Tensor]) -> dict[str, Output]: ...
    def forward(self, images: Tensor | dict[str, Tensor]) -> Output | dict[str, Output]:
        """Images (b, C, H, W) give an Output; {stream: images} gives {stream: Output}, each by its own head."""
        if isinstance(images, dict):
            return self._forward_streams(images)
        features, taps = self._backbone(images)
        return Output(self.head(features), features, taps)

    def _backbone(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self._store.clear()
        maps = self.net.forward_features(images)  # type: ignore[operator]
        features = self.net.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        taps = {name: self._store[name] for name in self._taps}
        self._store.clear()
        return features, taps

    def _forward_streams(self, images: dict[str, Tensor]) -> dict[str, Output]:
        # the same images take one pass; told by `is`, for an id() would make torch.compile anew at every step
        firsts = {name: next(one for one, given in images.items() if given is part) for name, part in images.items()}
        distinct = {name: part for name, part in images.items() if firsts[name] == name}
        apart = self.stream_batchnorm == "separate" or len(distinct) == 1  # one stream needs no copy to be joined
        inner = self._separate(distinct) if apart else self._joint(distinct)
        outputs = {}
        for name in images:
            features, taps = inner[firsts[name]]
            outputs[name] = Output(self._stream_logits(name, features), features, taps)
        return outputs if self.joint_heads else self._tie_idle_heads(outputs)

    def _stream_logits(self, stream: str, features: Tensor) -> Tensor:
        given = features if self.feature_transform is None else self.feature_transform(features)
        if not self.joint_heads:
            return self.head_of(stream)(given)  # type: ignore[no-any-return]
        return torch.cat([self.head_of(name)(given) for name in (TARGET, *self.heads)], dim=1)

    def _joint(self, images: dict[str, Tensor]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
        sizes = [len(part) for part in images.values()]
        features, taps = self._backbone(torch.cat(list(images.values())))
        pieces = {name: torch.split(tap, sizes) for name, tap in taps.items()}
        return {
            stream: (part, {name: piece[index] for name, piece in pieces.items()})
            for index, (stream, part) in enumerate(zip(images, torch.split(features, sizes), strict=True))
        }

    def _separate(self, images: dict[str, Tensor]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
        """One pass per stream; a stream without images takes empty slices of another's outputs."""
        done = {name: self._backbone(part) for name, part in images.items() if len(part)}
        features, taps = next(iter(done.values()))
        empty = features[:0], {name: tap[:0] for name, tap in taps.items()}
        return {name: done.get(name, empty) for name in images}

    def _tie_idle_heads(self, outputs: dict[str, Output]) -> dict[str, Output]:
        """Add exact zeros from heads without images, so that every parameter is in the graph of every step.

        A distributed backward pass waits for the gradient of every parameter.
        """
        busy = next(name for name, output in outputs.items() if len(output.logits))
        idle = [name for name in (TARGET, *self.heads) if name not in outputs or not len(outputs[name].logits)]
        if not idle:
            return outputs
        features = outputs[busy].features
        zero = sum(self.head_of(name)(features[:0]).sum() for name in idle)
        return {**outputs, busy: outputs[busy]._replace(logits=outputs[busy].logits + zero)}

    @property
    def head(self) -> nn.Linear:
        """The target classifier."""
        return self.net.get_classifier()  # type: ignore[operator, no-any-return]

    def head_of(self, stream: str) -> nn.Module:
        """The classifier of a stream: the target's own, or one made by `add_head`."""
        return self.heads[stream] if stream in self.heads else self.head  # noqa: SIM401 - ModuleDict has no get

    @property
    def num_features(self) -> int:
        """The width d of the features: the head's input, or what a head would get where there is none."""
        net: Any = self.net
        head = net.get_classifier()
        if isinstance(head, nn.Linear):
            return head.in_features
        return int(getattr(net, "head_hidden_size", None) or net.num_features)

    @property
    def tap_names(self) -> list[str]:
        """The layers tapped so far, in the order in which they were asked for."""
        return list(self._taps)

    def tap(self, names: Iterable[str]) -> None:
        """Collect the outputs of these layers from now on. Raises InputError for names the model lacks.

        Call it before the model is compiled or wrapped: one small pass checks that each layer is reached, and
        finds those whose output the network overwrites in place (they are copied).
        """
        new = [name for name in dict.fromkeys(names) if name not in self._taps]
        for name in new:
            tapping.find_layer(self.net, name)
        if not new:
            return
        added = tapping.install(self.net, new, self._store)
        check_taps(self, added, self._store)
        self._taps.update(added)

    def tap_parts(self) -> None:
        """Let the taps so far hear layers of which only the parts are called, as with gradient checkpointing."""
        tapping.install_inside(self.net, self._taps)

    def tapping(self, on: bool) -> None:
        """Whether taps keep what layers return from now on: not where gradient checkpointing runs layers again."""
        self._store.closed = not on

    def untap(self) -> None:
        """Collect nothing any more."""
        self._taps = {}

    def default_taps(self) -> list[str]:
        """Up to four layers: the last stages of timm's `feature_info`, or evenly spread blocks."""
        return tapping.default_taps(self.net)

    def reading(self, name: str) -> Reading:
        """Where the outputs of this layer hold channels and positions: what pools them, and names their axes."""
        return reading_of(self.net, self.preprocessing.input_size, tapping.tap_channels(self.net, name))

    def add_head(self, name: str, num_classes: int, initial: SourceHead | None = None) -> None:
        """A linear classifier for a further stream, random or filled. Raises InputError for a name that is taken."""
        if name == TARGET or name in self.heads or "." in name or not name:
            raise InputError(f'a stream\'s head cannot be called "{name}": the name is taken or has a dot in it')
        weight = self.head.weight
        head = nn.Linear(self.num_features, num_classes, device=weight.device, dtype=weight.dtype)
        if initial is not None:
            _fill(head, initial, name)
        self.heads[name] = head

    def add_own(self, name: str, module: nn.Module) -> None:
        """Let a module of a plugin's own train with the model. Raises InputError where it shares parameters with it."""
        every = set(map(id, self.parameters()))
        if any(id(parameter) in every for parameter in module.parameters()):
            raise InputError(f"the module of {name} has parameters of the model in it: give copies of them")
        try:
            self.own[name.replace(".", ":")] = module.to(self.head.weight.device)  # a dot would end the name
        except KeyError as error:
            raise InputError(f'a plugin with parameters cannot be called "{name}": give it another name') from error

    def own_of(self, name: str) -> nn.Module | None:
        """The module of the plugin of that name, where it has one."""
        key = name.replace(".", ":")
        return self.own[key] if key in self.own else None  # noqa: SIM401 - ModuleDict has no get

    def named_weights(self) -> dict[str, Parameter]:
        """{name: parameter}: timm's names, and `heads.` and `own.` before those of further heads and of plugins."""
        return {name.removeprefix("net."): parameter for name, parameter in self.named_parameters()}

    def swap_head(self, classes: Sequence[str] | None) -> SourceHead:
        """Give the model a new head for these classes (None keeps the head); return the old one as a copy.

        The new head is drawn from torch's global generator in torch's own range, 1/sqrt(d), whatever the
        family would use for a model created with that many classes.
        """
        source = self.source_head()
        if classes is not None:
            device, dtype = self.head.weight.device, self.head.weight.dtype
            self.net.reset_classifier(len(classes))  # type: ignore[operator]
            self.head.reset_parameters()
            self.head.to(device=device, dtype=dtype)
            self.classes = list(classes)
        return source

    def source_head(self) -> SourceHead:
        """The present target head as a frozen copy."""
        bias = None if self.head.bias is None else self.head.bias.detach().clone()
        return SourceHead(self.head.weight.detach().clone(), bias, list(self.classes))

    def set_head(self, head: SourceHead) -> None:
        """Put this head in place of the target's. Raises InputError where the widths differ."""
        width = head.weight.shape[1]
        if width != self.num_features:
            raise InputError(f"a head for {width} features does not fit a model with {self.num_features}")
        module, like = self.head, self.head.weight
        module.weight = Parameter(head.weight.detach().clone().to(like))
        module.register_parameter("bias", None if head.bias is None else Parameter(head.bias.detach().clone().to(like)))
        module.out_features = head.weight.shape[0]
        self.net.num_classes = module.out_features  # type: ignore[assignment]
        self.classes = list(head.classes)

    def named_head_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The target head's parameters, by timm's names. Further heads are in `heads`."""
        own = {id(parameter) for parameter in self.head.parameters()}
        return ((name, p) for name, p in self.net.named_parameters() if id(p) in own)

    def named_backbone_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Everything but the head and what adapters added, by timm's names: what the model it started from has too."""
        head, added = {id(parameter) for parameter in self.head.parameters()}, self._added
        return ((name, p) for name, p in self.net.named_parameters() if id(p) not in head and name not in added)

    def named_adapter_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """What the layers of adapters have and the plain ones had not, by its names in the timm model."""
        added = self._added
        return ((name, p) for name, p in self.net.named_parameters() if name in added)

    @property
    def _added(self) -> set[str]:
        return {name for adapter in self.adapters for name in adapter.own}

    def train(self, mode: bool = True) -> TransferModel:
        """Switch between training and evaluation. A reference stays in evaluation mode whatever is asked."""
        return super().train(mode and not self.frozen)


@torch.no_grad()
def _fill(head: nn.Linear, initial: SourceHead, name: str) -> None:
    if initial.weight.shape != head.weight.shape:
        raise InputError(
            f'the stream "{name}" has {head.out_features} classes on {head.in_features} features, but the head it is '
            f"to start from has the shape {tuple(initial.weight.shape)}"
        )
    head.weight.copy_(initial.weight)
    head.bias.copy_(initial.bias) if initial.bias is not None else head.bias.zero_()


def reference_of(model: TransferModel, source_head: SourceHead) -> TransferModel:
    """A frozen copy of the model with the source's head: no gradients, evaluation mode for ever.

    It has taps of its own on the same layers. Further heads and modules of plugins are left out.
    """
    reference = copy.deepcopy(model)
    reference.heads, reference.own = nn.ModuleDict(), nn.ModuleDict()
    reference.set_head(source_head)
    reference.requires_grad_(False)
    reference.frozen = True
    reference.eval()
    return reference
