"""The report's pictures: the files that an analysis names, embedded in the page as long as there is room."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from transferkit.analysis import page

ROOM = 3_300_000  # bytes of all pictures; embedded they take a third more, and a page has five million
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


@dataclass
class Pictures:
    """Embeds pictures until `room` bytes are used; those that no longer fit are named instead."""

    room: int = ROOM

    def show(
        self, folder: Path, names: Sequence[Any], captions: Mapping[str, Any], place: str | None = None
    ) -> Iterator[str]:
        """The figures of one folder in their order; neighbours called gallery-* form one gallery.

        `place` is the folder as the page calls it: by default, that of an analysis.
        """
        place = f"analyses/{folder.name}" if place is None else place
        for gallery, group in groupby(map(str, names), lambda name: name.startswith("gallery-")):
            parts = [self._picture(folder, name, str(captions.get(name) or ""), place) for name in group]
            if gallery:
                yield f'<div class="gallery">{"".join(parts)}</div>'
            else:
                yield from parts

    def _picture(self, folder: Path, name: str, caption: str, place: str) -> str:
        """The picture as an image: whatever an SVG contains cannot run or leak styles there."""
        path = folder / name
        kind = TYPES.get(path.suffix.lower())
        inside = path.resolve().is_relative_to(folder.resolve())
        if kind is None or not inside or not path.is_file():
            return page.paragraph(f"Figure {name} is missing.", "small")
        if path.stat().st_size > self.room:
            text = f"The picture {place}/{name} is not shown: this page would become too large."
            return page.paragraph(f"{text} {caption}".strip(), "small")
        data = path.read_bytes()
        self.room -= len(data)
        source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        return page.picture(source, caption or path.stem, caption)
