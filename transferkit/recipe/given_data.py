"""A data set that is given by its path alone, on a command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transferkit.errors import InputError
from transferkit.recipe import schema
from transferkit.recipe.paths import absolute
from transferkit.words.suggest import did_you_mean


def read_data(text: str, known: Iterable[str] = ()) -> schema.Dataset:
    """A folder of class folders, with or without splits; an .npz or .tar file, or a table. Raises InputError."""
    path = Path(absolute(text, Path.cwd()))
    if not path.exists():
        hint = did_you_mean(text, known)
        raise InputError(f"there are no images at {text}: it does not exist" + (f"; {hint}" if hint else ""))
    kind = "folder" if path.is_dir() else path.suffix.lower().removeprefix(".")
    kind = "table" if kind in ("csv", "tsv", "parquet") else kind
    if kind not in ("folder", "table", "npz", "tar"):
        what = "a folder of class folders nor an .npz or .tar file, nor a table of images (.csv, .tsv, .parquet)"
        raise InputError(f"{text} is neither {what}")
    return schema.Dataset.model_validate({kind: str(path)})
