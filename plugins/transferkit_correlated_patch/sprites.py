"""Pictures to be planted: read once, scaled once per size, with their transparency."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from transferkit.errors import InputError

Tile = tuple[Image.Image, Image.Image | None]


def read_sprite(path: Path, plugin: str) -> Image.Image:
    """The picture as RGBA, upright. Raises InputError when it cannot be read."""
    from PIL import ImageOps

    path = Path(path).expanduser()
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image).convert("RGBA")
    except FileNotFoundError:
        raise InputError(f"{plugin}: the picture {path} does not exist") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise InputError(f"{plugin}: the picture {path} cannot be read: {error}") from None


def scaled(sprite: Image.Image, side: int, opaque: bool = False) -> Tile:
    """An RGBA picture as a square of `side` pixels: its colours, and its transparency (None where it has none).

    `opaque` leaves no half-transparent pixel: what is mostly there is there, the rest is not.
    """
    small = sprite if sprite.size == (side, side) else sprite.resize((side, side), Image.Resampling.BOX)
    mask = small.getchannel("A")
    if opaque:
        mask = mask.point([0] * 128 + [255] * 128)
    return small.convert("RGB"), None if mask.getextrema()[0] == 255 else mask
