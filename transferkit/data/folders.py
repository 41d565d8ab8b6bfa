"""Class folders, on disk or in an archive: their splits, classes and images; and class lists in CSV. No libraries."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from transferkit.data import walk
from transferkit.data.walk import Below, Disk, Tree, below, is_hidden, is_image, joined, kind, leads_back
from transferkit.errors import InputError, Problem
from transferkit.words.formats import some
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import comparable, one_line

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval", "dev"),
    "test": ("test", "testing"),
}
SOURCES = ("folder", "tar")  # the kinds of data set whose classes are folders
HERE = "."  # as the name of a split: the data set's own folder
EXPECTED = "one sub-folder per class is expected, inside train/, val/, test/ or directly"


@dataclass(frozen=True)
class LabelRow:
    """One class of a class list: its label, the folder its images lie in, and its name."""

    index: int
    folder: str
    name: str


@dataclass
class ClassFolders:
    """The class folders of one split."""

    images: dict[str, list[str]] = field(default_factory=dict)
    """{class: its images, as paths in the tree}, sorted; a class without images has none."""
    linked: dict[str, set[str]] = field(default_factory=dict)
    """{class: those of its images that links lead to}."""
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    """{folder: {reason: files that are no sample}}; `loose` images are not among them."""
    loose: int = 0
    """Images beside the class folders."""


# --- splits -------------------------------------------------------------------------------------------------


def find_splits(root: Path, names: Mapping[str, str] = {}) -> dict[str, Path]:
    """The folders of the splits on disk: see `split_folders`. Raises InputError when the folder is missing."""
    return {split: root / folder for split, folder in split_folders(on_disk(root), names).items()}


def on_disk(root: Path) -> Disk:
    """The folder as a tree. Raises InputError when it is missing."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"the data folder {root} {what}")
    return Disk(root)


def split_folders(tree: Tree, names: Mapping[str, str] = {}) -> dict[str, str]:
    """The folders of the splits: {"train": …, "val": …, "test": …}, as many as there are.

    A folder of class folders without any split is all "train". `names` gives the folder's own names of the splits
    where they differ from the usual ones. Raises InputError when there are no images, a named split is missing,
    two folders could be the same split, or a folder could be a split or a class.
    """
    folders = _subfolders(tree, "")
    found = {}
    for split, usual in SPLIT_NAMES.items():
        path = _named(tree, names[split], split) if split in names else _usual(tree, folders, split, usual)
        if path is not None:
            found[split] = path
    if not found:
        if not any(below(tree, name).images for name in folders):
            raise InputError(_no_images(tree))
        _refuse_doubtful(tree, folders)
        found = {"train": ""}
    return found


def split_of(name: str) -> str | None:
    """The split that a folder of that name usually is."""
    return next((split for split, usual in SPLIT_NAMES.items() if name.lower() in usual), None)


def _named(tree: Tree, name: str, split: str) -> str:
    if name.rstrip("/") == HERE:
        return ""
    if not tree.is_folder(name):
        hint = did_you_mean(name, _subfolders(tree, "")) or "it is empty"
        where = f'the {split} split should be in "{name}", but {tree.name("")}'
        raise InputError(f"{where} has no such folder; {hint}")
    return name.rstrip("/")


def _usual(tree: Tree, folders: Iterable[str], split: str, usual: tuple[str, ...]) -> str | None:
    """A folder with a split's usual name is that split if it holds class folders."""
    found = [name for name in folders if name.lower() in usual and _subfolders(tree, name)]
    if len(found) > 1:
        listed = " and ".join(f"{name}/" for name in found)
        raise InputError(f"{tree.name('')} has {listed}; say which is meant, with splits: {{{split}: {found[0]}}}")
    return found[0] if found else None


def _refuse_doubtful(tree: Tree, folders: Collection[str]) -> None:
    """A folder called as a split is, with images but without class folders, beside others."""
    found = {name: len(below(tree, name).images) for name in folders if split_of(name) is not None}
    doubtful = [name for name, images in found.items() if images]
    if not doubtful:
        return
    others = [name for name in folders if name not in doubtful]
    if not others:
        hold = "holds" if len(doubtful) == 1 else "hold"
        what = f"{tree.name('')} has no class folders: {_listed(doubtful)} {hold} images, but no folders"
        raise InputError(Problem("", what, EXPECTED))
    count = sum(found.values())
    what = f"is {_listed(doubtful)} ({count} images) in {tree.name('')} a class or a split? It lies beside "
    hint = f"a class: splits: {{train: {HERE}}}; a split: give it class folders, and put the others in train/"
    raise InputError(Problem("", what + _listed(others), hint))


