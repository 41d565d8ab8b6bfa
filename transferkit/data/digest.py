"""What images are, as hashes of content: of all for cached results, by class for comparing with an earlier day."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import numpy as np

from transferkit.data.randomness import numpy_rng
from transferkit.data.samples import Samples
from transferkit.data.survey import copies
from transferkit.data.tables import TableSamples
from transferkit.data.walk import Disk

THREADS = 4
CHUNK = 1 << 20
SAMPLED_BYTES = 1 << 28  # of files, read for a summary
SAMPLED_IMAGES = 200  # decoded for a summary, where there are no files


def samples_digest(samples: Samples) -> str:
    """A hash of the chosen images: the bytes of their files where there are files, never names or times.

    Where corruptions are planted, also of what they depend on.
    """
    digest = blake2b(digest_size=16)
    files = samples.files
    if files is None:
        digest.update(samples.source.fingerprint().encode())
        digest.update(np.ascontiguousarray(samples.chosen, dtype="<i8").tobytes())
    else:
        _feed(digest, files)
    if samples.corruptions:
        digest.update(samples.fingerprint().encode())
    return digest.hexdigest()


def summary(samples: Samples) -> dict[str, Any]:
    """What tells these samples from those of another day, small enough to be kept with every checkpoint.

    `classes` is the class list; `by_class` has for each class how many images it has, a hash of their ids and one of
    their sizes; `content` is a hash of the bytes of all files, or of as many, drawn by key, as make up 256 MB. Names
    of folders above the data set, and times, are not in it. A table has `content` alone.
    """
    if isinstance(samples, TableSamples):
        return {"content": samples.fingerprint()}
    ids, files = samples.ids, samples.files
    sizes = [_size(file) for file in files] if files is not None else [0] * len(ids)
    by_class: dict[str, Any] = {}
    for label, name in enumerate(samples.classes):
        members = np.flatnonzero(samples.labels == label).tolist()
        by_class[name] = {
            "images": len(members),
            "ids": _texts(ids[index] for index in members),
            "sizes": _texts(str(sizes[index]) for index in members),
        }
    planted = samples.fingerprint() if samples.corruptions else ""
    content = _sampled(files, sizes) if files is not None else _decoded(samples)
    return {"classes": list(samples.classes), "by_class": by_class, "content": content, "planted": planted}


def same_files(splits: Mapping[str, Samples]) -> list[tuple[str, int, int]]:
    """(split, place, place in train) of every image of another split whose file has the very bytes of a training file.

    Nothing is said of images that are no files of their own.
    """
    files = {split: samples.files for split, samples in splits.items()}
    known = {split: paths for split, paths in files.items() if paths is not None}
    places = {split: {file: place for place, file in enumerate(paths)} for split, paths in known.items()}
    found = copies(Disk(""), known, None)
    return [(split, places[split][file], places["train"][original]) for split, file, original in found.pairs]


def _size(file: str) -> int:
    with suppress(OSError):  # reading the image says why
        return os.stat(file).st_size
    return -1


def _texts(texts: Any) -> str:
    digest = blake2b(digest_size=8)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def _sampled(files: Sequence[str], sizes: Sequence[int]) -> str:
    order = numpy_rng("summary", len(files)).permutation(len(files))
    within = np.cumsum(np.asarray(sizes, dtype=np.int64)[order]) <= SAMPLED_BYTES
    digest = blake2b(digest_size=16)
    _feed(digest, [files[index] for index in order[within]])
    return digest.hexdigest()


def _decoded(samples: Samples) -> str:
    """Readers of arrays hash their pixels themselves; of what lies in archives some images are decoded."""
    digest = blake2b(samples.source.fingerprint().encode(), digest_size=16)
    chosen = numpy_rng("summary", len(samples)).permutation(len(samples))[:SAMPLED_IMAGES]
    for index in chosen.tolist():
        digest.update(samples.source.image(int(samples.chosen[index])).tobytes())
    return digest.hexdigest()


def _feed(digest: blake2b, files: Sequence[str]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for one in pool.map(_file, files):
            digest.update(one)


def _file(path: str) -> bytes:
    digest = blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError:
        digest.update(b"unreadable")  # reading the image says why
    return digest.digest()
