"""What happened to the layers, in up to three sentences for a reader who knows no paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit.formats import percent
from transferkit_representation.findings import Probed, mean_of

if TYPE_CHECKING:
    from transferkit_representation.report import Findings


def verdict(found: Findings) -> str:
    """How alike the layers are, what linear probes still read, and how many dimensions are in use."""
    sentences = [_similarity(found), _probes(found), _dimensions(found)]
    return " ".join(sentence for sentence in sentences if sentence)


def _similarity(found: Findings) -> str:
    known = {} if found.similarity is None else found.similarity.diagonal
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    if not known:
        return ""
    least = min(known, key=known.__getitem__)
    text = (
        f"On {found.compared} images of {found.main.data}, layers before and after this training have a CKA of "
        f"{mean_of(known.values()):.2f} on average (1 is the same up to rotation and scale, 0 unrelated)"
    )
    return f"{text}, the least at {least}: {known[least]:.2f}." if len(known) > 1 else f"{text}."


def _probes(found: Findings) -> str:
    parts = [_of_data(row) for row in found.probes if row.layer == found.probes[-1].layer]
    parts = [part for part in parts if part]
    return f"A linear probe on the {found.probes[-1].layer} names {'; '.join(parts)}." if parts else ""


def _of_data(row: Probed) -> str:
    if math.isnan(row.after):
        return ""
    text = f"{percent(row.after)} of unseen {row.data} images"
    if math.isnan(row.before):
        return f"{text} (chance {percent(row.chance)})"
    _, low, high = row.change
    clear = "" if low > 0 or high < 0 else ", no clear difference"
    return f"{text} after, {percent(row.before)} before{clear} (chance {percent(row.chance)})"


def _dimensions(found: Findings) -> str:
    last = {row.model: row for row in found.ranks if row.layer == found.ranks[-1].layer}
    if "after" not in last or math.isnan(last["after"].participation):
        return ""
    after = last["after"]
    text = f"The {after.layer} spread over about {after.participation:.3g} of {after.d} dimensions"
    if "before" not in last or math.isnan(last["before"].participation):
        return f"{text} (participation ratio)."
    return f"{text} after and {last['before'].participation:.3g} before (participation ratio)."
