"""BSS against NumPy's SVD in float64, by hand, and under everything a training step may do to it."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transferkit_bss import bss
from transferkit_bss.penalty import BSS

from transferkit.model import Reading
from transferkit.plugins.registry import installed


def spectrum_matrix(singular_values, columns, seed=0):
    """A matrix with exactly these singular values, float64."""
    rng = np.random.default_rng(seed)
    rows = len(singular_values)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, rows)))[0]
    return left * np.asarray(singular_values) @ right.T


def oracle(matrix, k):
    """Value and gradient from NumPy's SVD."""
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    small = slice(max(0, len(values) - k), None)
    return (values[small] ** 2).sum(), 2 * (left[:, small] * values[small]) @ right[small]


def value_and_gradient(matrix, k):
    features = torch.tensor(matrix, requires_grad=True)
    value = bss(features, k)
    value.backward()
    return value.item(), features.grad.numpy()


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (6, 6), (2, 3), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_value_and_gradient_match_numpy_svd(shape, k):
    matrix = np.random.default_rng(1).normal(size=shape)
    value, gradient = value_and_gradient(matrix, k)
    expected, expected_gradient = oracle(matrix, k)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-7, atol=1e-9)


def test_diagonal_by_hand():
    features = torch.diag(torch.tensor([3.0, 1.0, 2.0]))
    assert bss(features).item() == pytest.approx(1.0)
    assert bss(features, 2).item() == pytest.approx(5.0)
    assert bss(features, 3).item() == pytest.approx(14.0)


def test_k_beyond_the_rank_is_everything_and_never_counted_twice():
    features = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(bss(features, 7), features.square().sum())


@pytest.mark.parametrize(("condition", "tolerance"), [(1e0, 1e-6), (1e2, 1e-6), (1e4, 1e-6), (1e6, 1e-4)])
def test_gradient_error_of_ill_conditioned_features(condition, tolerance):
    # a gap below the smallest value: without one the gradient for k=1 is not unique
    values = np.geomspace(condition, 1.0, 48) if condition > 1 else np.linspace(2.0, 1.0, 48)
    matrix = spectrum_matrix(values, 512).astype(np.float32)
    value, gradient = value_and_gradient(matrix, 1)
    expected, expected_gradient = oracle(matrix, 1)
    assert abs(value - expected) <= tolerance * expected
    assert np.linalg.norm(gradient - expected_gradient) <= tolerance * np.linalg.norm(expected_gradient)


def test_gradcheck():
    features = torch.tensor(spectrum_matrix([4.0, 2.5, 1.0, 0.5], 7), requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: bss(f, 2), (features,))


def test_gradient_reaches_what_made_the_features():
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    bss(torch.randn(3, 5, generator=torch.Generator().manual_seed(1)) @ weight).backward()
    assert weight.grad.abs().max() > 1e-3


def test_invariant_to_row_order_and_rotation_and_quadratic_in_scale():
    features = torch.randn(6, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    rotation = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))[0]
    torch.testing.assert_close(bss(features[[3, 1, 0, 5, 2, 4]], 2), bss(features, 2))
    torch.testing.assert_close(bss(features @ rotation, 2), bss(features, 2))
    torch.testing.assert_close(bss(features.T, 2), bss(features, 2))
    torch.testing.assert_close(bss(3 * features, 2), 9 * bss(features, 2))


def test_rank_deficient_features_give_a_finite_gradient_and_no_negative_value():
    row = torch.randn(1, 8, generator=torch.Generator().manual_seed(5)) * 100
    for features in (torch.zeros(4, 6), row.repeat(4, 1), torch.cat([row, row, row, row.flip(1)])):
        features = features.clone().requires_grad_()
        value = bss(features, 2)
        value.backward()
        assert 0 <= value.item() < 1e-6
        assert features.grad.isfinite().all()


