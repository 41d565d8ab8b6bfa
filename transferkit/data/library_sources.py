"""Data sets that torchvision or Hugging Face know by name."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.contents import Contents
from transferkit.data.file_sources import recipe_names, split_name
from transferkit.data.images import BadImage, open_image, to_rgb
from transferkit.errors import InputError, Problem
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import one_line

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

DOWNLOADS = "~/.cache/transferkit/datasets"


# --- torchvision --------------------------------------------------------------------------------------------


def torchvision(spec: Dataset, split: str) -> Contents | None:
    """A classification data set of torchvision.datasets, e.g. CIFAR10."""
    from torchvision import datasets

    name = str(spec.torchvision)
    if name not in datasets.__all__:
        hint = did_you_mean(name, datasets.__all__, limit=6)
        raise InputError(f'torchvision has no data set called "{name}"; {hint}')
    cls = getattr(datasets, name)
    arguments = _split_arguments(cls, split, spec)
    dataset = None if arguments is None else _construct(cls, arguments, split, spec)
    if dataset is None:
        return None
    if hasattr(dataset, "loader"):  # those that are folders of files: torchvision would open any format
        dataset.loader = open_image
    labels = _torchvision_labels(dataset)
    names = next((getattr(dataset, name) for name in ("classes", "categories") if hasattr(dataset, name)), None)
    if names is None or not all(isinstance(name, str) for name in names):
        names = [str(label) for label in range(int(labels.max()) + 1)]
    where, ids = f"{name}/{split}", [str(index) for index in range(len(labels))]
    return Contents(list(names), labels, ids, partial(_item, where, dataset), partial(bytes, where.encode()))


def _item(name: str, dataset: Any, index: int) -> Image.Image:
    try:
        return to_rgb(dataset[index][0])
    except MemoryError:
        raise
    except BadImage as bad:
        raise BadImage(f"{name}[{index}]", bad.reason, kind=bad.kind) from None
    except Exception as error:  # decoders raise nearly anything
        raise BadImage(f"{name}[{index}]", str(error) or type(error).__name__) from None


def _split_arguments(cls: Callable[..., Any], split: str, spec: Dataset) -> dict[str, Any] | None:
    """How to ask this class for the split: `train=` or `split=`; None when it has no such split."""
    parameters = inspect.signature(cls).parameters
    wanted = recipe_names(spec)
    if "train" in parameters:
        name = split_name(split, ("train", "test"), wanted, str(spec.torchvision))
        return None if name is None else {"train": name == "train"}
    if "split" in parameters:
        return {"split": wanted.get(split, split)}
    return {} if split == "train" else None


def _construct(cls: Callable[..., Any], arguments: dict[str, Any], split: str, spec: Dataset) -> Any:
    name = spec.torchvision
    root = Path(spec.root or DOWNLOADS).expanduser()
    # classes that hand their options on (**kwargs) take download too
    parameters = inspect.signature(cls).parameters
    if "download" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        arguments = arguments | {"download": spec.download}
    if "root" in parameters:
        arguments = arguments | {"root": str(root)}
    try:
        return cls(**arguments)
    except ValueError as error:
        known = re.search(r"Valid values are (.*?)\.?$", str(error))
        if known is None:
            raise InputError(f"torchvision's {name}: {error}") from None
        if split != "train" and split not in spec.splits:
            return None
        raise InputError(
            f'{name} has no split called "{arguments.get("split")}"; it has {known[1]}: '
            f"choose one with splits: {{{split}: …}}"
        ) from None
    except TypeError as error:
        raise InputError(f"torchvision's {name} cannot be opened by name alone ({error})") from None
    except Exception as error:  # network, disk and checksum errors of many kinds
        what = f"{name} is not in {root} ({error}); set root: to where it is, or download: true"
        if spec.download:
            what = (
                f"{name} could not be downloaded to {root} ({type(error).__name__}: {error}); check the connection, "
                "or put the files there by hand and leave out download: true"
            )
        raise InputError(what) from None


def _torchvision_labels(dataset: Any) -> NDArray[np.int64]:
    for name in ("targets", "labels", "_labels", "y"):
        values = getattr(dataset, name, None)
        if values is not None and len(values) == len(dataset) and np.ndim(values) == 1:
            return np.asarray(values, dtype=np.int64)
    return np.array([int(dataset[index][1]) for index in range(len(dataset))], dtype=np.int64)


# --- Hugging Face -------------------------------------------------------------------------------------------


def hf(spec: Dataset, split: str) -> Contents | None:
    """A data set of the Hugging Face hub, or a local folder in one of its formats. Needs the extra `hf`."""
    splits = _load(str(spec.hf), spec.root)
    name = split_name(split, splits, recipe_names(spec), f"hf:{spec.hf}")
    if name is None:
        return None
    from datasets import Image as ImageFeature

    table = splits[name]
    image_key, label_key = _columns(spec, table)
    classes, labels = _hf_labels(table.features[label_key], list(table[label_key]), f"hf:{spec.hf}")
    undecoded = table.cast_column(image_key, ImageFeature(decode=False)).select_columns(image_key)
    where = f"{Path(str(spec.hf)).name if os.path.isdir(str(spec.hf)) else spec.hf}/{name}"
    ids = [str(index) for index in range(len(labels))]
    content = partial(bytes, f"{where} {len(table)}".encode())
    groups = None if spec.group is None else _hf_groups(spec, table)
    return Contents(classes, labels, ids, partial(_row, where, undecoded, image_key), content, groups=groups)


def _row(name: str, table: Any, image_key: str, index: int) -> Image.Image:
    cell = table[index][image_key]
    if cell.get("bytes"):
        return open_image(BytesIO(cell["bytes"]), name=f"{name}[{index}]")
    return open_image(cell.get("path") or f"{name}[{index}]")


def _load(name: str, root: str | None) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError('Hugging Face data sets need an extra: pip install "transferkit[hf]"') from None
    try:
        return datasets.load_dataset(name, cache_dir=root)
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError) as error:
        raise InputError(f"Hugging Face data set {name}: not found ({_first_line(error)})") from None
    except Exception as error:  # offline, gated, damaged: the libraries underneath raise their own kinds
        raise InputError(
            f"Hugging Face data set {name} could not be loaded ({_first_line(error)}); check the name and the "
            "connection, or download it beforehand and give its folder"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _columns(spec: Dataset, table: Any) -> tuple[str, str]:
    """Which columns hold image and label: as the recipe says, else by type."""
    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    image = spec.image_key or next((name for name, kind in kinds.items() if kind == "Image"), None)
    label = spec.label_key or next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    label = label or ("label" if "label" in kinds else None)
    for option, key in (("image_key", image), ("label_key", label)):
        if key not in kinds:
            what = f'has no column "{key}"' if key else "has no column that is plainly meant"
            raise InputError(f"hf:{spec.hf} {what} for {option}; its columns are {', '.join(kinds)}")
    return str(image), str(label)


def _hf_groups(spec: Dataset, table: Any) -> list[str]:
    if spec.group not in table.features:
        hint = did_you_mean(str(spec.group), list(table.features))
        raise InputError(Problem("", f'hf:{spec.hf} has no column "{spec.group}" for group', hint))
    values = list(table[spec.group])
    if any(value is None or value == "" for value in values):
        raise InputError(f'hf:{spec.hf} has images without a group, in the column "{spec.group}"')
    return [one_line(str(value)) for value in values]


def _hf_labels(feature: Any, values: list[Any], where: str) -> tuple[list[str], NDArray[np.int64]]:
    if any(value is None or value == -1 for value in values):
        raise InputError(f"{where} has images without a label; choose another split")
    if hasattr(feature, "names"):
        return list(feature.names), np.asarray(values, dtype=np.int64)
    if not all(isinstance(value, str | int) for value in values):
        raise InputError(f"{where}: its labels are neither names nor whole numbers")
    position = {value: index for index, value in enumerate(sorted(set(values)))}
    return [str(value) for value in position], np.array([position[value] for value in values], dtype=np.int64)
