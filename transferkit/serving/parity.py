"""Does what is served compute what the model folder says? The keyed images of the export check, through both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from transferkit.deploy import parity
from transferkit.deploy.graph import Graph
from transferkit.serving.engine import Outputs

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.loaded import LoadedModel

ACCELERATOR_TOLERANCE = 2e-2
"""Of logits, in units of the largest one where that is above 1, and of scores: GPUs may convolve with ten bits."""


class Parity:
    """The images and the eager model's answers to them, kept for as long as the server runs."""

    def __init__(self, loaded: LoadedModel) -> None:
        images = parity.keyed_images(loaded.model.preprocessing, parity.REFERENCE)
        self.images: Tensor = torch.from_numpy(images)
        self._expected = parity.expect(Graph(loaded), images)

    def problem(self, given: Outputs, device: str) -> str | None:
        """None if these are the answers, else how they differ."""
        found = {name: value for name, value in given._asdict().items() if value is not None}
        if device == "cpu":
            try:
                parity.compare(self._expected, found, "compared with the model")
            except parity.ParityError as error:
                return str(error)
            return None
        for name in ("logits", "score"):
            expected = self._expected.outputs.get(name)
            if expected is None:
                continue
            scale = max(1.0, float(np.abs(expected).max()))
            off = float(np.abs(found[name] - expected).max()) if name in found else np.nan
            if not off <= ACCELERATOR_TOLERANCE * scale:
                return f"compared with the model on a CPU: {name} differ by {off:.2g}"
        return None
