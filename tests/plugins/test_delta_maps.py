"""DELTA's forms and its attention by hand on maps small enough to add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import zscore
from transferkit_delta import attention_weights, delta

# one image, two channels, two positions: squared differences 1+4 in channel 0, 9+0 in channel 1
OURS = {"a": torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])}
ZERO = {"a": torch.zeros(1, 2, 1, 2)}
WEIGHTS = {"a": torch.tensor([0.25, 0.75])}
WEIGHTED = 0.25 * 5 + 0.75 * 9


@pytest.mark.parametrize(
    ("normalise", "attention", "expected"),
    [
        ("paper", None, 14.0),
        ("peer", None, 7.0),
        ("mean", None, 14 / 4),
        ("paper", WEIGHTS, WEIGHTED),
        ("peer", WEIGHTS, 0.5 * (2 / 2) * WEIGHTED),
        ("mean", WEIGHTS, WEIGHTED / 2),
    ],
)
def test_by_hand(normalise, attention, expected):
    assert delta(OURS, ZERO, attention, normalise).item() == pytest.approx(expected)
    assert delta(ZERO, OURS, attention, normalise).item() == pytest.approx(expected)


def random_maps(seed=0, batch=3):
    draw = torch.Generator().manual_seed(seed)
    shapes = {"conv": (batch, 4, 5, 6), "tokens": (batch, 7, 9), "vector": (batch, 8)}
    return {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}


def brute_force(maps, reference, attention, normalise):
    """Eq. 4 written with loops."""
    total = 0.0
    for name in maps:
        ours, theirs = maps[name].numpy(), reference[name].numpy()
        images, channels = ours.shape[:2]
        positions = ours[0, 0].size
        weighted = 0.0
        for image in range(images):
            for channel in range(channels):
                square = float(np.sum((ours[image, channel] - theirs[image, channel]) ** 2))
                weighted += square if attention is None else square * float(attention[name][channel])
        if normalise == "paper":
            total += weighted
        elif normalise == "peer":
            total += 0.5 * weighted if attention is None else 0.5 * channels / positions * weighted
        else:
            total += weighted / (images * positions * (channels if attention is None else 1))
    return total


@pytest.mark.parametrize("normalise", ["paper", "peer", "mean"])
@pytest.mark.parametrize("attended", [False, True])
def test_several_layers_against_loops(normalise, attended):
    maps, reference = random_maps(0), random_maps(1)
    attention = {name: attention_weights(maps[name][0].reshape(maps[name].shape[1], -1)[:, 0]) for name in maps}
    chosen = attention if attended else None
    value = delta(maps, reference, chosen, normalise)
    assert value.item() == pytest.approx(brute_force(maps, reference, chosen, normalise), rel=1e-12)


def test_uniform_attention_is_plain_mean():
    maps, reference = random_maps(0), random_maps(1)
    uniform = {name: torch.full((map_.shape[1],), 1 / map_.shape[1]) for name, map_ in maps.items()}
    torch.testing.assert_close(
        delta(maps, reference, uniform, "mean"), delta(maps, reference, None, "mean"), rtol=1e-6, atol=0
    )


def test_gradient():
    maps, reference = random_maps(0), random_maps(1)
    ours = maps["conv"].requires_grad_()
    attention = {"conv": torch.tensor([0.1, 0.2, 0.3, 0.4])}
    for normalise in ("paper", "peer", "mean"):
        for chosen in (None, attention):
            assert torch.autograd.gradcheck(
                lambda x, c=chosen, n=normalise: delta({"conv": x}, {"conv": reference["conv"]}, c, n), (ours,)
            )


def test_the_reference_is_a_constant():
    ours, theirs = torch.ones(1, 2, requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    delta({"a": ours}, {"a": theirs}).backward()
    assert ours.grad.tolist() == [[2.0, 2.0]] and theirs.grad is None


def test_batch_scaling():
    one, two = random_maps(0, batch=1), random_maps(1, batch=1)
    doubled = [{name: map_.repeat(2, *[1] * (map_.ndim - 1)) for name, map_ in maps.items()} for maps in (one, two)]
    torch.testing.assert_close(delta(*doubled), 2 * delta(one, two))
    torch.testing.assert_close(delta(*doubled, normalise="mean"), delta(one, two, normalise="mean"))


def test_matched_by_name_in_any_order():
    maps, reference = random_maps(0), random_maps(1)
    shuffled = {name: reference[name] for name in reversed(reference)}
    assert delta(maps, shuffled).item() == delta(maps, reference).item()


def test_a_layer_missing_anywhere_is_a_key_error():
    with pytest.raises(KeyError, match="layer 'a' is missing from the reference's maps: b"):
        delta(OURS, {"b": ZERO["a"]})
    with pytest.raises(KeyError, match="layer 'b' is missing from the model's maps: a"):
        delta(OURS, ZERO | {"b": ZERO["a"]})
    with pytest.raises(KeyError, match="layer 'a' is missing from the attention: none at all"):
        delta(OURS, ZERO, {})


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="layer 'a' has a map of shape"):
        delta(OURS, {"a": torch.zeros(1, 2, 2, 1)})
    with pytest.raises(ValueError, match="layer 'a' has 2 channels"):
        delta(OURS, ZERO, {"a": torch.ones(3)})
    with pytest.raises(ValueError, match="normalise is one of paper, peer, mean"):
        delta(OURS, ZERO, None, "sum")


def test_half_maps_are_added_up_in_float32():
    ours = {"a": torch.full((1, 1, 100, 100), 100.0, dtype=torch.float16)}
    value = delta(ours, {"a": torch.zeros(1, 1, 100, 100)})
    assert value.dtype == torch.float32 and value.item() == 1e8


def test_no_layers_are_zero():
    assert delta({}, {}).item() == 0.0


def test_attention_by_hand():
    # mean 2, population standard deviation 1: z = -1, 1, so softmax(-1/5, 1/5)
    weights = attention_weights(torch.tensor([1.0, 3.0]))
    low, high = math.exp(-0.2), math.exp(0.2)
    assert weights.tolist() == pytest.approx([low / (low + high), high / (low + high)])
    literal = attention_weights(torch.tensor([0.0, math.log(3.0)]), "literal")
    assert literal.tolist() == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6])
def test_attention_against_scipy(scale):
    raw = np.random.default_rng(0).normal(size=64)
    weights = attention_weights(torch.tensor(raw * scale))
    np.testing.assert_allclose(weights.numpy(), softmax(zscore(raw) / 5), rtol=1e-9)
    assert weights.sum().item() == pytest.approx(1.0)
    np.testing.assert_allclose(attention_weights(torch.tensor(raw), "literal").numpy(), softmax(raw), rtol=1e-12)


def test_attention_ignores_shift_and_scale_unless_literal():
    raw = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(attention_weights(3 * raw + 7), attention_weights(raw))
    torch.testing.assert_close(attention_weights(raw + 7, "literal"), attention_weights(raw, "literal"))


@pytest.mark.parametrize("form", ["standardised", "literal"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e20])
def test_a_constant_gives_uniform_attention(form, value):
    assert attention_weights(torch.full((7,), value), form).tolist() == pytest.approx([1 / 7] * 7)


def test_attention_types_and_refusals():
    assert attention_weights(torch.tensor([1.0, 2.0], dtype=torch.float16)).dtype == torch.float32
    assert attention_weights(torch.tensor([1.0, 2.0], dtype=torch.float64)).dtype == torch.float64
    for wrong in (torch.tensor([1.0, float("nan")]), torch.ones(2, 2), torch.ones(0)):
        with pytest.raises(ValueError, match="one finite loss increase per channel"):
            attention_weights(wrong)
    with pytest.raises(ValueError, match="form is one of standardised, literal"):
        attention_weights(torch.ones(2), "softmax")