def _no_images(tree: Tree) -> Problem:
    kinds = ", ".join(extension[1:] for extension in walk.EXTENSIONS)
    loose = sum(map(is_image, tree.listing("").files))
    what = f"{tree.name('')} has no class folders with images in it ({kinds})"
    if loose:
        what += f": {loose} images lie in no class folder"
    meant = probably_meant(tree)
    return Problem("", what, f"did you mean {meant}?" if meant else EXPECTED if loose else None)


# --- classes ------------------------------------------------------------------------------------------------


def scan(root: Path) -> dict[str, list[Path]]:
    """{class: its image files on disk, sub-folders included}, sorted: see `class_folders`."""
    tree = on_disk(root)
    return {name: [Path(tree.name(one)) for one in found] for name, found in class_folders(tree, "").images.items()}


def class_folders(tree: Tree, folder: str, without: Collection[str] = (), *, trusted: bool = False) -> ClassFolders:
    """The class folders in a folder, but for those named in `without`, which are other splits.

    Classes are named in one form of Unicode. Raises InputError where two folders have the same name in it, where a
    link puts one image under two labels, and, unless `trusted`, where the class folders are splits, or hold splits.
    """
    listing, found = tree.listing(folder), ClassFolders()
    real = tree.real(folder)
    names: dict[str, str] = {}
    here: Counter[str] = Counter(kind(name) for name in listing.files if not is_image(name)) + listing.odd
    found.loose = len(listing.files) - sum(not is_image(name) for name in listing.files)
    gathered: dict[str, Below] = {}
    for own in listing.folders:
        path = joined(folder, own)
        if path in without:
            continue
        if is_hidden(own):
            here += below(tree, path, follow=False).left_out
        elif own in listing.links and leads_back(real, tree.real(path)):
            here[walk.LINK] += 1
        else:
            name = comparable(one_line(own))
            if name in names:
                what = f'{tree.name(folder)} has two class folders that are both shown as "{name}"'
                raise InputError(f"{what}: {names[name]!a} and {own!a}; merge or rename them")
            names[name] = own
            gathered[name] = below(tree, path, without=without)
    found.images = {name: one.images for name, one in gathered.items()}
    found.linked = {name: one.linked for name, one in gathered.items() if one.linked}
    found.left_out = {joined(folder, names[name]): one.left_out for name, one in gathered.items() if one.left_out}
    if here:
        found.left_out[folder] = here
    if not trusted:
        _refuse_splits(tree, folder, {joined(folder, names[name]): one for name, one in gathered.items()})
    refuse_two_labels(tree, [found])
    return found


def refuse_two_labels(tree: Tree, splits: Collection[ClassFolders]) -> None:
    """Raise InputError where a link makes one image appear under two labels."""
    by_link: dict[Hashable, tuple[str, str]] = {}

    def compare(label: str, image: str, other: tuple[str, str]) -> None:
        if other[0] != label:
            (one, first), (two, link) = sorted(((label, image), other))
            raise InputError(
                f'{tree.name(first)} and {tree.name(link)} are one image under two labels, "{one}" and "{two}", by a '
                "link; remove the link"
            )

    for found in splits:
        for label, images in found.linked.items():
            for image in images:
                compare(label, image, by_link.setdefault(tree.same(image), (label, image)))
    by_link.pop(None, None)  # links to nothing
    for found in splits if by_link else ():
        for label, paths in found.images.items():
            for image in paths:
                compare(label, image, by_link.get(tree.same(image), (label, image)))


