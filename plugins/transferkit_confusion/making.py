"""The composites: which overlay goes on which background image and where, all by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from transferkit.analysis.composites import Composite, canvas_of, stretched
from transferkit.analysis.placement import place_overlay
from transferkit.data.randomness import key
from transferkit.data.samples import Samples


@dataclass(frozen=True)
class Maker:
    """Makes composites of two sets of samples; each depends on (seed, class, image id, repeat, overlay id) alone."""

    backgrounds: Samples
    overlays: Samples
    seed: int
    scale: float
    repeats: int
    limit: int

    def items(self, source_class: int, images: Sequence[int], overlays: Sequence[int]) -> list[Composite]:
        """Every overlay on every image `repeats` times; where that is more than `limit`, a keyed choice of them.

        The choice takes equally many of each overlay, and a larger limit only adds to it.
        """
        ids, canvas = self.backgrounds.ids, canvas_of(self.backgrounds)
        chosen = islice(self._order(source_class, images, overlays), self.limit)
        return [self._item(source_class, *one, ids, canvas) for one in chosen]

    def _order(
        self, source_class: int, images: Sequence[int], overlays: Sequence[int]
    ) -> Iterator[tuple[int, int, int]]:
        """(overlay, image, repeat), one of each overlay in turn, each overlay's by key."""
        ids, names = self.backgrounds.ids, self.overlays.ids
        rows = []
        for overlay in overlays:
            found = [
                (key(self.seed, "confusion", source_class, ids[image], repeat, names[overlay]), overlay, image, repeat)
                for image in images
                for repeat in range(self.repeats)
            ]
            rows.append(sorted(found))
        for turn in zip(*rows, strict=True):
            yield from ((overlay, image, repeat) for _, overlay, image, repeat in sorted(turn))

    def _item(
        self, source_class: int, overlay: int, image: int, repeat: int, ids: Sequence[str], canvas: tuple[int, int]
    ) -> Composite:
        name = self.overlays.ids[overlay]
        draw = key("confusion", name, repeat)  # one number for overlay and repeat
        _, *place = place_overlay(self.seed, source_class, ids[image], draw, 1, min(canvas), self.scale)
        label = int(self.overlays.labels[overlay])
        return Composite(source_class, image, ids[image], repeat, overlay, name, label, *stretched(place, canvas))
