"""Range tests: smoothing by its definition, limits by simulation and the exact Hessian, suggestions of known curves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferkit.training.rates import curvature, rates, ruined, smoothed, stability_limit, suggestion


def test_rates_grow_by_one_factor():
    found = rates(1e-4, 1.0, 5)
    assert found == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_smoothing_is_a_weighted_mean_of_what_came_before():
    losses = [3.0, 1.0, 2.0, 5.0]
    for step, value in enumerate(smoothed(losses), start=1):
        weights = [0.9 ** (step - 1 - index) for index in range(step)]
        assert value == pytest.approx(np.average(losses[:step], weights=weights))


def falling(low, high):
    """A loss that falls between two powers of ten, then rises steeply."""
    x = np.log10(rates(1e-6, 1.0, 200))
    return [float(2 - np.clip((v - low) / (high - low), 0, 1) + 10 * max(v - high - 0.5, 0) ** 2) for v in x]


def test_a_suggestion_lies_where_the_curve_falls_and_well_below_where_it_is_smallest():
    losses = falling(-5, -1)
    found = suggestion(rates(1e-6, 1.0, 200), losses)
    assert 1e-5 < found.rate <= found.smallest / 10 * (1 + 1e-9) and found.rate <= found.steepest
    assert 0.05 < found.smallest < 0.5


def test_what_never_falls_suggests_nothing():
    assert suggestion(rates(1e-6, 1, 50), [2.0] * 50) is None
    assert suggestion(rates(1e-6, 1, 50), list(np.linspace(2, 9, 50))) is None
    assert suggestion(rates(1e-6, 1, 50), [float("nan")] * 50) is None
    assert suggestion(rates(1e-6, 1, 200)[:4], [2.0, 1.5, 1.0, 0.5]) is None


def test_numbers_that_are_none_are_left_out():
    grid, losses = rates(1e-6, 1, 200), falling(-5, -1)[:190]
    assert suggestion(grid, [*losses, float("inf")]) == suggestion(grid, losses)


def test_it_ends_where_the_loss_has_risen_far():
    assert not ruined([1.0] * 30) and not ruined([1.0, 100.0])
    assert ruined([1.0] * 20 + [50.0] * 10)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("images", [3, 40])  # fewer and more than features
def test_the_bound_is_above_the_exact_curvature_and_reached_by_two_even_classes(classes, images):
    torch.manual_seed(images)
    features, labels = torch.randn(images, 4, dtype=torch.float64), torch.randint(classes, (images,))
    wide = torch.cat([features, torch.ones(images, 1, dtype=torch.float64)], dim=1)

    def loss(weights):
        return torch.nn.functional.cross_entropy(wide @ weights.reshape(classes, -1).T, labels)

    for weights in (torch.zeros(5 * classes, dtype=torch.float64), torch.randn(5 * classes, dtype=torch.float64)):
        exact = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, weights))[-1])
        assert exact <= curvature(features) * (1 + 1e-9)
    if classes == 2:
        even = torch.autograd.functional.hessian(loss, torch.zeros(5 * classes, dtype=torch.float64))
        assert float(torch.linalg.eigvalsh(even)[-1]) == pytest.approx(curvature(features))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_limits_are_those_of_torchs_own_sgd_on_a_quadratic(momentum, nesterov):
    features = torch.full((7, 1), 3.0)
    steep = (3.0**2 + 1) / 2  # by hand: one feature and the bias
    assert curvature(features) == pytest.approx(steep)
    limit = stability_limit(features, momentum, nesterov=nesterov)
    ends = []
    for factor in (0.97, 1.03):
        x = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = torch.optim.SGD([x], lr=factor * limit, momentum=momentum, nesterov=nesterov and momentum > 0)
        for _ in range(2000):
            optimizer.zero_grad()
            (steep / 2 * x.square()).sum().backward()
            optimizer.step()
        ends.append(abs(float(x.detach())))
    assert ends[0] < 1e-6 and not ends[1] < 1e6
