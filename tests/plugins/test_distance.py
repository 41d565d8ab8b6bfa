"""Weight paths against float64 copies, and Fisher lengths against SciPy and a path whose length is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from transferkit_distance import fisher_length
from transferkit_distance.predictions import PredictionPath, log_probabilities
from transferkit_distance.weights import BLOCK, WeightPath

from transferkit.errors import InputError
from transferkit.testing import tiny_model


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(dtype)


def parameters(dtype=torch.float32):
    """Small ones, one of several blocks, one laid out with channels last, one with holes."""
    tensors = {
        "small": drawn(3, seed=1),
        "large": drawn(3, BLOCK - 7, seed=2),
        "channels": drawn(40, 50, 7, 7, seed=3).contiguous(memory_format=torch.channels_last),
        "holes": drawn(4, 400, 100, seed=4)[:, ::2],
    }
    return {name: torch.nn.Parameter(tensor.to(dtype)) for name, tensor in tensors.items()}


def walk(named, steps=4, scale=1e-3):
    """Move the parameters; yields after each step. The same steps for every layout."""
    for step in range(steps):
        for i, parameter in enumerate(named.values()):
            parameter.data.add_(scale * drawn(*parameter.shape, seed=100 * step + i).to(parameter.dtype))
        yield


def flat(named):
    return np.concatenate([p.detach().double().flatten().numpy() for p in named.values()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("way", ["_by_block", "_by_tensor"])
def test_lengths_are_those_of_float64_copies(dtype, way):
    named = parameters(dtype)
    path = WeightPath(named)
    path._blockwise = way == "_by_block"
    points = [flat(named)]
    for _ in walk(named, scale=1e-2):
        path.step()
        points.append(flat(named))
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert path.length == pytest.approx(steps.sum(), rel=2e-6)
    assert path.displacement() == pytest.approx(np.linalg.norm(points[-1] - points[0]), rel=1e-9)
    assert path.steps == 4


def test_a_straight_line_and_a_way_back():
    weight = {"w": torch.nn.Parameter(torch.zeros(3))}
    path = WeightPath(weight)
    for step in ([3.0, 0, 4], [3.0, 0, 4], [-6.0, 0, -8]):
        weight["w"].data.add_(torch.tensor(step))
        path.step()
        if path.steps == 2:
            assert (path.length, path.displacement()) == (10, 10)
    assert (path.length, path.displacement()) == (20, 0)


def test_only_what_trains_is_looked_at():
    named = parameters()
    named["large"].requires_grad_(False)
    path = WeightPath(named)
    named["small"].data.add_(1.0)
    path.step()
    assert path.length == pytest.approx(3**0.5)
    named["large"].requires_grad_()
    path.watch()
    named["large"].data[0, 0] += 2.0
    path.step()
    assert path.length == pytest.approx(3**0.5 + 2)


def test_nothing_to_watch():
    path = WeightPath({})
    path.step()
    assert (path.length, path.displacement(), path.steps) == (0, 0, 1)


def test_a_step_reads_nothing_from_the_device(monkeypatch):
    named = parameters()
    path = WeightPath(named)

    def refuse(*_):
        raise AssertionError("a step waits for the device")

    for name in ("item", "__float__", "__bool__", "__int__", "tolist", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    path.step()
    path._blockwise = False
    path.step()


def test_the_state_goes_on_exactly():
    named = parameters()
    whole = WeightPath(named)
    for i, _ in enumerate(walk(named)):
        whole.step()
        if i == 1:
            kept = {name: p.detach().clone() for name, p in named.items()}
            state = {k: v.clone() if torch.is_tensor(v) else v for k, v in whole.state().items()}
            state["start"] = {name: start.clone() for name, start in whole.state()["start"].items()}
    again = parameters()  # another process: first the model is built, then its weights and this state are loaded
    resumed = WeightPath(again)
    for name, parameter in again.items():
        parameter.data.copy_(kept[name])
    resumed.load(state)
    for i, _ in enumerate(walk({**again}, 4)):
        if i < 2:  # these steps were made before: take them back
            for name, parameter in again.items():
                parameter.data.copy_(kept[name])
            continue
        resumed.step()
    assert resumed.length == whole.length and resumed.displacement() == whole.displacement()
    assert resumed.steps == whole.steps


def test_a_state_of_other_parameters_is_refused():
    path = WeightPath({"w": torch.nn.Parameter(torch.zeros(3))})
    other = WeightPath({"w": torch.nn.Parameter(torch.zeros(4))})
    with pytest.raises(InputError, match='no parameter "w" of this shape'):
        path.load(other.state())


def test_fisher_length_matches_scipy():
    logits = 3 * drawn(5, 7, 4, seed=1, dtype=torch.float64)
    path = logits.log_softmax(dim=2)
    p = path.exp().numpy()
    divergence = rel_entr(p[:-1], p[1:]).sum(axis=2)  # (steps, n)
    inside, outside = fisher_length(path)
    assert inside == pytest.approx(np.sqrt(2 * divergence.mean(axis=1)).sum(), rel=1e-12)
    assert outside == pytest.approx(np.sqrt(2 * divergence).mean(axis=1).sum(), rel=1e-12)
    assert outside <= inside
    order = torch.randperm(7)
    assert fisher_length(path[:, order]) == pytest.approx((inside, outside))
    assert fisher_length(path[:, :, [2, 0, 3, 1]]) == pytest.approx((inside, outside))


def test_fine_steps_have_the_length_of_the_geodesic():
    """Two classes: from p to q the Fisher metric measures 2 |asin √q − asin √p|."""
    share = torch.linspace(0.1, 0.8, 4001, dtype=torch.float64)
    path = torch.stack([share, 1 - share], dim=1).log()[:, None, :]
    inside, outside = fisher_length(path)
    expected = 2 * (np.arcsin(0.8**0.5) - np.arcsin(0.1**0.5))
    assert inside == outside == pytest.approx(expected, rel=1e-3)


def test_coarser_looks_underestimate_a_way_that_turns():
    share = 0.5 + 0.3 * torch.sin(torch.linspace(0, 20, 400, dtype=torch.float64))
    path = torch.stack([share, 1 - share], dim=1).log()[:, None, :]
    assert fisher_length(path[::30])[0] < 0.9 * fisher_length(path)[0]


def test_corner_cases_of_fisher_lengths():
    still = torch.zeros(3, 2, 4, dtype=torch.float64).log_softmax(dim=2)
    assert fisher_length(still) == (0, 0) and fisher_length(still[:1]) == (0, 0)
    assert all(np.isnan(value) for value in fisher_length(still[:, :0]))
    certain = torch.tensor([[[0.0, -torch.inf]], [[0.0, -torch.inf]]])
    assert fisher_length(certain) == (0, 0)  # 0 · log 0 is 0
    from_two = torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]]).log()
    assert fisher_length(from_two)[0] == np.inf  # what had a chance has none


def test_looking_at_predictions_changes_no_mode_and_adds_up():
    model = tiny_model()
    model.train()
    model.net.layer1.eval()
    modes = [module.training for module in model.modules()]
    images = drawn(70, 3, 32, 32, seed=5)
    path = PredictionPath(images)
    seen = []
    for step in range(3):
        path.look(model, step)
        path.look(model, step)  # looking twice adds nothing
        seen.append(log_probabilities(model, images))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.05)
    assert [module.training for module in model.modules()] == modes
    assert (path.inside, path.outside) == pytest.approx(fisher_length(torch.stack(seen)))
    model.eval()
    with torch.no_grad():
        whole = model(images).logits.double().log_softmax(dim=1)
    torch.testing.assert_close(log_probabilities(model, images), whole, rtol=1e-4, atol=1e-5)
