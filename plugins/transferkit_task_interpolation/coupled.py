"""The optimal coupling of two data sets: squared distances of the source model's features, cached by content."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from transferkit.data import samples_digest
from transferkit.errors import InputError
from transferkit.model import backbone_digest, features_of
from transferkit_task_interpolation.coupling import optimal_coupling
from transferkit_task_interpolation.partners import SparseCoupling

if TYPE_CHECKING:
    from transferkit import Workspace
    from transferkit.data import Samples
    from transferkit.model import TransferModel
    from transferkit_task_interpolation.partners import Indices

VERSION = 1  # of the procedure: older cached results are not used
# cells of one block's cost matrix that take about a minute, or a gigabyte
LARGEST = {"assignment": 100_000_000, "network simplex": 25_000_000, "linear program": 1_000_000}

Features = NDArray[np.float64]


def coupling_of(session: Workspace, source: Samples, blocks: int | None) -> SparseCoupling:
    """For every target training image the source images it is coupled with, found by optimal transport.

    The ground cost is the squared distance of M^s's pre-logits on the evaluation transform. With `blocks`, both sets
    are split at random into so many parts that are coupled part by part: an upper bound of the whole's cost. The
    same weights, images and options give the same coupling; it is kept in the cache. Raises InputError without a
    source model and for sets that are too large to couple at once.
    """
    reference = session.reference
    if reference is None:
        raise InputError(
            "task_interpolation: mode coupled compares images by the features of the model that the stage starts "
            "from, and this one starts from scratch; use mode mixup, or start from a model"
        )
    target, parts = session.train_samples, blocks or 1
    _refuse_sizes(len(target), len(source), parts)
    facts = {
        "of": "task_interpolation coupling",
        "version": VERSION,
        "model": backbone_digest(reference),
        "target": samples_digest(target),
        "source": samples_digest(source),
        "blocks": parts,
        "seed": session.seed if parts > 1 else 0,
        "stage": session.stage.name if parts > 1 else "",
    }
    found = session.cached(facts, lambda: _tensors(_coupled(session, reference, source, parts)))
    return SparseCoupling(found["starts"].numpy(), found["sources"].numpy(), found["shares"].numpy())


def _tensors(coupling: SparseCoupling) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(getattr(coupling, name)) for name in ("starts", "sources", "shares")}


def _refuse_sizes(targets: int, sources: int, blocks: int) -> None:
    if blocks > min(targets, sources):
        raise InputError(
            f"task_interpolation: {blocks} blocks of {targets} target and {sources} source images would be empty; "
            f"use at most {min(targets, sources)}"
        )
    unequal = "network simplex" if find_spec("ot") is not None else "linear program"
    how = "assignment" if targets == sources else unequal
    cells = math.ceil(targets / blocks) * math.ceil(sources / blocks)
    if cells <= LARGEST[how]:
        return
    enough = math.ceil(math.sqrt(targets * sources / LARGEST[how])) + 1
    extra = "" if how != "linear program" else ", install POT (pip install 'transferkit[ot]'), which is faster,"
    raise InputError(
        f"task_interpolation: coupling {targets:,} target with {sources:,} source images in {blocks} block(s) means "
        f"a {how} of {cells:,} cells, more than {LARGEST[how]:,}; give blocks: {enough}{extra} or use mode mixup"
    )


def _coupled(session: Workspace, reference: TransferModel, source: Samples, blocks: int) -> SparseCoupling:
    target = session.train_samples
    ours = _features(session, reference, target, "target")
    theirs = _features(session, reference, source, "source")
    rng = session.rng("task_interpolation", "blocks")
    parts = [
        np.array_split(rng.permutation(len(data)) if blocks > 1 else np.arange(len(data)), blocks)
        for data in (ours, theirs)
    ]
    found = []
    with session.progress(blocks, "task_interpolation: optimal coupling") as bar:
        for mine, other in zip(*parts, strict=True):
            coupling = optimal_coupling(cdist(ours[mine], theirs[other], "sqeuclidean"))
            rows, columns = np.nonzero(coupling > coupling.max(axis=1, keepdims=True) * 1e-9)
            found.append((mine[rows], other[columns], coupling[rows, columns]))
            bar.advance(1)
    rows, columns, shares = (np.concatenate(part) for part in zip(*found, strict=True))
    return sparse(rows, columns, shares, len(ours))


def sparse(rows: Indices, columns: Indices, shares: Features, targets: int) -> SparseCoupling:
    """Cells in any order as rows in order, the shares of each row summing to 1."""
    order = np.lexsort((columns, rows))
    rows, columns, shares = rows[order], columns[order], shares[order]
    sums = np.bincount(rows, weights=shares, minlength=targets)
    starts = np.searchsorted(rows, np.arange(targets + 1)).astype(np.int64)
    return SparseCoupling(starts, columns.astype(np.int64), shares / sums[rows])


def _features(session: Workspace, reference: TransferModel, samples: Samples, which: str) -> Features:
    """(n, d) pre-logits on the evaluation transform, in order."""
    text, batch_size = f"task_interpolation: features of the {which} images", session.stage.batch_size
    features, _ = features_of(reference, samples, session.progress, text, batch_size=batch_size)
    return features.double().numpy()
