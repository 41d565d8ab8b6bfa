"""Writes the list by which `plan` knows whose tensors a file has: `python -m tests.recipe.tensors_of_timm`.

Every model of timm is made without memory for its weights, which takes some minutes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable

import timm
import torch

from transferkit.recipe.timm_tensors import LIST, fingerprint


def shapes(name: str) -> dict[str, list[int]]:
    """{name of a tensor: shape} of a model of timm."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        net = timm.create_model(name, pretrained=False)
    return {key: list(value.shape) for key, value in net.state_dict().items()}


def listed(names: Iterable[str]) -> dict[str, str]:
    """{fingerprint: names of the models that have it}; what cannot be made so is left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        try:
            key = fingerprint(shapes(name))
        except Exception as error:
            print(f"{name} is left out: {error!r}")
            continue
        found.setdefault(key, []).append(name)
    return {key: " ".join(sorted(same)) for key, same in sorted(found.items(), key=lambda pair: min(pair[1]))}


if __name__ == "__main__":
    content = {"timm": timm.__version__, "models": listed(timm.list_models())}
    LIST.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
