"""The recipes that come with transferkit: what there is, and where it lies."""

from __future__ import annotations

import re
from pathlib import Path

from transferkit.errors import InputError
from transferkit.words.suggest import did_you_mean

PACKAGE = Path(__file__).resolve().parents[1]


def recipes_folder() -> Path:
    """In an installed package inside it; in a checkout beside it. Raises InputError where neither is there."""
    for folder in (PACKAGE / "recipes", PACKAGE.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise InputError(f"this installation has no recipes (looked in {PACKAGE / 'recipes'}); install transferkit again")


def shipped() -> dict[str, str]:
    """{name: what it is for, from the comment that it begins with}."""
    return {path.stem: purpose(path) for path in sorted(recipes_folder().glob("*.yaml"))}


def shipped_recipe(name: str) -> Path:
    """Where the recipe of that name lies. Raises InputError with a suggestion."""
    folder, stem = recipes_folder(), name.removesuffix(".yaml")
    known = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    if stem not in known:
        raise InputError(f'there is no recipe called "{name}"; {did_you_mean(stem, known)}')
    return known[stem]


def purpose(path: Path) -> str:
    """The first sentence of the comment at the top of a recipe, without the lines for editors."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        if (not text and lines) or text.startswith("transferkit "):
            break
        if text and not text.startswith("yaml-language-server"):
            lines.append(text)
    return re.split(r"(?<=[.?!])[\"]? (?=[A-Z])", " ".join(lines), maxsplit=1)[0]
