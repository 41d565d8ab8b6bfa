"""How a new head starts: timm's way, at zero, as a ridge regression on the source's features, or as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit.model.wrapper import SourceHead, TransferModel

HeadInit = Literal["default", "ridge", "zero", "source"]
# λ relative to the largest eigenvalue of the features' scatter.
RELATIVE_LAMBDAS = torch.logspace(-8, 2, 41, dtype=torch.float64)
LARGEST_SCALE = 1e4


def initialise_head(
    model: TransferModel,
    how: HeadInit,
    features: Tensor | None = None,
    labels: Tensor | None = None,
) -> None:
    """Give the target head its first values. `ridge` needs features (n, d) and labels (n,); `zero` predicts uniformly.

    Raises InputError for a ridge on a classifier without a bias.
    """
    if how == "zero":
        for parameter in model.head.parameters():
            torch.nn.init.zeros_(parameter)
    if how != "ridge":
        return
    if features is None or labels is None:
        raise ValueError("head_init: ridge needs the features and labels of the training images")
    if model.head.bias is None:
        raise InputError("head_init: ridge needs a classifier with a bias, and this model's has none")
    weight, bias = ridge_head(features, labels, len(model.classes))
    model.set_head(SourceHead(weight, bias, model.classes))


def rows_of(source: SourceHead, classes: Sequence[str], every: Sequence[str] = ()) -> SourceHead:
    """The source head's rows for these classes: by name, or else by place where the counts agree.

    `every` is the class list of a labels file: where it is as long as the source's, a class's place in it is its
    row. Raises InputError where neither holds.
    """
    names = source.classes
    if len(every) == len(names) and set(classes) <= set(every):
        names = list(every)
    if set(classes) <= set(names):
        rows = [names.index(name) for name in classes]
    elif len(classes) == len(names):
        rows = list(range(len(names)))
    else:
        raise no_rows(names, classes)
    bias = None if source.bias is None else source.bias[rows]
    return SourceHead(source.weight[rows], bias, list(classes))


def no_rows(names: Sequence[str], classes: Sequence[str]) -> InputError:
    """What is said where the source head, with these names, has no rows for the classes."""
    missing = [name for name in classes if name not in names]
    return InputError(
        f'head_init: source: the source head has {len(names)} classes, and "{missing[0]}" is none of them '
        f"({len(missing)} of {len(classes)} target classes are not); name the classes alike, give the data set the "
        "source's labels file, or use another head_init"
    )


def ridge_head(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Ridge regression on one-hot targets, scaled to give sensible probabilities: (K, d) and (K,).

    minimises Σ_i ‖y_i − W x_i − b‖² + λ‖W‖² with the λ of a log grid that has the smallest
    leave-one-out error (closed form: residual / (1 − leverage)); then logits = s·(W x + b) with the s that
    has the smallest leave-one-out cross-entropy. Targets are smoothed by 1/(n + 2) there, so that s stays
    finite for classes that separate perfectly. float64 inside, the features' dtype outside.
    Raises InputError for features that are not finite and for fewer than two images.
    """
    x, y = features.double(), torch.nn.functional.one_hot(labels.long(), num_classes).double().to(features.device)
    if len(x) < 2:
        raise InputError("head_init: ridge needs at least two training images")
    if not x.isfinite().all():
        raise InputError("head_init: ridge got features that are not finite numbers; check the weights and the data")
    fit = _Ridge(x, y)
    largest = float(fit.eigenvalues[0])
    lambdas = [float(lam) * largest for lam in RELATIVE_LAMBDAS] if largest > 0 else [1.0]
    lam = min(lambdas, key=lambda one: float((y - fit.leave_one_out_predictions(one)).square().sum()))
    scale = calibrating_scale(fit.leave_one_out_predictions(lam), labels.to(x.device))
    weight = scale * fit.coefficients(lam)
    bias = scale * fit.y_mean - weight @ fit.x_mean
    return weight.to(features.dtype), bias.to(features.dtype)


class _Ridge:
    """A centred ridge problem in the basis of its features' principal axes.

    With rows x_i − x̄ = z_i Vᵀ, the leverage of image i is 1/n + Σ_j z_ij²/(e_j + λ): the first term is the
    intercept's share.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        """Features (n, d) and targets (n, K)."""
        share = torch.ones_like(x[:, 0]) / len(x)
        self.x_mean, self.y_mean, self.y = share @ x, share @ y, y
        left, singular, axes = torch.linalg.svd(x - self.x_mean, full_matrices=False)
        self.z: Tensor = left * singular  # (n, r)
        self.axes: Tensor = axes.T  # V, (d, r)
        self.eigenvalues: Tensor = singular.square()  # (r,)
        self.cross: Tensor = self.z.T @ (y - self.y_mean)  # (r, K)

    def coefficients(self, lam: float) -> Tensor:
        return (self.axes @ (self.cross / (self.eigenvalues + lam).unsqueeze(1))).T

    def leave_one_out_predictions(self, lam: float) -> Tensor:
        """(n, K): what the fit without image i says of image i."""
        shrunk = 1 / (self.eigenvalues + lam)
        fitted = self.y_mean + self.z @ (self.cross * shrunk.unsqueeze(1))
        leverage = 1 / len(self.y) + self.z.square() @ shrunk
        return self.y - (self.y - fitted) / (1 - leverage).clamp_min(1e-12).unsqueeze(1)


def calibrating_scale(scores: Tensor, labels: Tensor) -> float:
    """The s >= 0 that minimises the cross-entropy of softmax(s·scores) (n, K) against smoothed labels.

    The loss is convex in s, so bisection on its slope finds it. 1.0 where the scores say nothing.
    """
    count = scores.shape[1]
    smoothing = 1 / (len(scores) + 2)
    truth = torch.nn.functional.one_hot(labels.long(), count).to(scores) * (1 - smoothing) + smoothing / count

    def slope(scale: float) -> float:
        return float((((scale * scores).softmax(1) - truth) * scores).sum(1).sum())

    low, high = 0.0, 1.0
    if slope(low) >= 0:
        return 1.0
    while slope(high) < 0 and high < LARGEST_SCALE:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def head_lr_limit(features: Tensor, momentum: float) -> float:
    """The largest learning rate at which SGD on a softmax head over features (n, d) is stable.

    The loss's curvature is at most ½·λ_max of the features' second moment, bias included, and λ_max is at
    most the mean squared norm; heavy-ball SGD is stable below 2·(1 + m)/curvature.
    """
    norm = float(features.detach().float().square().sum(dim=1).mean()) + 1.0
    return 2 * (1 + momentum) / (0.5 * norm)
