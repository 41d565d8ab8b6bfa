"""Streams that share a softmax, a tensor or changed features, against what is worked out by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from transferkit.data.streams import Stream
from transferkit.errors import InputError
from transferkit.model import SourceHead, reference_of
from transferkit.training.loaders import add_heads, joint_labels


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def joined(small):
    """Target of three classes, sources of two and four, one softmax for all."""
    small.add_head("first", 2)
    small.add_head("second", 4)
    small.joint_heads = True
    return small


@pytest.fixture
def passes(small, monkeypatch):
    """How many images went through the backbone, pass by pass."""
    seen = []
    forward = small.net.forward_features

    def counted(x):
        seen.append(len(x))
        return forward(x)

    monkeypatch.setattr(small.net, "forward_features", counted)
    return seen


# -- joint heads ---------------------------------------------------------------------------------------------


def by_hand(features, labels, weights, biases):
    """Sum of the cross-entropies over one softmax of nine classes, from the logarithm's definition."""
    weight, bias = torch.cat(weights), torch.cat(biases)
    logits = features @ weight.T + bias
    return -(logits - logits.exp().sum(dim=1, keepdim=True).log())[torch.arange(len(labels)), labels].sum()


def test_every_stream_is_one_softmax_over_all_classes(joined):
    joined.eval()
    batch = {"target": images(4, 1), "first": images(3, 2), "second": images(2, 3)}
    labels = {"target": torch.tensor([0, 2, 1, 2]), "first": torch.tensor([1, 0, 1]), "second": torch.tensor([3, 0])}
    shifted = joint_labels(labels, joined)
    assert {name: found.tolist() for name, found in shifted.items()} == {
        "target": [0, 2, 1, 2],
        "first": [3 + 1, 3 + 0, 3 + 1],
        "second": [5 + 3, 5 + 0],
    }
    outputs = joined(batch)
    assert [output.logits.shape for output in outputs.values()] == [(4, 9), (3, 9), (2, 9)]
    loss = sum(nn.functional.cross_entropy(outputs[name].logits, shifted[name], reduction="sum") for name in batch)
    heads = [joined.head, joined.heads["first"], joined.heads["second"]]
    found = torch.autograd.grad(loss, [p for head in heads for p in head.parameters()])

    leaves = [(head.weight.detach().double(), head.bias.detach().double()) for head in heads]
    leaves = [tuple(part.requires_grad_() for part in leaf) for leaf in leaves]
    features = torch.cat([outputs[name].features.detach().double() for name in batch])
    wanted = torch.tensor([0, 2, 1, 2, 4, 3, 4, 8, 5])
    expected = by_hand(features, wanted, *zip(*leaves, strict=True))
    gradients = torch.autograd.grad(expected, [part for leaf in leaves for part in leaf])
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for mine, theirs in zip(found, gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=1e-5)


def test_soft_labels_are_padded_with_zeros(joined):
    soft = torch.tensor([[0.25, 0.0, 0.75]])
    labels = {"target": soft, "first": torch.tensor([[0.5, 0.5]]), "second": torch.tensor([2])}
    found = joint_labels(labels, joined)
    assert found["target"].tolist() == [[0.25, 0, 0.75, 0, 0, 0, 0, 0, 0]]
    assert found["first"].tolist() == [[0, 0, 0, 0.5, 0.5, 0, 0, 0, 0]]
    assert found["second"].tolist() == [7]


def test_evaluation_sees_the_target_alone(joined):
    joined.eval()
    batch = images(3)
    output = joined(batch)
    assert output.logits.shape == (3, 3)
    assert torch.equal(output.logits, joined.head(output.features))
    torch.testing.assert_close(joined({"target": batch})["target"].logits[:, :3], output.logits)


@pytest.mark.parametrize("streams", [("target",), ("first",), ("target", "second")])
def test_every_parameter_is_in_the_graph_of_every_step(joined, streams):
    joined.train()
    outputs = joined({name: images(2, place) for place, name in enumerate(streams)})
    sum(output.logits.logsumexp(dim=1).sum() for output in outputs.values()).backward()
    assert [name for name, parameter in joined.named_parameters() if parameter.grad is None] == []


# -- images that streams share ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["joint", "separate"])
def test_the_same_tensor_takes_one_pass(small, passes, mode):
    """Equal to passes of their own in evaluation mode, where images do not see each other."""
    small.stream_batchnorm = mode
    small.add_head("source", 7)
    small.tap(["layer3"])
    small.eval()
    passes.clear()
    shared = images(4)
    together = small({"target": shared, "source": shared})
    assert passes == [4]
    apart = small({"target": shared, "source": shared.clone()})
    assert passes[1:] == ([8] if mode == "joint" else [4, 4])
    for name in ("target", "source"):
        torch.testing.assert_close(together[name].logits, apart[name].logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[name].taps["layer3"], apart[name].taps["layer3"], rtol=1e-4, atol=1e-5)
    assert together["target"].features is together["source"].features
    assert (together["target"].logits.shape, together["source"].logits.shape) == ((4, 3), (4, 7))


