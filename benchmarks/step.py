"""One bare training step of the wrapped model: what the penalty benchmarks add to."""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
from transferkit_bss import bss as bss_penalty

from transferkit.model import TransferModel, reference_of
from transferkit.model.preprocessing import Preprocessing


class Step:
    """ResNet-18, 96 px, batch 16 unless told otherwise; always the same weights and images."""

    def __init__(self, *, size=96, batch=16, bss=0.0, taps=()):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        preprocessing = Preprocessing(
            input_size=(size, size), mean=(0.5,) * 3, std=(0.5,) * 3,
            crop_pct=1.0, crop_mode="center", interpolation="bicubic",
        )  # fmt: skip
        net = timm.create_model("resnet18", num_classes=10, zero_init_last=False)
        self.model = TransferModel(net, classes=[*"abcdefghij"], preprocessing=preprocessing, architecture="resnet18")
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
