"""Readers of what lies on the user's disk: class folders, npz files and tar files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.archives import Member, open_archive
from transferkit.data.contents import Contents
from transferkit.data.folders import HERE, SPLIT_NAMES, ClassFolders, class_folders, on_disk, split_folders
from transferkit.data.images import BadImage, open_image, to_rgb
from transferkit.data.walk import Disk, Tree
from transferkit.errors import InputError
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset


def split_name(split: str, available: Iterable[str], names: Mapping[str, str], where: str) -> str | None:
    """What the data set calls that split: as the recipe maps it, else one of the usual names, else None.

    Raises InputError when the recipe maps it to a name that is not available.
    """
    available = list(available)
    if split in names:
        if names[split] not in available:
            hint = did_you_mean(names[split], available) or ""
            raise InputError(f'{where} has no split called "{names[split]}"; {hint}')
        return names[split]
    lowered = {name.lower(): name for name in available}
    return next((lowered[name] for name in SPLIT_NAMES[split] if name in lowered), None)


def recipe_names(spec: Dataset) -> dict[str, str]:
    """The data set's own names of the splits, as the recipe maps them."""
    return {str(split): name for split, name in spec.splits.items()}


# --- class folders ------------------------------------------------------------------------------------------


def folder(spec: Dataset, split: str) -> Contents | None:
    """One sub-folder per class."""
    tree = on_disk(Path(str(spec.folder)).expanduser())
    part = class_part(tree, split, recipe_names(spec))
    if part is None:
        return None
    root, found = part
    images = [image for files in found.images.values() for image in files]
    paths = [tree.name(image) for image in images]
    ids = [image.removeprefix(f"{root}/") for image in images]
    return _of_classes(found, ids, partial(_open, paths), partial(_sizes, tree, images), paths)


def _open(paths: Sequence[str], index: int) -> Image.Image:
    return open_image(paths[index])


def of_files(
    classes: list[str],
    labels: NDArray[np.int64],
    ids: list[str],
    paths: list[str],
    *,
    weights: NDArray[np.float64] | None = None,
    groups: list[str] | None = None,
) -> Contents:
    """Image files on disk, told apart from changed ones by their sizes."""
    content = partial(_sizes, Disk(""), paths)
    return Contents(classes, labels, ids, partial(_open, paths), content, paths, weights=weights, groups=groups)


def class_part(tree: Tree, split: str, names: Mapping[str, str]) -> tuple[str, ClassFolders] | None:
    """A split's folder in the tree and its class folders; None where there is no such split. Raises InputError."""
    parts = split_folders(tree, names)
    if split not in parts:
        return None
    root = parts[split]
    return root, class_folders(tree, root, {*parts.values()} - {root}, trusted=names.get(split) == HERE)


def _of_classes(
    found: ClassFolders,
    ids: list[str],
    read: Callable[[int], Image.Image],
    content: Callable[[], bytes],
    paths: list[str] | None = None,
) -> Contents:
    labels = np.repeat(np.arange(len(found.images)), [len(files) for files in found.images.values()])
    return Contents(list(found.images), labels, ids, read, content, paths, strict=True)


def _sizes(tree: Tree, images: Sequence[str]) -> bytes:
    return np.array([-1 if (size := tree.size(image)) is None else size for image in images], dtype="<i8").tobytes()


# --- npz ----------------------------------------------------------------------------------------------------


LARGEST_LABEL = 999_999  # a class list without names counts up to it


