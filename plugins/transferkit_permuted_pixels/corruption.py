"""Permuted pixels: the second task of "permuted MNIST", the same places swapped in every image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


@lru_cache(maxsize=8)
def permutation(height: int, width: int, seed: int = 0) -> NDArray[np.int64]:
    """(height·width,) int64: row-major, pixel i of the new image is pixel `permutation[i]` of the old one.

    A function of its three arguments alone; read-only.
    """
    from transferkit.data import numpy_rng

    order = numpy_rng("permuted_pixels", seed, height, width).permutation(height * width)
    order.setflags(write=False)
    return order


@dataclass
class PermutedPixels:
    """Put every pixel in another place, the same one in all images and splits."""

    permutation_seed: Annotated[
        int, Field(ge=0, description="which permutation; it does not depend on the run's own seed")
    ] = 0

    def corrupt(self, image: Image.Image) -> Image.Image:
        """The image with its pixels permuted; the three colours of a pixel stay together."""
        import numpy as np
        from PIL import Image

        pixels = np.asarray(image)
        height, width = pixels.shape[:2]
        order = permutation(height, width, self.permutation_seed)
        return Image.fromarray(pixels.reshape(height * width, -1)[order].reshape(pixels.shape))
