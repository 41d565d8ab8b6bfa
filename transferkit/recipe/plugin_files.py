"""`plugins: [./my_penalty.py]`: Python files that a recipe names, looked at before any of their code runs."""

from __future__ import annotations

import os
from pathlib import Path

from transferkit.errors import InputError, Problem
from transferkit.plugins.files import VARIABLE, PluginFile, allowed
from transferkit.recipe.tree import Node, Problems, Steps, shown
from transferkit.words.doors import option, said
from transferkit.words.suggest import did_you_mean

COPIES = "plugins"
"""The folder in a run's that keeps the files as they were."""


def plugin_files(root: Node, problems: Problems, allow: bool) -> list[PluginFile]:
    """The files that the recipe names (absolute by now). Raises InputError for what is missing, lies elsewhere than the
    recipe that names it, or is not allowed: then nothing else of the recipe can be judged."""
    node = root.child("plugins")
    items = node.value if node is not None and isinstance(node.value, list) else []
    found: dict[str, PluginFile] = {}
    refused = False
    for index, item in enumerate(items):
        if not isinstance(item.value, str):
            continue  # which the schema refuses
        path: Steps = ("plugins", index)
        try:
            file = _read(item)
            if file.path.name in found:
                raise InputError(f"two plugin files are called {file.path.name}; give one another name")
            found[file.path.name] = file
        except InputError as error:
            problems.refused(path, error)
            refused = True
            continue
        if not allowed(allow):
            message = f"{shown(file.path)} (SHA-256 {file.sha256}) is code, which would run with all that you may do"
            problems.add(
                path,
                message,
                f"read it; if you trust it, allow it with {option('allow-plugins', True)}, or {VARIABLE}=1",
            )
            refused = True
    if refused:
        problems.raise_if_any()
    return list(found.values())


def _read(item: Node) -> PluginFile:
    path, folder = Path(item.value), item.mark.folder
    copy = folder / COPIES / path.name
    of_run = copy.is_file() and (folder / "env.json").is_file()
    if not path.is_file():
        names = [file.name for file in path.parent.glob("*.py")]
        hint = f"the run keeps a copy: plugins=[{copy}]" if of_run else did_you_mean(path.name, names)
        raise InputError(Problem("", f"there is no file {shown(path)}", hint))
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    if not (inside or of_run or item.mark.on_command_line):
        text = f"{shown(path)} lies outside the folder of the recipe that names it"
        named = said("on the command line: plugins=[FILE]", 'in the call: plugins=["FILE"]')
        raise InputError(Problem("", text, f"keep it beside the recipe, or name it {named}"))
    return PluginFile.read(path)
