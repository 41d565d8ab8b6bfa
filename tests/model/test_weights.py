"""Local weights into a model: every mismatch named, prefixes removed, nothing half loaded."""

from __future__ import annotations

import hashlib

import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit.errors import InputError
from transferkit.model.tensor_names import strip_prefixes
from transferkit.model.weights import fill_from_file, load_weights, mismatches, read_weights
from transferkit.system.atomic import sha256


def net(**options):
    return timm.create_model("test_resnet", num_classes=3, **options)


def saved(state, path):
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, str(path))
    return path


def test_values_arrive(tmp_path):
    source, target = net(), net()
    load_weights(target, saved(source.state_dict(), tmp_path / "w.safetensors"))
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
def test_wrapper_prefixes_are_removed(tmp_path, prefix):
    source, target = net(), net()
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    load_weights(target, saved(state, tmp_path / "w.safetensors"))
    assert torch.equal(target.fc.weight, source.fc.weight)


def test_a_prefix_that_only_some_names_have_stays():
    state = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert strip_prefixes(state).keys() == state.keys()


def test_all_mismatches_are_listed_by_kind(tmp_path):
    state = net().state_dict()
    del state["fc.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(5, state["fc.weight"].shape[1])
    target = net()
    before = target.fc.weight.detach().clone()
    with pytest.raises(InputError) as caught:
        load_weights(target, saved(state, tmp_path / "w.safetensors"), "test_resnet")
    messages = [problem.message for problem in caught.value.problems]
    width = before.shape[1]
    assert messages == [
        "1 tensor missing: fc.bias",
        "1 tensor unexpected: extra.weight",
        f"1 tensor of another shape: fc.weight [5, {width}] instead of [3, {width}]",
    ]
    assert all(problem.where.endswith("w.safetensors") for problem in caught.value.problems)
    assert "do not fit test_resnet; nothing was loaded" in str(caught.value)
    assert torch.equal(target.fc.weight, before)


def test_long_lists_are_cut_and_counted():
    model = net()
    (missing,) = mismatches(model, {})
    count = sum(not name.endswith("num_batches_tracked") for name in model.state_dict())
    assert missing.message.startswith(f"{count} tensors missing: conv1.0.weight, ")
    assert missing.message.endswith(f", … and {count - 10} more")


def test_missing_batch_counters_do_not_matter(tmp_path):
    source, target = net(), net()
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_weights(target, saved(state, tmp_path / "w.safetensors"))
    assert torch.equal(target.fc.weight, source.fc.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused_by_name(tmp_path, value):
    state = net().state_dict()
    state["fc.bias"][1] = value
    with pytest.raises(InputError, match=r"NaN or infinite values in 1 tensor: fc\.bias; these weights"):
        read_weights(saved(state, tmp_path / "w.safetensors"))


def test_half_precision_files_load_into_single_precision(tmp_path):
    source, target = net(), net()
    state = {k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}
    load_weights(target, saved(state, tmp_path / "w.safetensors"))
    assert target.fc.weight.dtype == torch.float32
    assert torch.equal(target.fc.weight, source.fc.weight.half().float())


def test_a_pickle_is_refused(tmp_path):
    torch.save(net().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="a zip archive"):
        load_weights(net(), tmp_path / "w.safetensors")


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("prefix", ["backbone.", "model.", "module.encoder.q.", "0."])
@pytest.mark.parametrize("others", [{}, {"criterion.weight": torch.ones(7), "n_averaged": torch.tensor(5)}])
def test_a_prefix_that_makes_the_names_fit_is_taken_off(tmp_path, prefix, others):
    source, target, said = net(), net(), []
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    count = fill_from_file(target, saved(state | others, tmp_path / "w.safetensors"), "test_resnet", said.append)
    assert count == 3
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)
    assert len(said) == (bool(others) or prefix != "model.")  # that of a wrapper, on all names, is no news
    assert all(("left out: 2 tensors: " in said[0], name in said[0]) == (bool(others),) * 2 for name in others)


def test_a_backbone_whose_head_has_another_name_is_headless(tmp_path):
    source, said = net(), []
    state = {"encoder." + name: tensor for name, tensor in source.state_dict().items() if not name.startswith("fc.")}
    path = saved(state | {"head.weight": torch.ones(9, 3)}, tmp_path / "w.safetensors")
    assert fill_from_file(net(), path, "test_resnet", said.append) == 0
    assert "left out: 1 tensor: head.weight" in said[0]


def test_two_models_in_one_file_are_not_chosen_between(tmp_path):
    state = net().state_dict()
    both = {f"{prefix}.{name}": tensor.clone() for prefix in ("student", "teacher") for name, tensor in state.items()}
    with pytest.raises(InputError, match=r'two sets of tensors fit .* "(student|teacher)\." .* keep one of them'):
        fill_from_file(net(), saved(both, tmp_path / "w.safetensors"), "test_resnet")


def test_a_prefix_before_names_of_another_model_is_named_as_the_cause(tmp_path):
    other = timm.create_model("test_vit", num_classes=3).state_dict()
    state = {"backbone.trunk." + name: tensor for name, tensor in other.items()}
    with pytest.raises(InputError) as caught:
        fill_from_file(net(), saved(state, tmp_path / "w.safetensors"), "test_resnet")
    (problem,) = caught.value.problems
    assert problem.message.startswith('all names begin with "backbone.trunk."; without that, ')
    assert "tensors of test_resnet are there" in problem.message
