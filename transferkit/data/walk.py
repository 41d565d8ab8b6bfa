"""What lies below a folder, on disk or in an archive, by one rule for hidden files, images and links. No libraries."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from transferkit.errors import InputError

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
}
"""{Pillow's name of a format: the endings of its files}. AVIF and JPEG 2000 only where Pillow was built with them.

Every one is decoded by Pillow itself, with the size of its pixels in its header. Others that Pillow knows are left out,
because they run a program (EPS: Ghostscript, WMF: the system's renderer), are only recognised and not decoded (HDF5,
GRIB, MPEG), have no signature, so that any bytes could be one (TGA, PCD), or hold pictures of other sizes than they
say (ICO, ICNS).
"""
EXTENSIONS = tuple(ending for endings in FORMATS.values() for ending in endings)

HIDDEN = ("__MACOSX",)  # and whatever starts with a dot

LINK = "link that leads back"
BROKEN = "broken link"
SPECIAL = "no regular file"


@dataclass
class Listing:
    """What lies directly in one folder; links are followed, and named in `links`."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    odd: Counter[str] = field(default_factory=Counter)
    """Links to nothing, pipes and sockets: how many of each."""


class Tree(Protocol):
    """A folder on disk, or an archive. Paths are relative to its top, with slashes; the top is ""."""

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder."""

    def listing(self, folder: str) -> Listing:
        """What lies in a folder. Raises InputError when it cannot be looked into."""

    def real(self, path: str) -> str:
        """The same place without links in its path."""

    def same(self, path: str) -> Hashable:
        """What two paths to one file have in common; None where there is no file."""

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is no file."""

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises OSError."""

    def name(self, path: str) -> str:
        """How messages call a place."""


class Disk:
    """A folder on disk as a tree; without a top, paths are as they are given."""

    def __init__(self, top: str | os.PathLike[str]) -> None:
        self.top = os.fspath(top)

    def name(self, path: str) -> str:
        """The path on disk."""
        return os.path.join(self.top, path) if path else self.top

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder."""
        return os.path.isdir(self.name(path))

    def listing(self, folder: str) -> Listing:
        """What lies in a folder. Raises InputError when it cannot be looked into."""
        found = Listing()
        files, folders, links = found.files, found.folders, found.links
        try:
            with os.scandir(self.name(folder)) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        _add_link(entry, found)
                    elif entry.is_file(follow_symlinks=False):
                        files.append(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    else:
                        found.odd[SPECIAL] += 1
        except OSError as error:
            raise InputError(f"cannot look into the folder {self.name(folder)}: {error.strerror or error}") from None
        files.sort()
        folders.sort()
        links.intersection_update([*files, *folders])
        return found

    def real(self, path: str) -> str:
        """The path on disk without links."""
        return os.path.realpath(self.name(path))

    def same(self, path: str) -> Hashable:
        """Device and inode."""
        with suppress(OSError):
            status = os.stat(self.name(path))
            return status.st_dev, status.st_ino
        return None

    def size(self, path: str) -> int | None:
        """Bytes of a file; None for a link to nothing."""
        with suppress(OSError):
            return os.stat(self.name(path)).st_size
        return None

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises OSError."""
        with open(self.name(path), "rb") as file:
            return file.read()


def _add_link(entry: os.DirEntry[str], found: Listing) -> None:
    try:
        folder, file = entry.is_dir(), entry.is_file()
    except OSError:  # a link to itself, a path that is too long, a place that may not be seen
        folder = file = False
    if folder:
        found.folders.append(entry.name)
    elif file or (is_image(entry.name) and not os.path.exists(entry.path)):  # the latter cannot be read, and is said so
        found.files.append(entry.name)
    else:
        found.odd[BROKEN if not os.path.exists(entry.path) else SPECIAL] += 1
    found.links.add(entry.name)


@dataclass
class Below:
    """The images below a folder, and what else is there."""

    images: list[str] = field(default_factory=list)
    """Their paths in the tree, sorted."""
    left_out: Counter[str] = field(default_factory=Counter)
    """{ending such as ".txt", or another reason: files that are no sample}."""
    linked: set[str] = field(default_factory=set)
    """Those of the images that a link leads to."""
    folders: list[str] = field(default_factory=list)
    """The folders that were looked into, hidden ones not."""


def below(tree: Tree, top: str, *, follow: bool = True, without: Container[str] = (), lenient: bool = False) -> Below:
    """Everything below a folder, sub-folders included. Links are followed once each: never back, never in a loop.

    With `follow` false links are left alone, as it is for counting; the folders named in `without` are not looked into.
    Raises InputError for a folder that cannot be looked into; with `lenient` it is named among the images.
    """
    found = Below()
    seen = set()
    root, start = tree.real(""), tree.real(top)
    waiting = [(top, start, start != joined(root, top), is_hidden(os.path.basename(top)))]
    linked: list[tuple[str, str]] = []  # real folders go first, so that a link to one of them leads to nothing new
    while waiting or linked:
        if not waiting:
            path, above = linked.pop(0)
            real = tree.real(path)
            if real in seen or leads_back(above, real):
                found.left_out[LINK] += 1
            else:
                waiting.append((path, real, True, False))
            continue
        folder, real, by_link, hidden = waiting.pop()
        if real in seen:
            continue
        seen.add(real)
        try:
            listing = tree.listing(folder)
        except InputError:
            if not lenient:
                raise
            found.images.append(folder)
            continue
        found.left_out += listing.odd
        for name in listing.folders:
            path = joined(folder, name)
            if path in without:
                continue
            if name not in listing.links:
                waiting.append((path, joined(real, name), by_link, hidden or is_hidden(name)))
            elif follow and not hidden and not is_hidden(name):
                linked.append((path, real))
            else:
                found.left_out["link"] += 1
        if listing.links and (hidden or not follow):
            found.left_out["link"] += sum(name in listing.links for name in listing.files)
            listing.files = [name for name in listing.files if name not in listing.links]
        if hidden:
            found.left_out["hidden"] += len(listing.files)
        else:
            found.folders.append(folder)
            _add_files(found, folder, listing, by_link)
    found.images.sort()
    found.left_out = +found.left_out
    return found


def _add_files(found: Below, folder: str, listing: Listing, by_link: bool) -> None:
    prefix = f"{folder}/" if folder else ""
    images = [prefix + name for name in listing.files if is_image(name)]
    found.images += images
    if len(images) < len(listing.files):
        others = (name for name in listing.files if not is_image(name))
        found.left_out += Counter("link" if name in listing.links else kind(name) for name in others)
    if by_link:
        found.linked.update(images)
    elif listing.links:
        found.linked.update(image for image in images if image[len(prefix) :] in listing.links)


def image_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Files as given; the images of folders, those of sub-folders last, sorted, without hidden ones, links followed.

    A folder that cannot be looked into comes by its own name, for whoever opens it to say so.
    """
    for given in paths:
        path = os.fspath(given)
        if os.path.isdir(path):
            tree = Disk(path)
            yield from map(tree.name, sorted(below(tree, "", lenient=True).images, key=_files_first))
        else:
            yield path


def _files_first(path: str) -> list[tuple[bool, str]]:
    *folders, name = path.split("/")
    return [*((True, folder) for folder in folders), (False, name)]


def is_image(name: str) -> bool:
    """Whether a file of that name is taken for an image that can be read."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is none of the user's: .git, ._1.jpg, __MACOSX."""
    return name.startswith(".") or name in HIDDEN


def kind(name: str) -> str:
    """What a file that is not read is counted as: its ending, or that it is hidden."""
    if is_hidden(name):
        return "hidden"
    ending = os.path.splitext(name)[1].lower()
    return ending if ending.isprintable() and 1 < len(ending) <= 12 else "other"


def leads_back(folder: str, target: str) -> bool:
    """Whether a link in a folder leads to the folder itself or to one above it; both paths without links."""
    return not target or folder == target or folder.startswith(target.rstrip("/") + "/")


def joined(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}" if folder and name else folder or name
