"""Tar shards as the webdataset library writes them: what is called alike but for its ending is one sample. No NumPy."""

from __future__ import annotations

import functools
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from transferkit.data.archives import Member, members, refuse_packed
from transferkit.data.class_order import by_class, class_order
from transferkit.data.folders import SPLIT_NAMES, split_of
from transferkit.data.survey import LeftOut, Survey
from transferkit.data.walk import Listing, is_image
from transferkit.data.wrong_rows import WrongRows
from transferkit.errors import InputError, Problem
from transferkit.words.kinds import reason
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import comparable, one_line

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

SOURCE = "webdataset"
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST = 100_000  # shards that braces may stand for
LARGEST_LABEL = 1 << 20  # bytes of a .cls or .json


@dataclass(frozen=True)
class Sample:
    """An image in a shard, and its class."""

    image: Member
    label: str


@dataclass
class Shards:
    """The samples of each split, sorted by class and id; as a tree, so that they can be surveyed."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    incomplete: Counter[str] = field(default_factory=Counter)
    """{shard: samples without an image or a label}, where those may be left out."""

    @functools.cached_property
    def by_id(self) -> dict[str, Member]:
        """{id: the image}."""
        return {one.image.id: one.image for ones in self.samples.values() for one in ones}

    def classes(self, split: str) -> list[str]:
        """The class names of a split: sorted, as numbers where all are whole numbers."""
        names = {one.label for one in self.samples[split]}
        return sorted(names, key=class_order(names))

    def name(self, path: str) -> str:
        """The id."""
        return path

    def is_folder(self, path: str) -> bool:
        """There are none."""
        return False

    def listing(self, folder: str) -> Listing:
        """Nothing: samples are not in folders."""
        return Listing()

    def real(self, path: str) -> str:
        """The id: nothing is linked."""
        return path

    def same(self, path: str) -> str:
        """The id."""
        return path

    def size(self, path: str) -> int | None:
        """Bytes of an image."""
        return self.by_id[path].size if path in self.by_id else None

    def read(self, path: str) -> bytes:
        """The bytes of an image. Raises OSError."""
        return self.by_id[path].read()


@dataclass(frozen=True)
class _Asked:
    files: tuple[tuple[str, str, str], ...]
    """(split, shard, what ids call it)."""
    image_key: str | None
    label_key: str | None
    lenient: bool


def read(spec: Dataset) -> Shards:
    """Every sample of the shards; images are looked at later. Raises InputError, naming shards and keys."""
    given = spec.webdataset
    assert given is not None
    by_split = given if isinstance(given, Mapping) else {"": given}
    found = [pair for split, pattern in sorted(by_split.items()) for pair in _files(split, pattern, spec)]
    common = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for _, file in found])
    files = tuple((split, file, os.path.relpath(file, common).replace(os.sep, "/")) for split, file in found)
    asked = _Asked(files, spec.image_key, spec.label_key, spec.on_bad_image == "skip")
    stamps = tuple((status.st_size, status.st_mtime_ns) for status in (os.stat(file) for _, file in found))
    return _read(asked, stamps)


def surveyed(spec: Dataset) -> Survey:
    """The images of the shards by split and class, as those of class folders are told. Raises InputError."""
    shards = read(spec)
    splits = {
        split: by_class(shards.classes(split), ((one.label, one.image.id) for one in samples))
        for split, samples in shards.samples.items()
    }
    left_out = [LeftOut(shard, {"sample without image or label": n}) for shard, n in sorted(shards.incomplete.items())]
    return Survey(shards, splits, dict.fromkeys(splits, ""), left_out)


def forget() -> None:
    """Look anew from here on."""
    _read.cache_clear()


# --- which files --------------------------------------------------------------------------------------------


def expanded(pattern: str) -> list[str]:
    """`a-{00..02}.tar` and `{a,b}.tar` as the names that they stand for. Raises InputError for too many."""
    found = BRACES.search(pattern)
    if found is None:
        return [pattern]
    span = RANGE.fullmatch(found[1])
    if span is None:
        parts = found[1].split(",")
    else:
        first, last = int(span[1]), int(span[2])
        if last - first >= MOST:
            raise InputError(f"{pattern} stands for more than {MOST:,} shards")
        width = max(len(span[1]), len(span[2])) if "0" in (span[1][:1], span[2][:1]) else 0
        parts = [f"{number:0{width}d}" for number in range(first, last + 1)]
    names = [name for part in parts for name in expanded(pattern[: found.start()] + part + pattern[found.end() :])]
    if len(names) > MOST:
        raise InputError(f"{pattern} stands for more than {MOST:,} shards")
    return names


def _files(split: str, pattern: str, spec: Dataset) -> list[tuple[str, str]]:
    """(split, shard) of a pattern or folder. Raises InputError for shards that are not there."""
    place = os.path.expanduser(pattern)
    if os.path.isdir(place):
        return _in_folder(split, place, spec)
    files = expanded(place)
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"there is no shard {missing[0]}{more}" if len(files) > 1 else f"there is no file {place}")
    return [(split or "train", file) for file in files]


def _in_folder(split: str, place: str, spec: Dataset) -> list[tuple[str, str]]:
    """The shards of a folder: of its sub-folders that are splits, else its own, which are all of one split."""
    own = _tars(place)
    names = {name: split for split, name in spec.splits.items()}
    inner = {name: names.get(name) or split_of(name) for name in sorted(os.listdir(place))}
    below = [
        (part, file)
        for name, part in inner.items()
        if part is not None and not split and os.path.isdir(os.path.join(place, name))
        for file in _tars(os.path.join(place, name))
    ]
    if below and own:
        what = f"{place} has shards of its own, such as {os.path.basename(own[0])}, beside folders of splits"
        raise InputError(Problem("", what, "say which are which, with webdataset: {train: …, val: …}"))
    if not below and not own:
        raise InputError(f"{place} has no .tar files in it")
    return below or [(split or "train", file) for file in own]


def _tars(folder: str) -> list[str]:
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(".tar") and not name.startswith(".")]
    return [os.path.join(folder, name) for name in names]


# --- what is in them ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _read(asked: _Asked, stamps: tuple[tuple[int, int], ...]) -> Shards:
    """`stamps` are sizes and times of the shards: another one is read anew."""
    found, wrong = Shards({split: [] for split in SPLIT_NAMES}), WrongRows("sample")
    for split, file, name in asked.files:
        for key, parts in _index(file, name, wrong).items():
            sample = _sample(asked, f"{name}/{key}", parts)
            if isinstance(sample, Sample):
                found.samples[split].append(sample)
            elif asked.lenient:
                found.incomplete[name] += 1
            else:
                wrong.add(f"{name}/{key}", sample)
    wrong.refuse(os.path.commonpath([file for _, file, _ in asked.files]))
    found.samples = {split: ones for split, ones in found.samples.items() if ones}
    if not found.samples:
        raise InputError(f"{asked.files[0][1]}: there are no samples with an image and a label")
    order = class_order({one.label for ones in found.samples.values() for one in ones})
    for ones in found.samples.values():
        ones.sort(key=lambda one: (order(one.label), one.image.id))
    return found


def _index(file: str, name: str, wrong: WrongRows) -> dict[str, dict[str, Member]]:
    """{key: {ending: where its bytes are}}: a key is a name up to the first dot behind its folder."""
    found: dict[str, dict[str, Member]] = {}
    try:
        with open(file, "rb") as opened:
            refuse_packed(file, opened.read(6))
            for info in members(opened, 0, os.path.getsize(file)):
                folder, slash, base = info.name.removeprefix("./").rpartition("/")
                stem, dot, ending = base.partition(".")
                if not info.isfile() or not dot or not stem:
                    continue
                parts = found.setdefault(key := one_line(f"{folder}{slash}{stem}"), {})
                if ending.lower() in parts:
                    wrong.add(f"{name}/{key}", f"it has .{one_line(ending)} twice")
                parts[ending.lower()] = Member(file, info.offset_data, info.size, f"{name}/{key}")
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise InputError(f"the shard {file} cannot be read as a .tar ({reason(error)})") from None
    return found


def _sample(asked: _Asked, id: str, parts: Mapping[str, Member]) -> Sample | str:
    """The image and label of a sample; or what is wrong, in a few words."""
    images = [ending for ending in parts if "." not in ending and is_image(f"x.{ending}")]
    if asked.image_key is not None:
        wanted = [one.lower().lstrip(".") for one in asked.image_key.split(";")]
        images = [ending for ending in wanted if ending in parts][:1]
    if len(images) != 1:
        if images:
            return f"it has several images ({', '.join(sorted(images))}): say which with image_key"
        return f"there is no {asked.image_key or 'image'}, only {', '.join(sorted(parts))}"
    label = _label(asked.label_key, parts)
    if isinstance(label, Problem):
        return label.message
    return Sample(Member(parts[images[0]].file, parts[images[0]].offset, parts[images[0]].size, id), label)


def _label(key: str | None, parts: Mapping[str, Member]) -> str | Problem:
    """The class: the text of .cls, or of the ending that `label_key` names, or a field of .json."""
    own = "cls" if key is None else key.lower().lstrip(".")
    try:
        if own in parts:
            text = _text(parts[own])
        elif "json" in parts:
            content = json.loads(_text(parts["json"]))
            fields = content if isinstance(content, dict) else {}
            name = (
                key if key is not None else next((one for one in ("label", "cls", "class") if one in fields), "label")
            )
            if not isinstance(fields.get(name), str | int) or isinstance(fields.get(name), bool):
                hint = did_you_mean(name, fields) or ""
                return Problem("", f'its .json has no "{name}" that is a text or a whole number {hint}'.rstrip())
            text = str(fields[name])
        else:
            return Problem("", f"there is no label: neither .{own} nor .json")
    except (ValueError, RecursionError) as error:
        return Problem("", f"its label cannot be read: {reason(error)}")
    label = comparable(one_line(text.strip()))
    return label or Problem("", "the label is empty")


def _text(member: Member) -> str:
    if member.size > LARGEST_LABEL:
        raise ValueError(f"it has {member.size:,} bytes")
    return member.read().decode("utf-8-sig")
