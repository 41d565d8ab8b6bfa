"""Tar files as a tree of folders: the index alone, read without unpacking anything."""

from __future__ import annotations

import functools
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from transferkit.data.folders import split_of
from transferkit.data.walk import BROKEN, SPECIAL, Listing, is_hidden, is_image
from transferkit.errors import InputError

PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
DEEPEST = 3  # tar files in tar files
MOST_LINKS = 40


@dataclass(frozen=True)
class Member:
    """A file inside: in which tar file on disk, where its bytes are, and its id."""

    file: str
    offset: int
    size: int
    id: str

    def read(self) -> bytes:
        """Its bytes. Opens the file each time: one that is open has one position for all forked workers."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise OSError(f"{self.file} has become shorter since it was opened")
        return data


@dataclass(frozen=True)
class _Link:
    target: str
    id: str


class _Folder(dict[str, "_Folder | Member | _Link"]):
    pass


@dataclass
class Archive:
    """One tar file, or a folder of them, as a tree. A tar file inside becomes a folder of its name."""

    path: str
    top: _Folder = field(default_factory=_Folder)
    left_out: int = 0
    """Members that are nothing: earlier ones of the same name, names that lead out of the archive."""

    def name(self, path: str) -> str:
        """The archive and the path in it."""
        return f"{self.path}/{path}" if path else self.path

    def member(self, path: str) -> Member:
        """The file at a path; one without bytes (offset -1) for a link to nothing."""
        found, given = self._find(path), _at(self.top, path.split("/"))
        member = found if isinstance(found, Member) else Member(self.path, -1, 0, path)
        return replace(member, id=given.id) if isinstance(given, _Link) else member

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder."""
        return isinstance(self._find(path), _Folder)

    def listing(self, folder: str) -> Listing:
        """What lies in a folder."""
        found, inside = Listing(), self._find(folder)
        for name, entry in sorted(inside.items()) if isinstance(inside, _Folder) else ():
            target = self._find(posixpath.join(folder, name)) if isinstance(entry, _Link) else entry
            if isinstance(entry, _Link):
                found.links.add(name)
            if isinstance(target, _Folder):
                found.folders.append(name)
            elif (isinstance(target, Member) and target.offset >= 0) or (target is None and is_image(name)):
                found.files.append(name)
            else:
                found.odd[BROKEN if target is None else SPECIAL] += 1
        return found

    def real(self, path: str) -> str:
        """The path without links."""
        resolved = self.same(path)
        return path if resolved is None else resolved

    def size(self, path: str) -> int | None:
        """Bytes of a file; None for a link to nothing."""
        found = self._find(path)
        return found.size if isinstance(found, Member) else None

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises OSError."""
        return self.member(path).read()

    def _find(self, path: str) -> _Folder | Member | None:
        resolved = self.same(path)
        found = None if resolved is None else _at(self.top, resolved.split("/") if resolved else [])
        return None if isinstance(found, _Link) else found

    def same(self, path: str) -> str | None:
        """The path with every link replaced by what it leads to; None when that is nothing or never ends."""
        parts, here, followed = path.split("/")[::-1] if path else [], "", 0
        while parts:
            part = parts.pop()
            if part == "..":
                if not here:
                    return None
                here = posixpath.dirname(here)
                continue
            if part in ("", "."):
                continue
            entry = _at(self.top, (there := posixpath.join(here, part)).split("/"))
            if isinstance(entry, _Link):
                followed += 1
                if followed > MOST_LINKS or entry.target.startswith("/"):
                    return None
                parts += entry.target.split("/")[::-1]
            elif entry is None:
                return None
            else:
                here = there
        return here


def open_archive(path: Path) -> Archive:
    """The index of a tar file, or of a folder of them. Raises InputError for what is none, packed or cut short."""
    if not path.exists():
        raise InputError(f"the tar file {path} does not exist")
    files = [path]
    if path.is_dir():
        inner = [one for one in sorted(path.iterdir()) if one.is_dir() and not is_hidden(one.name)]
        files = [one for place in (path, *inner) for one in sorted(place.glob("*.tar")) if not is_hidden(one.name)]
    if not files:
        raise InputError(f"{path} has no .tar files in it")
    stamps = [(status.st_size, status.st_mtime_ns) for status in map(os.stat, files)]
    return _indexed(str(path), tuple(map(str, files)), tuple(stamps))


@functools.lru_cache(maxsize=8)
def _indexed(path: str, files: tuple[str, ...], stamps: tuple[tuple[int, int], ...]) -> Archive:
    """`stamps` are sizes and times of the files: another one is read anew."""
    archive = Archive(path)
    if files == (path,):
        archive.top = _top(_read_file(archive, path), "")
        return archive
    for file in files:
        above = os.path.relpath(os.path.dirname(file), path)
        inside = _made(archive.top, [] if above == "." else above.split(os.sep))
        name = os.path.splitext(os.path.basename(file))[0]
        place = _made(inside, [name]) if inside is not None else None
        if place is not None:
            place.update(_top(_read_file(archive, file), name))
    return archive


def _top(folder: _Folder, own: str) -> _Folder:
    """Without the one folder that an archive often has around everything: any but a split, or one of its own name."""
    shown = {name: entry for name, entry in folder.items() if not is_hidden(name)}
    if len(shown) == 1:
        ((name, only),) = shown.items()
        deeper = isinstance(only, _Folder) and any(isinstance(entry, _Folder) for entry in only.values())
        if isinstance(only, _Folder) and deeper and (name == own or split_of(name) is None):
            return _top(only, own)
    return folder


def _read_file(archive: Archive, path: str) -> _Folder:
    top = _Folder()
    try:
        with open(path, "rb") as file:
            refuse_packed(path, file.read(6))
            _read_members(archive, top, file, os.path.basename(path), 0, os.path.getsize(path))
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a .tar of class folders with images ({error})") from None
    return top


def refuse_packed(path: str, start: bytes) -> None:
    """Raise InputError for a file that begins as a packed one does."""
    packed = next((name for magic, name in PACKED.items() if start.startswith(magic)), None)
    if packed is not None:
        raise InputError(f"{path} is packed with {packed}; images are read from plain .tar files: unpack it first")


def _read_members(
    archive: Archive, top: _Folder, file: BinaryIO, id: str, start: int, end: int, depth: int = 0
) -> None:
    """Add every member of the tar file between two places of `file`; a tar file inside becomes a folder."""
    for info in members(file, start, end):
        name = _parts(info.name)
        here = f"{id}/{info.name.removeprefix('./')}"
        if name is None or (not name and not info.isdir()):
            archive.left_out += 1
        elif info.isdir():
            archive.left_out += _made(top, name) is None
        elif info.isfile() and name[-1].lower().endswith(".tar") and depth < DEEPEST:
            inner = _made(top, [*name[:-1], name[-1][: -len(".tar")]])
            if inner is not None:
                data = info.offset_data
                _read_members(archive, inner, file, here, data, data + info.size, depth + 1)
        else:
            above = _made(top, name[:-1])
            archive.left_out += above is None or name[-1] in above
            if above is not None:
                above[name[-1]] = _content(top, info, file.name, here)


def members(file: BinaryIO, start: int, end: int) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file; raises ReadError where it does not end with its end mark."""
    file.seek(start)
    tar = tarfile.TarFile(fileobj=file, mode="r")
    while (info := tar.next()) is not None and info.offset < end:
        tar.members = []  # type: ignore[attr-defined]  # of millions, none is needed twice
        yield info
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if tar.offset >= end or block.count(0) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it is cut short or damaged at byte {tar.offset - start:,}")


def _parts(name: str) -> list[str] | None:
    """The parts of a member's name; None where it leads out of the archive."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _content(top: _Folder, info: tarfile.TarInfo, file: str, id: str) -> Member | _Link:
    if info.issym():
        return _Link(info.linkname, id)
    if info.islnk():  # the same file under a second name
        first = _at(top, _parts(info.linkname) or [])
        return replace(first, id=id) if isinstance(first, Member) else _Link("/", id)
    plain = info.isfile() and not info.issparse()
    return Member(file, info.offset_data if plain else -1, info.size, id)


def _made(top: _Folder, parts: list[str]) -> _Folder | None:
    """The folder at that place, made where there is none; None where a file is in the way."""
    here = top
    for part in parts:
        below = here.setdefault(part, _Folder())
        if not isinstance(below, _Folder):
            return None
        here = below
    return here


def _at(top: _Folder, parts: list[str]) -> _Folder | Member | _Link | None:
    here: _Folder | Member | _Link | None = top
    for part in parts:
        here = here.get(part) if isinstance(here, _Folder) else None
    return here
