"""Exact optimal transport between two weighted sets of points, by SciPy."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import eye, kron, vstack

Matrix = NDArray[np.float64]
SMALL = 10_000  # cells up to which the linear program is quick: no need to look for POT


def optimal_coupling(cost: Any, a: Any = None, b: Any = None) -> Matrix:
    """The coupling Γ (n, m) with row sums `a` and column sums `b` that has the smallest Σ Γ_ij cost_ij.

    Without `a` or `b` all rows or columns weigh the same, 1 together. Equal numbers of equal weights are an
    assignment problem, everything else a linear program, both solved exactly; where the package POT is installed it
    solves large programs faster. Raises ValueError for a cost that is no finite matrix and for weights that are
    negative, of the wrong number or of different sums.
    """
    matrix = np.asarray(cost, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ValueError(f"the cost must be a finite matrix that is not empty; this one has the shape {matrix.shape}")
    rows, columns = _weights(a, matrix.shape[0], "a"), _weights(b, matrix.shape[1], "b")
    if not np.isclose(rows.sum(), columns.sum(), rtol=1e-9, atol=0):
        raise ValueError(f"a sums to {rows.sum():.9g} and b to {columns.sum():.9g}; they must agree")
    if len(rows) == len(columns) and np.ptp(rows) == 0 and np.ptp(columns) == 0:
        return _assignment(matrix, float(rows[0]))
    if matrix.size > SMALL and find_spec("ot") is not None:
        return _network_simplex(matrix, rows, columns)
    return _linear_program(matrix, rows, columns)


def _weights(given: Any, size: int, name: str) -> Matrix:
    if given is None:
        return np.full(size, 1.0 / size)
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (size,):
        raise ValueError(f"{name} must have {size} weights, not the shape {weights.shape}")
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
        raise ValueError(f"{name} must be finite weights, none negative and not all zero")
    return weights


def _assignment(cost: Matrix, weight: float) -> Matrix:
    coupling = np.zeros_like(cost)
    coupling[linear_sum_assignment(cost)] = weight
    return coupling


def _linear_program(cost: Matrix, rows: Matrix, columns: Matrix) -> Matrix:
    """Minimise over Γ >= 0. Numbers are brought to the order of 1, which the solver's tolerances are made for."""
    n, m = cost.shape
    unit = float(rows.sum()) / max(n, m)
    # what a whole row or column costs more does not change the best coupling
    relative = cost - cost.min(axis=1, keepdims=True)
    relative = relative - relative.min(axis=0, keepdims=True)
    sums = vstack([kron(eye(n), np.ones((1, m))), kron(np.ones((1, n)), eye(m))], format="csr")
    # the sums differ by rounding only; left so, the program could count as infeasible
    wanted = np.concatenate([rows, columns * (rows.sum() / columns.sum())]) / unit
    largest = float(relative.max()) or 1.0
    found = linprog(relative.ravel() / largest, A_eq=sums, b_eq=wanted, bounds=(0, None), method="highs-ds")
    if found.x is None:
        raise ValueError(f"the coupling could not be solved: {found.message}")
    coupling: Matrix = np.clip(found.x, 0.0, None).reshape(n, m) * unit
    return coupling


def _network_simplex(cost: Matrix, rows: Matrix, columns: Matrix) -> Matrix:
    coupling: Matrix = import_module("ot").emd(rows, columns * (rows.sum() / columns.sum()), cost, numItermax=10**8)
    return coupling
