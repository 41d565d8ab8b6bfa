"""A new plugin package of any kind, from templates: plugin, registration, card, recipe, a test, and calls for mypy."""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from string import Template

from transferkit.errors import InputError
from transferkit.plugins.kinds import Kind
from transferkit.plugins.registry import RUN_HOOKS
from transferkit.recipe import schema
from transferkit.recipe.places import PLACES, Place
from transferkit.surface import __version__
from transferkit.system.atomic import make_folder, write_text

TEMPLATES = Path(__file__).with_name("template")
HOMES = ("transferkit", *(f"transferkit.{part}" for part in ("analysis", "data", "model")))
"""Where the types of what hooks are given can be imported from."""
ABROAD = {
    "Tensor": "torch", "nn": "torch", "Image": "PIL", "Any": "typing",
    **dict.fromkeys(("Iterable", "Mapping", "Sequence"), "collections.abc"),
}  # fmt: skip
WIDTH = 120
SHAPES = "world: {kind: target, train: 6, val: 4, size: 32}"


def write_plugin(name: str, out: Path | None = None, kind: Kind = "regularizer") -> Path:
    """Write the package into `out` (default: ./transferkit-NAME) and return the folder.

    Raises InputError for a name that the code of the package cannot have, and for a folder that has something in it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name):
        raise InputError(
            f'"{name}" cannot be a plugin\'s name: use small letters, digits and single underscores, such as my_penalty'
        )
    module = name.replace("-", "_")
    parts = parts_of(kind)
    class_name = "".join(part.capitalize() for part in module.split("_"))
    reason = _taken(module, class_name, "".join(parts.values()))
    if reason is not None:
        raise InputError(f'"{name}" cannot be a plugin\'s name: {reason}; add a word, such as {module}_{kind}')
    words = {
        "name": module,
        "class_name": class_name,
        "package": f"transferkit_{module}",
        "distribution": f"transferkit-{module.replace('_', '-')}",
        "slug": module.replace("_", "-"),
        "version": __version__,
        "kind": kind,
    }
    folder = out or Path(words["distribution"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; give another folder with --out")
    for path, text in _files(kind, parts, words).items():
        make_folder((folder / path).parent)
        write_text(folder / path, text)
    return folder


def parts_of(kind: Kind) -> dict[str, str]:
    """{name: text} of the parts of that kind's template."""
    pieces = re.split(r"^---- (.+)\n", (TEMPLATES / f"{kind}.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text.strip("\n") for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def _taken(module: str, class_name: str, text: str) -> str | None:
    """Why a function, a class and a package of these names would not work, or would hide something else."""
    if keyword.iskeyword(module) or keyword.iskeyword(class_name):
        return f"{module if keyword.iskeyword(module) else class_name} is a word of Python itself"
    for name in (module, class_name):
        if hasattr(builtins, name):
            return f"it would hide Python's own {name}"
        if re.search(rf"import .*\b{name}\b|^class {name}\b|^ *def {name}\b", text, flags=re.MULTILINE):
            return f"the package itself has something called {name}"
    if module in sys.stdlib_module_names or find_spec(module) is not None:
        return f"it would hide the module {module}"
    return f"transferkit_{module} is installed already" if find_spec(f"transferkit_{module}") is not None else None


def _files(kind: Kind, parts: Mapping[str, str], words: Mapping[str, str]) -> dict[str, str]:
    package, use = words["package"], _use(words["name"], parts["options"])

    def filled(template: str, **more: str) -> str:
        return Template((TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute({**words, **more})

    def of_kind(name: str) -> str:
        return Template(parts[name]).substitute(words)

    checked = f", {parts['checked']}" if parts["checked"] else ""
    card = {name: of_kind(name) for name in ("about", "value", "cost", "limits")}
    module = filled("module", body=of_kind("module"))
    extra = {name.removeprefix("file "): of_kind(name) + "\n" for name in parts if name.startswith("file ")}
    return {
        "pyproject.toml": filled("pyproject"),
        "recipe.yaml": filled("recipe", **_in_recipe(kind, use)),
        f"{package}/__init__.py": module,
        f"{package}/README.md": filled("readme", use=_example(kind, use), options=parts["table"], **card),
        f"{package}/py.typed": "",
        f"test_{words['name']}.py": filled("test", body=of_kind("test"), checked=checked),
        f"typed_{words['name']}.py": typed_calls(module, package, words["class_name"]),
        **{f"{package}/{name}": text for name, text in extra.items()},
    }


# -- where recipes name it ------------------------------------------------------------------------------------------


def _use(name: str, options: str) -> str:
    return f"{{use: {name}, {options}}}" if options else f"{{use: {name}}}"


def _place(kind: Kind) -> Place | None:
    return next((place for place in PLACES if place.kind == kind), None)


def _example(kind: Kind, use: str) -> str:
    """The key of a recipe that names the plugin."""
    place = _place(kind)
    if place is None:
        return f"analyses: [{{use: interference, dataset: source, {kind}s: [{use}]}}]"
    return f"{place.key}: {use}" if place.single else f"{place.key}:\n  - {use}"


def _in_recipe(kind: Kind, use: str) -> dict[str, str]:
    """What stands in the recipe's data set, at the end of its stage, and at the top."""
    place = _place(kind)
    found = {"shapes": SHAPES, "stage": "", "recipe": ""}
    if place is not None and place.section is schema.Dataset:
        given = f"{place.key}: {use}" if place.single else f"{place.key}: [{use}]"
        found["shapes"] = given if kind == "reader" else f"{SHAPES}, {given}"
    elif place is not None and place.section is schema.Stage:
        lines = _example(kind, use).splitlines()
        found["stage"] = "".join(f"    {line}\n" for line in lines)
    else:
        found["recipe"] = _example(kind, use) + "\n"
    return found


# -- for type checkers ----------------------------------------------------------------------------------------------


def typed_calls(module: str, package: str, class_name: str) -> str:
    """A module that calls every hook of the class as transferkit does, with the types that hookspecs.py declares.

    A type checker that reads it finds an argument or a returned value of another type in the class.
    """
    tree = ast.parse(module)
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    hooks = [node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name in RUN_HOOKS]
    calls, named = [], set[str]()
    for hook in hooks:
        declared = inspect.signature(RUN_HOOKS[hook.name])
        asked = [argument.arg for argument in hook.args.args if argument.arg != "self"]
        types = {name: str(declared.parameters[name].annotation) for name in asked}
        returned = str(declared.return_annotation)
        named |= {word for text in (*types.values(), returned) for word in re.findall(r"[A-Za-z]\w*", text)}
        given = "".join(f", {name}: {text}" for name, text in types.items())
        arguments = ", ".join(f"{name}={name}" for name in asked)
        head = f"def call_{hook.name}(plugin: {class_name}{given}) -> {returned}:"
        if len(head) > WIDTH:
            head = head.replace("(", "(\n    ", 1).replace(f") -> {returned}:", f"\n) -> {returned}:")
        calls.append(
            f'{head}\n    """As transferkit calls `{hook.name}`."""\n    return plugin.{hook.name}({arguments})\n'
        )
    head = (
        f'"""What transferkit gives to the hooks of {class_name}, and what it expects: mypy compares."""\n\n'
        "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
    )
    lines = _imports(named, f"from {package} import {class_name}")
    imports = "".join(f"    {line}\n" if line else "\n" for line in lines)
    return f"{head}{imports}\n\n" + "\n\n".join(calls)


def _imports(named: set[str], own: str) -> list[str]:
    """Import lines in the order in which ruff wants them: the standard library, what is installed, this package."""
    homes: dict[str, set[str]] = {}
    for name in named:
        home = ABROAD.get(name) or next((home for home in HOMES if name in import_module(home).__all__), None)
        if home is not None:
            homes.setdefault(home, set()).add(name)
    groups: list[list[str]] = [[], ["import numpy as np"] if "np" in named else [], [own]]
    for home in sorted(homes, key=str.lower):
        standard = home.partition(".")[0] in sys.stdlib_module_names
        groups[0 if standard else 1].append(f"from {home} import {', '.join(sorted(homes[home]))}")
    return [line for group in groups if group for line in ("", *group)][1:]
