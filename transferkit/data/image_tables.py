"""Tables of images: CSV, TSV and parquet files with a row per image, and list files with a line. No NumPy."""

from __future__ import annotations

import functools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from transferkit.data.cells import Cells, in_list, in_parquet, in_text
from transferkit.data.class_order import by_class, class_order
from transferkit.data.folders import SPLIT_NAMES, split_of
from transferkit.data.grouping import rule_of
from transferkit.data.survey import LeftOut, Survey
from transferkit.data.walk import Disk, is_image
from transferkit.data.wrong_rows import WrongRows
from transferkit.errors import InputError, Problem
from transferkit.words.formats import listing
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import comparable, one_line, printable

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

SOURCES = ("table", "lists")
USUAL = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "label": ("label", "class", "target", "category"),
    "split": ("split", "set", "subset", "partition"),
    "weight": (),
}
"""The names that columns are known by where the recipe gives none; the first that is there."""
UNUSED = "image in no row"


class Row(NamedTuple):
    """One image: where it was said, its path below the root with slashes, and what was said of it."""

    place: str
    path: str
    label: str
    split: str
    group: str | None
    weight: float | None


@dataclass
class ImageTable:
    """The rows of each split, sorted by class and path, so that the order of the file is none of the experiment's."""

    root: str
    rows: dict[str, list[Row]]
    unused: Mapping[str, int] = field(default_factory=dict)
    """{folder below the root: images in it that no row names}, of folders with images that are named."""

    def classes(self, split: str) -> list[str]:
        """The class names of a split: sorted, as numbers where all are whole numbers."""
        names = {row.label for row in self.rows[split]}
        return sorted(names, key=class_order(names))


@dataclass(frozen=True)
class _Asked:
    """What a data set says of its table, in a form that can be the key of a cache."""

    table: str | None
    lists: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str], ...]
    splits: tuple[tuple[str, str], ...]
    root: str | None
    group: str | None
    lenient: bool

    @property
    def files(self) -> list[str]:
        return [self.table] if self.table is not None else [file for _, file in self.lists]


def read(spec: Dataset) -> ImageTable:
    """Every row of the data set's table or lists, checked.

    Raises InputError for a file that is not there or none of its kind, for a missing column, and for wrong rows: all
    in one sentence with the places of the first few. Missing images are left to `on_bad_image: skip` where that is
    said.
    """
    columns = {} if spec.columns is None else spec.columns.model_dump(exclude_none=True)
    asked = _Asked(
        None if spec.table is None else os.path.expanduser(spec.table),
        tuple((split, os.path.expanduser(file)) for split, file in sorted((spec.lists or {}).items())),
        tuple(sorted(columns.items())),
        tuple(sorted((str(split), name) for split, name in spec.splits.items())),
        None if spec.root is None else os.path.expanduser(spec.root),
        spec.group,
        spec.on_bad_image == "skip",
    )
    return _read(asked, tuple(map(_stamp, asked.files)))


def surveyed(spec: Dataset) -> Survey:
    """The images of the table by split and class, as those of class folders are told. Raises InputError."""
    table = read(spec)
    splits = {
        split: by_class(table.classes(split), ((row.label, row.path) for row in rows))
        for split, rows in table.rows.items()
    }
    unused = [LeftOut(folder, {UNUSED: count}) for folder, count in table.unused.items()]
    return Survey(Disk(table.root), splits, dict.fromkeys(splits, ""), unused)


def forget() -> None:
    """Look anew from here on."""
    _read.cache_clear()


