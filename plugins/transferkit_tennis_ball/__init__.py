"""A tennis ball at a random place of images. Registration only; see corruption.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_tennis_ball.attraction import attraction_rate as attraction_rate
    from transferkit_tennis_ball.drawing import draw_ball as draw_ball
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the corruption `tennis_ball` and the analyzer `attraction`."""
    register.corruption("tennis_ball", "transferkit_tennis_ball.corruption:TennisBall")
    register.analyzer("attraction", "transferkit_tennis_ball.analyzer:Attraction")