def test_an_empty_batch_is_zero():
    for shape in ((0, 4), (4, 0)):
        assert bss(torch.zeros(shape, requires_grad=True)).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_give_float32_and_a_gradient_in_their_own_type(dtype):
    features = torch.randn(4, 8, generator=torch.Generator().manual_seed(6)).to(dtype).requires_grad_()
    value = bss(features)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(oracle(features.detach().float().numpy(), 1)[0], rel=1e-6)
    assert features.grad.dtype == dtype and features.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_types_keep_theirs(dtype):
    assert bss(torch.ones(3, 4, dtype=dtype)).dtype == dtype


def test_autocast_changes_nothing():
    matrix = spectrum_matrix(np.geomspace(200, 1e-2, 16), 64).astype(np.float32)
    plain = value_and_gradient(matrix, 1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = value_and_gradient(matrix, 1)
    assert plain[0] == inside[0]
    np.testing.assert_array_equal(plain[1], inside[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_features_are_refused_by_count(bad):
    features = torch.ones(3, 4)
    features[1, 2] = bad
    with pytest.raises(ValueError, match="1 of 12 feature values are NaN or infinite"):
        bss(features)


def test_what_is_no_matrix_or_no_k_is_refused():
    for wrong in (torch.ones(2, 3, 4), torch.ones(3), torch.ones(2, 3, dtype=torch.long)):
        with pytest.raises(ValueError, match="floating-point matrix"):
            bss(wrong)
    with pytest.raises(ValueError, match="k must be at least 1"):
        bss(torch.ones(2, 3), 0)


def test_penalty_on_features_and_on_a_tap():
    features = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    maps = torch.randn(4, 5, 2, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(BSS(k=2).penalty(features, {}), bss(features, 2))
    plugin = BSS(tap="stage.block")
    model = SimpleNamespace(reading=lambda layer: Reading(5, (8, 8)))
    assert plugin.taps(model) == ["stage.block"] and BSS().taps(model) == []
    torch.testing.assert_close(plugin.penalty(features, {"stage.block": maps}), bss(maps.mean(dim=(2, 3))))


def test_relative_scale_does_not_depend_on_the_length_of_the_features():
    features = torch.tensor(spectrum_matrix([4.0, 2.0, 1.0], 5), requires_grad=True)
    value = BSS(scale="relative").penalty(features, {})
    assert value.item() == pytest.approx(1 / 7)  # 1² over the mean of 16, 4 and 1
    torch.testing.assert_close(BSS(scale="relative").penalty(10 * features, {}), value)
    (gradient,) = torch.autograd.grad(value, features)
    torch.testing.assert_close(gradient, torch.autograd.grad(bss(features), features)[0] / 7)
    assert BSS(scale="relative").penalty(torch.zeros(3, 5), {}).item() == 0.0


def test_one_image_gives_zero_in_the_graph_and_one_warning(caplog):
    plugin = BSS()
    features = torch.ones(1, 4, requires_grad=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            value = plugin.penalty(features, {})
            value.backward()
    assert value.item() == 0.0 and features.grad.abs().sum() == 0
    assert [record.message for record in caplog.records] == [
        "bss skips batches of fewer than 2 images: their spectrum says nothing"
    ]


def test_non_finite_features_in_training_become_a_non_finite_loss():
    features = torch.full((2, 3), float("nan"), requires_grad=True)
    assert not BSS().penalty(features, {}).isfinite()


def test_options_are_checked():
    component = installed().get("regularizer", "bss")
    assert component.create({"k": 3, "scale": "relative"}) == BSS(3, None, "relative")
    for wrong in ({"k": 0}, {"scale": "log"}, {"kk": 1}):
        with pytest.raises(ValidationError):
            component.create(wrong)
    assert set(component.options.model_fields) == {"k", "tap", "scale"}


def test_k_beyond_the_batch_is_said_before_anything_starts():
    stage = SimpleNamespace(batch_size=4)
    assert BSS(k=4).check(stage) == []
    assert "k is 5, but a batch of 4 images" in BSS(k=5).check(stage)[0]
