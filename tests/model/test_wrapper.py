"""Streams, heads and what takes part in the gradient."""

from __future__ import annotations

import pytest
import torch
from accelerate.utils import convert_outputs_to_fp32

from transferkit.errors import InputError
from transferkit.model import Output, SourceHead, reference_of


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def streams(target: int, source: int) -> dict[str, torch.Tensor]:
    return {"target": images(target, 1), "source": images(source, 2)}


@pytest.fixture
def two_heads(small):
    small.add_head("source", 7)
    small.tap(["layer3"])
    return small


def test_one_tensor_gives_one_output(small):
    output = small.eval()(images(4))
    assert isinstance(output, Output)
    assert output.logits.shape == (4, 3)
    assert output.taps == {}


@pytest.mark.parametrize("mode", ["joint", "separate"])
def test_each_stream_has_its_head_and_its_own_rows(two_heads, mode):
    two_heads.stream_batchnorm = mode
    two_heads.eval()
    batch = streams(3, 2)
    outputs = two_heads(batch)
    assert list(outputs) == ["target", "source"]
    assert outputs["source"].logits.shape == (2, 7)
    alone = two_heads(batch["source"])
    assert torch.allclose(outputs["source"].features, alone.features, atol=1e-6)
    assert torch.allclose(outputs["source"].taps["layer3"], alone.taps["layer3"], atol=1e-6)
    assert torch.allclose(outputs["source"].logits, two_heads.heads["source"](alone.features), atol=1e-6)


def test_joint_streams_share_batch_statistics_and_separate_ones_do_not(two_heads):
    two_heads.train()
    batch = streams(4, 4)
    joint = two_heads(batch)["target"].features
    together = two_heads(torch.cat(list(batch.values()))).features[:4]
    two_heads.stream_batchnorm = "separate"
    separate = two_heads(batch)["target"].features
    assert torch.allclose(joint, together, atol=1e-5)
    assert torch.allclose(separate, two_heads(batch["target"]).features, atol=1e-5)
    assert not torch.allclose(joint, separate, atol=1e-3)


@pytest.mark.parametrize("mode", ["joint", "separate"])
@pytest.mark.parametrize("sizes", [(4, 0), (0, 4), (4, 4)])
def test_every_parameter_is_in_the_graph_whatever_the_sizes(two_heads, mode, sizes):
    two_heads.stream_batchnorm = mode
    two_heads.train()
    outputs = two_heads(streams(*sizes))
    loss = sum(output.logits.square().mean() for output in outputs.values() if len(output.logits))
    loss.backward()
    without = [name for name, parameter in two_heads.named_parameters() if parameter.grad is None]
    assert without == []
    idle = [name for name, size in zip(["target", "source"], sizes, strict=True) if not size]
    for name in idle:
        assert outputs[name].taps["layer3"].shape[0] == 0
        assert all(float(p.grad.abs().max()) == 0 for p in two_heads.head_of(name).parameters())


def test_a_head_whose_stream_is_not_in_the_step_is_in_the_graph_too(two_heads):
    outputs = two_heads.train()({"target": images(4)})
    outputs["target"].logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in two_heads.parameters())


def test_idle_heads_change_no_value(two_heads):
    two_heads.eval()
    batch = streams(4, 0)
    assert torch.equal(two_heads(batch)["target"].logits, two_heads(batch["target"]).logits)


def test_half_precision_outputs_survive_conversion(two_heads):
    forward = convert_outputs_to_fp32(two_heads.eval().to(torch.bfloat16).forward)
    outputs = forward({name: part.bfloat16() for name, part in streams(2, 2).items()})
    assert isinstance(outputs["target"], Output)
    assert outputs["source"].taps["layer3"].dtype == torch.float32


def test_taken_stream_names_are_refused(two_heads):
    for name in ("target", "source", "a.b", ""):
        with pytest.raises(InputError, match="cannot be called"):
            two_heads.add_head(name, 3)


def test_a_new_head_has_torchs_own_range_and_leaves_the_old_one(small):
    before = small.head.weight.detach().clone()
    source = small.swap_head(["x", "y"])
    assert torch.equal(source.weight, before)
    assert source.classes == ["a", "b", "c"]
    assert small.classes == ["x", "y"]
    assert small.net.num_classes == 2
    assert float(small.head.weight.detach().abs().max()) <= small.num_features**-0.5


def test_keeping_the_head_keeps_it(small):
    before = small.head.weight
    assert small.swap_head(None).classes == ["a", "b", "c"]
    assert small.head.weight is before


def test_source_head_without_bias():
    head = SourceHead(torch.eye(2), None, ["a", "b"])
    assert torch.equal(head.logits(torch.tensor([[3.0, 4.0]])), torch.tensor([[3.0, 4.0]]))


def test_a_reference_stays_as_it_is(two_heads):
    source = two_heads.source_head()
    reference = reference_of(two_heads, source)
    assert not reference.heads
    before = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    two_heads.train()
    two_heads(images(4)).logits.square().mean().backward()
    torch.optim.SGD(two_heads.parameters(), lr=0.1).step()
    reference.train()
    reference(images(4))
    assert all(torch.equal(before[name], tensor) for name, tensor in reference.state_dict().items())


def test_making_a_reference_draws_nothing_from_the_random_generator(small):
    source = small.source_head()
    state = torch.get_rng_state()
    reference_of(small, source)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_head_of_another_width_is_refused(small):
    with pytest.raises(InputError, match="a head for 5 features does not fit"):
        small.set_head(SourceHead(torch.zeros(2, 5), None, ["a", "b"]))


def test_compiled_forward_gives_the_same_values(two_heads):
    two_heads.eval()
    compiled = torch.compile(two_heads, backend="eager")
    batch = streams(3, 2)
    plain, fast = two_heads(batch), compiled(batch)
    for name in batch:
        assert torch.allclose(plain[name].logits, fast[name].logits, atol=1e-6)
        assert torch.allclose(plain[name].taps["layer3"], fast[name].taps["layer3"], atol=1e-6)
    again = compiled({name: part + 1 for name, part in batch.items()})
    assert not torch.allclose(again["target"].taps["layer3"], fast["target"].taps["layer3"])
