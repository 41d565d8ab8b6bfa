"""A tennis ball at a random place of images. Registration only; see corruption.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_tennis_ball.drawing import draw_ball
    from transferkit_tennis_ball.measure import attraction_rate

__all__ = ["attraction_rate", "draw_ball"]

__getattr__ = transferkit.lazy(
    __name__,
    {"attraction_rate": "transferkit_tennis_ball.measure", "draw_ball": "transferkit_tennis_ball.drawing"},
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the corruption `tennis_ball` and the analyzer `attraction`."""
    register.corruption("tennis_ball", "transferkit_tennis_ball.corruption:TennisBall")
    register.analyzer("attraction", "transferkit_tennis_ball.analyzer:Attraction")
