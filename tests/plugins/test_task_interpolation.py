"""The pure functions of task interpolation against hand cases, brute force and another formulation."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
import transferkit_task_interpolation
from scipy.optimize import linprog
from transferkit_task_interpolation import optimal_coupling, path_length, schedule, target_counts
from transferkit_task_interpolation.lams import Plan

GRID = (0.0, 0.25, 0.5, 0.75, 1.0)


def test_importing_the_package_and_its_options_does_not_import_torch():
    code = (
        "import sys\n"
        "import transferkit_task_interpolation, transferkit_task_interpolation.curriculum\n"
        "from transferkit.plugins.registry import installed\n"
        "component = installed().get('curriculum', 'task_interpolation')\n"
        "component.options.model_json_schema()\n"
        "component.create({'source': 's'}).mix(0, 0, 0.0)\n"
        "from transferkit_task_interpolation import schedule\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "from transferkit_task_interpolation import optimal_coupling, path_length\n"
        "optimal_coupling([[1.0, 2.0]]), path_length([[1.0]])\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_offers_its_functions():
    assert transferkit_task_interpolation.__all__ == ["optimal_coupling", "path_length", "schedule", "target_counts"]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        transferkit_task_interpolation.nothing  # noqa: B018


# --- schedule -----------------------------------------------------------------------------------------------


def test_the_papers_schedule():
    assert schedule([0, 0.25, 0.5, 0.75, 1], 50) == [
        (0, 10, 0.0),
        (10, 20, 0.25),
        (20, 30, 0.5),
        (30, 40, 0.75),
        (40, 50, 1.0),
    ]


@pytest.mark.parametrize(
    ("total", "lengths"), [(5, [1, 1, 1, 1, 1]), (7, [1, 1, 1, 2, 2]), (9, [1, 2, 2, 2, 2]), (11, [2, 2, 2, 2, 3])]
)
def test_what_does_not_divide_evenly_goes_to_the_last(total, lengths):
    parts = schedule(GRID, total)
    assert [end - first for first, end, _ in parts] == lengths
    assert [first for first, _, _ in parts] == [0, *np.cumsum(lengths)[:-1]]
    assert [lam for _, _, lam in parts] == list(GRID)


def test_a_single_lam_has_all_epochs():
    assert schedule([1], 3) == [(0, 3, 1.0)]


@pytest.mark.parametrize(
    ("lams", "epochs"), [(GRID, 4), ([], 3), ([0, 1.5], 3), ([-0.1, 1], 3), ([0, math.nan], 3), ([0, 1], 2.5), ([1], 0)]
)
def test_schedules_that_cannot_be_are_refused(lams, epochs):
    with pytest.raises(ValueError, match="lams"):
        schedule(lams, epochs)


# --- counts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lam", "count"), [(0, 0), (0.25, 4), (0.5, 8), (0.75, 12), (1, 16)])
def test_the_papers_counts_of_sixteen(lam, count):
    assert [target_counts(lam, 16, step) for step in range(50)] == [count] * 50


@pytest.mark.parametrize("lam", ["0.1", "0.29", "0.3", "1/3", "0.7", "0.999", "2/7"])
@pytest.mark.parametrize("batch_size", [1, 7, 16, 100])
def test_counts_sum_to_lam_of_all_images(lam, batch_size):
    exact = Fraction(lam)
    counts = [target_counts(float(exact), batch_size, step) for step in range(210)]
    assert np.cumsum(counts).tolist() == [math.floor(exact * batch_size * (step + 1)) for step in range(210)]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("arguments", [(-0.1, 8, 0), (1.1, 8, 0), (0.5, 0, 0), (0.5, 8, -1), (math.nan, 8, 0)])
def test_counts_refuse_what_makes_no_sense(arguments):
    with pytest.raises(ValueError, match="must be in"):
        target_counts(*arguments)


# --- lam over time ------------------------------------------------------------------------------------------


def test_a_grid_in_epochs_follows_the_schedule():
    plan = Plan(GRID, "grid", 7)
    assert [plan.at(epoch, 0.0) for epoch in range(7)] == [0, 0.25, 0.5, 0.75, 0.75, 1, 1]
    assert plan.at(9, 1.0) == 1.0


def test_a_grid_in_steps_has_equal_shares():
    plan = Plan(GRID)
    assert [plan.at(0, step / 10) for step in range(10)] == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1]
    assert Plan((0.0, 0.5, 1.0)).at(0, 1 / 3) == 0.5  # 3 * (1/3) must not be a little less than 1


@pytest.mark.parametrize("lams", [GRID, (0.0, 0.1, 1.0), (0.3, 1.0)])
def test_linear_meets_the_grid_where_its_parts_begin(lams):
    plan = Plan(lams, "linear")
    for place, lam in enumerate(lams):
        assert plan.at(0, place / len(lams)) == pytest.approx(lam, abs=1e-12)
    middle = plan.at(0, 0.5 / len(lams))
    assert middle == pytest.approx((lams[0] + lams[1]) / 2)
    assert plan.at(0, (len(lams) - 1) / len(lams)) == 1.0 == plan.at(0, 0.99) == plan.at(0, 1.0)


def test_cosine_is_the_eased_line():
    plan = Plan(GRID, "cosine")
    for progress in np.linspace(0, 0.8, 33):
        assert plan.at(0, progress) == pytest.approx((1 - math.cos(math.pi * progress / 0.8)) / 2, abs=1e-12)
    assert plan.at(0, 0.8) == plan.at(0, 1.0) == 1.0


@pytest.mark.parametrize("shape", ["grid", "linear", "cosine"])
def test_lam_never_falls_and_one_lam_holds(shape):
    plan = Plan(GRID, shape)
    values = [plan.at(0, step / 1000) for step in range(1000)]
    assert all(low <= high for low, high in pairwise(values))
    assert values[0] == 0.0 and values[-1] == 1.0
    assert {Plan((1.0,), shape).at(0, step / 10) for step in range(10)} == {1.0}


# --- coupling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 7))
def test_equal_sizes_against_all_permutations(size):
    rng = np.random.default_rng(size)
    for _ in range(5):
        cost = rng.random((size, size))
        best = min(sum(cost[row, column] for row, column in enumerate(order)) for order in permutations(range(size)))
        coupling = optimal_coupling(cost)
        assert (coupling * cost).sum() == pytest.approx(best / size)
        assert sorted(coupling.ravel())[-size:] == pytest.approx([1 / size] * size)
        assert (coupling > 0).sum() == size


def linear_program(cost, a, b):
    """The smallest cost, written out as a dense program."""
    n, m = cost.shape
    sums = [np.outer(np.eye(n)[i], np.ones(m)).ravel() for i in range(n)]
    sums += [np.outer(np.ones(n), np.eye(m)[j]).ravel() for j in range(m)]
    return linprog(cost.ravel(), A_eq=np.array(sums), b_eq=np.concatenate([a, b]), method="highs-ipm").fun


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4), (4, 1), (4, 6), (6, 6)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e7])
def test_other_sizes_and_weights_against_a_linear_program(shape, weighted, scale):
    rng = np.random.default_rng(7)
    cost = rng.random(shape) + 3.0
    a, b = (rng.random(size) + 0.1 if weighted else np.ones(size) for size in shape)
    a, b = a / a.sum(), b / b.sum()
    coupling = optimal_coupling(cost * scale, *((a, b) if weighted else ()))
    assert coupling.min() >= 0
    np.testing.assert_allclose(coupling.sum(axis=1), a, atol=1e-9)
    np.testing.assert_allclose(coupling.sum(axis=0), b, atol=1e-9)
    assert (coupling * cost).sum() == pytest.approx(linear_program(cost, a, b), rel=1e-7)


def test_points_on_a_line_are_coupled_in_order():
    ours, theirs = np.array([3.0, 1.0, 2.0]), np.array([10.0, 30.0, 20.0])
    np.testing.assert_allclose(optimal_coupling((ours[:, None] - theirs) ** 2) * 3, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_equal_weights_of_another_sum_and_zero_weights():
    cost = [[0.0, 1.0], [1.0, 0.0]]
    np.testing.assert_allclose(optimal_coupling(cost, [2, 2], [2, 2]), [[2, 0], [0, 2]])
    np.testing.assert_allclose(optimal_coupling(cost, [1, 0], [0.5, 0.5]), [[0.5, 0.5], [0, 0]])
    np.testing.assert_allclose(optimal_coupling(np.zeros((2, 3))).sum(), 1.0)


@pytest.mark.parametrize(
    ("cost", "a", "b", "what"),
    [
        ([1.0, 2.0], None, None, "matrix"),
        (np.zeros((0, 2)), None, None, "matrix"),
        ([[math.inf, 1.0]], None, None, "finite"),
        ([[1.0, 2.0]], [1, 1], None, "a must have 1"),
        ([[1.0, 2.0]], None, [1], "b must have 2"),
        ([[1.0, 2.0]], [1], [1.5, -0.5], "none negative"),
        ([[1.0, 2.0]], [1], [0.5, math.nan], "finite weights"),
        ([[1.0, 2.0]], [1], [1, 1], "they must agree"),
        ([[1.0, 2.0]], [0], [0, 0], "not all zero"),
    ],
)
def test_bad_costs_and_weights_are_refused(cost, a, b, what):
    with pytest.raises(ValueError, match=what):
        optimal_coupling(cost, a, b)


# --- path length --------------------------------------------------------------------------------------------


def test_path_length_by_hand():
    assert path_length([[0, 0], [3, 4], [3, 4], [3, 0]]) == 9.0
    assert path_length(np.zeros((1, 5))) == 0.0
    assert isinstance(path_length(np.zeros((2, 5), dtype=np.float32)), float)


def test_path_length_is_computed_in_float64():
    points = np.float32([[0.0], [1e-4]]) + np.float32(1.0)
    assert path_length(points) == float(np.float64(points[1, 0]) - np.float64(points[0, 0]))


def test_path_length_of_what_is_no_trajectory():
    assert math.isnan(path_length([[0.0], [math.inf]]))
    for shape in ((3,), (0, 2), (2, 2, 2)):
        with pytest.raises(ValueError, match="shape"):
            path_length(np.zeros(shape))
