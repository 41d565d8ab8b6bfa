"""The diagonal of the Fisher information, from gradients of single images: never the square of a batch's mean."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.functional import one_hot

log = logging.getLogger(__name__)

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]
Named = dict[str, Tensor]
AT_ONCE = 2**25  # elements of all gradients that are held at the same time
MOST = 64  # gradients at a time


def diagonal_fisher(
    forward: Forward, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor | None = None
) -> Named:
    """The mean over images (n, …) of E_y[(∂ log p(y | image) / ∂w)²], element by element: {name: float64 tensor}.

    `forward(parameters, images)` gives logits (n, K), every image's on its own: batch norm must be in evaluation
    mode. Without labels the expectation is the exact one over the model's own probabilities, at the cost of K
    gradients per image; with labels (n,) it is the square at that label: the empirical Fisher information for the
    true ones, an unbiased estimate of the exact one for labels drawn from the model.

    Gradients are taken with `torch.func`, several at a time; a model that does not allow it gets one backward
    pass per gradient. Raises ValueError for no image, for labels that do not fit and for logits of another shape.
    """
    own = {name: tensor.detach() for name, tensor in parameters.items()}
    probabilities = _probabilities(forward, own, images)
    if labels is None:
        weights = probabilities
    else:
        _refuse(labels, probabilities)
        weights = one_hot(labels.long(), probabilities.shape[1]).to(probabilities)
    return _squares(forward, own, images, weights / len(images))


@torch.no_grad()
def _probabilities(forward: Forward, parameters: Named, images: Tensor) -> Tensor:
    if not len(images):
        raise ValueError("diagonal_fisher: there is no image to take it on")
    logits = forward(parameters, images)
    if logits.ndim != 2 or len(logits) != len(images):
        raise ValueError(f"diagonal_fisher: the logits must have the shape (n, K), not {tuple(logits.shape)}")
    return logits.float().softmax(dim=1) if logits.dtype.itemsize < 4 else logits.softmax(dim=1)


def _refuse(labels: Tensor, probabilities: Tensor) -> None:
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(f"diagonal_fisher: {tuple(labels.shape)} labels for {len(probabilities)} images")
    if int(labels.min()) < 0 or int(labels.max()) >= probabilities.shape[1]:
        raise ValueError(f"diagonal_fisher: labels outside the model's classes 0 to {probabilities.shape[1] - 1}")


def _squares(forward: Forward, parameters: Named, images: Tensor, weights: Tensor) -> Named:
    """Σ over images n and classes k of weights[n, k] · (∂ log p_k(image n)/∂w)²."""
    wide = torch.float32 if images.device.type == "mps" else torch.float64
    totals = {name: torch.zeros_like(tensor, dtype=wide) for name, tensor in parameters.items()}
    rows, classes = torch.nonzero(weights, as_tuple=True)
    size = sum(tensor.numel() for tensor in parameters.values())
    at_once = max(1, min(MOST, AT_ONCE // max(size, 1)))

    def log_probability(values: Named, image: Tensor, label: Tensor) -> Tensor:
        logits = forward(values, image.unsqueeze(0))
        logits = logits.float() if logits.dtype.itemsize < 4 else logits
        return logits.log_softmax(dim=1).squeeze(0).gather(0, label.reshape(1)).squeeze(0)

    together = vmap(grad(log_probability), in_dims=(None, 0, 0)) if at_once > 1 else None
    for part_rows, part_classes in zip(torch.split(rows, at_once), torch.split(classes, at_once), strict=True):
        gradients = None
        if together is not None:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "There is a performance drop")  # still no slower than singly
                    gradients = together(parameters, images[part_rows], part_classes)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, NotImplementedError) as error:
                log.info("ewc takes the gradients of this model one at a time: %s", error)
                together = None
        shares = weights[part_rows, part_classes]
        if gradients is not None:
            for name, found in gradients.items():
                totals[name] += torch.einsum("n,n...->...", shares.to(found), found.square())
            continue
        for share, row, label in zip(shares, part_rows, part_classes, strict=True):
            for name, found in _one(log_probability, parameters, images[row], label):
                totals[name] += share * found.square()
    return totals


def _one(
    log_probability: Callable[[Named, Tensor, Tensor], Tensor], parameters: Named, image: Tensor, label: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """The gradient of one image at one label, by an ordinary backward pass."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    with torch.enable_grad():
        value = log_probability(leaves, image, label)
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return ((name, gradient) for name, gradient in zip(leaves, found, strict=True) if gradient is not None)
