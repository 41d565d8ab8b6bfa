"""Small models with random weights, and maps of them computed the plain way: a whole backward pass."""

from __future__ import annotations

import timm
import torch
from torch import nn

from transferkit.data.randomness import seeded
from transferkit.model import Preprocessing, TransferModel


def wrapped(net, size, classes=3, name="made up"):
    pair = (size, size) if isinstance(size, int) else tuple(size)
    preprocessing = Preprocessing(pair, (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bilinear")
    return TransferModel(
        net, classes=[f"class {i}" for i in range(classes)], preprocessing=preprocessing, architecture=name
    )


def model_of(name, size=64, classes=3, *, sized=False, **options):
    """A timm model whose layers all matter: scales that start at zero are set to a half.

    No row of the head points along the mean feature: a random one mostly gives maps of one sign, hence empty ones.
    """
    if sized:
        options["img_size"] = size
    with seeded("map model", name):
        net = timm.create_model(name, num_classes=classes, **options)
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if parameter.dim() == 1 and "bias" not in key and float(parameter.abs().max()) < 1e-3:
                parameter.fill_(0.5)
        head = net.get_classifier()
        with seeded("map head", name):
            head.reset_parameters()  # some families start it at zero
        model = wrapped(net, size, classes, name)
        mean = model.eval()(images_for(model)).features.mean(dim=0)
        head.weight.sub_(torch.outer(head.weight @ mean, mean) / mean.square().sum())
    return model.train()


def images_for(model, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *model.preprocessing.input_size, generator=generator)


class Marked(nn.Module):
    """The whole model, with a layer of its own where the backbone ends."""

    def __init__(self, net):
        super().__init__()
        self.net, self.marker = net, nn.Identity()

    def forward(self, images):
        return self.net.forward_head(self.marker(self.net.forward_features(images)))


def marked_at(model, layer):
    """(a module to run, the module at which its map is taken)."""
    if layer == "forward_features":
        marked = Marked(model.net).eval()
        return marked, marked.marker
    return model.net.eval(), model.net.get_submodule(layer)


def plain_maps(model, layer, images, score):
    """ReLU(Σ_c w_c·A_c), w_c the mean gradient, by a backward pass of the sum of `score(logits)` through everything.

    The layer's output is (b, C, h, w) or (b, h, w, C) or (b, N, C), as the caller's score and reading expect;
    returned are the output and its gradient, both as they come.
    """
    run, at = marked_at(model, layer)
    kept = []
    handle = at.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.enable_grad():
        logits = run(images.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(score(logits).sum(), kept[0])
    return kept[0].detach(), gradient


def weighted(activations, gradient):
    """Of maps with their channels first."""
    return (activations * gradient.mean(dim=(2, 3), keepdim=True)).sum(dim=1).relu()


def channels_first(output, kind, grid, prefix):
    """Any layout as (b, C, h, w), written out with indices rather than with views."""
    if kind == "channels_first":
        return output
    rows, columns = grid
    result = torch.empty(len(output), output.shape[-1], rows, columns)
    for row in range(rows):
        for column in range(columns):
            cell = output[:, row, column] if kind == "channels_last" else output[:, prefix + row * columns + column]
            result[:, :, row, column] = cell
    return result


def assert_same_maps(ours, theirs, tolerance=1e-4):
    """Equal relative to each map's largest value."""
    assert ours.shape == theirs.shape
    top = theirs.flatten(1).amax(dim=1).clamp_min(1e-20)[:, None, None]
    assert float(((ours - theirs).abs() / top).max()) < tolerance
