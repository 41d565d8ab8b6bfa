"""Local weights: a safetensors file into a model, in whatever names and with however many classes the file has.

Every mismatch is named, and no pickle is ever opened.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transferkit.errors import InputError, Problem
from transferkit.model.torchvision_weights import COUNTERS, translate
from transferkit.system.memory import need_room
from transferkit.system.safetensors_header import read_header
from transferkit.words.kinds import reason

PREFIXES = ("module.", "_orig_mod.", "model.")
SHOWN = 10
DO_NOT_FIT = "these weights do not fit"
FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")  # timm's names for them


def fill_from_file(net: Any, path: Path, label: str, say: Callable[[str], None] | None = None) -> int | None:
    """Give the model as many classes as the file has, then the file's weights; return that number.

    0 for a file that lacks exactly the classifier, None where the classifier is not known. `say` gets a
    sentence where weights of another library were understood. Raises InputError for what does not fit.
    """
    state, prefix = without_prefix(net, read_weights(path), str(path), label)
    if prefix is not None and say is not None:
        say(prefix)
    state = in_names_of(net, state)
    count = _classes_in(net, state)
    translation = translate(net, state) if count is None and mismatches(net, state) else None
    if translation is not None:
        state = translation.state
        count = _classes_in(net, state)
    if count is not None and count != net.num_classes:
        net.reset_classifier(count)
    fill(net, state, str(path), label)
    if translation is not None:
        translation.verify(net, str(path))
        if say is not None:
            say(f"{path}: torchvision's {translation.name}, loaded in the order of its layers; the logits are equal")
    return count


def _classes_in(net: Any, state: dict[str, Tensor]) -> int | None:
    """The number of classes that a state dict in the model's names has; None where that cannot be told."""
    name = (getattr(net, "pretrained_cfg", None) or {}).get("classifier")
    own = net.state_dict()
    for layer in (name,) if isinstance(name, str) else tuple(name or ()):
        if f"{layer}.weight" in state:
            return int(state[f"{layer}.weight"].shape[0])
        missing = {key for key in own.keys() - state.keys() if not key.endswith(COUNTERS)}
        if missing and missing <= {f"{layer}.weight", f"{layer}.bias"}:
            return 0
    return None


def load_weights(net: nn.Module, path: str | Path, name: str | None = None) -> None:
    """Fill the model from a safetensors file. Raises InputError that lists all mismatches by name."""
    fill(net, read_weights(path), str(path), name or type(net).__name__)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, wrapper prefixes removed, all finite. Raises InputError."""
    read_header(path)
    need_room()
    try:
        state = load_file(str(path))
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:  # KeyError: a dtype it does not know
        raise InputError(f"{path}: not a readable safetensors file: {reason(error)}") from error
    state = strip_prefixes(state)
    bad = not_finite(state)
    if bad:
        raise InputError(
            f"{path}: NaN or infinite values in {_listed('', bad)}; "
            "these weights come from a training that diverged or a damaged file"
        )
    return state


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, contiguous, none sharing memory: what safetensors accepts."""
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file. Raises OSError, for which safetensors has an exception of its own, and MemoryError."""
    need_room()
    try:
        save_file(dict(tensors), str(path), metadata=dict(metadata or {"format": "pt"}))
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove `module.` (DDP, EMA), `_orig_mod.` (torch.compile) and the like where every name has them."""
    found = dict(state)
    while prefix := next((p for p in PREFIXES if found and all(name.startswith(p) for name in found)), None):
        found = {name[len(prefix) :]: tensor for name, tensor in found.items()}
    return {name.replace("._orig_mod.", "."): tensor for name, tensor in found.items()}


