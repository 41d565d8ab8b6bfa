"""A detector as an analysis names it: by its name, or with options; checked when the recipe is read, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError, WithJsonSchema

from transferkit.errors import InputError
from transferkit.plugins.contained import said
from transferkit.plugins.files import known
from transferkit.plugins.hooks import refuse_broken
from transferkit.recipe.uses import PluginUse


def _use(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


def _known(use: PluginUse) -> PluginUse:
    """The same, of an installed detector that takes these options. Raises ValueError."""
    try:
        component = known().get("detector", use.use)
        refuse_broken(component)
        component.create(use.options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{use.use}: {place}: {first['msg']}") from error
    except InputError as error:
        raise ValueError("; ".join(" ".join(filter(None, [p.message, p.hint])) for p in error.problems)) from error
    except ValueError as error:
        raise ValueError(f"{use.use}: {said(error) or type(error).__name__}") from error
    return use


DetectorUse = Annotated[
    PluginUse,
    BeforeValidator(_use),
    AfterValidator(_known),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "required": ["use"]}]}),
]
"""An installed detector: `energy`, or `{use: knn, k: 10}`."""


def detector_use(given: PluginUse | Mapping[str, Any] | str) -> PluginUse:
    """Either form as one, checked. Raises InputError."""
    try:
        return _known(given if isinstance(given, PluginUse) else PluginUse.model_validate(_use(given)))
    except ValueError as error:
        raise InputError(f"a detector cannot be used: {said(error)}") from error
