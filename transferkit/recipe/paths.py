"""Paths in a recipe are relative to the file that gives them; on the command line, to the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from transferkit.recipe.tree import Node

LOCAL = "local-dir:"
STARTS = ("pretrained", "scratch")
DATASET_PATHS = ("folder", "table", "npz", "tar", "webdataset", "labels", "root")


def absolute(text: str, folder: Path) -> str:
    """An absolute path, `~` expanded and `..` removed; symbolic links stay."""
    return os.path.normpath(os.path.join(os.path.abspath(folder), os.path.expanduser(text)))


def resolve_paths(root: Node) -> None:
    """Make every path of the core's own keys absolute, in place."""
    stages = _items(root.child("stages"))
    for owner in (root, *stages):
        model = owner.child("model")
        if model is not None:
            resolve(model.child("weights"))
            if (model.text("name") or "").startswith(LOCAL):
                resolve(model.child("name"))
    names = {stage.text("name") for stage in stages}
    for start in [stage.child("start") for stage in stages]:
        if start is None or not isinstance(start.value, str) or start.value in {*names, *STARTS}:
            continue
        if looks_like_path(start.value) or os.path.isdir(absolute(start.value, start.mark.folder)):
            resolve(start)
    for dataset in _items(root.child("datasets")):
        for key in DATASET_PATHS:
            resolve(dataset.child(key))
        hub = dataset.child("hf")  # a name on the hub, or a folder
        if hub is not None and isinstance(hub.value, str) and os.path.isdir(absolute(hub.value, hub.mark.folder)):
            resolve(hub)
        for key in ("lists", "webdataset"):
            for item in _items(dataset.child(key)):
                resolve(item)
    resolve(root.child("plugins"))


def resolve(node: Node | None) -> None:
    """Make one path, or each of a list of them, absolute, in place; `local-dir:` stays in front."""
    if node is not None and isinstance(node.value, list):
        for item in node.value:
            resolve(item)
    if node is None or not isinstance(node.value, str) or not node.value:
        return
    prefix = LOCAL if node.value.startswith(LOCAL) else ""
    node.value = prefix + absolute(node.value[len(prefix) :], node.mark.folder)


def looks_like_path(text: str) -> bool:
    """Whether a stage's `start` is a path rather than the name of a stage."""
    return "/" in text or "\\" in text or text.startswith((".", "~"))


def _items(node: Node | None) -> list[Node]:
    if node is None:
        return []
    if isinstance(node.value, dict):
        return list(node.value.values())
    return list(node.value) if isinstance(node.value, list) else []
