"""What the models answer: composites given to a model in batches, answers kept in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import Composites, mean_colour

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession

BATCH = 16


def ask(
    session: AnalysisSession, role: str, order: list[int], composites: Composites, plain: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) the class that a model takes each composite for, and (m,) those of `plain` on one colour; kept in the cache.

    `order` says where each target class is among the model's outputs.
    """
    ground = mean_colour(session.model("target").preprocessing.mean)
    facts = {
        "what": "classes of composites",
        "model": session.digest(role),
        "order": order,
        "composites": session.composites_digest(composites.items),
        "plain": plain.tolist(),
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
