"""Local weights: a safetensors file into a model, in whatever names and with however many classes the file has.

Every mismatch is named, and no pickle is ever opened.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transferkit.errors import InputError, Problem
from transferkit.model.tensor_names import listed, strip_prefixes, without_prefix
from transferkit.model.torchvision_weights import COUNTERS, translate
from transferkit.system.memory import need_room
from transferkit.system.safetensors_header import read_header
from transferkit.system.shards import shards

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
    return strip_prefixes(read_tensors(path))


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of all files of an index, by the names there, all finite.

    Raises InputError.
    """
    read_header(path)
    need_room()
    state: dict[str, Tensor] = {}
    for file in shards(path):
        try:
            state |= load_file(str(file))
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:  # KeyError: an unknown dtype
            raise InputError(f"{file}: not a readable safetensors file: {error}") from error
    bad = not_finite(state)
    if bad:
        raise InputError(
            f"{path}: NaN or infinite values in {listed('', bad)}; "
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
    return [Problem(where, listed(kind, names)) for kind, names in kinds.items() if names]


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
