"""What may be handed to `timm.create_model` as an option, from whatever door. No torch.

timm's factory takes some arguments for itself: which weights to load and from where, how to wrap the network.
Everything else goes to the network's constructor. Only the latter pass, and only as plain data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from transferkit.errors import InputError, Problem
from transferkit.words.kinds import kind_of

RESERVED = {
    name: reason
    for reason, names in {
        "weights come from model.weights, from a model folder's own model.safetensors or from timm's own source": (
            "checkpoint_path custom_load file hf_hub_filename hf_hub_id pretrained_custom_load pretrained_filter_fn "
            "pretrained_strict source state_dict url"
        ),
        "the wrapper needs the plain model with its classifier": (
            "exportable feature_cfg feature_cls features_only no_jit out_indices scriptable"
        ),
        "use model.preprocessing, or the pretrained_cfg of a model folder": "pretrained_cfg pretrained_cfg_overlay",
        "timm sets it itself": "kwargs_filter model_cfg model_cls model_name pretrained_model_args variant",
        "set HF_HOME for another cache": "cache_dir",
        "use the recipe's device": "device",
        "use the stage's precision": "dtype",
        "the number of classes comes from the data": "num_classes",
        "use the stage's start: pretrained or scratch": "pretrained",
    }.items()
    for name in names.split()
}
SOURCES = ("file", "url", "hf_hub_id", "hf_hub_filename", "source", "state_dict")
"""Where timm's `pretrained_cfg` can say that weights lie."""
LARGEST = 2**20
DEPTH, ITEMS, CHARACTERS = 4, 1000, 200


def permitted(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options, if all may pass. Raises InputError with every one that may not: door, key and reason."""
    problems = [Problem(f"{where}.{'.'.join(keys)}", what, why) for keys, what, why in refusals(options)]
    if problems:
        raise InputError(problems)
    return dict(options)


def refusals(options: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is wrong with options: keys, what, why."""
    for name, value in options.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            yield (str(name),), "not an option here", "an option is a parameter of the network's constructor"
        elif name in RESERVED:
            yield (name,), "not an option here", RESERVED[name]
        else:
            yield from (((name, *keys), what, why) for keys, what, why in _refused_value(value, DEPTH))


def _refused_value(value: Any, depth: int) -> Iterator[tuple[tuple[str, ...], str, str]]:
    small = f"at most {ITEMS} items, {DEPTH} levels, {CHARACTERS} characters, whole numbers up to {LARGEST:,}"
    if isinstance(value, dict) and depth and len(value) <= ITEMS:
        for key, inner in value.items():
            if str(key) in RESERVED:
                yield (str(key),), "not an option here", RESERVED[str(key)]
            yield from (((str(key), *keys), what, why) for keys, what, why in _refused_value(inner, depth - 1))
    elif isinstance(value, list | tuple) and depth and len(value) <= ITEMS:
        for at, inner in enumerate(value):
            yield from (((str(at), *keys), what, why) for keys, what, why in _refused_value(inner, depth - 1))
    elif not _is_scalar(value):
        yield (), f"{kind_of(value)} that is not a possible value", f"numbers, texts and lists of them: {small}"


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= LARGEST
    return value is None or (isinstance(value, str) and len(value) <= CHARACTERS)
