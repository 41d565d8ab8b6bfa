"""The report's part about the recipe: of the resolved one, only what differs from the defaults."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from transferkit.errors import InputError
from transferkit.plugins.files import known
from transferkit.plugins.options import defaults
from transferkit.recipe import schema, yaml
from transferkit.reporting import page


def recipe(path: Path) -> str:
    """A run's recipe.yaml, closed; all of it where it is damaged or of another version. Nothing without one."""
    if not path.is_file():
        return ""
    about = f'<p class="small">{page.link(path.name)} has every value and runs again to the same result.</p>'
    try:
        text, title = yaml.dump(differing(yaml.read(path).plain())), "Recipe: what differs from the defaults"
    except (InputError, ValidationError, TypeError, ValueError):
        text, title = path.read_text(encoding="utf-8", errors="replace"), "Recipe"
    return page.closed(title, page.preformatted(text) + about, "rows")


def differing(content: Any) -> Any:
    """A resolved recipe without the values that are there by default, those of plugins' options included.

    Raises InputError or ValidationError for what is no recipe.
    """
    whole = schema.Recipe.model_validate(content)
    return _without_defaults(whole.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def _without_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    usual = _defaults_of(str(value["use"])) if "use" in value else {}
    return {key: _without_defaults(item) for key, item in value.items() if key not in usual or usual[key] != item}


def _defaults_of(use: str) -> dict[str, Any]:
    """{option: its default} of the plugin of that name."""
    found: dict[str, Any] = {}
    for component in known().find(use):
        with suppress(InputError):  # one that cannot be used has no options
            found |= defaults(component.options)
    return found
