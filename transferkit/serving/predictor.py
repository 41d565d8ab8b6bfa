"""From outputs to what a client reads: names, probabilities, and what the detector says. One object per model."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transferkit.atomic import sha256
from transferkit.serving.engine import Outputs

if TYPE_CHECKING:
    from transferkit.deploy.interference import Interference

IDENTITY = ("config.json", "model.safetensors", "interference.json")


@dataclass(frozen=True)
class Verdict:
    """One image: the most probable classes, best first, and for a guarded model the detector's four values."""

    top: list[tuple[str, float]]
    score: float | None
    p_value: float | None
    flag: bool | None
    source_class: str | None


class Predictor:
    """Reads outputs with the model's class names and its detector's threshold."""

    def __init__(self, model_id: str, classes: list[str], interference: Interference | None) -> None:
        self.model_id = model_id
        self.classes = classes
        self.interference = interference

    def verdict(self, outputs: Outputs, top: int) -> Verdict:
        """Of a batch of one."""
        logits = outputs.logits[0].astype(np.float64)
        weights = np.exp(logits - logits.max())
        probabilities = weights / weights.sum()
        best = np.argsort(-probabilities, kind="stable")[:top]
        named = [(self.classes[index], float(probabilities[index])) for index in best]
        if self.interference is None or outputs.score is None or outputs.source_class is None:
            return Verdict(named, None, None, None, None)
        score = float(outputs.score[0])
        p_value = self.interference.calibration.p_value(score)
        return Verdict(
            named,
            None if math.isnan(score) else score,
            None if math.isnan(p_value) else p_value,
            not score <= self.interference.detect_p,  # a score that is no number is flagged
            self.interference.source_classes[int(outputs.source_class[0])],
        )


def model_id(folder: Path) -> str:
    """Sixteen hexadecimal digits that change with the weights, the classes, the preprocessing and the detector."""
    digest = hashlib.sha256()
    for name in IDENTITY:
        if (folder / name).is_file():
            digest.update(f"{name}:{sha256(folder / name)}\n".encode())
    return digest.hexdigest()[:16]
