"""The methods of the package grad-cam on a cut model: it sees the head alone and touches nothing of ours."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from transferkit.analysis.maps.cut import WHOLE, Cut
from transferkit.data.randomness import seeded
from transferkit.errors import InputError, Problem
from transferkit.model.layout import Layout
from transferkit.words.suggest import did_you_mean

OURS = "gradcam"


def method_key(name: str) -> str:
    """The spelling that decides: GradCAM++, gradcam_plusplus and GradCAMPlusPlus are the same."""
    return name.lower().replace("++", "plusplus").replace("_", "").replace("-", "").replace(" ", "")


def find_method(name: str) -> type[Any]:
    """The package's class of that name. Raises InputError without the package and for unknown names."""
    try:
        import pytorch_grad_cam
        from pytorch_grad_cam.base_cam import BaseCAM
    except ImportError:
        raise InputError(
            Problem(
                "method",
                f'class-activation maps by "{name}" need an extra: pip install "transferkit[cam]"',
                f"{OURS} needs none",
            )
        ) from None
    known = {
        method_key(key): value
        for key, value in vars(pytorch_grad_cam).items()
        if inspect.isclass(value) and issubclass(value, BaseCAM) and value is not BaseCAM
    }
    known.pop("fullgrad", None)  # it adds up all layers with a bias, and so has no map of one layer
    found = known.get(method_key(name))
    if found is None:
        hint = did_you_mean(method_key(name), {*known, OURS}, limit=30)
        raise InputError(Problem("method", f'no method "{name}" for class-activation maps', hint))
    return _raw(found)


def _raw(method: type[Any]) -> type[Any]:
    """The method with its maps as computed: (b, h, w), neither resized nor scaled to 0..1."""

    class Raw(method):  # type: ignore[misc]
        def compute_cam_per_layer(self, input_tensor: Tensor, targets: list[Any], eigen_smooth: bool) -> Any:
            recorded = self.activations_and_grads
            activations, gradients = (
                (each[0].numpy() if self.detach else each[0]) if each else None
                for each in (recorded.activations, recorded.gradients)
            )
            return self.get_cam_image(
                input_tensor, self.target_layers[0], targets, activations, gradients, eigen_smooth
            )

        def aggregate_multi_layers(self, cam_per_target_layer: Any) -> Any:
            return cam_per_target_layer

    return Raw


def library_maps(
    method: type[Any],
    cut: Cut,
    layout: Layout,
    images: Tensor,
    logits: Callable[[Tensor], Tensor],
    scores: list[Callable[[Tensor], Tensor]],
) -> Tensor:
    """Maps (b, h, w) by the method, ReLU applied; `scores` take each image's row of logits to what is explained.

    Methods that draw random numbers get the same ones every time.
    """
    tail = _Tail(cut, layout, logits)
    cam = method(tail, [tail.layer])
    quiet = contextlib.redirect_stderr(io.StringIO())  # slow methods draw progress bars
    twice_differentiable = sdpa_kernel(SDPBackend.MATH)
    try:
        with seeded("class-activation maps"), torch.enable_grad(), twice_differentiable, quiet:
            maps = cam(images, scores)
    finally:  # its own clearing fails where a gradient is a view
        cam.activations_and_grads.activations, cam.activations_and_grads.gradients = [], []
        cam.activations_and_grads.release()
    return torch.from_numpy(np.maximum(np.asarray(maps, dtype=np.float32), 0.0)).to(images.device)


class _Tail(nn.Module):
    """Images to logits through a layer of our own, which stands where the model is cut and gets (b, C, h, w)."""

    def __init__(self, cut: Cut, layout: Layout, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.one = nn.Parameter(torch.ones((), device=next(cut.net.parameters()).device))
        self._parts = cut, layout, logits, (self.layer,)

    def forward(self, images: Tensor) -> Tensor:
        cut, layout, logits, (own,) = self._parts

        def put(output: Tensor) -> Tensor:
            start = layout.spatial(output).detach().clone().requires_grad_()
            # second-order methods ask for the gradient at the image: a zero that hangs on it
            start = start + images.flatten()[:0].sum() if images.requires_grad else start
            return layout.restore(self.layer(start).clone(), output)

        if self.layer is not own and cut.layer == WHOLE and layout.prefix == 0:
            # what stands in for the layer gives outputs of its own: nothing before it is needed
            features = cut.after(layout.restore(self.layer(images), images))
        else:
            features = cut.features(images.detach(), put)
        return logits(features) * self.one  # keeps the graph alive for second-order methods on linear heads
