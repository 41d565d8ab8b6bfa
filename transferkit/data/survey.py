"""A data set of class folders as a whole: its images by split and class, and every file that is no sample."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from transferkit.data.archives import Archive
from transferkit.data.folders import HERE, ClassFolders, class_folders, refuse_two_labels, split_folders
from transferkit.data.naming import same_but_for_case
from transferkit.data.walk import BROKEN, Tree, below
from transferkit.words.formats import some
from transferkit.words.text import one_line, printable

SHOWN = 4
PATIENCE = 2.0  # seconds that looking for copies may take
# formats of pictures that are not read, so that they are not taken for notes beside the images
UNREAD = (
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".tga", ".ico", ".dcm", ".exr", ".hdr", ".raw", ".nef", ".cr2", ".cr3"),
    *(".arw", ".dng", ".orf", ".mp4", ".mov", ".avi", ".webm", ".mkv"),
)


@dataclass(frozen=True)
class LeftOut:
    """Files of one place that are no sample."""

    folder: str
    """Where, in the data set; "" is its own folder."""
    kinds: Mapping[str, int]
    """{ending, or why: files}."""
    misplaced: int = 0
    """Images among them that could be read: in no class folder, or beside the splits."""

    @property
    def files(self) -> int:
        """How many."""
        return sum(self.kinds.values())


@dataclass
class Survey:
    """What there is."""

    tree: Tree
    splits: dict[str, dict[str, list[str]]]
    """{split: {class: its images, as paths in the tree}}."""
    folders: dict[str, str]
    """{split: its folder in the tree}."""
    left_out: list[LeftOut] = field(default_factory=list)

    def id(self, split: str, image: str) -> str:
        """What an image is called where its data set is opened: its path below the split, or in its archive."""
        if isinstance(self.tree, Archive):
            return one_line(self.tree.member(image).id)
        folder = self.folders[split]
        return one_line(image.removeprefix(f"{folder}/") if folder else image)

    def files(self) -> dict[str, list[str]]:
        """{split: its images, by their names in messages: on disk, their paths}."""
        return {split: [self.tree.name(image) for image in images] for split, images in self.images().items()}

    def images(self) -> dict[str, list[str]]:
        """{split: its images, as paths in the tree}."""
        return {split: [image for files in found.values() for image in files] for split, found in self.splits.items()}


def survey(tree: Tree, names: Mapping[str, str]) -> Survey:
    """Look through a whole folder or archive; `names` are its own names of the splits. Raises InputError."""
    folders = split_folders(tree, names)
    found = {
        split: class_folders(tree, folder, {*folders.values()} - {folder}, trusted=names.get(split) == HERE)
        for split, folder in folders.items()
    }
    refuse_two_labels(tree, found.values())
    splits = {split: one.images for split, one in found.items()}
    left_out = [*_within({folders[split]: one for split, one in found.items()}), *_beside(tree, folders)]
    if isinstance(tree, Archive) and tree.left_out:
        left_out.append(LeftOut("", {"of a name that comes again or leads out": tree.left_out}))
    return Survey(tree, splits, folders, left_out)


def _within(found: Mapping[str, ClassFolders]) -> Iterator[LeftOut]:
    for folder, one in found.items():
        if one.loose:
            yield LeftOut(folder, {"image": one.loose}, one.loose)
        for place, kinds in one.left_out.items():
            yield LeftOut(place, dict(kinds))


def _beside(tree: Tree, folders: Mapping[str, str]) -> Iterator[LeftOut]:
    """What lies in the data set's folder, but in none of its splits'."""
    if "" in folders.values():
        return
    used = {*folders.values()}
    listing = tree.listing("")
    for folder in ["", *listing.folders]:
        skipped = used if folder else {*listing.folders}
        if folder in used:
            continue
        rest = below(tree, folder, follow=False, without=skipped) if folder not in listing.links else None
        kinds = Counter({"link": 1}) if rest is None else rest.left_out
        misplaced = 0 if rest is None else len(rest.images)
        if kinds or misplaced:
            yield LeftOut(folder, {**({"image": misplaced} if misplaced else {}), **kinds}, misplaced)


# --- in sentences -------------------------------------------------------------------------------------------


def left_out_line(found: Survey) -> str | None:
    """`left out: 20 files in train/red (.txt 15, hidden 5)`: every file that is no sample; None where there is none."""
    if not found.left_out:
        return None
    ordered = sorted(found.left_out, key=lambda one: (-one.misplaced, -one.files, one.folder))
    parts = [_place(one) for one in ordered[:SHOWN]]
    rest = ordered[SHOWN:]
    if rest:
        kinds = sum((Counter(one.kinds) for one in rest), Counter[str]())
        files, places = _number(kinds.total(), "file"), _number(len(rest), "other folder")
        parts.append(f"{files} in {places} ({_kinds(kinds)})")
    return "left out: " + "; ".join(parts)


def warnings(found: Survey, name: str) -> list[str]:
    """What of it is probably a mistake: images where none are read, pictures of other formats, names alike."""
    said = []
    beside = [one for one in found.left_out if one.misplaced and one.folder not in found.folders.values()]
    loose = [one for one in found.left_out if one.misplaced and one.folder in found.folders.values()]
    if beside:
        count = sum(one.misplaced for one in beside)
        places = some([f"{one.folder}/" if one.folder else "the data set's folder itself" for one in beside], SHOWN)
        splits = ", ".join(sorted({f"{folder}/" for folder in found.folders.values()}))
        hint = f"if they are classes, say splits: {{train: {HERE}}}; if they are a split, say splits: {{val: FOLDER}}"
        said.append(f"{name}: {_number(count, 'image')} of {places} beside {splits} left out; {hint}")
    for one in loose:
        where = one.folder or "its own folder"
        said.append(f"{name}: {_number(one.misplaced, 'image')} in {where} left out: in no class folder")
    kinds = sum((Counter(one.kinds) for one in found.left_out), Counter[str]())
    unread = Counter({kind: count for kind, count in kinds.items() if kind in UNREAD})
    if unread:
        said.append(f"{name}: {_number(unread.total(), 'file')} of formats that are not read: {_kinds(unread)}")
    if kinds[BROKEN]:
        said.append(f"{name}: {_number(kinds[BROKEN], 'link')} to nothing")
    for split, classes in found.splits.items():
        for one_name, other in same_but_for_case(classes):
            said.append(f'{name}: "{one_name}" and "{other}" of {split} are two classes, alike but for case')
    return said


def _place(one: LeftOut) -> str:
    where = f"in {one.folder}" if one.folder else "in the data set's folder"
    return f"{_number(one.files, 'file')} {where} ({_kinds(one.kinds)})"


def _kinds(kinds: Mapping[str, int]) -> str:
    ordered = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{printable(kind)} {count}" for kind, count in ordered[: SHOWN + 2])
    return shown + (", …" if len(ordered) > SHOWN + 2 else "")


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


# --- copies -------------------------------------------------------------------------------------------------


@dataclass
class Copies:
    """Files with the very bytes of a training file."""

    pairs: list[tuple[str, str, str]]
    """(split, file, training file) of other splits, as paths in the tree."""
    contradictions: list[tuple[str, str]] = field(default_factory=list)
    """Two training files of different classes."""
    repeated: int = 0
    """Training files that are in their class already, where validation can only be carved from train."""
    unchecked: int = 0
    """Files of other splits that there was no time for."""


def copies(
    tree: Tree,
    images: Mapping[str, list[str]],
    patience: float | None = PATIENCE,
    classes: Mapping[str, list[str]] | None = None,
) -> Copies:
    """Compare by size, then by bytes; for at most so many seconds, None for as long as it takes.

    The training files of one size are read when a file of another split has that size. With `classes`, {class: its
    training files}, they are compared with each other as well, in the time that is left.
    """
    end = time.monotonic() + patience if patience is not None else math.inf
    others = [(split, image) for split in images if split != "train" for image in images[split]]
    found, hashes = Copies([]), dict[int, dict[bytes, str]]()
    sizes: dict[int | None, list[str]] = {}
    for file in _until(end, images.get("train", []) if others or classes else []):
        sizes.setdefault(tree.size(file), []).append(file)
    for position, (split, image) in enumerate(others):
        size = tree.size(image)
        if size and size in sizes and size not in hashes:
            hashes[size] = _by_hash(tree, sizes[size], end)
        if time.monotonic() > end:
            found.unchecked = len(others) - position
            break
        original = hashes[size].get(content_hash(tree, image)) if size in hashes else None
        if original is not None:
            found.pairs.append((split, image, original))
    label_of = {file: label for label, files in (classes or {}).items() for file in files}
    for size, files in sizes.items() if classes else ():
        first: dict[bytes, str] = {}
        for file in _until(end, files if size and len(files) > 1 else []):
            original = first.setdefault(content_hash(tree, file), file)
            if label_of[original] != label_of[file]:
                found.contradictions.append((file, original))
            elif original != file and not others:
                found.repeated += 1
    return found


def _by_hash(tree: Tree, files: Iterable[str], end: float) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for file in _until(end, files):
        found.setdefault(content_hash(tree, file), file)
    return found


def _until(end: float, files: Iterable[str]) -> Iterator[str]:
    return itertools.takewhile(lambda _: time.monotonic() < end, files)


def content_hash(tree: Tree, file: str) -> bytes:
    """A hash of the bytes; of the path if they cannot be read."""
    try:
        return hashlib.blake2b(tree.read(file), digest_size=16).digest()
    except OSError:
        return tree.name(file).encode(errors="surrogateescape")


def copies_line(found: Copies, name: str) -> str | None:
    """A sentence with some of the pairs; None where there are none and everything was looked at."""
    parts = []
    if found.pairs:
        shown = "; ".join(f"{printable(image)} is {printable(original)}" for _, image, original in found.pairs[:3])
        more = f" and {len(found.pairs) - 3} more" if len(found.pairs) > 3 else ""
        are = f"{_number(len(found.pairs), 'image')} of val or test {'is' if len(found.pairs) == 1 else 'are'}"
        parts.append(f"{are} also in train, so results will flatter: {shown}{more}")
    if found.contradictions:
        shown = "; ".join(f"{printable(one)} is {printable(other)}" for one, other in found.contradictions[:3])
        more = f" and {len(found.contradictions) - 3} more" if len(found.contradictions) > 3 else ""
        be = "is" if len(found.contradictions) == 1 else "are"
        parts.append(
            f"{_number(len(found.contradictions), 'image')} of train {be} there under two labels: {shown}{more}"
        )
    if found.repeated:
        be = "is" if found.repeated == 1 else "are"
        times = f"{_number(found.repeated, 'image')} of train {be} there more than once"
        parts.append(f"{times}: what is carved from it for validation will flatter")
    if found.unchecked:
        parts.append(f"{_number(found.unchecked, 'image')} of val or test not compared with train in {PATIENCE:g} s")
    return f"{name}: {'; '.join(parts)}" if parts else None
