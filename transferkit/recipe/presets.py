"""`presets:`, named changes that come with a recipe, and `preset: NAME`, which lays one of them over it."""

from __future__ import annotations

from collections.abc import Iterable

from transferkit.errors import Problem
from transferkit.recipe.merge import merge
from transferkit.recipe.overrides import apply_overrides
from transferkit.recipe.tree import Node
from transferkit.suggest import did_you_mean

OWN = ("preset", "presets")


def apply_preset(root: Node, overrides: Iterable[str]) -> tuple[Node, list[str], list[Problem]]:
    """The tree with its preset merged in by the one merge rule, the other overrides, and what was wrong.

    `preset=NAME` on the command line wins over the file, and `presets.NAME.…` there changes a preset before it is laid
    over. Both keys are gone from the tree: what they say is in it.
    """
    overrides = list(overrides)
    mine = [text for text in overrides if _first_key(text) in OWN]
    problems = apply_overrides(root, mine)
    chosen, presets = root.value.pop("preset", None), root.value.pop("presets", None)
    rest = [text for text in overrides if text not in mine]
    if presets is not None and (not isinstance(presets.value, dict) or _not_mappings(presets)):
        message = "presets: a mapping of mappings is needed, NAME: {key: value}"
        return root, rest, [*problems, Problem(str(presets.mark), message)]
    if chosen is None or chosen.value is None:
        return root, rest, problems
    known = presets.value if presets is not None else {}
    preset = known.get(str(chosen.value))
    if preset is None:
        hint = did_you_mean(str(chosen.value), known) if known else "this recipe has none"
        message = f'preset: there is no preset called "{chosen.value}"'
        return root, rest, [*problems, Problem(str(chosen.mark), message, hint)]
    for key in [key for key in (*OWN, "extends") if key in preset.value]:
        message = f"presets.{chosen.value}.{key}: a preset changes the recipe, and cannot choose what it is made of"
        problems.append(Problem(str(preset.value.pop(key).label), message))
    return merge(root, preset, problems), rest, problems


def _first_key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition(".")[0].strip()


def _not_mappings(presets: Node) -> bool:
    return any(not isinstance(node.value, dict) for node in presets.value.values())
