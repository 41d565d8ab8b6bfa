"""The classes of the drawn data sets. Standard library only: a plan counts their images without drawing any."""

from __future__ import annotations

SHAPES = ("cross", "disc", "ring", "square", "triangle")
TEXTURES = ("checker", "dots", "grid", "rays", "spiral", "stripes", "waves")
SOURCE_CLASSES = tuple(sorted(SHAPES + TEXTURES))
TARGET_CLASSES = ("sign", "wheel")
SHARED = ("disc", "ring", "square", "triangle")
"""Source classes that occur in pictures of the target task."""
SOURCE_ONLY = tuple(name for name in SOURCE_CLASSES if name not in SHARED)
"""Source classes that never occur there: the planted answer of an audit."""
CLASSES = {"source": SOURCE_CLASSES, "target": TARGET_CLASSES, "digits": tuple("0123456789")}
