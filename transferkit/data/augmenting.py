"""Changes of training images by plugins: drawn anew for every epoch, and for every draw within one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from transferkit.data.planting import HookCall, Key, Offer, Planters
from transferkit.errors import InputError


@dataclass(frozen=True)
class Augmenting:
    """A plugin's `augment`, under its name in the recipe."""

    name: str
    augment: HookCall

    def __call__(self, image: Image.Image, label: int, classes: list[str], key: Key) -> Image.Image:
        """The changed image, RGB and of the same size. `key` seeds the plugin's generator."""
        offer = Offer(label, classes, key)
        offer.image, size = image, image.size
        changed = self.augment(offer)
        if not isinstance(changed, Image.Image) or changed.size != size:
            raise InputError(f"{self.augment.plugin}: augment must return an image of the size it was given")
        return changed if changed.mode == "RGB" else changed.convert("RGB")


def augmentations(plugins: Planters) -> Sequence[Augmenting]:
    """Those of the plugins that augment, in recipe order."""
    return tuple(Augmenting(call.plugin.name, call) for call in plugins.calls("augment"))
