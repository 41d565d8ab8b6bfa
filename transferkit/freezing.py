"""Which parameters train, and in which mode each layer trains: freezing by pattern, fixed features,
gradual unfreezing, batch-norm mode. Everything is recomputed from the epoch, so a resume needs no state.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.errors import InputError, Problem
from transferkit.model import TransferModel
from transferkit.suggest import closest

if TYPE_CHECKING:
    from transferkit.recipe.schema import Stage

BatchNormMode = Literal["train", "eval"]


@dataclass(frozen=True)
class Freezing:
    """What a stage freezes, as data; `apply` and `train_mode` bring a model into that state.

    `frozen` are parameter names that never train. `groups` are layer groups from bottom to top (the head
    last), of which `opened_at_a_time` more train after every `every` epochs; None: all from the start.
    """

    frozen: frozenset[str] = frozenset()
    fixed_features: bool = False
    batchnorm: BatchNormMode = "train"
    groups: tuple[tuple[str, ...], ...] = ()
    every: float | None = None
    opened_at_a_time: int = 1

    @classmethod
    def from_stage(cls, model: TransferModel, stage: Stage) -> Freezing:
        """Read it from a recipe's stage. Raises InputError for a pattern that matches no parameter, for one that
        would freeze the head by the way, and when nothing would be left to train.
        """
        if stage.fixed_features and stage.unfreeze is not None:
            raise InputError(
                Problem(f"stages.{stage.name}", "fixed_features and unfreeze contradict each other; keep one of them")
            )
        freezing = cls(
            frozen=frozenset(matching(model, stage.freeze, f"stages.{stage.name}.freeze")),
            fixed_features=stage.fixed_features,
            batchnorm=stage.batchnorm,
            groups=tuple(map(tuple, layer_groups(model))) if stage.unfreeze else (),
            every=stage.unfreeze.every if stage.unfreeze else None,
            opened_at_a_time=stage.unfreeze.groups if stage.unfreeze else 1,
        )
        if not freezing.trainable(model, epoch=0):
            raise InputError(
                Problem(f"stages.{stage.name}.freeze", "freezes everything that would train; leave some parameters out")
            )
        if not stage.fixed_features:
            _refuse_head_by_the_way(model, stage.freeze, f"stages.{stage.name}.freeze")
        return freezing

    def trainable(self, model: TransferModel, epoch: float) -> set[str]:
        """Names of the timm model's parameters that train in that epoch (counted from 0)."""
        head = {name for name, _ in model.named_head_parameters()}
        if self.fixed_features:
            chosen = head
        elif self.every is not None:
            chosen = set().union(*self.groups[len(self.groups) - self.open_count(epoch) :])
        else:
            chosen = {name for name, _ in model.net.named_parameters()}
        return chosen - self.frozen

    def open_count(self, epoch: float) -> int:
        """How many layer groups, counted from the top, are open in that epoch."""
        if self.every is None:
            return len(self.groups)
        opened = 1 + self.opened_at_a_time * math.floor(epoch / self.every + 1e-9)
        return min(len(self.groups), opened)

    def apply(self, model: TransferModel, epoch: float) -> bool:
        """Set `requires_grad` as the epoch demands; True if anything changed.

        A distributed wrapper made before a change does not know of it: wrap the model again when this
        returns True.
        """
        return _set_trainable(model.net, self.trainable(model, epoch))

    def train_mode(self, model: TransferModel) -> None:
        """Training mode, except for what must not move: use it instead of `model.train()`."""
        set_train_mode(model, fixed_features=self.fixed_features, batchnorm=self.batchnorm)


def matching(model: TransferModel, patterns: Sequence[str], where: str = "") -> list[str]:
    """Parameter names (timm's) that match one of the glob patterns.

    Raises InputError for every pattern that matches nothing, with a suggestion.
    """
    names = [name for name, _ in model.net.named_parameters()]
    empty = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if empty:
        raise InputError(
            [
                Problem(where, f'"{pattern}" matches no parameter of {model.architecture}', _suggest(pattern, names))
                for pattern in empty
            ]
        )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _refuse_head_by_the_way(model: TransferModel, patterns: Sequence[str], where: str) -> None:
    """A head that stays as it was drawn is seldom meant: it has to be named by a pattern of its own."""
    head = {name for name, _ in model.named_head_parameters()}
    names = [name for name, _ in model.net.named_parameters()]
    meant = [one for one in patterns if all(name in head for name in names if fnmatchcase(name, one))]
    for pattern in patterns:
        caught = [name for name in names if name in head and fnmatchcase(name, pattern)]
        if pattern not in meant and not all(any(fnmatchcase(name, one) for one in meant) for name in caught):
            listed = ", ".join(caught)
            layers = _layers_beside(head, [name for name in names if name not in head and fnmatchcase(name, pattern)])
            instead = f"[{', '.join(layer + pattern for layer in layers)}]" if pattern.startswith("*") else "its layers"
            raise InputError(
                Problem(
                    where,
                    f'"{pattern}" also freezes the head ({listed}), which would stay as it was drawn',
                    f"to freeze the backbone alone write {instead}; to freeze the head as well, add {listed}",
                )
            )


