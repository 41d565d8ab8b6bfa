"""A model with random weights, and one bare training step of it: what the penalty benchmarks add to."""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
from transferkit_bss import bss as bss_penalty

from transferkit.model import Preprocessing, TransferModel, reference_of


def model_of(name, classes=10, size=224, **options):
    """The same weights for the same arguments; in evaluation mode."""
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=classes, **options)
    preprocessing = Preprocessing((size, size), (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bicubic")
    names = [f"class {index}" for index in range(classes)]
    return TransferModel(net, classes=names, preprocessing=preprocessing, architecture=name).eval()


class Step:
    """ResNet-18, 96 px, batch 16 unless told otherwise; always the same weights and images."""

    def __init__(self, name="resnet18", *, size=96, batch=16, bss=0.0, taps=()):
        self.model = model_of(name, size=size, **({"zero_init_last": False} if name == "resnet18" else {}))
        self.model.tap(taps)
        self.reference = reference_of(self.model, self.model.source_head())
        self.model.train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9)
        self.images, self.labels = torch.randn(batch, 3, size, size), torch.arange(batch) % 10
        self.bss = bss

    def backward(self, penalty=None):
        """Forward pass, loss and backward pass; returns the loss."""
        output = self.model(self.images)
        loss = F.cross_entropy(output.logits, self.labels)
        if self.bss:
            loss = loss + self.bss * bss_penalty(output.features)
        if penalty is not None:
            loss = loss + penalty(output)
        self.optimizer.zero_grad()
        loss.backward()
        return loss.item()

    def __call__(self, penalty=None, after_backward=None):
        """A whole step."""
        self.backward(penalty)
        if after_backward is not None:
            after_backward()
        self.optimizer.step()
