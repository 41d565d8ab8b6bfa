"""Readers of tables, lists and shards: each row or sample says where an image lies and what it shows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from transferkit.data import image_tables, shards
from transferkit.data.class_order import labels_in
from transferkit.data.contents import Contents
from transferkit.data.file_sources import of_files, of_members

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset


def read(spec: Dataset, split: str) -> Contents | None:
    """The images of a split by class and path, whatever the order of the rows; ids are paths below the root."""
    table = image_tables.read(spec)
    rows = table.rows.get(split)
    if rows is None:
        return None
    classes = table.classes(split)
    labels = np.array(labels_in(classes, [row.label for row in rows]), dtype=np.int64)
    paths = [os.path.join(table.root, row.path) for row in rows]
    weights = None
    if any(row.weight is not None for row in rows):
        weights = np.array([1.0 if row.weight is None else row.weight for row in rows])
    groups = None if spec.group is None else [str(row.group) for row in rows]
    return of_files(classes, labels, [row.path for row in rows], paths, weights=weights, groups=groups)


def of_shards(spec: Dataset, split: str) -> Contents | None:
    """The images of a split of tar shards by class and id, each read where it lies; ids are shard and key."""
    found = shards.read(spec)
    samples = found.samples.get(split)
    if samples is None:
        return None
    classes = found.classes(split)
    labels = np.array(labels_in(classes, [one.label for one in samples]), dtype=np.int64)
    return of_members(classes, labels, [one.image for one in samples])