def _refuse_splits(tree: Tree, folder: str, classes: Mapping[str, Below]) -> None:
    """A folder too shallow was given: its class folders are splits, or whole data sets with splits of their own."""
    filled = {path: found for path, found in classes.items() if found.images}
    shown = {path: path.removeprefix(f"{folder}/") for path in filled}
    where = tree.name(folder)
    if filled and all(split_of(name) is not None for name in shown.values()):
        inner = any(len(found.folders) > 1 for found in filled.values())
        what = f"{where} has no classes: its only folders are {_listed(shown.values())}, names of splits"
        hint = f"{EXPECTED}; if they are classes, splits: {{train: {HERE}}}"
        raise InputError(Problem("", what, f"did you mean {where}?" if inner and folder else hint))
    for path, found in filled.items():
        names = {inner.removeprefix(f"{path}/").split("/")[0] for inner in found.folders[1:]}
        named = sorted(name for name in names if split_of(name) is not None)
        splits = {split_of(name) for name in named}
        loose = any(image.count("/") == path.count("/") + 1 for image in found.images)
        if len(splits) > 1 or (splits and len(splits) == len(names) and not loose):
            what = f"{where} is no folder of classes: {shown[path]}/ holds {_listed(named)}"
            meant, alone = tree.name(path), len(filled) == 1
            first = f"did you mean {meant}?" if alone else f"give one data set, such as {meant}"
            hint = f"{first} Splits belong above the classes; if {shown[path]}/ is a class, splits: {{train: {HERE}}}"
            raise InputError(Problem("", what, hint))


def probably_meant(tree: Tree, folder: str = "") -> str | None:
    """The folder below or above that looks like a data set, where the one that was given does not."""
    inner = _subfolders(tree, folder)
    for _ in range(3):
        if len(inner) != 1:
            break
        folder = joined(folder, inner[0])
        inner = [name for name in _subfolders(tree, folder) if below(tree, joined(folder, name)).images]
        if len(inner) > 1 or any(split_of(name) for name in inner):
            return tree.name(folder)
    if not isinstance(tree, Disk):
        return None
    given = Path(tree.top)  # a class folder, or the split of it
    above_is_split = split_of(given.absolute().parent.name) is not None
    return str(given.parent.parent) if above_is_split and any(map(is_image, Disk(given).listing("").files)) else None


def _subfolders(tree: Tree, folder: str) -> list[str]:
    listing = tree.listing(folder)
    if not listing.links:
        return [name for name in listing.folders if not is_hidden(name)]
    real = tree.real(folder)
    back = {name for name in listing.links if leads_back(real, tree.real(joined(folder, name)))}
    return [name for name in listing.folders if not is_hidden(name) and name not in back]


def _listed(names: Iterable[str]) -> str:
    return some([f"{name}/" for name in names], 4)


# --- class lists --------------------------------------------------------------------------------------------


def read_labels(path: Path) -> list[LabelRow]:
    """The class list of a CSV with the columns index, name, and folder or wnid; ordered by index.

    Folders and names are in one form of Unicode. Raises InputError when a column is missing, a row has more cells
    than the header, an index is no number, an index or a folder appears twice, or the indices are not 0, 1, 2, …
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="")
        columns = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
        lines = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the class list {path}: {error}") from None
    folder = columns.get("folder", columns.get("wnid"))
    if "index" not in columns or "name" not in columns or folder is None:
        needed = "the header needs the columns index, name, and folder or wnid"
        raise InputError(f"{path}: {needed}; it has {list(columns)}")
    rows = []
    for line, row in lines:
        index, own, name = (comparable(row[column] or "") for column in (columns["index"], folder, columns["name"]))
        if "" in row and any(row[""]):
            what = "there are more cells than in the header; write a name with a comma in quotes"
            raise InputError(f"{path}:{line}: {what}")
        try:
            rows.append(LabelRow(int(index), own, name))
        except ValueError:
            raise InputError(f'{path}:{line}: the index "{index}" is not a whole number') from None
    return _checked(path, sorted(rows, key=lambda row: row.index))


def rows_of(labels: str | None) -> list[LabelRow]:
    """The class list of a data set's `labels`, empty without one. Raises InputError as `read_labels` does."""
    return read_labels(Path(labels).expanduser()) if labels else []


def class_names(rows: Iterable[LabelRow]) -> list[str]:
    """The names by index. Where two classes share a name (ImageNet's cranes), the folder is added to both."""
    rows = list(rows)
    times = Counter(row.name for row in rows)
    return [row.name if times[row.name] == 1 else f"{row.name} ({row.folder})" for row in rows]


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
    name, times = Counter(class_names(rows)).most_common(1)[0]
    if times > 1:
        raise InputError(f'{path}: "{name}" would be the name of {times} classes; give them names of their own')
    return rows
