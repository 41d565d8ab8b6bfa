"""A recipe: one YAML file that says everything about an experiment. Nothing here imports torch."""

from __future__ import annotations

from transferkit.recipe.load import Loaded, load_recipe

__all__ = ["Loaded", "load_recipe"]
