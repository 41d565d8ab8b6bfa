"""LDIFS: by hand, against the published form in NumPy, its gradient, and in a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transferkit_ldifs import ldifs
from transferkit_ldifs.penalty import LDIFS

from tests.plugins.two_stage_runs import records, resumes_exactly
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin


def maps(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (4, 3, 5, 5), "b": (4, 7)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def test_by_hand():
    ours, theirs = {"a": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}, {"a": torch.tensor([[0.0, 0.0], [0.0, 2.0]])}
    assert ldifs(ours, theirs).item() == (25 + 4) / 2
    ours, theirs = {"a": torch.tensor([[3.0, 4.0]])}, {"a": torch.tensor([[5.0, 0.0]])}
    assert ldifs(ours, theirs, "unit").item() == pytest.approx(((0.6 - 1) ** 2 + 0.8**2) / 2)
    assert ldifs({}, {}).item() == 0.0


def test_the_published_form_in_numpy():
    ours, theirs = maps(0), maps(1)
    layers = []
    for name in ours:
        unit = [x.numpy() / np.sqrt((x.numpy() ** 2).sum(axis=1, keepdims=True)) for x in (ours[name], theirs[name])]
        layers.append(((unit[0] - unit[1]) ** 2).reshape(4, -1).mean(axis=1))
    assert ldifs(ours, theirs, "unit").item() == pytest.approx(np.stack(layers, axis=1).mean(axis=1).mean())


def test_the_gradient_is_twice_the_difference_over_the_images():
    ours, theirs = maps(0), maps(1)
    ours["a"].requires_grad_()
    ldifs(ours, theirs).backward()
    torch.testing.assert_close(ours["a"].grad, 2 * (ours["a"].detach() - theirs["a"]) / 4)


def test_invariances():
    ours, theirs = maps(0), maps(1)
    torch.testing.assert_close(ldifs(ours, theirs), ldifs(theirs, ours))
    assert ldifs(ours, ours).item() == 0.0
    scaled = {name: 3 * x for name, x in ours.items()}
    torch.testing.assert_close(ldifs(scaled, theirs, "unit"), ldifs(ours, theirs, "unit"))
    turned = {name: x[[2, 0, 3, 1]] for name, x in ours.items()}, {name: x[[2, 0, 3, 1]] for name, x in theirs.items()}
    torch.testing.assert_close(ldifs(*turned), ldifs(ours, theirs))


def test_layers_must_match():
    with pytest.raises(KeyError):
        ldifs(maps(0), {"a": maps(1)["a"]})
    with pytest.raises(ValueError, match=r"layer 'a' gives \(4, 3, 5, 5\), its reference \(2, 3, 5, 5\)"):
        ldifs(maps(0), {name: x[:2] for name, x in maps(1).items()})


@pytest.mark.parametrize("options", [{}, {"form": "unit"}, {"layers": ["layer2"]}])
def test_the_promises_of_a_plugin(options):
    check_plugin(LDIFS, **options)


@pytest.mark.parametrize("options", [{"layers": []}, {"form": "squared"}])
def test_options(options):
    with pytest.raises(ValidationError):
        installed().get("regularizer", "ldifs").create(options)


def test_it_keeps_features_and_resumes_exactly(tmp_path, monkeypatch):
    ends = {}
    for weight in (1e-6, 1.0):
        use = {"use": "ldifs", "weight": weight, "layers": ["layers.1"]}
        done = resumes_exactly(tmp_path / str(weight), monkeypatch, regularizers=[use])
        ends[weight] = records(done.whole.run_dir)[-1]["terms"]["ldifs"]["raw"]
    assert 0 < ends[1.0] < 0.5 * ends[1e-6]
