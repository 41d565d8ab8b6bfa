"""Detectors that know nothing of the source: from the fine-tuned model's features and logits alone.

Each `fit` sees the target's training images and returns a function from features (n, d) to scores (n,), float64; a
larger score means less like the training images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
CLIPPED = 0.9  # ReAct clips activations at this quantile of the training images' activations
RANK = 1e-10  # directions whose variance is below this share of the largest are taken for none
ROWS = 1024


@dataclass(frozen=True)
class Fitted:
    """What the detectors are fitted on: the target's training images, and the model's own classifier."""

    features: Tensor
    """(n, d)."""
    labels: Tensor
    """(n,) int64."""
    weight: Tensor
    """(K, d)."""
    bias: Tensor
    """(K,)."""

    def logits(self, features: Tensor) -> Tensor:
        """(n, d) -> (n, K) float64."""
        return features.double() @ self.weight.double().T + self.bias.double()

    @cached_property
    def means(self) -> Tensor:
        """(classes seen, d) float64: the mean of each class that has images."""
        x, seen = self.features.double(), np.unique(self.labels.numpy()).tolist()
        return torch.stack([x[self.labels == number].mean(dim=0) for number in seen])

    @cached_property
    def within(self) -> Tensor:
        """(n, d) float64: every image less its class's mean."""
        _, place = np.unique(self.labels.numpy(), return_inverse=True)
        return self.features.double() - self.means[torch.from_numpy(place)]


def msp(fitted: Fitted) -> Score:
    """1 − the largest probability (Hendrycks and Gimpel, 2017)."""
    return lambda features: 1 - fitted.logits(features).softmax(dim=1).amax(dim=1)


def max_logit(fitted: Fitted) -> Score:
    """Minus the largest logit (Hendrycks et al., 2022)."""
    return lambda features: -fitted.logits(features).amax(dim=1)


def energy(fitted: Fitted) -> Score:
    """−log Σ exp(logit), temperature 1 (Liu et al., 2020)."""
    return lambda features: -fitted.logits(features).logsumexp(dim=1)


def entropy(fitted: Fitted) -> Score:
    """−Σ p log p, in nats."""

    def score(features: Tensor) -> Tensor:
        log_p = fitted.logits(features).log_softmax(dim=1)
        return -(log_p.exp() * log_p).sum(dim=1)

    return score


def mahalanobis(fitted: Fitted) -> Score:
    """The smallest squared distance to a class mean under the shared within-class covariance (Lee et al., 2018).

    With fewer images than features the covariance is singular; its pseudo-inverse then ignores the directions in
    which the training images do not vary.
    """
    axes = _whitening(fitted.within)
    return lambda features: _distances(features.double() @ axes, fitted.means @ axes).amin(dim=1)


def relative_mahalanobis(fitted: Fitted) -> Score:
    """The same less the squared distance to the mean of all images under their covariance (Ren et al., 2021)."""
    of_class = mahalanobis(fitted)
    x = fitted.features.double()
    centre = x.mean(dim=0)
    axes = _whitening(x - centre)
    return lambda features: of_class(features) - ((features.double() - centre) @ axes).square().sum(dim=1)


def nearest(fitted: Fitted, k: int = 50) -> Score:
    """The distance to the k-th nearest training image, features scaled to length 1 (Sun et al., 2022).

    k is at most the number of training images.
    """
    bank = _unit(fitted.features)
    place = min(k, len(bank))

    def score(features: Tensor) -> Tensor:
        parts = torch.split(_unit(features), ROWS)
        return torch.cat([torch.cdist(part, bank).kthvalue(place, dim=1).values for part in parts])

    return score


def vim(fitted: Fitted) -> Score:
    """Virtual-logit matching (Wang et al., 2022): scaled norm outside the principal subspace, less the energy.

    The origin is −W⁺b. The subspace has 1000 dimensions from 2048 features on, 512 from 768 on, otherwise half; and
    at most half as many as there are training images, because beyond their number nothing would be left outside.
    """
    width = fitted.features.shape[1]
    wanted = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    kept = max(1, min(wanted, len(fitted.features) // 2))
    origin = -torch.linalg.pinv(fitted.weight.double()) @ fitted.bias.double()
    x = fitted.features.double() - origin
    principal = torch.linalg.svd(x, full_matrices=False).Vh[:kept].T

    def outside(features: Tensor) -> Tensor:
        moved = features.double() - origin
        found: Tensor = torch.linalg.vector_norm(moved - moved @ principal @ principal.T, dim=1)
        return found

    typical = outside(fitted.features).sum()
    largest = fitted.logits(fitted.features).amax(dim=1).sum()
    scale = largest / typical if typical > 0 else torch.zeros(())
    plain = energy(fitted)
    return lambda features: scale * outside(features) + plain(features)


def react(fitted: Fitted) -> Score:
    """Energy of features clipped at the 90 % quantile of the training activations (Sun et al., 2021)."""
    limit = float(np.quantile(fitted.features.double().numpy(), CLIPPED))
    plain = energy(fitted)
    return lambda features: plain(features.double().clamp(max=limit))


def _whitening(centred: Tensor) -> Tensor:
    """(n, d) -> (d, r): |x A|² is x' C⁺ x with C = centred' centred / n."""
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = singular.square() > RANK * singular[0].square()
    found: Tensor = axes[kept].T * (len(centred) ** 0.5 / singular[kept])
    return found


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    """(n, r), (m, r) -> (n, m) squared distances."""
    found: Tensor = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
    return found.square()


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.double(), dim=1)
