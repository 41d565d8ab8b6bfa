"""Corruptions: what a plugin plants in images, chosen and drawn by keys that do not name the data set.

Without its name, data sets that are made from one another and differ only in a ratio change nested sets of images, and
change them alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.randomness import borrowed_rng, numpy_rng
from transferkit.errors import InputError
from transferkit.recipe.lineage import lineage

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

Key = tuple[str | int, ...]
GREY = (128, 128, 128)
OWN_COLUMNS = ("dataset", "split", "id", "class", "corruption", "new_class")
"""The columns of a manifest that are not a plugin's."""


class HookCall(Protocol):
    """A hook of a plugin, which takes what it asks for from the attributes of what is offered."""

    @property
    def plugin(self) -> Any:
        """Whose it is: with its `name` in the recipe, and its `instance`, which has its options."""

    def __call__(self, offers: Any) -> Any:
        """What it returns."""


class Planters(Protocol):
    """The plugins of one data set or stage, in recipe order."""

    def calls(self, hook: str) -> Sequence[HookCall]:
        """Those that implement the hook."""


class Offer:
    """What `corrupt`, `manifest` and `augment` may ask for. Seeding costs 4 µs: for those who ask."""

    __slots__ = ("_key", "classes", "image", "label", "size")

    def __init__(self, label: int, classes: list[str], key: Key) -> None:
        self.label, self.classes, self._key = label, classes, key
        self.image: Image.Image
        self.size: tuple[int, int]

    @property
    def rng(self) -> np.random.Generator:
        """Good until the next one is asked for in the same thread."""
        return borrowed_rng(*self._key)


@dataclass(frozen=True)
class Corruption:
    """A change planted in images: the plugin's `corrupt`, and its `select` and `manifest` if it has them."""

    name: str
    corrupt: HookCall
    select: HookCall | None = None
    manifest: HookCall | None = None

    def chosen(self, labels: NDArray[np.int64], classes: list[str], split: str, seed: int) -> NDArray[np.bool_]:
        """(n,) which samples it changes: those it selects, or all."""
        if self.select is None:
            return np.ones(len(labels), dtype=bool)
        rng = numpy_rng(seed, self.name, split, "select")
        offer = SimpleNamespace(labels=labels.copy(), classes=list(classes), split=split, rng=rng)
        selected = np.asarray(list(self.select(offer)))
        mask = np.zeros(len(labels), dtype=bool)
        if selected.size == 0:
            return mask
        if selected.dtype.kind not in "iu" or selected.min() < 0 or selected.max() >= len(labels):
            raise InputError(f"{self.select.plugin} selects indices outside 0..{len(labels) - 1}")
        mask[selected] = True
        return mask

    def __call__(self, image: Image.Image, label: int, classes: list[str], key: Key) -> tuple[Image.Image, int]:
        """The changed image, RGB and of the same size, and its label. `key` seeds the plugin's generator."""
        offer = Offer(label, classes, key)
        offer.image, size = image, image.size
        result = self.corrupt(offer)
        changed, new_label = result if isinstance(result, tuple) else (result, label)
        if not isinstance(changed, Image.Image) or changed.size != size:
            raise InputError(f"{self.corrupt.plugin}: corrupt must return an image of the size it was given")
        if new_label != label and not 0 <= int(new_label) < len(classes):
            what = f"gives the label {new_label}; the classes are 0 to {len(classes) - 1}"
            raise InputError(f"{self.corrupt.plugin} {what}")
        return changed if changed.mode == "RGB" else changed.convert("RGB"), int(new_label)

    def row(self, size: tuple[int, int], label: int, classes: list[str], key: Key) -> tuple[dict[str, Any], int]:
        """The plugin's columns for one image of that (width, height), and the label that the image then has.

        The label is the one that `corrupt` gives a grey image: nothing is decoded for a manifest.
        """
        columns: dict[str, Any] = {}
        if self.manifest is not None:
            offer = Offer(label, classes, key)
            offer.size = size
            columns = {
                str(name): value.tolist() if hasattr(value, "tolist") else value  # NumPy's as Python's
                for name, value in self.manifest(offer).items()
            }
            taken = [name for name in OWN_COLUMNS if name in columns]
            if taken:
                raise InputError(f'{self.manifest.plugin}: every manifest has a column "{taken[0]}"; rename this one')
        return columns, self.label(size, label, classes, key)

    def label(self, size: tuple[int, int], label: int, classes: list[str], key: Key) -> int:
        """The label that `corrupt` gives a grey image of that (width, height): nothing is decoded for it."""
        return self(Image.new("RGB", size, GREY), label, classes, key)[1]

    def facts(self) -> list[Any]:
        """What its changes depend on besides seed and image, as plain values: name and options, files by content."""
        instance = self.corrupt.plugin.instance
        if not is_dataclass(instance) or isinstance(instance, type):
            return [self.name, repr(type(instance))]
        options = {item.name: getattr(instance, item.name) for item in fields(instance) if item.init}
        return [self.name, {name: _content(value) for name, value in options.items()}]


def corruptions(plugins: Planters, split: str, splits: Mapping[str, Sequence[str]] | None = None) -> list[Corruption]:
    """The corruptions among the plugins, in recipe order; `splits` says by plugin name where each applies."""
    selects, manifests = ({id(call.plugin): call for call in plugins.calls(hook)} for hook in ("select", "manifest"))
    return [
        Corruption(call.plugin.name, call, selects.get(id(call.plugin)), manifests.get(id(call.plugin)))
        for call in plugins.calls("corrupt")
        if splits is None or split in splits.get(call.plugin.name, (split,))
    ]


def planted_in(
    name: str, datasets: Mapping[str, Dataset], plugins: Callable[[str], Planters | None], split: str
) -> list[Corruption]:
    """Those of the data sets it is made from, then its own, in recipe order.

    `plugins` gives a data set's own. Where a name comes twice in a chain, the later one is called name-2 and so on:
    two corruptions of one name would draw the same numbers.
    """
    found: list[Corruption] = []
    times: Counter[str] = Counter()
    for one in reversed(lineage(name, datasets)):
        own = plugins(one) if datasets[one].corruptions else None
        splits = {use.instance_name: use.splits for use in datasets[one].corruptions}
        for corruption in corruptions(own, split, splits) if own is not None else ():
            times[corruption.name] += 1
            number = times[corruption.name]
            found.append(corruption if number == 1 else replace(corruption, name=f"{corruption.name}-{number}"))
    return found


def _content(value: Any) -> Any:
    """A file by its content, so that another picture under the same name is another corruption."""
    if isinstance(value, Path) and value.is_file():
        return blake2b(value.read_bytes(), digest_size=16).hexdigest()
    return value
