"""Architectures that timm lacks, in timm's own registry: importing this makes `transferkit_…` names known to timm."""

from __future__ import annotations

from transferkit.model.nets import cifar_resnet, cnn10, mlp, resnet18, small_cnn, vgg19

__all__ = ["cifar_resnet", "cnn10", "mlp", "resnet18", "small_cnn", "vgg19"]