def without_prefix(
    net: nn.Module, state: dict[str, Tensor], where: str, label: str
) -> tuple[dict[str, Tensor], str | None]:
    """The tensors whose names are the model's after some prefix (`backbone.`), without it; and a sentence about that.

    Other tensors are left out, by name. The state itself, and None, where no prefix makes at least half of the model's
    names fit. Raises InputError where two do equally.
    """
    own = {name for name in net.state_dict() if not name.endswith(COUNTERS)}
    votes = Counter(
        name[:at] for name in state for at in range(1, len(name)) if name[at - 1] == "." and name[at:] in own
    )
    ranked = votes.most_common(2)
    if not ranked or ranked[0][1] <= max(len(own & state.keys()), len(own) // 2):
        return state, None
    prefix, count = ranked[0]
    if len(ranked) == 2 and ranked[1][1] == count:
        raise InputError(
            f'{where}: two sets of tensors fit {label}, those whose names begin with "{prefix}" and those with '
            f'"{ranked[1][0]}"; keep one of them in the file'
        )
    found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    others = [name for name in state if not name.startswith(prefix)]
    left = f"; left out: {_listed('', others)}" if others else ""
    return found, f'{where}: the names of {label} begin with "{prefix}" there, which was taken off{left}'


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that hold NaN or infinity."""
    floats = {name: tensor.detach() for name, tensor in state.items() if tensor.is_floating_point()}
    # a sum is ten times cheaper, and a number only if every term is; it may overflow where all of them are
    return [name for name, tensor in floats.items() if not (tensor.sum().isfinite() or tensor.isfinite().all())]


def fill(net: nn.Module, state: dict[str, Tensor], where: str, name: str) -> None:
    """Copy tensors into the model after comparing names and shapes; all mismatches in one InputError.

    Weights in a family's original format, or for another image size, are converted by timm's own filter
    for that family where this makes them fit.
    """
    problems = mismatches(net, state, where)
    if problems:
        converted = _converted(net, state)
        if converted is None or mismatches(net, converted, where):
            raise InputError(_cause(net, state, where, name) or problems, f"{DO_NOT_FIT} {name}; nothing was loaded")
        state = converted
    try:
        counters = {name: value for name, value in net.state_dict().items() if name.endswith(COUNTERS)}
        net.load_state_dict({**counters, **state})
    except RuntimeError as error:
        raise InputError(f"{where}: does not fit {name}: {error}") from error


def _cause(net: nn.Module, state: Mapping[str, Tensor], where: str, label: str) -> Problem | None:
    """What says more than lists of names where all of them begin alike."""
    columns = zip(*(name.split(".")[:-1] for name in state), strict=False)
    shared = [parts[0] for parts in itertools.takewhile(lambda parts: len(set(parts)) == 1, columns)]
    start = "".join(f"{part}." for part in shared)
    own = net.state_dict()
    if not start or any(name.startswith(start) for name in own):
        return None
    found = sum(name.removeprefix(start) in own for name in state)
    return Problem(
        where, f'all names begin with "{start}"; without that, {found} of the {len(own)} tensors of {label} are there'
    )


def mismatches(net: nn.Module, state: Mapping[str, Tensor], where: str = "") -> list[Problem]:
    """What keeps these tensors from fitting: missing, unexpected, wrongly shaped; empty when they fit."""
    own = net.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(COUNTERS)]
    unexpected = sorted((name for name in state if name not in own), key=lambda name: name.endswith(COUNTERS))
    shapes = [
        f"{name} {list(tensor.shape)} instead of {list(own[name].shape)}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return [Problem(where, _listed(kind, names)) for kind, names in kinds.items() if names]


def in_names_of(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state in the model's own names where timm's filter for the family gives them, whatever the shapes."""
    converted = None if _same_names(net, state) else _converted(net, state)
    return converted if converted is not None and _same_names(net, converted) else state


def _same_names(net: nn.Module, state: Mapping[str, Tensor]) -> bool:
    own = net.state_dict()
    return all(name.endswith(COUNTERS) for name in own.keys() ^ state.keys())


def _converted(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """timm's family filter (renaming, resampled position tables) and first-convolution channels applied."""
    module = sys.modules[type(net).__module__]
    convert: Callable[..., Any] | None = next(
        (getattr(module, name) for name in FILTERS if hasattr(module, name)), None
    )
    try:
        found = dict(state)
        if convert is not None:
            takes_model = len(inspect.signature(convert).parameters) > 1
            found = dict(convert(found, net) if takes_model else convert(found))
        return _adapt_channels(net, found)
    except Exception:  # a filter meant for another format may stumble over anything; the mismatches are the answer
        return None


def _adapt_channels(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    from timm.models import adapt_input_conv

    first = getattr(net, "pretrained_cfg", {}).get("first_conv") or ()
    for layer in (first,) if isinstance(first, str) else first:
        key = f"{layer}.weight"
        wanted = net.get_submodule(layer).weight
        if key in state and isinstance(wanted, Tensor) and state[key].shape[1] != wanted.shape[1]:
            state[key] = adapt_input_conv(wanted.shape[1], state[key].to(torch.float32))
    return state


def _listed(what: str, names: Iterable[str]) -> str:
    names = list(names)
    more = f", … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    noun = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names)} {noun}{what and ' ' + what}: {', '.join(names[:SHOWN])}{more}"
