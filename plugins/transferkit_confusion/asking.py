"""What the models answer: composites given to a model in batches, answers kept in the cache."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis.composites import Composites

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession

BATCH = 16


def ask(
    session: AnalysisSession, role: str, order: list[int], composites: Composites, plain: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) the class that a model takes each composite for, and (m,) those of `plain` on one colour; kept in the cache.

    `order` says where each target class is among the model's outputs.
    """
    ground = colour(session)
    rows = json.dumps([composites.rows(), plain.tolist()]).encode()
    facts = {
        "what": "classes of composites",
        "model": session.digest(role),
        "order": order,
        "canvas": session.model("target").preprocessing.to_json(),
        "images": [session.data_digest("source"), session.data_digest("target", session.overlay_split())],
        "composites": blake2b(rows, digest_size=16).hexdigest(),
        "colour": ground,
        "device": session.device.type,
    }

    def compute() -> dict[str, Tensor]:
        found = []
        total = len(composites) + len(plain)

        def picture(index: int) -> Any:
            if index < len(composites):
                return composites.pixels(index)
            return composites.on_colour(int(plain[index - len(composites)]), ground)

        with session.progress(total, f"{role} model on {total} composites") as bar:
            for start in range(0, total, BATCH):
                part = [picture(index) for index in range(start, min(start + BATCH, total))]
                found.append(_answers(session, role, order, part))
                bar.advance(len(part))
        return {"classes": torch.cat(found)}

    both = session.cached(facts, compute)["classes"].numpy()
    return both[: len(composites)], both[len(composites) :]


@torch.no_grad()
def _answers(session: AnalysisSession, role: str, order: list[int], pictures: list[Any]) -> Tensor:
    """(n,) target classes; of equal logits the lower class."""
    logits: Tensor = session.model(role)(session.batches(role)(pictures)).logits.cpu()
    return logits[:, order].argmax(dim=1)


def colour(session: AnalysisSession) -> tuple[int, int, int]:
    """The one colour of the control: the mean that the target model's preprocessing subtracts."""
    red, green, blue = (list(session.model("target").preprocessing.mean) * 3)[:3]
    return round(255 * red), round(255 * green), round(255 * blue)
