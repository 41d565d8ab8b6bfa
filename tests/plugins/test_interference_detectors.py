"""The ridge map and the kernel map against NumPy and SciPy by other routes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from transferkit_interference import refitted_head
from transferkit_interference.refit import GRID, fold, kernel_map, ridge_map

from transferkit.errors import InputError
from transferkit.model import SourceHead


def pairs(n=40, d=6, out=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator) * torch.arange(1, d + 1) + 3
    y = x @ torch.randn(d, out, generator=generator) + torch.randn(n, out, generator=generator) - 2
    return x, y


@pytest.mark.parametrize("d", [6, 70])
def test_ridge_map_solves_the_normal_equations(d):
    x, y = (part.double().numpy() for part in pairs(d=d))
    found = ridge_map(torch.from_numpy(x), torch.from_numpy(y), lam=3.0)
    z = (x - x.mean(0)) / x.std(0)
    a = np.linalg.solve(z.T @ z + 3.0 * np.eye(d), z.T @ (y - y.mean(0))).T / x.std(0)
    np.testing.assert_allclose(found.weight, a, atol=1e-9)
    np.testing.assert_allclose(found.bias, y.mean(0) - a @ x.mean(0), atol=1e-9)


@pytest.mark.parametrize("d", [6, 70])
def test_the_closed_form_is_leaving_one_out(d):
    """With the standardisation of all images kept, as the closed form has it."""
    x, y = (part.double().numpy() for part in pairs(n=25, d=d))
    z = np.c_[np.ones(25), (x - x.mean(0)) / x.std(0)]
    errors = {}
    for lam in [25 * step for step in GRID]:
        penalty = np.diag([0.0] + [lam] * d)
        total = 0.0
        for i in range(25):
            rest = np.arange(25) != i
            w = np.linalg.solve(z[rest].T @ z[rest] + penalty, z[rest].T @ y[rest])
            total += ((y[i] - z[i] @ w) ** 2).sum()
        errors[lam] = total
    found = ridge_map(torch.from_numpy(x), torch.from_numpy(y))
    best = min(errors, key=errors.get)
    assert found.lam == pytest.approx(best)
    assert found.explained == pytest.approx(1 - errors[best] / ((y - y.mean(0)) ** 2).sum(), abs=1e-8)


def test_an_exact_map_is_found_and_folded():
    x, _ = pairs(n=200)
    a, shift = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), torch.arange(4.0)
    y = x @ a.T + shift
    head = SourceHead(torch.randn(9, 4, generator=torch.Generator().manual_seed(2)), torch.ones(9), list("abcdefghi"))
    found = refitted_head(x, y, head, lam=1e-9)
    torch.testing.assert_close(found.logits(x), head.logits(y), atol=1e-3, rtol=1e-4)
    assert found.weight.shape == (9, 6) and found.classes == head.classes and found.weight.dtype == torch.float32
    bare = fold(ridge_map(x, y, 1e-9), SourceHead(head.weight, None, head.classes))
    torch.testing.assert_close(bare.logits(x), head.logits(y) - 1, atol=1e-3, rtol=1e-4)


def test_constant_features_and_bad_input():
    x, y = pairs()
    x[:, 2] = 7.0
    found = ridge_map(x, y)
    assert found.weight[:, 2].abs().max() == 0 and found.weight.isfinite().all()
    assert ridge_map(torch.ones(5, 3), y[:5]).weight.abs().max() == 0
    with pytest.raises(InputError, match="two images"):
        ridge_map(x[:1], y[:1])
    with pytest.raises(InputError, match="finite"):
        ridge_map(x.clone().fill_(torch.nan), y)


def test_kernel_map_against_the_plain_formula():
    x, y = (part.double() for part in pairs(n=30))
    found, lam = kernel_map(x, y)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    distances = cdist(z, z, "sqeuclidean")
    width = float(torch.from_numpy(distances).median())
    gram = np.exp(-distances / width)
    centred = (y - y.mean(0)).numpy()

    def left_out(lam):
        total = 0.0
        for i in range(30):
            rest = np.arange(30) != i
            weights = np.linalg.solve(gram[np.ix_(rest, rest)] + lam * np.eye(29), centred[rest])
            total += ((centred[i] - gram[i, rest] @ weights) ** 2).sum()
        return total

    assert lam == min((0.03, 0.1, 0.3, 1.0, 3.0), key=left_out)
    expected = gram @ np.linalg.solve(gram + lam * np.eye(30), centred) + y.mean(0).numpy()
    np.testing.assert_allclose(found(x), expected, atol=1e-8)