def _layers_beside(head: Collection[str], names: Iterable[str]) -> list[str]:
    """The top layers that hold these parameters, one level lower where the head lies in the same one."""
    tops = {name.partition(".")[0] for name in head}
    return list(
        dict.fromkeys(".".join(name.split(".")[: 2 if name.partition(".")[0] in tops else 1]) for name in names)
    )


def apply_freezing(model: TransferModel, patterns: Sequence[str]) -> list[str]:
    """Stop the parameters that match a glob pattern from training; return their names."""
    names = matching(model, patterns)
    chosen = set(names)
    for name, parameter in model.net.named_parameters():
        if name in chosen:
            parameter.requires_grad_(False)
    return names


def fixed_features(model: TransferModel) -> None:
    """Only the head trains; the backbone is in evaluation mode."""
    _set_trainable(model.net, {name for name, _ in model.named_head_parameters()})
    set_train_mode(model, fixed_features=True)


def layer_groups(model: TransferModel) -> list[list[str]]:
    """timm's layer groups as parameter names, from the stem to the top, the head last and on its own.

    Raises InputError for a model whose layers timm does not order.
    """
    net: Any = model.net
    if not hasattr(net, "group_matcher"):
        raise InputError(f"timm does not order the layers of {model.architecture}: it cannot be unfrozen by groups")
    head = [name for name, _ in model.named_head_parameters()]
    grouped = group_parameters(net, net.group_matcher(coarse=True))
    known = set(head)
    groups = [[name for name in grouped[index] if name not in known] for index in sorted(grouped)]
    return [group for group in groups if group] + [head]


def open_groups(model: TransferModel, groups: Sequence[Sequence[str]], count: int) -> bool:
    """Let only the top `count` groups train; True if anything changed."""
    chosen = set().union(*groups[max(0, len(groups) - count) :]) if count > 0 else set()
    return _set_trainable(model.net, chosen)


def set_batchnorm_mode(model: nn.Module, mode: BatchNormMode) -> None:
    """`eval` normalises by the running statistics and leaves them as they are; `train` by the batch's."""
    for layer in batchnorm_layers(model):
        layer.train(mode == "train")


def set_train_mode(model: TransferModel, *, fixed_features: bool = False, batchnorm: BatchNormMode = "train") -> None:
    """Training mode, but: evaluation mode for the backbone of fixed features, for batch norm if asked, and
    for each batch norm that is frozen (its running statistics would drift away from its frozen weights).
    """
    model.train()
    if fixed_features:
        model.net.eval()
        model.head.train()
        return
    for layer in batchnorm_layers(model.net):
        own = list(layer.parameters())
        if batchnorm == "eval" or (own and not any(parameter.requires_grad for parameter in own)):
            layer.eval()


def batchnorm_layers(model: nn.Module) -> Iterable[nn.Module]:
    """Every batch-norm layer, timm's fused variants included."""
    return (layer for layer in model.modules() if isinstance(layer, _BatchNorm))


def _set_trainable(net: nn.Module, names: Collection[str]) -> bool:
    changed = False
    for name, parameter in net.named_parameters():
        wanted = name in names
        changed |= parameter.requires_grad != wanted
        parameter.requires_grad_(wanted)
        if not wanted:
            parameter.grad = None
    return changed


def _suggest(pattern: str, names: Sequence[str]) -> str | None:
    """A whole layer is `layer.*`; otherwise the closest layer or parameter."""
    if any(fnmatchcase(name, f"{pattern}.*") for name in names):
        return f'did you mean "{pattern}.*"?'
    stem = pattern.rstrip("*").rstrip(".")
    layers = {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}
    match = closest(stem, sorted(layers))
    if match is None:
        return f"the parameters are {names[0]}, …, {names[-1]}"
    return f'did you mean "{match}"?' if match in names else f'did you mean "{match}.*"?'
