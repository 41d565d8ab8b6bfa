"""Corresponding angles and feature spectra against NumPy's SVD, SciPy's subspace angles, and by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group
from transferkit_spectrum import corresponding_angles, feature_spectrum
from transferkit_spectrum.angles import compare, left_singular, relative_gaps
from transferkit_spectrum.features import batch_spectra, energy_share, smaller_half


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(dtype)


def oracle(weight, reference):
    """By NumPy, on the unfolded matrices."""
    left = [np.linalg.svd(w.double().numpy().reshape(len(w), -1), full_matrices=False)[0] for w in (weight, reference)]
    return np.abs((left[0] * left[1]).sum(axis=0))


def with_spectrum(values, columns, seed=0):
    """A matrix with exactly these singular values, and its left singular vectors."""
    left = ortho_group.rvs(len(values), random_state=seed)
    right = ortho_group.rvs(columns, random_state=seed + 1)[: len(values)]
    return torch.from_numpy(left * np.asarray(values, dtype=float) @ right), left


SHAPES = [(6, 20), (20, 6), (8, 8), (5, 3, 3, 3), (16, 1, 3, 3), (4, 2, 5), (1, 7), (7, 1), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_angles_match_numpy(shape, dtype):
    start = drawn(*shape, seed=1, dtype=dtype)
    weight = start + 0.3 * drawn(*shape, seed=2, dtype=dtype)
    found = corresponding_angles(weight, start)
    assert found.dtype == torch.float64 and found.shape == (min(shape[0], int(np.prod(shape[1:]))),)
    np.testing.assert_allclose(found.numpy(), oracle(weight, start), atol=1e-9)


def test_a_rotation_of_two_directions_by_hand():
    start, left = with_spectrum([5.0, 3.0, 2.0, 1.0], 9)
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn = np.eye(4)
    turn[:2, :2] = [[cos, -sin], [sin, cos]]  # within the plane of the first two directions
    weight = torch.from_numpy(left @ turn @ left.T) @ start
    np.testing.assert_allclose(corresponding_angles(weight, start).numpy(), [cos, cos, 1, 1], atol=1e-12)


def test_signs_scale_rotations_of_the_inputs_and_order_of_arguments_change_nothing():
    start, weight = drawn(7, 12, seed=1), drawn(7, 12, seed=2)
    expected = corresponding_angles(weight, start)
    turn = torch.from_numpy(ortho_group.rvs(12, random_state=3))
    rows = torch.from_numpy(ortho_group.rvs(7, random_state=4))
    for other in (-weight, 3.7 * weight, weight @ turn, weight[:, torch.randperm(12)]):
        torch.testing.assert_close(corresponding_angles(other, start), expected)
    torch.testing.assert_close(corresponding_angles(start, weight), expected)
    torch.testing.assert_close(corresponding_angles(rows @ weight, rows @ start), expected)
    torch.testing.assert_close(corresponding_angles(weight, weight), torch.ones(7, dtype=torch.float64))


def test_layout_and_gradients_do_not_matter():
    start, weight = drawn(6, 4, 3, 3, seed=1), drawn(6, 4, 3, 3, seed=2)
    expected = corresponding_angles(weight, start)
    other = weight.contiguous(memory_format=torch.channels_last).requires_grad_()
    found = corresponding_angles(other, start)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_an_ill_conditioned_wide_weight_is_as_exact_as_the_svd():
    values = np.geomspace(1e6, 1.0, 12)
    start, left = with_spectrum(values, 300)
    vectors, found = left_singular(start)
    np.testing.assert_allclose(found.numpy(), values, rtol=1e-8)
    np.testing.assert_allclose(np.abs((vectors.numpy() * left).sum(axis=0)), 1, atol=1e-9)


def test_what_has_no_angles_is_refused():
    with pytest.raises(ValueError, match=r"one shape, not \(2, 3\) and \(3, 2\)"):
        corresponding_angles(torch.ones(2, 3), torch.ones(3, 2))
    for wrong in (torch.ones(4), torch.ones(2, 2, dtype=torch.long), torch.ones(0, 3)):
        with pytest.raises(ValueError, match="a matrix or a stack of filters"):
            corresponding_angles(wrong, wrong)
    with pytest.raises(ValueError, match="NaN or infinite"):
        corresponding_angles(torch.full((2, 2), torch.nan), torch.ones(2, 2))


def test_gaps_by_hand():
    values = torch.tensor([4.0, 3.0, 2.5, 0.5], dtype=torch.float64)
    assert relative_gaps(values, 4).tolist() == [0.25, 0.125, 0.125, 0.5]
    assert relative_gaps(values, 9).tolist() == [0.25, 0.125, 0.125, 0.125]  # zero is a singular value too
    assert relative_gaps(torch.tensor([2.0]), 1).tolist() == [np.inf]
    assert relative_gaps(torch.zeros(2), 2).isnan().all()


def test_near_equal_values_are_masked_and_the_others_are_not():
    start, _ = with_spectrum([3.0, 2.0, 2.0, 1.0], 8)
    found = compare(start + 1e-3 * drawn(4, 8, seed=5), start)
    assert found.masked.tolist() == [False, True, True, False]
    assert np.isnan(found.cosines[1:3]).all() and (found.cosines[[0, 3]] > 0.99).all()
    apart, _ = with_spectrum([3.0, 2.0, 2.0 - 1e-5, 1.0], 8)
    assert not compare(apart, apart).masked.any()
    assert compare(torch.zeros(3, 5), torch.zeros(3, 5)).masked.all()
    dead = torch.zeros(5, 3, dtype=torch.float64)
    dead[0, 0], dead[1, 1] = 2.0, 1.0  # the third direction is any of the null space
    assert compare(dead, dead).masked.tolist() == [False, False, True]


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7)])
def test_principal_angles_match_scipy(shape):
    start = drawn(*shape, seed=1)
    weight = start + drawn(*shape, seed=2)
    left = [np.linalg.svd(w.numpy(), full_matrices=False)[0][:, : -(-min(shape) // 2)] for w in (weight, start)]
    expected = np.sort(np.cos(subspace_angles(*left)))[::-1]
    np.testing.assert_allclose(compare(weight, start).principal, expected, atol=1e-9)


def test_principal_angles_need_a_gap_where_the_half_ends():
    start, _ = with_spectrum([3.0, 2.0, 2.0, 1.0], 8)
    assert not len(compare(start, start).principal)
    clear, _ = with_spectrum([3.0, 3.0, 1.0, 1.0], 8)  # equal inside the halves: the halves are determined
    np.testing.assert_allclose(compare(clear, clear).principal, 1)


def test_swapped_ranks_are_found_by_the_best_pairs():
    start, _ = with_spectrum([4.0, 3.0, 2.0], 6)
    weight, _ = with_spectrum([3.0, 4.0, 2.0], 6)  # the same directions, two of them with each other's value
    np.testing.assert_allclose(compare(weight, start).cosines, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(compare(weight, start, "optimal").cosines, 1, atol=1e-12)


def test_the_best_pairs_are_the_best_of_all_permutations():
    start, weight = drawn(5, 9, seed=1), drawn(5, 9, seed=2)
    u0, u = (np.linalg.svd(w.numpy(), full_matrices=False)[0] for w in (start, weight))
    table = np.abs(u0.T @ u)
    best = max((sum(table[i, p[i]] for i in range(5)), p) for p in permutations(range(5)))
    found = compare(weight, start, "optimal").cosines
    np.testing.assert_allclose(found, [table[i, best[1][i]] for i in range(5)], atol=1e-12)
    assert found.sum() >= compare(weight, start).cosines.sum()


def test_relative_distance():
    start = drawn(4, 3, 2, 2, seed=1)
    assert compare(1.5 * start, start).distance == pytest.approx(0.5)
    assert compare(start, start).distance == 0
    assert np.isnan(compare(start, torch.zeros_like(start)).distance)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (3, 3), (1, 4)])
def test_feature_spectrum_matches_numpy_and_is_not_centred(shape):
    features = drawn(*shape, seed=3, dtype=torch.float32) + 2
    found = feature_spectrum(features)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), np.linalg.svd(features.double().numpy(), compute_uv=False), rtol=1e-9)
    torch.testing.assert_close(feature_spectrum(features.flip(0)), found)
    torch.testing.assert_close(feature_spectrum(2 * features), 2 * found)
    assert found.square().sum().item() == pytest.approx(features.double().square().sum().item())


def test_feature_spectrum_refuses_what_has_none():
    with pytest.raises(ValueError, match="floating-point matrix"):
        feature_spectrum(torch.ones(2, 3, 4))
    with pytest.raises(ValueError, match="NaN or infinite"):
        feature_spectrum(torch.full((2, 3), torch.inf))


def test_batches_are_full_ones_in_the_given_order():
    features = drawn(11, 6, seed=4, dtype=torch.float32)
    order = np.random.default_rng(0).permutation(11)
    found = batch_spectra(features, order, 4)
    assert found.shape == (2, 4)
    for row, rows in zip(found, (order[:4], order[4:8]), strict=True):
        expected = np.linalg.svd(features.double().numpy()[rows], compute_uv=False)
        np.testing.assert_allclose(row, expected, rtol=1e-9)
    assert batch_spectra(features, order, 12).shape == (0, 6)
    assert batch_spectra(features, order, 8).shape == (1, 6)


def test_shares_of_energy_by_hand():
    spectra = np.array([[3.0, 1.0, 0.0], [2.0, 2.0, 2.0]])
    assert energy_share(spectra, slice(0, 1)) == pytest.approx((0.9 + 1 / 3) / 2)
    assert energy_share(spectra, slice(smaller_half(3), None)) == pytest.approx((0 + 1 / 3) / 2)
    assert np.isnan(energy_share(np.zeros((2, 3)), slice(0, 1))) and np.isnan(energy_share(np.empty((0, 3)), slice(1)))
    assert [smaller_half(b) for b in (1, 2, 47, 48)] == [1, 1, 24, 24]
