"""Near copies: the same picture again, recompressed, cropped by a little, or of another brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit_data_audit.outliers import MAD, neighbours, unit

NEIGHBOURS = 5  # candidates for each image, by features and again by its small picture
PROMISING = 0.7  # correlation of small pictures as they lie, from which on they are laid over each other
LEAST = 0.9  # correlation of a copy when laid over the other
OTHERS, GAP = 4, 0.3  # a copy is at most this part as far as the fourth of the images most like either
SIGMAS = 4.0  # or stands out by so much from how alike images and their neighbours are
ZOOMS, SHIFTS = (0.94, 1.0, 1.06), (-1.0, 0.0, 1.0)  # of the picture's side; in pixels of the small picture

Small = NDArray[np.uint8]
Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class NearCopies:
    """Pairs (m, 2) of places, the lower first, and how alike they are (m,)."""

    pairs: Pairs
    alike: NDArray[np.float64]
    groups: NDArray[np.int64]
    """(n,) images that are copies of each other, directly or by others, have one number."""


def near_copies(features: ArrayLike, small: Small) -> NearCopies:
    """(n, d) features and (n, s, s, 3) small pictures -> which are the same picture.

    Candidates are the five nearest neighbours by cosine of the standardised features, and by correlation of the small
    pictures. Of each the correlation r is taken that is largest when one is shifted by up to a pixel and zoomed by up
    to 6 %: brightness and contrast are no part of it. Two images of one class are alike, too, so r ≥ 0.9 is not
    enough: 1 − r must be at most 0.3 of what it is for the fourth of the images that are most like either (Lowe's
    ratio test, IJCV 60, 2004), or r stand out from all: `stands_out`.
    """
    n = len(small)
    none = np.empty((0, 2), np.int64)
    if n < 2:
        return NearCopies(none, np.empty(0), np.arange(n))
    flat = _centred(small.astype(np.float32).transpose(0, 3, 1, 2).reshape(n, -1))
    found = [neighbours(rows, NEIGHBOURS)[0] for rows in (unit(features), flat)]
    pairs = np.concatenate([np.stack([np.repeat(np.arange(n), one.shape[1]), one.ravel()], 1) for one in found])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    lying = np.einsum("ij,ij->i", flat[pairs[:, 0]], flat[pairs[:, 1]]).astype(np.float64)
    alike = lying.copy()
    near = np.flatnonzero(lying >= PROMISING)
    for start in range(0, len(near), 512):
        some = near[start : start + 512]
        alike[some] = np.maximum(lying[some], laid_over(small[pairs[some, 0]], small[pairs[some, 1]]))
    likeness = _most_alike(n, pairs, alike)
    fourth = likeness[:, OTHERS - 1]
    far = 1 - np.minimum(fourth[pairs[:, 0]], fourth[pairs[:, 1]])
    kept = (alike >= LEAST) & ((1 - alike <= GAP * far) | (alike >= stands_out(likeness[:, 0])))
    return NearCopies(pairs[kept], alike[kept], grouped(n, pairs[kept]))


def _most_alike(n: int, pairs: Pairs, alike: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) how alike the four most alike candidates of each are, most first; 0 where there are fewer."""
    ends, values = pairs.T.ravel(), np.tile(alike, 2)
    order = np.lexsort((-values, ends))
    ends, values = ends[order], values[order]
    rank = np.arange(len(ends)) - np.searchsorted(ends, ends)
    found = np.zeros((n, OTHERS))
    top = rank < OTHERS
    found[ends[top], rank[top]] = np.maximum(values[top], 0)
    return found


def stands_out(best: NDArray[np.float64]) -> float:
    """How alike two pictures must be, from how alike (n,) the most alike pictures of each are."""
    z = np.arctanh(np.clip(best, -0.9999, 0.9999))
    middle = float(np.median(z))
    return max(LEAST, min(float(np.tanh(middle + SIGMAS * MAD * float(np.median(np.abs(z - middle))))), 0.9995))


def laid_over(one: Small, other: Small) -> NDArray[np.float64]:
    """(m, s, s, 3) twice -> (m,) the largest correlation over shifts and zooms of the first, either way round."""
    a, b = (each.astype(np.float32).transpose(0, 3, 1, 2) for each in (one, other))
    m, side = len(a), a.shape[-1]
    still = _centred(b.reshape(m, -1))
    best = np.full(m, -1.0)
    for zoom in ZOOMS:
        lines = [_resampling(side, zoom, shift) for shift in SHIFTS]
        for down in lines:
            moved = down @ a
            for across in lines:
                laid = _centred(np.asarray(moved @ across.T, np.float32).reshape(m, -1))
                best = np.maximum(best, np.einsum("ij,ij->i", laid, still))
    return best


def grouped(n: int, pairs: Pairs) -> NDArray[np.int64]:
    """(n,) the number of each one's connected part."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def _centred(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row without its mean, of length 1: products are correlations. A picture of one colour is like no other."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3), dtype=np.float32)


def _resampling(side: int, zoom: float, shift: float) -> NDArray[np.float32]:
    """(s, s) the matrix that reads a line of pixels zoomed about its middle, then shifted, between pixels linearly."""
    middle = (side - 1) / 2
    where = np.clip((np.arange(side) - middle) * zoom + middle + shift, 0, side - 1)
    first = np.minimum(where.astype(int), side - 2)
    part = where - first
    found = np.zeros((side, side), np.float32)
    found[np.arange(side), first] = 1 - part
    found[np.arange(side), first + 1] += part
    return found
