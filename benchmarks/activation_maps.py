"""GradCAM: ours against the package grad-cam used plainly, on the layers its users name, in forward passes.

Random weights. Run: python benchmarks/activation_maps.py [rounds] [--only NAME] [--check]
"""

from __future__ import annotations

import sys

import torch
from interleaved import measure, options, ratio, table, verdict
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from step import model_of

from transferkit.analysis.maps import ActivationMaps, Wanted, upsample
from transferkit.model import SourceHead

BATCH, CLASSES, SOURCE_CLASSES = 4, 10, 1000
DEAREST, LARGEST_DIFFERENCE = 1.5, 1e-4


def channels_last(output):
    return output.permute(0, 3, 1, 2)


def tokens(output):
    return output[:, 1:].transpose(1, 2).reshape(len(output), -1, 14, 14)


# what the manual of the package has its users write for each model
PLACES = {
    "resnet18": (lambda net: net.layer4[-1], None),
    "mobilenetv2_100": (lambda net: net.bn2, None),
    "convnext_tiny": (lambda net: net.stages[-1], None),
    "vit_small_patch16_224": (lambda net: net.blocks[-1].norm1, tokens),
    "swin_tiny_patch4_window7_224": (lambda net: net.norm, channels_last),
}


def scaled(maps):
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / (1e-7 + maps.amax(dim=(1, 2), keepdim=True))


def run(name, rounds):
    """{target: whether it holds} of one model."""
    model = model_of(name, CLASSES)
    images, classes = torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH) % CLASSES
    head = SourceHead(torch.randn(SOURCE_CLASSES, model.num_features) / 30, None, list(map(str, range(SOURCE_CLASSES))))
    place, reshape = PLACES[name]
    theirs = GradCAM(model.net, [place(model.net)], reshape_transform=reshape)
    targets = [ClassifierOutputTarget(int(c)) for c in classes]
    expected = torch.from_numpy(theirs(images, targets))
    model.net.requires_grad_(True)
    ours = ActivationMaps(model)
    output = ours(images, Wanted(classes))
    found = scaled(upsample(scaled(output.maps[0]), (224, 224)))
    difference = float((found - expected).abs().max())
    three = (Wanted(classes), Wanted(classes, of="margin"), Wanted("predicted", head))

    def forward():
        with torch.no_grad():
            return model(images)

    def one_by_one():
        return [theirs(image[None], [target]) for image, target in zip(images, targets, strict=True)]

    variants = {
        "forward pass": forward,
        "ours": lambda: ours(images, Wanted(classes)),
        "ours, three maps by two heads": lambda: ours(images, *three),
        "grad-cam, a batch": lambda: theirs(images, targets),
        "grad-cam, one by one": one_by_one,
    }
    how, empty = "closed form" if ours.closed_form else "backward from there", int(output.empty[0].sum())
    print(f"{name}, {BATCH} images: at {ours.layer}, {how}; {empty} of {BATCH} normalised maps are empty")
    times = measure(variants, rounds, warmup=1)
    table(times, "forward pass")
    cost = ratio(times, "ours", "forward pass")
    return {
        f"{name}: {cost:.3f} <= {DEAREST} forward passes": cost <= DEAREST,
        f"{name}: normalised maps {difference:.1e} <= {LARGEST_DIFFERENCE:.0e} apart": difference <= LARGEST_DIFFERENCE,
    }


if __name__ == "__main__":
    given = options(__doc__, 10, PLACES).parse_args()
    sys.exit(
        verdict({key: holds for name in given.only for key, holds in run(name, given.rounds).items()}, given.check)
    )
