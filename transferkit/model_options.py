"""What may be handed to `timm.create_model` as an option, from whatever door. No torch.

timm's factory takes some arguments for itself: which weights to load and from where, how to wrap the network.
Everything else goes to the network's constructor. Only the latter pass, and only as plain data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from transferkit.errors import InputError, Problem

_WEIGHTS = "weights come from model.weights, from a model folder's own model.safetensors or from timm's own source"
_PLAIN = "the wrapper needs the plain model with its classifier"
_IMAGES = "use model.preprocessing, or the pretrained_cfg of a model folder"
_INNER = "timm sets it itself"
RESERVED = {
    "cache_dir": "set HF_HOME for another cache",
    "checkpoint_path": _WEIGHTS,
    "custom_load": _WEIGHTS,
    "device": "use the recipe's device",
    "dtype": "use the stage's precision",
    "exportable": _PLAIN,
    "feature_cfg": _PLAIN,
    "feature_cls": _PLAIN,
    "features_only": _PLAIN,
    "file": _WEIGHTS,
    "hf_hub_filename": _WEIGHTS,
    "hf_hub_id": _WEIGHTS,
    "kwargs_filter": _INNER,
    "model_cfg": _INNER,
    "model_cls": _INNER,
    "model_name": _INNER,
    "no_jit": _PLAIN,
    "num_classes": "the number of classes comes from the data",
    "out_indices": _PLAIN,
    "pretrained": "use the stage's start: pretrained or scratch",
    "pretrained_cfg": _IMAGES,
    "pretrained_cfg_overlay": _IMAGES,
    "pretrained_custom_load": _WEIGHTS,
    "pretrained_filter_fn": _WEIGHTS,
    "pretrained_model_args": _INNER,
    "pretrained_strict": _WEIGHTS,
    "scriptable": _PLAIN,
    "source": _WEIGHTS,
    "state_dict": _WEIGHTS,
    "url": _WEIGHTS,
    "variant": _INNER,
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
        yield (), f"a {type(value).__name__} that is not a possible value", f"numbers, texts and lists of them: {small}"


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= LARGEST
    return value is None or (isinstance(value, str) and len(value) <= CHARACTERS)
