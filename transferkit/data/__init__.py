"""Data sets, samples, per-sample randomness, streams, and marks planted in images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.surface import lazy_imports

if TYPE_CHECKING:
    from transferkit.data.contents import Contents as Contents
    from transferkit.data.digest import same_files as same_files
    from transferkit.data.digest import samples_digest as samples_digest
    from transferkit.data.feed import Feed as Feed
    from transferkit.data.feed import Request as Request
    from transferkit.data.images import BadImage as BadImage
    from transferkit.data.images import open_image as open_image
    from transferkit.data.marks import choose_images as choose_images
    from transferkit.data.marks import class_index as class_index
    from transferkit.data.marks import drawn_corner as drawn_corner
    from transferkit.data.marks import read_sprite as read_sprite
    from transferkit.data.marks import scaled_sprite as scaled_sprite
    from transferkit.data.marks import select_images as select_images
    from transferkit.data.randomness import key as key
    from transferkit.data.randomness import numpy_rng as numpy_rng
    from transferkit.data.samples import Samples as Samples
    from transferkit.data.shares import images_due as images_due
    from transferkit.data.shares import rounded_share as rounded_share
    from transferkit.data.sources import labelled_classes as labelled_classes
    from transferkit.data.tables import TableSamples as TableSamples
    from transferkit.data.tables import as_images as as_images
    from transferkit.recipe.lineage import lineage as lineage
    from transferkit.recipe.uses import CorruptionUse as CorruptionUse
    from transferkit.words.names import DatasetName as DatasetName
    from transferkit.words.names import StageName as StageName
else:
    __getattr__, __all__ = lazy_imports(__name__)
    __dir__ = __all__.copy
