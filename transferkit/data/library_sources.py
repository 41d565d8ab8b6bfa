"""Data sets that torchvision or Hugging Face know by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from transferkit.data.file_sources import numbered, recipe_names, split_name
from transferkit.data.images import BadImage, open_image, to_rgb
from transferkit.data.sources import Contents
from transferkit.errors import InputError
from transferkit.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

DOWNLOADS = Path("~/.cache/transferkit/datasets")
LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")
CLASS_ATTRIBUTES = ("classes", "categories")


# --- torchvision --------------------------------------------------------------------------------------------


@dataclass
class _Items:
    name: str
    dataset: Any

    def __call__(self, index: int) -> Image.Image:
        try:
            return to_rgb(self.dataset[index][0])
        except MemoryError:
            raise
        except BadImage as bad:
            raise BadImage(f"{self.name}[{index}]", bad.reason, kind=bad.kind) from None
        except Exception as error:  # decoders raise nearly anything
            raise BadImage(f"{self.name}[{index}]", str(error) or type(error).__name__) from None

    def content(self) -> bytes:
        return self.name.encode()


def torchvision(spec: Dataset, split: str) -> Contents | None:
    """A classification data set of torchvision.datasets, e.g. CIFAR10."""
    cls = _torchvision_class(str(spec.torchvision))
    arguments = _split_arguments(cls, split, spec)
    if arguments is None:
        return None
    dataset = _construct(cls, arguments, split, spec)
    if dataset is None:
        return None
    if hasattr(dataset, "loader"):  # those that are folders of files: torchvision would open any format
        dataset.loader = open_image
    labels = _torchvision_labels(dataset)
    names = next((getattr(dataset, name) for name in CLASS_ATTRIBUTES if hasattr(dataset, name)), None)
    if names is None or not all(isinstance(name, str) for name in names):
        names = [str(label) for label in range(int(labels.max()) + 1)]
    items = _Items(f"{spec.torchvision}/{split}", dataset)
    return Contents(list(names), labels, [str(i) for i in range(len(labels))], items, items.content)


def _torchvision_class(name: str) -> Callable[..., Any]:
    from torchvision import datasets

    cls = getattr(datasets, name, None) if name in datasets.__all__ else None
    if cls is None:
        hint = did_you_mean(name, datasets.__all__, limit=6)
        raise InputError(f'torchvision has no data set called "{name}"; {hint}')
    return cls  # type: ignore[no-any-return]


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
    root = Path(spec.root).expanduser() if spec.root else DOWNLOADS.expanduser()
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
        raise InputError(_what_to_do(str(name), root, spec.download, error)) from None


def _what_to_do(name: str, root: Path, download: bool, error: Exception) -> str:
    if download:
        return (
            f"{name} could not be downloaded to {root} ({type(error).__name__}: {error}); check the connection, "
            "or put the files there by hand and leave out download: true"
        )
    return f"{name} is not in {root} ({error}); set root: to where it is, or download: true"


def _torchvision_labels(dataset: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    for name in LABEL_ATTRIBUTES:
        values = getattr(dataset, name, None)
        if values is not None and len(values) == len(dataset) and np.ndim(values) == 1:
            return np.asarray(values, dtype=np.int64)
    return np.array([int(dataset[index][1]) for index in range(len(dataset))], dtype=np.int64)


# --- Hugging Face -------------------------------------------------------------------------------------------


@dataclass
class _Rows:
    name: str
    table: Any
    image_key: str

    def __call__(self, index: int) -> Image.Image:
        cell = self.table[index][self.image_key]
        label = cell.get("path") or f"{self.name}[{index}]"
        if cell.get("bytes"):
            return open_image(BytesIO(cell["bytes"]), name=f"{self.name}[{index}]")
        return open_image(label)

    def content(self) -> bytes:
        return f"{self.name} {len(self.table)}".encode()


def hf(spec: Dataset, split: str) -> Contents | None:
    """A data set of the Hugging Face hub, or a local folder in one of its formats. Needs the extra `hf`."""
    splits = _load(str(spec.hf), spec.root)
    name = split_name(split, splits, recipe_names(spec), f"hf:{spec.hf}")
    if name is None:
        return None
    from datasets import Image as ImageFeature

    table = splits[name]
    image_key, label_key = _columns(spec, table)
    values = list(table[label_key])
    classes, labels = _hf_labels(table.features[label_key], values, f"hf:{spec.hf}")
    rows = _Rows(
        f"{spec.hf}/{name}",
        table.cast_column(image_key, ImageFeature(decode=False)).select_columns(image_key),
        image_key,
    )
    return Contents(classes, labels, [str(i) for i in range(len(labels))], rows, rows.content)


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


def _hf_labels(feature: Any, values: list[Any], where: str) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]:
    if any(value is None or value == -1 for value in values):
        raise InputError(f"{where} has images without a label; choose another split")
    if hasattr(feature, "names"):
        return list(feature.names), np.asarray(values, dtype=np.int64)
    if not all(isinstance(value, str | int) for value in values):
        raise InputError(f"{where}: its labels are neither names nor whole numbers")
    classes = [str(value) for value in sorted(set(values))]
    return classes, numbered([str(value) for value in values], classes)
