"""The options of a plugin: its class's dataclass fields, as a pydantic model."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from transferkit.errors import InputError
from transferkit.words.names import Refers


def options_model(cls: type) -> type[BaseModel]:
    """The options of a plugin class: its dataclass fields, with their types, ranges and defaults."""
    if not dataclasses.is_dataclass(cls):
        if any(name != "self" for name in _init_parameters(cls)):
            raise InputError(f"{cls.__name__}: a plugin with options must be a dataclass (add @dataclass)")
        return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"))
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        if not item.init:
            continue
        default: Any = ...
        if item.default is not dataclasses.MISSING:
            default = item.default
        elif item.default_factory is not dataclasses.MISSING:
            default = FieldInfo(default_factory=item.default_factory)
        fields[item.name] = (hints[item.name], default)
    config = ConfigDict(extra="forbid", validate_default=True, arbitrary_types_allowed=True)
    return create_model(cls.__name__, __config__=config, **fields)


def _init_parameters(cls: type) -> list[str]:
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return []
    code = getattr(cls.__init__, "__code__", None)  # type: ignore[misc]
    return list(code.co_varnames[: code.co_argcount]) if code else []


def defaults(options: type[BaseModel]) -> dict[str, Any]:
    """{option: its default, as JSON has it}, of the options that have one."""
    return options.model_construct().model_dump(mode="json", warnings=False)


def reference_options(options: type[BaseModel]) -> dict[str, str]:
    """{option: what its names stand for}: options of the types `StageName` and `DatasetName`, or lists of them."""
    found: dict[str, str] = {}
    for name, info in options.model_fields.items():
        marks = [mark for mark in (*info.metadata, *_marks(info.annotation)) if isinstance(mark, Refers)]
        if marks:
            found[name] = marks[0].what
    return found


def _marks(annotation: Any) -> list[Any]:
    """Everything that `Annotated` adds to the types within an annotation."""
    own = list(getattr(annotation, "__metadata__", ()))
    return own + [mark for inner in get_args(annotation) for mark in _marks(inner)]


def path_options(options: type[BaseModel]) -> list[str]:
    """Names of the options that are paths: they are read relative to the recipe that gives them."""
    fields = options.model_fields.items()
    return [name for name, info in fields if Path in (info.annotation, *get_args(info.annotation))]
