"""Truncated features against NumPy's SVD and BSS, and the training option in runs."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transferkit_bss import bss
from transferkit_spectrum import truncate
from transferkit_spectrum.tsvd import TSVD

from tests.training.conftest import recipe_file, registry, run, tiny_npz  # noqa: F401 - fixtures
from tests.training.test_loop import records, same, weights
from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(dtype)


def oracle(features, r):
    """Eq. 10 as printed: U and V of the b − r largest values."""
    left, values, right = np.linalg.svd(features.double().numpy(), full_matrices=False)
    kept = slice(0, max(0, len(values) - r))
    return (left[:, kept] * values[kept]) @ right[kept], left, values


SHAPES = [(6, 20), (20, 6), (5, 5), (1, 4), (4, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [0, 1, 2, 4, 8])
def test_truncate_matches_numpy(shape, r):
    features = drawn(*shape, seed=1)
    np.testing.assert_allclose(truncate(features, r).numpy(), oracle(features, r)[0], atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [1, 2, 4])
def test_the_energy_removed_is_the_dropped_part_of_the_spectrum_and_the_value_of_bss(shape, r):
    features = drawn(*shape, seed=2) + 0.3
    removed = float(features.square().sum() - truncate(features, r).square().sum())
    values = oracle(features, r)[2]
    assert removed == pytest.approx((values[max(0, len(values) - r) :] ** 2).sum(), rel=1e-9)
    assert removed == pytest.approx(float(bss(features, r)), rel=1e-9)
    assert float((features - truncate(features, r)).square().sum()) == pytest.approx(removed, rel=1e-9)


@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_the_gradient_is_that_of_a_fixed_projection(shape):
    features, upstream = drawn(*shape, seed=3).requires_grad_(), drawn(*shape, seed=4)
    truncate(features, 2).backward(upstream)
    left = oracle(features.detach(), 2)[1]
    small = left[:, min(shape) - 2 : min(shape)]
    expected = upstream.numpy() - small @ (small.T @ upstream.numpy())
    np.testing.assert_allclose(features.grad.numpy(), expected, atol=1e-10)


def test_equal_singular_values_and_dead_features_have_a_gradient():
    for features in (torch.eye(4), torch.zeros(3, 5), torch.ones(4, 6)):
        features = features.clone().requires_grad_()
        truncate(features, 1).sum().backward()
        assert features.grad.isfinite().all()


def test_invariant_to_order_and_rotations_and_linear_in_scale():
    features = drawn(6, 9, seed=5)
    rotation = torch.linalg.qr(drawn(9, 9, seed=6))[0]
    order = [3, 1, 0, 5, 2, 4]
    torch.testing.assert_close(truncate(features[order], 2), truncate(features, 2)[order])
    torch.testing.assert_close(truncate(features @ rotation, 2), truncate(features, 2) @ rotation)
    torch.testing.assert_close(truncate(-3 * features, 2), -3 * truncate(features, 2))
    once = truncate(features, 2)
    torch.testing.assert_close(truncate(once, 2), once)  # what was dropped is gone already


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_types_stay_and_autocast_changes_nothing(dtype):
    features = drawn(4, 8, seed=7, dtype=dtype).requires_grad_()
    found = truncate(features, 1)
    found.sum().backward()
    assert found.dtype == dtype and features.grad.dtype == dtype
    np.testing.assert_allclose(
        found.detach().float(), oracle(features.detach(), 1)[0], atol=3e-2 if dtype.itemsize == 2 else 1e-6
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(truncate(features, 1), found)


def test_what_cannot_be_truncated_is_refused():
    with pytest.raises(ValueError, match="floating-point matrix"):
        truncate(torch.ones(2, 3, 4), 1)
    with pytest.raises(ValueError, match="r must be at least 0, not -1"):
        truncate(torch.ones(2, 3), -1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        truncate(torch.full((2, 3), torch.nan), 1)
    assert truncate(torch.ones(0, 4), 1).shape == (0, 4)


def test_a_small_batch_stays_as_it_is_with_one_warning(caplog):
    plugin = TSVD(r=2)
    small, large = drawn(2, 8, seed=8), drawn(5, 8, seed=9)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert plugin.transform_features(small) is small
        torch.testing.assert_close(plugin.transform_features(large), truncate(large, 2))
    assert [r.message for r in caplog.records] == [
        "tsvd leaves batches of at most 2 singular components as they are; one of 2 images came"
    ]
    bad = torch.full((5, 8), torch.nan)
    assert plugin.transform_features(bad) is bad


def test_options_and_promises():
    component = installed().get("regularizer", "tsvd")
    assert component.create({"r": 4}) == TSVD(4) and component.hooks == ["check", "transform_features"]
    for wrong in ({"r": 0}, {"rr": 1}, {"r": 1.5}):
        with pytest.raises(ValidationError):
            component.create(wrong)
    check_plugin(TSVD, r=2)
    stage = SimpleNamespace(batch_size=4)
    assert TSVD(3).check(stage) == []
    assert "r is 4, but a batch of 4 images" in TSVD(4).check(stage)[0]


def test_a_run_truncates_in_training_only(run):  # noqa: F811
    """Weights that cannot move: the training loss is another one, what is evaluated is the same."""
    still = {
        "epochs": 1,
        "optimizer": {"name": "sgd", "lr": 1e-12},
        "batchnorm": "eval",
        "augmentation": {"none": True},
    }
    plain = run(**still)
    truncated = run(**still, regularizers=[{"use": "tsvd", "r": 4}])
    assert records(plain.run_dir, "val")[0]["loss"] == pytest.approx(records(truncated.run_dir, "val")[0]["loss"])
    losses = [records(result.run_dir)[0]["loss"] for result in (plain, truncated)]
    assert abs(losses[0] - losses[1]) > 1e-4
    assert not same(weights(run().run_dir), weights(run(regularizers=[{"use": "tsvd", "r": 1}]).run_dir))


def test_a_recipe_gives_it_no_weight_and_a_fitting_r(run):  # noqa: F811
    with pytest.raises(InputError, match="r is 8, but a batch of 8 images"):
        run(regularizers=[{"use": "tsvd", "r": 8}])
