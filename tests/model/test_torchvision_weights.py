"""Weights of torchvision in timm's models: equal logits, or a refusal; whatever the number of classes."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from transferkit.errors import InputError
from transferkit.model import build
from transferkit.model.torchvision_weights import translate
from transferkit.recipe.schema import Model


def original(name, classes):
    """A torchvision model with random weights, and batch norms so that nothing can be swapped unnoticed.

    Made without its own initialisation, which is most of the time that large models take.
    """
    torch.manual_seed(0)
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        net = torchvision.models.get_model(name, weights=None, num_classes=classes)
    net.to_empty(device="cpu")
    for key, tensor in net.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.zero_()
        elif tensor.ndim > 1:
            bound = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-bound, bound)
        else:
            low = -0.1 if key.endswith(("bias", "running_mean")) else 0.5
            tensor.uniform_(low, low + 1 if low > 0 else 0.1)
    return net.eval()


def opened(name, net, folder, said=None, **rest):
    file = folder / "w.safetensors"
    save_file(net.state_dict(), str(file))
    say = None if said is None else said.append
    model, _ = build(Model(name=name, **rest), weights=file, source_classes=None, classes=None, say=say)
    return model.eval()


@pytest.mark.parametrize(
    ("theirs", "ours", "by_order"),
    [
        ("resnet18", "resnet18", False),
        ("vgg11", "vgg11", False),
        ("densenet121", "densenet121", False),
        ("regnet_y_400mf", "regnety_004", False),
        ("mobilenet_v2", "mobilenetv2_100", True),
        ("efficientnet_b0", "efficientnet_b0", True),
        ("mnasnet1_0", "mnasnet_100", True),
    ],
)
@torch.no_grad()
def test_the_logits_are_torchvisions(theirs, ours, by_order, tmp_path):
    net, said = original(theirs, 7), []
    model = opened(ours, net, tmp_path, said)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    expected = net(images)
    assert len(model.classes) == 7
    assert torch.allclose(model(images).logits, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
    assert [f"torchvision's {theirs}, loaded in the order" in text for text in said] == [True] * by_order


def test_equal_shapes_are_not_enough(tmp_path):
    """Padding and epsilons are in no file; the two models' logits show them."""
    net = original("mobilenet_v2", 7)
    for options in ({"pad_type": "same"}, {"bn_eps": 0.01}):
        with pytest.raises(InputError, match=r"torchvision's mobilenet_v2.*give different logits"):
            opened("mobilenetv2_100", net, tmp_path, options=options)


def test_a_model_of_another_family_is_refused_by_its_names(tmp_path):
    with pytest.raises(InputError, match=r"tensors missing: conv_stem\.weight"):
        opened("mobilenetv3_large_100", original("mobilenet_v3_large", 7), tmp_path)


def test_only_torchvisions_own_names_are_believed():
    """The same tensors under mixed-up names: shapes and leaf names fit in some order, but nothing says in which."""
    net, state = timm.create_model("mobilenetv2_100"), original("mobilenet_v2", 1000).state_dict()
    assert translate(net, state) is not None
    names = list(state)
    shuffled = {f"layer{index}.{name.rpartition('.')[2]}": state[name] for index, name in enumerate(reversed(names))}
    assert translate(net, shuffled) is None
    one = {("features.0.0.kernel" if name == "features.0.0.weight" else name): state[name] for name in names}
    assert translate(net, one) is None


def test_the_random_state_is_left_alone():
    net, state = timm.create_model("mobilenetv2_100"), original("mobilenet_v2", 1000).state_dict()
    torch.manual_seed(3)
    translate(net, state)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))
