"""Detectors that measure how far features lie from those of the target's training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession

RANK = 1e-10
"""Directions whose variance is below this share of the largest are taken for none."""


def mahalanobis(features: Tensor, centre: Tensor, axes: Tensor, means: Tensor) -> Tensor:
    """The smallest squared distance to a class mean under a covariance (Lee et al., 2018).

    (n, d), the mean of all images (d,), `whitening` (d, r), means of the classes (K, r) by the same axes -> (n,).
    """
    return squared_distances((features - centre) @ axes, means).amin(dim=1)


def relative_mahalanobis(features: Tensor, centre: Tensor, axes: Tensor, means: Tensor, all_axes: Tensor) -> Tensor:
    """The same less the squared distance to the mean of all images under theirs (Ren et al., 2021). -> (n,)."""
    overall = ((features - centre) @ all_axes).square().sum(dim=1)
    return mahalanobis(features, centre, axes, means) - overall


def unit(features: Tensor) -> Tensor:
    """(n, d) scaled to length 1."""
    from torch.nn.functional import normalize

    return normalize(features, dim=1)


def mahalanobis_pp(features: Tensor, centre: Tensor, axes: Tensor, means: Tensor) -> Tensor:
    """`mahalanobis` of features scaled to length 1, as those that were fitted on (Mueller and Hein, 2025). -> (n,)."""
    return mahalanobis(unit(features), centre, axes, means)


def nearest(features: Tensor, bank: Tensor, place: Tensor) -> Tensor:
    """The distance to the `place`-th nearest row of the bank, features scaled to length 1 (Sun et al., 2022).

    (n, d), (m, d) of length 1, () int64 -> (n,).
    """
    distances = squared_distances(unit(features), bank).sqrt().sort(dim=1).values
    return distances.index_select(1, place.reshape(1) - 1).squeeze(1)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(n, d), (m, d) -> (n, m), never negative. Written out, because no exported graph has `torch.cdist`."""
    squares = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1)
    return (squares - 2 * x @ y.T).clamp_min(0)


def whitening(centred: Tensor) -> Tensor:
    """(n, d) -> (d, r): |x A|² is x' C⁺ x with C = centred' centred / n.

    With fewer images than features C is singular; its pseudo-inverse ignores the directions without variance.
    """
    import torch

    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = singular.square() > RANK * singular[0].square()
    found: Tensor = axes[kept].T * (len(centred) ** 0.5 / singular[kept])
    return found


def class_gaussians(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """`centre`, `axes` and `means` of `mahalanobis`: classes with images, and their shared covariance. float64."""
    import torch

    x, (seen, place) = features.double(), torch.unique(labels, return_inverse=True)
    means = torch.stack([x[labels == number].mean(dim=0) for number in seen])
    centre, axes = x.mean(dim=0), whitening(x - means[place])
    return {"centre": centre, "axes": axes, "means": (means - centre) @ axes}


@dataclass
class Mahalanobis:
    """The squared distance to the nearest class mean, under the covariance within classes."""

    standard_audit: ClassVar[float] = 50

    def fit(self, session: DetectorSession) -> nn.Module:
        """Means and covariance of the target's training images."""
        return self.restore(class_gaussians(session.train.features, session.train.labels))

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(mahalanobis, "Mahalanobis", tensors)


@dataclass
class RelativeMahalanobis:
    """The same, less the squared distance to the mean of all training images."""

    standard_audit: ClassVar[float] = 60

    def fit(self, session: DetectorSession) -> nn.Module:
        """Means and both covariances of the target's training images."""
        found = class_gaussians(session.train.features, session.train.labels)
        whole = whitening(session.train.features.double() - found["centre"])
        return self.restore({**found, "all_axes": whole})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(relative_mahalanobis, "relative Mahalanobis", tensors)


@dataclass
class MahalanobisPP:
    """The Mahalanobis distance of features scaled to length 1."""

    def fit(self, session: DetectorSession) -> nn.Module:
        """Means and covariance of the target's training images, scaled."""
        return self.restore(class_gaussians(unit(session.train.features.double()), session.train.labels))

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(mahalanobis_pp, "Mahalanobis++", tensors)


@dataclass
class KNN:
    """The distance to the k-th nearest training image."""

    k: Annotated[int, Field(ge=1, description="which neighbour")] = 50
    share: Annotated[
        float, Field(gt=0, le=1, description="k is at most this share of the training images; a larger detects less")
    ] = 0.01
    standard_audit: ClassVar[float] = 70

    def fit(self, session: DetectorSession) -> nn.Module:
        """Every training image is kept."""
        import torch

        bank = unit(session.train.features.double())
        place = max(1, min(self.k, int(self.share * len(bank) + 1e-9)))
        return self.restore({"bank": bank, "place": torch.tensor(place)})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(nearest, f"kNN (k = {int(tensors['place'])})", tensors)