def _stamp(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError as error:
        raise InputError(f"cannot read the table {file}: {error.strerror}") from None
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _read(asked: _Asked, stamps: tuple[tuple[int, int], ...]) -> ImageTable:
    """`stamps` are sizes and times of the files: another one is read anew."""
    root, wrong = os.path.abspath(_root(asked)), WrongRows("row")
    checks, seen = _Files(root, asked.lenient), dict[str, str]()
    rows: dict[str, list[Row]] = {split: [] for split in SPLIT_NAMES}
    for row in _rows_of_table(asked, wrong) if asked.table is not None else _rows_of_lists(asked, wrong):
        path = checks.path(row.path)
        why = checks.why_not(path) or (f"it is the image of {seen[path]} again" if path in seen else None)
        if why is not None or path is None:
            wrong.add(row.place, why or "")
            continue
        seen[path] = row.place
        group = row.group
        if group is None and asked.group is not None:
            group = rule_of(asked.group).of(one_line(path))
            if group is None:
                wrong.add(row.place, f"{asked.group} does not match {path}, so that it belongs to no group")
                continue
        rows[row.split].append(row._replace(path=path, group=group))
    wrong.refuse(" and ".join(asked.files))
    found = {split: ones for split, ones in rows.items() if ones}
    if not found:
        raise InputError(f"{' and '.join(asked.files)}: there are no rows")
    order = class_order({row.label for ones in found.values() for row in ones})
    for ones in found.values():
        ones.sort(key=lambda row: (order(row.label), row.path))
    return ImageTable(root, found, checks.unused(seen))


def _root(asked: _Asked) -> str:
    if asked.root is not None:
        return asked.root
    folders = {os.path.dirname(os.path.abspath(file)) for file in asked.files}
    if len(folders) > 1:
        raise InputError(
            f"the lists lie in several folders, {', '.join(sorted(folders))}: say root: FOLDER of the images"
        )
    return folders.pop()


# --- rows ---------------------------------------------------------------------------------------------------


def _rows_of_table(asked: _Asked, wrong: WrongRows) -> Iterator[Row]:
    file = str(asked.table)
    cells = in_parquet(file) if file.lower().endswith((".parquet", ".pq")) else in_text(file)
    columns = _columns(asked, cells)
    group = columns.get("group")
    told = set()
    for place, values in cells.rows:
        if len(values) != len(cells.header):
            wrong.add(place, f"it has {len(values)} fields, and the header {len(cells.header)}")
            continue
        label = comparable(one_line(values[columns["label"]]))
        said = values[columns["split"]].strip() if "split" in columns else ""
        split = _split(said, asked.splits) if "split" in columns else "train"
        weight = _weight(values[columns["weight"]]) if "weight" in columns else None
        member = comparable(one_line(values[group])) if group is not None else None
        why = (
            "the path is empty" if not values[columns["path"]].strip()
            else "the label is empty" if not label
            else f'there is no split "{said}"' if split is None
            else "the group is empty" if member == ""
            else f'the weight "{values[columns["weight"]]}" is no number from 0 up' if weight == -1
            else None
        )  # fmt: skip
        if why is not None or split is None:
            wrong.add(place, why or "")
            continue
        told.add(split)
        yield Row(place, values[columns["path"]].strip(), label, split, member, weight)
    if not wrong.count:
        for split, name in asked.splits:
            if split not in told:
                raise InputError(f'{file}: no row is of the split "{name}", which is to be {split}')


def _split(said: str, splits: Iterable[tuple[str, str]]) -> str | None:
    """The split of that name: as the recipe calls them, else by the usual names of those that it does not call."""
    named = next((split for split, name in splits if comparable(name).lower() == comparable(said).lower()), None)
    usual = split_of(said)
    return named or (None if usual in dict(splits) else usual)


def _columns(asked: _Asked, cells: Cells) -> dict[str, int]:
    """{what: place of its column}. Raises InputError for those that are not there, or there twice."""
    header = [comparable(name) for name in cells.header]
    twice = next((name for name, times in Counter(header).items() if times > 1 and name), None)
    if twice is not None:
        raise InputError(f'{asked.table}: the header has the column "{twice}" twice')
    lowered = {name.lower(): place for place, name in reversed(list(enumerate(header)))}
    given, found = dict(asked.columns), {}
    for what, usual in USUAL.items():
        name = given.get(what)
        if name is not None and comparable(name) not in header:
            hint = did_you_mean(name, header, limit=8)
            raise InputError(Problem("", f'{asked.table}: there is no column "{name}" for columns.{what}', hint))
        place = header.index(comparable(name)) if name is not None else None
        if place is None:
            place = next((lowered[one] for one in usual if one in lowered), None)
        if place is not None:
            found[what] = place
        elif what in ("path", "label"):
            has = listing([f'"{printable(name)}"' for name in header[:12]]) if header else "nothing"
            hint = f"say columns: {{{what}: NAME}}; its columns are {has}"
            raise InputError(Problem("", f"{asked.table}: no column is plainly the {what}", hint))
    if asked.group is not None and comparable(asked.group) in header:
        found["group"] = header.index(comparable(asked.group))
    elif asked.group is not None and "(" not in asked.group:
        hint = did_you_mean(asked.group, header, limit=8)
        raise InputError(Problem("", f'{asked.table}: there is no column "{asked.group}" for group', hint))
    return found


def _rows_of_lists(asked: _Asked, wrong: WrongRows) -> Iterator[Row]:
    for split, file in asked.lists:
        for place, values in in_list(file):
            label = comparable(one_line(values[-1])) if len(values) == 2 else ""
            if len(values) != 2 or not label:
                wrong.add(place, "a path and a label are needed, with a blank or a tabulator between them")
            else:
                yield Row(place, values[0], label, split, None, None)


def _weight(text: str) -> float:
    """The number; -1 for what is none."""
    try:
        number = float(text)
    except ValueError:
        return -1
    return number if math.isfinite(number) and number >= 0 else -1


# --- files --------------------------------------------------------------------------------------------------


class _Files:
    """What lies in the folders that rows name: each is listed once, which is faster than asking for every file."""

    def __init__(self, root: str, lenient: bool) -> None:
        self.root, self.lenient = root, lenient
        self.folders: dict[str, dict[str, str] | None] = {}

    def path(self, given: str) -> str | None:
        """The path below the root, with slashes and as it is spelt on the disk; None for one that leads out of it."""
        whole = os.path.normpath(os.path.join(self.root, given))
        if not whole.startswith(self.root.rstrip(os.sep) + os.sep):
            return None
        folder, name = os.path.split(os.path.relpath(whole, self.root))
        there = self._folder(folder)
        name = name if there is None else there.get(name) or there.get(comparable(name), name)
        return os.path.join(folder, name).replace(os.sep, "/")

    def why_not(self, path: str | None) -> str | None:
        """What is wrong with a path; None for one of an image that is there."""
        if path is None:
            return f"the path leads out of {self.root}: say root: FOLDER of the images"
        if not is_image(path.rpartition("/")[2]):
            return f"{path} is of no format that is read"
        there = self._folder(os.path.dirname(path))
        if (there is None or path.rpartition("/")[2] not in there) and not self.lenient:
            return f"there is no image {path}"
        return None

    def unused(self, named: Mapping[str, str]) -> dict[str, int]:
        """{folder: images in it that are not named}, of those that were listed."""
        places = [(os.path.dirname(path), os.path.basename(path)) for path in named]
        used = Counter(folder for folder, name in places if name in (self.folders.get(folder) or ()))
        images = {folder: sum(map(is_image, {*(self.folders[folder] or {}).values()})) for folder in sorted(used)}
        return {folder: count - used[folder] for folder, count in images.items() if count > used[folder]}

    def _folder(self, folder: str) -> dict[str, str] | None:
        """{name, or its one form in Unicode: name} of all files; None where there is no such folder."""
        if folder not in self.folders:
            try:
                names = os.listdir(os.path.join(self.root, folder))
            except (OSError, ValueError):
                self.folders[folder] = None
            else:
                self.folders[folder] = {comparable(name): name for name in names} | {name: name for name in names}
        return self.folders[folder]
