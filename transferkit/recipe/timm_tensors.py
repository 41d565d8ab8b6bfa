"""Which of timm's models a file of weights belongs to, from its header and a list that ships: no timm, no torch.

The list, `timm_tensors.json`, has a fingerprint of the tensors of every model of timm, and the models that share it.
`python -m tests.recipe.tensors_of_timm` writes it anew from the timm that is installed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

LIST = Path(__file__).with_name("timm_tensors.json")
COUNTERS = "num_batches_tracked"  # old files lack them
CLASSIFIERS = ("classifier.", "fc.", "head.", "heads.", "last_linear.", "logits.")


def fingerprint(tensors: Mapping[str, Sequence[int]]) -> str:
    """What {name: shape} has of a network that no way of loading changes: 12 hexadecimal digits.

    Names, and the lengths of vectors (biases, norms), which are the widths of layers. Left out are the classifier,
    whose number of classes is free, counters, and the other shapes: tables of positions, patches and first layers
    are resampled for other image sizes and channels.
    """
    kept = sorted(
        f"{name} {shape[0] if len(shape) == 1 else ''}"
        for name, shape in tensors.items()
        if not name.endswith(COUNTERS) and not name.startswith(CLASSIFIERS)
    )
    return blake2b("\n".join(kept).encode(), digest_size=6).hexdigest()


def owners(tensors: Mapping[str, Sequence[int]]) -> list[str]:
    """timm's models that have these tensors, the shortest name first; none where the list has no such model."""
    return sorted(_listed().get(fingerprint(tensors), ()), key=lambda name: (len(name), name))


def is_listed(name: str) -> bool:
    """Whether the list knows the tensors of this model of timm; `name` is without the tag of its weights."""
    return any(name in names for names in _listed().values())


@functools.cache
def _listed() -> dict[str, list[str]]:
    """{fingerprint: names}."""
    models: dict[str, str] = json.loads(LIST.read_text(encoding="utf-8"))["models"]
    return {key: names.split() for key, names in models.items()}
