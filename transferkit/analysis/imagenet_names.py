"""The classes of ImageNet and its larger relatives as timm orders them, without asking a network."""

from __future__ import annotations

import functools
import re

from transferkit.data.folders import LabelRow
from transferkit.text import comparable

_WNID = re.compile(r"n\d{8}")


@functools.cache
def imagenet_rows(count: int) -> list[LabelRow] | None:
    """Index, WordNet id and name of every class of the ImageNet subset with so many classes; None if there is none."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    ids = info.label_names()
    return [LabelRow(index, wnid, info.label_name_to_description(wnid)) for index, wnid in enumerate(ids)]


def wnid_like(name: str) -> bool:
    """Whether a name has the form of a WordNet noun's id: n01440764."""
    return _WNID.fullmatch(name) is not None


def words(name: str) -> str:
    """A name without case, underscores, dashes and doubled spaces, as folders and lists differ in them."""
    return " ".join(comparable(name).lower().replace("_", " ").replace("-", " ").replace(",", " ").split())
