"""Names of tensors in a file: what wrappers put before them, and what lies beside a model's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model.torchvision_weights import COUNTERS

SHOWN = 10
Value = TypeVar("Value")

PREFIXES = ("module.", "_orig_mod.", "model.")  # of DDP and averages, torch.compile, Lightning
INNER = ("backbone.",)  # of detectors and self-supervised learners, where there is no model to say so
BESIDE = (
    *(
        "n_averaged",
        "criterion.*",
        "loss.*",
        "loss_fn.*",
        "loss_func.*",
        "metrics.*",
        "train_metrics.*",
        "val_metrics.*",
    ),
    *("ema.*", "ema_model.*", "model_ema.*", "teacher.*", "queue", "queue_ptr"),
)
"""What trainers keep beside the model: counters of averages, losses, metrics, averages themselves, queues."""


class Cleaned(NamedTuple):
    """A state dict in plain names; the prefixes taken off, from the outside; names of tensors left out."""

    state: dict[str, Tensor]
    prefixes: list[str]
    left_out: list[str]


def cleaned(state: Mapping[str, Tensor]) -> Cleaned:
    """Without what lies beside a model, and without the wrappers' prefixes that all other names have."""
    found, left = without_others(state)
    prefixes = []
    while prefix := _shared(found, (*PREFIXES, *INNER)):
        found = {name[len(prefix) :]: tensor for name, tensor in found.items()}
        prefixes.append(prefix)
        found, more = without_others(found)
        left += [f"{''.join(prefixes)}{name}" for name in more]
    return Cleaned(_uncompiled(found), prefixes, left)


def without_others(state: Mapping[str, Value], own: Collection[str] = ()) -> tuple[dict[str, Value], list[str]]:
    """The tensors without those that lie beside a model's, and the names of these; `own` are certainly the model's."""
    left = [name for name in state if name not in own and any(fnmatch(name, pattern) for pattern in BESIDE)]
    if len(left) == len(state):
        return dict(state), []
    gone = set(left)
    return {name: tensor for name, tensor in state.items() if name not in gone}, left


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove `module.` (DDP, EMA), `_orig_mod.` (torch.compile) and the like where every name has them."""
    found = dict(state)
    while prefix := _shared(found, PREFIXES):
        found = {name[len(prefix) :]: tensor for name, tensor in found.items()}
    return _uncompiled(found)


def _shared(state: Collection[str], prefixes: Iterable[str]) -> str | None:
    return next((p for p in prefixes if state and all(name.startswith(p) for name in state)), None)


def _uncompiled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("._orig_mod.", "."): tensor for name, tensor in state.items()}


def without_prefix(
    net: nn.Module, state: dict[str, Tensor], where: str, label: str
) -> tuple[dict[str, Tensor], str | None]:
    """The tensors whose names are the model's after some prefix (`backbone.`), without it; and a sentence about that.

    Other tensors are left out, by name. Where no prefix makes at least half of the model's names fit, what lies beside
    a model's weights is left out, if there is any. Raises InputError where two prefixes fit equally.
    """
    own = {name for name in net.state_dict() if not name.endswith(COUNTERS)}
    votes = Counter(
        name[:at] for name in state for at in range(1, len(name)) if name[at - 1] == "." and name[at:] in own
    )
    ranked = votes.most_common(2)
    if not ranked or ranked[0][1] <= max(len(own & state.keys()), len(own) // 2):
        kept, beside = without_others(state, own)
        return kept, f"{where}: left out, beside the weights: {listed('', beside)}" if beside else None
    prefix, count = ranked[0]
    if len(ranked) == 2 and ranked[1][1] == count:
        raise InputError(
            f'{where}: two sets of tensors fit {label}, those whose names begin with "{prefix}" and those with '
            f'"{ranked[1][0]}"; keep one of them in the file'
        )
    found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    others = [name for name in state if not name.startswith(prefix)]
    left = f"; left out: {listed('', others)}" if others else ""
    return found, f'{where}: the names of {label} begin with "{prefix}" there, which was taken off{left}'


def listed(what: str, names: Iterable[str]) -> str:
    """`3 tensors missing: a, b, c`."""
    names = list(names)
    more = f", … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    noun = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names)} {noun}{what and ' ' + what}: {', '.join(names[:SHOWN])}{more}"