def test_the_gradient_of_a_shared_pass_is_that_of_two_passes(small):
    small.add_head("source", 7)
    small.eval()
    shared = images(3)

    def gradients(other):
        small.zero_grad()
        outputs = small({"target": shared, "source": other})
        (outputs["target"].logits.square().mean() + 2 * outputs["source"].logits.square().mean()).backward()
        return [parameter.grad.clone() for parameter in small.parameters()]

    for mine, theirs in zip(gradients(shared), gradients(shared.clone()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


def test_a_third_stream_goes_its_own_way(small, passes):
    small.add_head("source", 7)
    small.add_head("more", 2)
    small.eval()
    shared = images(4)
    outputs = small({"target": shared, "more": images(3, 5), "source": shared})
    assert list(outputs) == ["target", "more", "source"]
    assert passes == [7] and len(outputs["more"].logits) == 3
    torch.testing.assert_close(outputs["source"].features, small(shared).features, rtol=1e-4, atol=1e-5)


def test_shared_images_compile_once_and_not_at_every_step(small):
    """An id in the graph would be guarded, and every new tensor would compile the model anew."""
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    small.add_head("source", 7)
    counter = CompileCounter()
    compiled = torch.compile(small.eval(), backend=counter)
    kept = []
    for step in range(4):
        shared, other = images(2, step), images(2, 10 + step)
        kept += [shared, other]
        apart = compiled({"target": shared, "source": other})
        assert not torch.equal(apart["target"].features, apart["source"].features)
    assert counter.frame_count == 1
    for step in range(4):
        shared = images(2, 20 + step)
        kept.append(shared)
        together = compiled({"target": shared, "source": shared})
        assert torch.equal(together["target"].features, together["source"].features)
    assert counter.frame_count == 2
    torch._dynamo.reset()


# -- features changed on their way to the heads ------------------------------------------------------------------


def test_changed_features_reach_the_heads_in_training_passes_alone(small):
    small.add_head("source", 7)
    small.eval()
    batch = images(3)
    before = small(batch)
    source_head, average = small.source_head(), copy.deepcopy(small)
    small.feature_transform = lambda features: features * 2 + 1
    plain, outputs = small(batch), small({"target": batch, "source": images(2, 1)})
    assert torch.equal(plain.logits, before.logits)
    torch.testing.assert_close(outputs["target"].features, before.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs["target"].logits, small.head(2 * outputs["target"].features + 1))
    torch.testing.assert_close(outputs["source"].logits, small.heads["source"](2 * outputs["source"].features + 1))
    assert average.feature_transform is None and torch.equal(average(batch).logits, before.logits)
    assert torch.equal(reference_of(average, source_head)({"target": batch})["target"].logits, before.logits)


def test_joint_heads_see_changed_features_too(joined):
    joined.eval()
    joined.feature_transform = lambda features: features.clamp(max=0.1)
    output = joined({"target": images(2)})["target"]
    heads = [joined.head, joined.heads["first"], joined.heads["second"]]
    expected = torch.cat([head(output.features.clamp(max=0.1)) for head in heads], dim=1)
    torch.testing.assert_close(output.logits, expected)


# -- heads that streams bring ------------------------------------------------------------------------------------


class Few:
    """What `add_heads` asks of samples."""

    def __init__(self, classes: int) -> None:
        self.classes = [str(index) for index in range(classes)]

    def __len__(self) -> int:
        return 1


def test_a_stream_fills_its_head(small):
    initial = SourceHead(torch.randn(2, small.num_features), torch.randn(2), ["x", "y"])
    bare = SourceHead(torch.randn(4, small.num_features), None, [*"abcd"])
    streams = {
        "target": Stream(Few(3)),
        "source": Stream(Few(2), initial=initial),
        "bare": Stream(Few(4), initial=bare),
        "same": Stream(Few(3), head="target"),
    }
    add_heads(small, streams)
    assert list(small.heads) == ["source", "bare"] and not small.joint_heads
    assert torch.equal(small.heads["source"].weight, initial.weight)
    assert torch.equal(small.heads["source"].bias, initial.bias)
    assert torch.equal(small.heads["bare"].weight, bare.weight) and not small.heads["bare"].bias.any()
    assert small.heads["source"].weight.requires_grad and small.heads["source"].weight is not initial.weight
    assert small.head_of("same") is small.head


def test_one_joint_stream_joins_the_heads(small):
    add_heads(small, {"target": Stream(Few(3)), "source": Stream(Few(2), head="joint")})
    assert small.joint_heads and small.heads["source"].out_features == 2


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (Stream(Few(4), head="target"), "shares the target's head, but has 4 classes instead of 3"),
        (
            Stream(Few(2), initial=SourceHead(torch.zeros(3, 5), None, [])),
            r'"source" has 2 classes on \d+ features, but the head it is to start from has the shape \(3, 5\)',
        ),
    ],
)
def test_a_head_that_does_not_fit(small, stream, message):
    with pytest.raises(InputError, match=message):
        add_heads(small, {"target": Stream(Few(3)), "source": stream})
