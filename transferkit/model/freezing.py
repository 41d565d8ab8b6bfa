"""Which parameters train, and in which mode each layer trains: freezing by pattern, fixed features,
gradual unfreezing, batch-norm mode. Everything is recomputed from the epoch, so a resume needs no state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.errors import InputError, Problem
from transferkit.model.wrapper import TransferModel
from transferkit.words.suggest import closest

if TYPE_CHECKING:
    from transferkit.recipe.schema import Stage

BatchNormMode = Literal["train", "eval"]
BITFIT = "bitfit"  # in place of patterns: of the backbone only biases train


@dataclass(frozen=True)
class Freezing:
    """What a stage freezes, as data; `apply` and `train_mode` bring a model into that state.

    `frozen` are parameter names that never train. `only` are those that may train besides the head; None: all.
    `groups` are layer groups from bottom to top (the head last), of which `opened_at_a_time` more train after every
    `every` epochs; None: all from the start.
    """

    frozen: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
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
        place, where = f"stages.{stage.name}", f"stages.{stage.name}.freeze"
        if stage.fixed_features and stage.unfreeze is not None:
            raise InputError(Problem(place, "fixed_features and unfreeze contradict each other; keep one of them"))
        bitfit = stage.freeze == BITFIT
        patterns = [] if isinstance(stage.freeze, str) else stage.freeze
        freezing = cls(
            frozen=frozenset(no_biases(model) if bitfit else matching(model, patterns, where)),
            only=frozenset(name for name, _ in model.named_adapter_parameters()) if freezes(model) else None,
            fixed_features=stage.fixed_features,
            # running statistics are no biases
            batchnorm="eval" if bitfit else stage.batchnorm,
            groups=tuple(map(tuple, layer_groups(model))) if stage.unfreeze else (),
            every=stage.unfreeze.every if stage.unfreeze else None,
            opened_at_a_time=stage.unfreeze.groups if stage.unfreeze else 1,
        )
        if not freezing.trainable(model, epoch=0):
            raise InputError(Problem(where, "freezes everything that would train; leave some parameters out"))
        if not stage.fixed_features:
            _refuse_head_by_the_way(model, patterns, where)
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
        return (chosen if self.only is None else chosen & (self.only | head)) - self.frozen

    def open_count(self, epoch: float) -> int:
        """How many layer groups, counted from the top, are open in that epoch."""
        steps = math.inf if self.every is None else math.floor(epoch / self.every + 1e-9)
        return int(min(len(self.groups), 1 + self.opened_at_a_time * steps))

    def apply(self, model: TransferModel, epoch: float) -> bool:
        """Set `requires_grad` as the epoch demands; True if anything changed.

        A distributed wrapper made before a change does not know of it: wrap the model again when this
        returns True.
        """
        names, changed = self.trainable(model, epoch), False
        for name, parameter in model.net.named_parameters():
            wanted = name in names
            changed |= parameter.requires_grad != wanted
            parameter.requires_grad_(wanted)
            if not wanted:
                parameter.grad = None
        return changed

    def train_mode(self, model: TransferModel) -> None:
        """Training mode, except for what must not move: use it instead of `model.train()`.

        That is the backbone of fixed features, batch norm if asked, and each batch norm that is frozen: its running
        statistics would drift away from its frozen weights.
        """
        model.train()
        if self.fixed_features:
            model.net.eval()
            model.head.train()
            return
        for layer in batchnorm_layers(model.net):
            own = list(layer.parameters())
            if self.batchnorm == "eval" or (own and not any(parameter.requires_grad for parameter in own)):
                layer.eval()


def matching(model: TransferModel, patterns: Sequence[str], where: str) -> list[str]:
    """Parameter names (timm's) that match one of the glob patterns.

    Raises InputError for every pattern that matches nothing, with a suggestion.
    """
    names = [name for name, _ in model.net.named_parameters()]
    problems = [
        Problem(where, f'"{pattern}" matches no parameter of {model.architecture}', _suggest(pattern, names))
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    if problems:
        raise InputError(problems)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def freezes(model: TransferModel) -> bool:
    """Whether an adapter of this stage keeps what is not its own, the head excepted, as it is."""
    return any(adapter.freezes for adapter in model.adapters)


def no_biases(model: TransferModel) -> list[str]:
    """Names of the backbone's parameters that are no biases (BitFit: arXiv 2106.10199)."""
    return [name for name, _ in model.named_backbone_parameters() if not name.rpartition(".")[2].endswith("bias")]


def _refuse_head_by_the_way(model: TransferModel, patterns: Sequence[str], where: str) -> None:
    """A head that stays as it was drawn is seldom meant: it has to be named by a pattern of its own."""
    head = {name for name, _ in model.named_head_parameters()}
    names = [name for name, _ in model.net.named_parameters()]
    found = {pattern: [name for name in names if fnmatchcase(name, pattern)] for pattern in patterns}
    meant = {name for matched in found.values() if head.issuperset(matched) for name in matched}
    tops = {name.partition(".")[0] for name in head}
    for pattern, matched in found.items():
        caught = [name for name in matched if name in head]
        if head.issuperset(matched) or meant.issuperset(caught):
            continue
        # the layers that hold the others, one level lower where the head lies in the same one
        parts = [name.split(".") for name in matched if name not in head]
        layers = dict.fromkeys(".".join(part[: 2 if part[0] in tops else 1]) for part in parts)
        listed = ", ".join(caught)
        instead = f"[{', '.join(layer + pattern for layer in layers)}]" if pattern.startswith("*") else "its layers"
        raise InputError(
            Problem(
                where,
                f'"{pattern}" also freezes the head ({listed}), which would stay as it was drawn',
                f"to freeze the backbone alone write {instead}; to freeze the head as well, add {listed}",
            )
        )


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


def batchnorm_layers(model: nn.Module) -> Iterable[nn.Module]:
    """Every batch-norm layer, timm's fused variants included."""
    return (layer for layer in model.modules() if isinstance(layer, _BatchNorm))


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
