"""EWC: the penalty by hand, its pull against autograd, and in whole runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from transferkit_ewc import ewc
from transferkit_ewc.penalty import EWC

from tests.plugins.two_stage_runs import recipe, records, resumes_exactly, run, weights
from transferkit.errors import InputError
from transferkit.model import SourceHead, reference_of
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin
from transferkit.testing.tiny import tiny_model


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the penalty ---------------------------------------------------------------------------------------------


def test_by_hand():
    w, start, f = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.5, 2.0])
    assert ewc([w], [start], [f]).item() == 0.5 * (0.5 * 4 + 2 * 9)
    assert ewc([w, w], [start, w], [f, f]).item() == 0.5 * (0.5 * 4 + 2 * 9)
    assert ewc([], [], []).item() == 0.0
    assert ewc([w.bfloat16()], [start], [f]).dtype == torch.float32


def test_the_gradient_is_importance_times_distance():
    w = torch.randn(4, 3, dtype=torch.float64, generator=generator(), requires_grad=True)
    start, f = (torch.rand(4, 3, dtype=torch.float64, generator=generator(seed)) for seed in (1, 2))
    ewc([w], [start], [f]).backward()
    torch.testing.assert_close(w.grad, (f * (w - start)).detach())
    assert torch.autograd.gradcheck(lambda x: ewc([x], [start], [f]), (w,))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"must have one shape, not \(2,\), \(2,\), \(3,\)"):
        ewc([torch.ones(2)], [torch.ones(2)], [torch.ones(3)])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        ewc([torch.ones(2)], [torch.ones(2)], [])


# --- anchors -------------------------------------------------------------------------------------------------


def prepared(head=False, classes=("cat", "dog", "owl")):
    """A model some way from its reference, a plugin with a made-up importance, and gradients at zero."""
    model = tiny_model(classes)
    source = model.source_head()
    if head:
        rows = torch.randn(source.weight.shape, generator=generator(5))
        source = SourceHead(rows, torch.randn(3, generator=generator(6)), ["owl", "cat", "dog"])
    reference = reference_of(model, source)
    plugin = EWC(head=head)
    named = [*reference.named_backbone_parameters(), *(reference.named_head_parameters() if head else ())]
    plugin._importance = {name: torch.rand(p.shape, generator=generator(7)) for name, p in named}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator(8)), alpha=0.1)
            parameter.grad = torch.zeros_like(parameter)
    return model, reference, plugin


def test_the_pull_is_autograd_s_gradient_of_the_penalty():
    model, reference, plugin = prepared()
    (anchor,) = plugin.anchors(model, reference)
    named = dict(model.named_backbone_parameters())
    starts = dict(reference.named_backbone_parameters())
    value = ewc(named.values(), [starts[n] for n in named], [plugin._importance[n] for n in named])
    expected = torch.autograd.grad(value, list(named.values()))
    anchor.pull(0.3)
    for parameter, gradient in zip(named.values(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 0.3 * gradient)
        assert parameter.grad.any()
    assert not any(parameter.grad.any() for _, parameter in model.named_head_parameters())
    assert anchor.value().item() == pytest.approx(value.item(), rel=1e-5)


def test_no_pull_at_the_start_and_targets_that_stay():
    model = tiny_model()
    reference = reference_of(model, model.source_head())
    plugin = EWC()
    plugin._importance = {n: torch.ones(p.shape) for n, p in reference.named_backbone_parameters()}
    (anchor,) = plugin.anchors(model, reference)
    assert anchor.value().item() == 0.0
    with torch.no_grad():
        for parameter in (model.net.conv1[0].weight, reference.net.conv1[0].weight):
            parameter.add_(1.0)
    assert anchor.value().item() == pytest.approx(model.net.conv1[0].weight.numel() / 2)


def test_a_held_head_goes_by_the_names_of_its_classes():
    model, reference, plugin = prepared(head=True)
    (anchor,) = plugin.anchors(model, reference)
    anchor.pull(1.0)
    order = [reference.classes.index(name) for name in model.classes]
    assert order == [1, 2, 0]
    for kind in ("weight", "bias"):
        ours, theirs = getattr(model.head, kind), getattr(reference.head, kind)
        importance = plugin._importance[f"fc.{kind}"]
        torch.testing.assert_close(ours.grad, importance[order] * (ours - theirs[order]).detach())
    other, _, _ = prepared(classes=("cat", "fox"))
    with pytest.raises(InputError, match='"fox"'):
        plugin.anchors(other, reference)


def test_a_reference_that_does_not_fit_is_named():
    model, reference, plugin = prepared()
    del plugin._importance["conv1.0.weight"]
    with pytest.raises(KeyError, match=r"no parameter 'conv1.0.weight'"):
        plugin.anchors(model, reference)
    plugin._importance["conv1.0.weight"] = torch.ones(2)
    with pytest.raises(KeyError, match=r"'conv1.0.weight' has shape .*, but \(2,\)"):
        plugin.anchors(model, reference)


# --- options and whole runs ----------------------------------------------------------------------------------


def test_options():
    component = installed().get("regularizer", "ewc")
    assert component.create({"images": 5, "fisher": "exact"}) == EWC(images=5, fisher="exact")
    for wrong in ({"images": 0}, {"fisher": "true"}, {"lambda": 1}):
        with pytest.raises(ValidationError):
            component.create(wrong)
    stage = SimpleNamespace(head_init="default")
    assert EWC().check(stage) == [] and EWC(dataset="a", fisher="empirical").check(stage) == []
    assert "name its data set in `dataset`" in EWC(fisher="empirical").check(stage)[0]
    assert "needs `head_init: source`" in EWC(head=True).check(stage)[0]
    assert EWC(head=True).check(SimpleNamespace(head_init="source")) == []
    assert EWC.conflicts == {"weight_decay"}


def test_the_promises_of_a_plugin():
    check_plugin(EWC, images=4)


HELD = {"use": "ewc", "weight": 50.0, "dataset": "digits", "fisher": "exact", "head": True}
OPTIONS = {"head_init": "source", "keep": "last"}


def test_it_composes_and_holds_on(tmp_path):
    arms = {"free": [], "held": [HELD, {"use": "bss", "weight": 0.001}]}
    moved = {}
    for name, regularizers in arms.items():
        result = run(tmp_path / name, recipe(**OPTIONS, regularizers=regularizers))
        start, end = weights(result.run_dir, "source"), weights(result.run_dir)
        moved[name] = sum(float((end[n] - start[n]).square().sum()) for n in start)
    terms = records(result.run_dir)[-1]["terms"]
    assert terms["bss"]["raw"] > 0 and terms["ewc"]["raw"] > 0
    assert terms["ewc"]["weighted"] == pytest.approx(50 * terms["ewc"]["raw"])
    assert moved["held"] < moved["free"]


def test_under_autocast(tmp_path):
    result = run(tmp_path, recipe(**OPTIONS, precision="bf16", regularizers=[HELD]))
    term = records(result.run_dir)[-1]["terms"]["ewc"]
    assert 0 < term["raw"] < 1 and term["weighted"] == pytest.approx(50 * term["raw"])


def test_it_resumes_exactly(tmp_path, monkeypatch):
    resumes_exactly(tmp_path, monkeypatch, **OPTIONS, regularizers=[HELD | {"fisher": "sampled"}])


def test_from_scratch_there_is_nothing_to_hold(tmp_path):
    with pytest.raises(InputError, match="start is scratch"):
        run(tmp_path, recipe(start="scratch", regularizers=[{"use": "ewc", "weight": 1.0}]))
