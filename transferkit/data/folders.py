"""Image folders on disk: their splits, classes and files, and class lists in CSV. Standard library only."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transferkit.errors import InputError
from transferkit.suggest import did_you_mean
from transferkit.text import one_line

# those of torchvision.datasets.folder
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class LabelRow:
    """One class of a class list: its label, the folder its images lie in, and its name."""

    index: int
    folder: str
    name: str


def find_splits(root: Path, names: Mapping[str, str] = {}) -> dict[str, Path]:
    """The folders of the splits: {"train": …, "val": …, "test": …}, as many as there are.

    A folder of class folders without any split is all "train". `names` gives the folder's own
    names of the splits where they differ from the usual ones. Raises InputError when the folder is missing
    or has no images, a named split is missing, or two folders could be the same split.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"the data folder {root} {what}")
    folders = {path.name: path for path in _subfolders(root)}
    found = {}
    for split, usual in SPLIT_NAMES.items():
        path = _named(root, names[split], split) if split in names else _usual(root, folders, split, usual)
        if path is not None:
            found[split] = path
    if not found:
        if not any(_has_images(path) for path in folders.values()):
            raise InputError(f"{root} has no class folders with images in it ({_extensions()})")
        found = {"train": root}
    return found


def scan(root: Path) -> dict[str, list[Path]]:
    """{class folder name: its image files, sub-folders included}, all sorted and without hidden files.

    A class folder without images is kept with an empty list.
    """
    folders: dict[str, Path] = {}
    for path in _subfolders(root):
        other = folders.setdefault(one_line(path.name), path)
        if other != path:
            raise InputError(f"{root} has two class folders that are both shown as {one_line(path.name)}; rename one")
    return {name: _images(path) for name, path in folders.items()}


def read_labels(path: Path) -> list[LabelRow]:
    """The class list of a CSV with the columns index, name, and folder or wnid; ordered by index.

    Raises InputError when a column is missing, an index is no number, an index or a folder appears twice,
    or the indices are not 0, 1, 2, …
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the class list {path}: {error}") from None
    reader = csv.DictReader(text.splitlines())
    columns = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
    folder = columns.get("folder", columns.get("wnid"))
    if "index" not in columns or "name" not in columns or folder is None:
        raise InputError(
            f"{path}: the header needs the columns index, name, and folder or wnid; it has {list(columns)}"
        )
    rows = [
        LabelRow(_index(path, number, row[columns["index"]]), _cell(row[folder]), _cell(row[columns["name"]]))
        for number, row in enumerate(reader, start=2)
    ]
    return _checked(path, sorted(rows, key=lambda row: row.index))


def class_names(rows: Iterable[LabelRow]) -> list[str]:
    """The names by index. Where two classes share a name (ImageNet's cranes), the folder is added to both."""
    rows = list(rows)
    times = Counter(row.name for row in rows)
    return [row.name if times[row.name] == 1 else f"{row.name} ({row.folder})" for row in rows]


def _subfolders(root: Path) -> list[Path]:
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [root / name for name in sorted(names)]


def _images(folder: Path) -> list[Path]:
    found = []
    for place, below, files in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [os.path.join(place, name) for name in files if _is_image(name)]
    return [Path(name) for name in sorted(found)]


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith(".")


def _has_images(folder: Path) -> bool:
    return any(_is_image(name) for _, _, files in os.walk(folder, followlinks=True) for name in files)


def _extensions() -> str:
    return ", ".join(extension[1:] for extension in IMAGE_EXTENSIONS)


def _named(root: Path, name: str, split: str) -> Path:
    path = root / name
    if not path.is_dir():
        hint = did_you_mean(name, [folder.name for folder in _subfolders(root)])
        raise InputError(
            f'the {split} split should be in "{name}", but {root} has no such folder; {hint or "it is empty"}'
        )
    return path


def _usual(root: Path, folders: Mapping[str, Path], split: str, usual: tuple[str, ...]) -> Path | None:
    """A folder with a split's usual name is that split if it holds class folders; otherwise it is a class."""
    found = [path for name, path in folders.items() if name.lower() in usual and _subfolders(path)]
    if len(found) > 1:
        listed = " and ".join(f"{path.name}/" for path in found)
        raise InputError(f"{root} has {listed}; say which is meant, with splits: {{{split}: {found[0].name}}}")
    return found[0] if found else None


def _cell(value: str | None) -> str:
    return (value or "").strip()


def _index(path: Path, line: int, value: str | None) -> int:
    try:
        return int(_cell(value))
    except ValueError:
        raise InputError(f'{path}:{line}: the index "{_cell(value)}" is not a whole number') from None


def _checked(path: Path, rows: list[LabelRow]) -> list[LabelRow]:
    if not rows:
        raise InputError(f"{path} lists no classes")
    for what in ("index", "folder"):
        value, times = Counter(getattr(row, what) for row in rows).most_common(1)[0]
        if times > 1:
            raise InputError(f"{path}: the {what} {value!r} appears {times} times")
    for expected, row in enumerate(rows):
        if row.index != expected:
            raise InputError(f"{path}: the indices must be 0, 1, 2, … without gaps, but {expected} is missing")
        if not row.folder or not row.name:
            raise InputError(f"{path}: the class with index {row.index} has no folder or no name")
    return rows
