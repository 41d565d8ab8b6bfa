"""Annotations of hooks' arguments beside those that `hookspecs.py` declares."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from transferkit.plugins.registry import RUN_HOOKS


def check_annotations(cls: type) -> None:
    """Raise AssertionError for an argument or a returned value that is annotated as something else than it is.

    What is not annotated, or cannot be looked up, is left alone.
    """
    for name, declared in RUN_HOOKS.items():
        method = getattr(cls, name, None)
        if not callable(method):
            continue
        wanted, given = _hints(declared, declared), _hints(method, declared)
        for argument, annotation in given.items():
            spec = wanted.get(argument, Any)
            accepted = _fits(annotation, spec) if argument == "return" else _fits(spec, annotation)
            if not accepted:
                what = "returns" if argument == "return" else f"gets as {argument}"
                raise AssertionError(
                    f"{cls.__name__}.{name} {what} {_name(spec)}, but is annotated with {_name(annotation)}"
                )


def _hints(function: Any, declared: Any) -> dict[str, Any]:
    """The annotations that can be looked up where the function stands, or where the hook is declared."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    found = {}
    for name, text in getattr(function, "__annotations__", {}).items():
        try:
            names = {**_types(declared), **getattr(function, "__globals__", {})}
            found[name] = eval(text, names) if isinstance(text, str) else text
        except Exception:  # a name that only type checkers import
            continue
    return {name: type(None) if hint is None else hint for name, hint in found.items()}


def _types(declared: Any) -> dict[str, Any]:
    """The names in annotations of hookspecs.py, which imports them for type checkers only."""
    import numpy as np
    from PIL import Image
    from torch import Tensor, nn

    from transferkit.analysis.session import AnalysisSession
    from transferkit.data.contents import Contents
    from transferkit.data.streams import Combined, Stream
    from transferkit.model.wrapper import TransferModel
    from transferkit.recipe.schema import Stage
    from transferkit.report import Report
    from transferkit.training.anchors import Anchor
    from transferkit.training.workspace import Session, Workspace

    known = (
        AnalysisSession, Contents, Combined, Stream, TransferModel, Stage, Report, Anchor, Session, Workspace, Tensor,
    )  # fmt: skip
    return {one.__name__: one for one in known} | {
        "np": np, "Image": Image, "nn": nn, "Any": Any, **{name: getattr(collections.abc, name) for name in ABSTRACT},
    }  # fmt: skip


ABSTRACT = ("Iterable", "Mapping", "Sequence", "Iterator", "Callable")


def _fits(given: Any, wanted: Any) -> bool:
    """Whether a value of the type `given` may stand where `wanted` is asked for, as far as classes tell."""
    if Any in (given, wanted) or isinstance(given, typing.TypeVar) or isinstance(wanted, typing.TypeVar):
        return True
    if get_origin(given) is Annotated or get_origin(wanted) is Annotated:
        return _fits(*(get_args(one)[0] if get_origin(one) is Annotated else one for one in (given, wanted)))
    if get_origin(given) in (Union, types.UnionType):
        return all(_fits(one, wanted) for one in get_args(given))
    if get_origin(wanted) in (Union, types.UnionType):
        return any(_fits(given, one) for one in get_args(wanted))
    outer, asked = get_origin(given) or given, get_origin(wanted) or wanted
    if not isinstance(outer, type) or not isinstance(asked, type):
        return True
    if asked is float and outer is int:
        return True
    try:
        if not issubclass(outer, asked):
            return False
    except TypeError:  # a protocol
        return True
    inner, needed = get_args(given), get_args(wanted)
    if issubclass(outer, Mapping) and len(inner) == len(needed) == 2:
        return all(map(_fits, inner, needed))
    return True


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
