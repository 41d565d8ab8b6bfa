"""Co-Tuning: relationship and loss by hand, the temperature by a grid, and in runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from scipy.special import log_softmax, softmax
from transferkit_co_tuning import co_tuning, fitted_temperature, relationship
from transferkit_co_tuning.penalty import CoTuning

from tests.plugins.two_stage_runs import recipe, records, resumes_exactly, run, weights
from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.standard_normal((40, 5)) * 3, RNG.integers(0, 3, 40)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_relationship_is_a_mean_over_each_class(temperature):
    ours = relationship(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), 3, temperature)
    p = softmax(LOGITS / temperature, axis=1)
    expected = np.stack([p[label == LABELS].mean(axis=0) for label in range(3)])
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)


def test_a_class_without_images_gets_the_mean_of_all():
    ours = relationship(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), 4)
    np.testing.assert_allclose(ours[3].numpy(), softmax(LOGITS, axis=1).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(ours.sum(dim=1).numpy(), 1, rtol=1e-6)


def test_the_temperature_is_the_best_of_a_fine_grid():
    labels = np.array([RNG.choice(5, p=row) for row in softmax(LOGITS / 1.7, axis=1)])
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4001))
    costs = [-log_softmax(LOGITS / t, axis=1)[np.arange(40), labels].mean() for t in grid]
    found = fitted_temperature(torch.from_numpy(LOGITS), torch.from_numpy(labels))
    assert found == pytest.approx(grid[int(np.argmin(costs))], rel=2e-3)


def test_the_loss_by_hand():
    related = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], requires_grad=True)
    log_p = log_softmax(logits.detach().numpy(), axis=1)
    ours = co_tuning(logits, torch.tensor([0, 1]), related)
    assert ours.item() == pytest.approx(-(0.5 * (log_p[0, 0] + log_p[0, 1]) + log_p[1, 2]) / 2)
    ours.backward()  # softmax minus what is wanted
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(dim=1) - related) / 2)
    soft = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    mixed = (co_tuning(logits[:1], torch.tensor([0]), related) + co_tuning(logits[:1], torch.tensor([1]), related)) / 2
    torch.testing.assert_close(co_tuning(logits[:1], soft[:1], related), mixed)


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"temperature": 1.13}])
def test_the_promises_of_a_plugin(options):
    check_plugin(CoTuning, **options)


def test_options():
    with pytest.raises(ValidationError):
        installed().get("regularizer", "co_tuning").create({"temperature": 0})


def test_from_scratch_is_refused(tmp_path):
    with pytest.raises(InputError, match="needs a source model, but start is scratch"):
        run(tmp_path, recipe(start="scratch", regularizers=[{"use": "co_tuning", "weight": 1.0}]))


def own_head(run_dir):
    folder = max((run_dir / "stages/target/checkpoints").glob("step-*"))
    return load_file(folder / "model.safetensors")["own.co_tuning.weight"]


@pytest.mark.parametrize("frozen", [False, True])
def test_the_source_head_trains_unless_it_is_frozen(tmp_path, monkeypatch, frozen):
    use = {"use": "co_tuning", "weight": 1.0, "frozen": frozen, "calibrate_on": "digits"}
    stage = {"dataset": "digits"}
    done = resumes_exactly(tmp_path, monkeypatch, regularizers=[use], **stage)
    start = load_file(done.whole.run_dir / "stages/target/model/source_head.safetensors")["weight"]
    assert torch.equal(own_head(done.whole.run_dir), start) == frozen
    assert torch.equal(own_head(done.whole.run_dir), own_head(done.resumed.run_dir))
    assert "own.co_tuning.weight" not in weights(done.whole.run_dir)
    assert all(1 < record["terms"]["co_tuning"]["raw"] < 4 for record in records(done.whole.run_dir))


def test_images_of_other_classes_cannot_calibrate(tmp_path):
    content = recipe(regularizers=[{"use": "co_tuning", "weight": 1.0, "calibrate_on": "shapes"}])
    content["datasets"]["shapes"] = {"world": {"kind": "source", "train": 2, "val": 2, "size": 16}}
    with pytest.raises(InputError, match="the classes of shapes are not those of the source model"):
        run(tmp_path, content)
