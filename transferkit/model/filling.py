"""A weights file into a new model, in whatever names and with however many classes the file has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from transferkit.torchvision_weights import translate
from transferkit.weights import OPTIONAL_SUFFIX, fill, in_names_of, mismatches, read_weights, without_prefix


def fill_from_file(net: Any, path: Path, label: str, say: Callable[[str], None] | None = None) -> int | None:
    """Give the model as many classes as the file has, then the file's weights; return that number.

    0 for a file that lacks exactly the classifier, None where the classifier is not known. `say` gets a
    sentence where weights of another library were understood. Raises InputError for what does not fit.
    """
    state, prefix = without_prefix(net, read_weights(path), str(path), label)
    if prefix is not None and say is not None:
        say(prefix)
    state = in_names_of(net, state)
    count = classes_in(net, state)
    translation = translate(net, state) if count is None and mismatches(net, state) else None
    if translation is not None:
        state = translation.state
        count = classes_in(net, state)
    if count is not None and count != net.num_classes:
        net.reset_classifier(count)
    fill(net, state, str(path), label)
    if translation is not None:
        translation.verify(net, str(path))
        if say is not None:
            say(f"{path}: torchvision's {translation.name}, loaded in the order of its layers; the logits are equal")
    return count


def classes_in(net: Any, state: dict[str, Tensor]) -> int | None:
    """The number of classes that a state dict in the model's names has; None where that cannot be told."""
    name = (getattr(net, "pretrained_cfg", None) or {}).get("classifier")
    own = net.state_dict()
    for layer in (name,) if isinstance(name, str) else tuple(name or ()):
        if f"{layer}.weight" in state:
            return int(state[f"{layer}.weight"].shape[0])
        missing = {key for key in own.keys() - state.keys() if not key.endswith(OPTIONAL_SUFFIX)}
        if missing and missing <= {f"{layer}.weight", f"{layer}.bias"}:
            return 0
    return None
