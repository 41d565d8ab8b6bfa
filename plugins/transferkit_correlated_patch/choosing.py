"""Which images get a patch: an exact share of every class, nested over the shares."""

from __future__ import annotations

from transferkit.data import choose_images as choose

__all__ = ["choose"]
