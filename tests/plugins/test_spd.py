"""Selective projection decay: by hand in NumPy, on the sphere, and in whole runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transferkit_spd import spd
from transferkit_spd.projection import SPD

from tests.plugins.two_stage_runs import recipe, resumes_exactly, run, weights
from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin

START, BEFORE = torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])  # came along the second axis, a distance of 1


def pulled(now, gradient, strength=1.0):
    return spd(torch.tensor(now), BEFORE, START, torch.tensor(gradient), strength).tolist()


def test_by_hand():
    # -g.(before - start) = -1 < 0, from a distance of 1 to 3: a third of the way is kept at strength 1
    assert pulled([1.0, 4.0], [0.0, 1.0]) == [1.0, 2.0]
    assert pulled([1.0, 4.0], [0.0, 1.0], 0.5) == [1.0, 3.0]
    assert pulled([1.0, 4.0], [5.0, -1.0]) == [1.0, 4.0]  # a step that goes on in a direction that lowers the loss
    assert pulled([1.0, 1.5], [0.0, 1.0]) == [1.0, 1.5]  # nearer than before
    assert pulled([1.0, 1.0], [0.0, 1.0]) == [1.0, 1.0]  # back at the start


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_against_the_papers_equations(strength):
    """Eqs. 3, 4 and 9 of the paper, in NumPy."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(50):
        now, before, start, g = rng.standard_normal((4, 3, 5))
        expected = now
        if -np.sum(g * (before - start)) < 0:
            reach, reached = np.linalg.norm(now - start), np.linalg.norm(before - start)
            expected = now - strength * max(0.0, reach - reached) / reach * (now - start)
            hits += reach > reached
        ours = spd(*map(torch.from_numpy, (now, before, start, g)), strength)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)
    assert hits > 5


def test_at_strength_one_it_lies_on_the_sphere_where_it_was():
    torch.manual_seed(0)
    now, start = torch.randn(2, 4, 4, dtype=torch.float64)
    before = start + 0.1 * (now - start)
    ours = spd(now, before, start, before - start, 1.0)
    torch.testing.assert_close((ours - start).norm(), (before - start).norm())


def test_the_promises_of_a_plugin():
    check_plugin(SPD)


def test_options():
    component = installed().get("regularizer", "spd")
    assert component.create({}) == SPD(1.0)
    with pytest.raises(ValidationError):
        component.create({"strength": -1.0})


def test_weight_decay_beside_it_is_refused(tmp_path):
    stage = {"regularizers": [{"use": "spd"}], "optimizer": {"name": "adamw", "weight_decay": 0.1}}
    with pytest.raises(InputError, match="they would be pulled twice"):
        run(tmp_path, recipe(**stage))


def test_the_backbone_stays_nearer_and_it_resumes_exactly(tmp_path, monkeypatch):
    stage = {"optimizer": {"name": "adamw", "lr": 0.02}}
    done = resumes_exactly(tmp_path, monkeypatch, regularizers=[{"use": "spd"}], **stage)
    free = run(tmp_path / "free", recipe(**stage))

    def moved(run_dir):
        start = weights(run_dir, "source")
        pairs = [(value, start[name]) for name, value in weights(run_dir).items() if name.startswith("layers")]
        return sum(float((a - b).square().sum()) for a, b in pairs) ** 0.5

    assert 0 < moved(done.whole.run_dir) < 0.9 * moved(free.run_dir)


def test_strength_zero_is_no_projection(tmp_path):
    one = weights(run(tmp_path / "a", recipe(regularizers=[{"use": "spd", "strength": 0}])).run_dir)
    other = weights(run(tmp_path / "b", recipe()).run_dir)
    assert all(torch.equal(one[name], other[name]) for name in one)
