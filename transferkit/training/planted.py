"""The record of what is planted in a stage's images: corruptions.csv, and pictures before and after."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.atomic import write_bytes
from transferkit.data.planting import OWN_COLUMNS
from transferkit.report import Table, csv_bytes
from transferkit.training.pictures import corruption_pairs, log_corruptions

if TYPE_CHECKING:
    from accelerate import Accelerator

    from transferkit.data.samples import Samples

MANIFEST = "corruptions.csv"


def record_corruptions(out: Path, accelerator: Accelerator, samples: Mapping[str, Samples | None]) -> None:
    """Write into a stage's folder what is planted in the images it uses; nothing where nothing is.

    `samples` has every split and data set of the stage by any name, None where there is none. `corruptions.csv` has
    a row per corrupted image and corruption; `corruptions-DATASET.png` shows images before and after, and TensorBoard
    gets it as well. Only on the main process, and once: after a resume the files are there. Raises InputError when an
    option does not fit the images, before a worker process would.
    """
    if not accelerator.is_main_process or (out / MANIFEST).is_file():
        return
    corrupted = distinct(one for one in samples.values() if one is not None)
    if not corrupted:
        return
    out.mkdir(parents=True, exist_ok=True)
    table = manifest(corrupted)
    for name, one in {one.name: one for one in reversed(corrupted)}.items():
        pairs = corruption_pairs(one)
        png = io.BytesIO()
        pairs.save(png, "PNG", optimize=True)
        write_bytes(out / f"corruptions-{name}.png", png.getvalue())
        log_corruptions(accelerator, name, pairs)
    write_bytes(out / MANIFEST, csv_bytes(table))  # last: it says that all of it is there


def distinct(samples: Iterable[Samples]) -> list[Samples]:
    """Those in which something is planted, each split of a data set once."""
    found: dict[tuple[str, str], Samples] = {}
    for one in samples:
        if any(mask.any() for mask in one.planted.values()):
            found.setdefault((one.name, one.split), one)
    return list(found.values())


def manifest(samples: Iterable[Samples]) -> Table:
    """One table of their manifests; its columns are those of all plugins together, empty where they do not apply."""
    rows: list[dict[str, Any]] = [row for one in samples for row in one.manifest_rows()]
    columns = dict.fromkeys(OWN_COLUMNS)
    for row in rows:
        columns |= dict.fromkeys(row)
    return Table(list(columns), [[row.get(name, "") for name in columns] for row in rows])
