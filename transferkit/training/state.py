"""Nested state (dicts, lists, numbers, tensors) as one safetensors file and one JSON file. Never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from transferkit.errors import InputError
from transferkit.model.weights import save_tensors
from transferkit.words.kinds import type_of

TENSOR, PAIRS = "$tensor", "$pairs"


def snapshot(tree: Any) -> Any:
    """A copy whose tensors lie in memory of their own, on the CPU: what it was made from may change.

    Raises InputError for anything but tensors, numbers, text, lists and dicts.
    """
    tensors: dict[str, Tensor] = {}
    plain, layout = _flatten(tree, "", tensors), torch.contiguous_format
    return _restore(plain, {name: t.detach().to("cpu", copy=True, memory_format=layout) for name, t in tensors.items()})


def save_tree(path: Path, tree: Any) -> list[Path]:
    """Write `path.json` and, when the tree holds tensors, `path.safetensors`. Returns the files written.

    Tensors must be contiguous, and no two may share memory: see `snapshot`.
    """
    tensors: dict[str, Tensor] = {}
    plain = _flatten(tree, "", tensors)
    files = [path.with_suffix(".json")]
    files[0].write_text(json.dumps(plain), encoding="utf-8")
    if tensors:
        files.append(path.with_suffix(".safetensors"))
        save_tensors(tensors, files[1])
    return files


def load_tree(path: Path, device: str = "cpu") -> Any:
    """Read back what `save_tree` wrote."""
    plain = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    stored = path.with_suffix(".safetensors")
    tensors = load_file(stored, device=device) if stored.is_file() else {}
    return _restore(plain, tensors)


def _flatten(value: Any, at: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[at or "value"] = value
        return {TENSOR: at or "value"}
    if isinstance(value, dict):
        inner = {key: _flatten(item, f"{at}.{key}" if at else str(key), tensors) for key, item in value.items()}
        # JSON keys are text; optimizers use integers
        return inner if all(isinstance(key, str) for key in inner) else {PAIRS: [[k, v] for k, v in inner.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(item, f"{at}.{index}" if at else str(index), tensors) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"state at {at or 'the top'} is {type_of(value)}; state_dict() may hold tensors, numbers, text, "
        "lists and dicts only"
    )


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if TENSOR in value:
            return tensors[value[TENSOR]]
        if PAIRS in value:
            return {key: _restore(item, tensors) for key, item in value[PAIRS]}
        return {key: _restore(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    return value
