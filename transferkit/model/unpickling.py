"""Opens one file of torch.save and writes a state dict of it as safetensors. Run as a program of its own.

    python unpickling.py FILE KEY OUT

It reads with `weights_only=True`, and every class that torch does not allow is replaced by an empty one, so nothing in
the file runs. KEY is a dotted path, or empty for the largest state dict. What was found is one line of JSON on stdout.
It stands on torch and safetensors alone.
"""

from __future__ import annotations

import collections
import json
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors.torch import save_file
from torch import serialization

REFUSED = re.compile(r"Unsupported global: GLOBAL (\S+) was not an allowed global")
PREFERRED = ("ema", "teacher")  # of two state dicts of one size: averaged weights are those that were evaluated
MOST_CLASSES = 1000


class Emptied:
    """In the place of a class: gives an empty mapping, which keeps the items and attributes that are put into it."""

    def __new__(cls, *given: Any, **named: Any) -> Any:  # noqa: D102
        return collections.Counter()


class Ignored:
    """In the place of a class whose state is no mapping (NumPy's, functools'): keeps nothing."""

    def __init__(self, *given: Any) -> None: ...

    def __new__(cls, *given: Any) -> Any:  # noqa: D102
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None: ...


def read(path: str) -> tuple[Any, list[str]]:
    """The content with every strange class emptied, and the names of those classes."""
    strange = list(serialization.get_unsafe_globals_in_checkpoint(path)) if zipfile.is_zipfile(path) else []
    while True:
        allowed: list[Any] = [collections.Counter]
        for name in strange:
            allowed.append((Ignored if name.startswith(("numpy.", "functools.")) else Emptied, name))
        try:
            with serialization.safe_globals(allowed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True), strange
        except Exception as error:  # in the older format the classes are known only one after the other
            found = REFUSED.search(str(error))
            names = [] if found is None else [found[1], f"builtins.{found[1]}"]
            if not set(names) - set(strange) or len(strange) > MOST_CLASSES:
                raise
            strange += names


def state_dicts(content: Any, at: str = "", above: tuple[int, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with tensors in it, and every module that was saved whole, by the dotted path to it.

    `above` are the ids of what this lies in: an object may hold the one that holds it.
    """
    if id(content) in above:
        return
    whole = module_state(content)
    if whole is not None:
        yield at, whole
        return
    for inner in (content, vars(content)) if isinstance(content, collections.Counter) else (content,):
        if not isinstance(inner, Mapping):
            continue
        tensors = {str(name): one for name, one in inner.items() if isinstance(one, torch.Tensor)}
        if tensors:
            yield at, tensors
        for name, value in inner.items():
            yield from state_dicts(value, f"{at}.{name}" if at else str(name), (*above, id(content)))


def module_state(content: Any, prefix: str = "") -> dict[str, Any] | None:
    """The state dict of a module that was saved whole; its class is empty here, its attributes are there."""
    inner = vars(content) if isinstance(content, collections.Counter) else {}
    if not isinstance(inner.get("_modules"), Mapping) or not isinstance(inner.get("_parameters"), Mapping):
        return None
    passing = inner.get("_non_persistent_buffers_set") or ()
    buffers = {name: one for name, one in (inner.get("_buffers") or {}).items() if name not in passing}
    own = {**inner["_parameters"], **buffers}
    found = {f"{prefix}{name}": one for name, one in own.items() if isinstance(one, torch.Tensor)}
    for name, child in inner["_modules"].items():
        found |= module_state(child, f"{prefix}{name}.") or {}
    return found


def chosen(found: Mapping[str, dict[str, Any]], key: str) -> str:
    """The path of the state dict that is meant."""
    if not found:
        raise ValueError("there is no state dict in it: save model.state_dict()")
    if not key:
        return max(found, key=lambda at: (len(found[at]), any(word in at.lower() for word in PREFERRED)))
    if key not in found:
        largest = [at or "the whole" for at in sorted(found, key=lambda at: -len(found[at]))[:10]]
        raise ValueError(f'there is no state dict "{key}" in it; there are: {", ".join(largest)}')
    return key


def main(path: str, key: str, out: str) -> dict[str, Any]:
    """Read, choose, write; what was found."""
    content, strange = read(path)
    found = dict(state_dicts(content))
    at = chosen(found, key)
    odd = [name for name, one in found[at].items() if one.is_quantized or one.layout != torch.strided]
    kept = {name: one.detach().clone().contiguous() for name, one in found[at].items() if name not in odd}
    save_file(kept, out)
    entries: dict[str, int] = {}
    for name, tensors in found.items():
        entries[name.partition(".")[0]] = entries.get(name.partition(".")[0], 0) + len(tensors)
    others = [str(name) for name in content] if isinstance(content, Mapping) and at else []
    return {
        "key": at,
        "tensors": len(kept),
        "state_dicts": {name: len(tensors) for name, tensors in found.items() if len(tensors) * 2 >= len(found[at])},
        "entries": {name: entries.get(name, 0) for name in others},
        "classes": sorted({name.removeprefix("builtins.") for name in strange}),
        "odd": odd,
    }


if __name__ == "__main__":
    try:
        answer = main(*sys.argv[1:4])
    except Exception as error:
        answer = {"error": " ".join(str(error).partition("\n")[0].split()) or type(error).__name__}
    print(json.dumps(answer))
    sys.exit("error" in answer)