@dataclass
class ArrayImages:
    """Images in memory: uint8 of shape (n, H, W) or (n, H, W, C)."""

    pixels: NDArray[np.uint8]

    def __call__(self, index: int) -> Image.Image:
        """The image at that index as RGB."""
        return to_rgb(Image.fromarray(self.pixels[index]))

    def content(self) -> bytes:
        """A hash of the pixels."""
        digest = blake2b(f"{self.pixels.shape}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.digest()


def npz(spec: Dataset, split: str) -> Contents | None:
    """Arrays x_train, y_train, x_val, …, classes; pickled objects are never loaded."""
    with _npz_arrays(spec) as (path, arrays):
        name = _npz_name(path, arrays, spec, split)
        if name is None:
            return None
        images, labels = _images(path, f"x_{name}", arrays), _whole_numbers(path, f"y_{name}", arrays)
        if len(images.pixels) != len(labels):
            raise InputError(f"{path}: x_{name} has {len(images.pixels)} images, y_{name} has {len(labels)} labels")
        classes = _npz_classes(path, arrays, labels)
        return Contents(classes, labels, [f"{name}/{i}" for i in range(len(labels))], images, images.content)


def npz_labels(spec: Dataset) -> tuple[list[str], dict[str, NDArray[np.int64]]]:
    """The class list of an npz file and the labels (n,) of each of its splits; its images are left alone.

    Raises InputError.
    """
    classes, found = [], {}
    with _npz_arrays(spec) as (path, arrays):
        for split in SPLIT_NAMES:
            name = _npz_name(path, arrays, spec, split)
            if name is not None:
                found[split] = _whole_numbers(path, f"y_{name}", arrays)
                classes = _npz_classes(path, arrays, found[split])
    return classes, found


@contextmanager
def _npz_arrays(spec: Dataset) -> Iterator[tuple[Path, Any]]:
    """The opened file; whatever NumPy says of it becomes an InputError."""
    path = Path(str(spec.npz)).expanduser()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise InputError(f"{path} is a single array; an .npz with x_train, y_train, … is needed")
            yield path, arrays
    except FileNotFoundError:
        raise InputError(f"the data file {path} does not exist") from None
    except MemoryError as error:  # which is not the batch size's fault
        why = f": {error}" if str(error) else ""
        raise InputError(f"{path} holds more than there is memory for{why}; give it as a folder or a tar") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise InputError(
                f"{path} is no .npz file or holds pickled objects, which can run code when loaded and are refused; "
                "save plain arrays: uint8 images, whole-number labels, class names as strings"
            ) from None
        raise InputError(f"{path} cannot be read as .npz: {error}") from None


def _npz_name(path: Path, arrays: Any, spec: Dataset, split: str) -> str | None:
    """What the file calls a split: the part after x_ and y_."""
    available = [key[2:] for key in arrays if key.startswith("x_")]
    if not available:
        raise InputError(f"{path} has no x_train; it has {', '.join(arrays)}")
    name = split_name(split, available, recipe_names(spec), str(path))
    if name is not None and f"y_{name}" not in arrays:
        raise InputError(f"{path} has x_{name} but no y_{name}")
    return name


def _images(path: Path, key: str, arrays: Any) -> ArrayImages:
    pixels = arrays[key]
    grey, colour = pixels.ndim == 3, pixels.ndim == 4 and pixels.shape[3] in (1, 3, 4)
    if pixels.dtype != np.uint8 or not (grey or colour) or 0 in pixels.shape[1:]:
        raise InputError(
            f"{path}: {key} is {pixels.dtype} of shape {pixels.shape}; "
            "uint8 of shape (n, H, W), (n, H, W, 1), (n, H, W, 3) or (n, H, W, 4) is needed"
        )
    return ArrayImages(pixels[..., 0] if colour and pixels.shape[3] == 1 else pixels)


def _whole_numbers(path: Path, key: str, arrays: Any) -> NDArray[np.int64]:
    labels = np.asarray(arrays[key])
    if labels.ndim != 1 and labels.shape[1:] != (1,):  # one row per image may also be one-hot, and its sum a label
        raise InputError(f"{path}: {key} must be one label per image, of shape (n,) or (n, 1), it is {labels.shape}")
    if labels.dtype.kind not in "iu" or (len(labels) and labels.min() < 0):
        raise InputError(f"{path}: {key} must be whole numbers from 0, it is {labels.dtype}")
    if len(labels) and labels.max() > LARGEST_LABEL:
        raise InputError(
            f"{path}: {key} has the label {labels.max()}; labels are numbers of classes, from 0 to {LARGEST_LABEL:,}"
        )
    return labels.reshape(-1).astype(np.int64)


def _npz_classes(path: Path, arrays: Any, labels: NDArray[np.int64]) -> list[str]:
    needed = int(labels.max()) + 1 if len(labels) else 0
    if "classes" not in arrays:
        every = [_whole_numbers(path, key, arrays) for key in arrays if key.startswith("y_")]
        known = [int(one.max()) + 1 for one in every if len(one)]
        return [str(label) for label in range(max([needed, *known]))]
    if arrays["classes"].ndim != 1:
        raise InputError(f"{path}: classes must be a list of names, its shape is {arrays['classes'].shape}")
    classes = [name.decode() if isinstance(name, bytes) else str(name) for name in arrays["classes"].tolist()]
    if needed > len(classes):
        raise InputError(f"{path}: there is a label {needed - 1}, but classes has {len(classes)} names")
    if len(set(classes)) < len(classes):
        raise InputError(f"{path}: classes names a class twice")
    return classes


# --- tar ----------------------------------------------------------------------------------------------------


def tar(spec: Dataset, split: str) -> Contents | None:
    """A tar of class folders, or a folder of tars (one per class or per split), read as a folder on disk is."""
    tree = open_archive(Path(str(spec.tar)).expanduser())
    part = class_part(tree, split, recipe_names(spec))
    if part is None:
        return None
    _, found = part
    members = [tree.member(image) for files in found.images.values() for image in files]
    sizes = np.array([member.size for member in members], dtype="<i8")
    return _of_classes(found, [member.id for member in members], partial(_open_member, members), sizes.tobytes)


def of_members(classes: list[str], labels: NDArray[np.int64], members: list[Member]) -> Contents:
    """Images within tar files, told apart from changed ones by their sizes."""
    sizes = np.array([member.size for member in members], dtype="<i8")
    return Contents(classes, labels, [one.id for one in members], partial(_open_member, members), sizes.tobytes)


def _open_member(members: Sequence[Member], index: int) -> Image.Image:
    member = members[index]
    if member.offset < 0:
        raise BadImage(member.id, "it is a link to something that is not in the archive")
    try:
        data = member.read()
    except OSError as error:
        raise BadImage(member.id, str(error)) from None
    return open_image(BytesIO(data), name=member.id)
