"""All detectors of the comparison under one interface: equation 5 with three heads, and those of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import DetectorSession, FittedDetector, NamedDetector, Observed
from transferkit.model import SourceHead
from transferkit_interference.material import Material, Seen, some
from transferkit_interference.refit import LinearMap, fold, ridge_map
from transferkit_interference.score import interference_score

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession

Head = Literal["refitted", "swapped", "separate"]
Reduction = Literal["sum", "max"]
ROWS = 4096
TITLES: dict[Head, str] = {
    "refitted": "refitted source head",
    "swapped": "swapped source head",
    "separate": "separate source model",
}


@dataclass(frozen=True)
class Detector:
    """A score of images: the larger, the more interference. `passes`: forward passes per image, M^t's included."""

    name: str
    passes: int
    score: Eq5 | ByPlugin
    settings: Mapping[str, Any]
    """The options of `interference` that have it written."""


@dataclass(frozen=True)
class Eq5:
    """Equation 5 with one head: reads one of the two models' features."""

    model: Head
    reduction: Reduction
    head: SourceHead
    lingering: Tensor

    def __call__(self, seen: Seen) -> NDArray[np.float64]:
        """(n,) scores, in single precision as in use."""
        scores = [interference_score(part, self.lingering, self.reduction).double() for part in self._logits(seen)]
        return torch.cat(scores).numpy()

    def named(self, seen: Seen) -> NDArray[np.int64]:
        """(n,) the lingering class with the largest logit, as a source class id; -1 without any."""
        ids = self.lingering
        if not len(ids):
            return np.full(len(seen), -1, dtype=np.int64)
        return torch.cat([ids[part[:, ids].argmax(dim=1)] for part in self._logits(seen)]).numpy()

    def _logits(self, seen: Seen) -> Iterator[Tensor]:
        """(n, K_s), so many images at a time."""
        return map(self.head.logits, torch.split(seen.source if self.model == "separate" else seen.target, ROWS))


def fit_map(material: Material, seed: int, limit: int, ridge: float | None) -> LinearMap:
    """The map from M^t's to M^s's features on the fitting half and the target's training images, without labels."""
    images = some(material.source_ids, material.fit, max(2, limit - len(material.train)), seed)
    few = some(material.train_ids, np.ones(len(material.train), dtype=bool), limit // 2, seed)
    both = [material.source.at(images), material.train.at(few)]
    return ridge_map(torch.cat([one.target for one in both]), torch.cat([one.source for one in both]), ridge)


def eq5_detectors(material: Material, refitted: LinearMap) -> dict[tuple[Head, Reduction], Eq5]:
    """{(head, reduction): score} of the three heads, with this map behind the refitted one."""
    heads: dict[Head, SourceHead] = {
        "refitted": fold(refitted, material.head),
        "swapped": material.head,
        "separate": material.head,
    }
    return {
        (name, how): Eq5(name, how, head, torch.from_numpy(material.memories.lingering))
        for name, head in heads.items()
        for how in get_args(Reduction)
    }


@dataclass(frozen=True)
class ByPlugin:
    """The score of a plugin's detector: in double precision, or `in_use` as it is written."""

    fitted: FittedDetector
    own: SourceHead
    in_use: bool = False
    model: Literal["detector"] = "detector"
    reduction: Literal["none"] = "none"

    @property
    def lingering(self) -> Tensor:
        """The classes that it watches."""
        return torch.tensor(self.fitted.watched, dtype=torch.int64)

    def __call__(self, seen: Seen) -> NDArray[np.float64]:
        """(n,) scores."""
        return self.fitted(_observed(self.own, seen), in_use=self.in_use)[0]

    def named(self, seen: Seen) -> NDArray[np.int64]:
        """(n,) the source class that it names; -1 where it names none."""
        return self.fitted(_observed(self.own, seen), in_use=self.in_use)[1]


def observed(material: Material, seen: Seen) -> Observed:
    """What a plugin's detector is given of these images."""
    return _observed(material.own, seen)


def _observed(own: SourceHead, seen: Seen) -> Observed:
    return Observed(
        features=seen.target,
        logits=own.logits(seen.target.double()),
        taps=seen.taps,
        labels=torch.from_numpy(seen.labels),
        source_features=seen.source,
    )


def detector_session(session: AnalysisSession, material: Material) -> DetectorSession:
    """What plugins are fitted on: the fitting half of the source images, and the classes chosen on it."""
    return DetectorSession(
        model=session.model("target"),
        head=material.own,
        source_head=material.head,
        train=observed(material, material.train),
        source=observed(material, material.source.at(material.fit)),
        lingering=torch.from_numpy(material.memories.lingering),
        seed=session.seed,
        clean=observed(material, material.clean.at(material.aside)) if material.aside.any() else None,
    )


def all_detectors(
    material: Material,
    ours: dict[tuple[Head, Reduction], Eq5],
    fitted: Mapping[NamedDetector, FittedDetector],
    deployed: NamedDetector | None,
) -> list[Detector]:
    """Ours first, then those of plugins, as they were fitted; the one that is written is as in use."""
    return [
        *(
            Detector(
                f"{TITLES[name]}, {how}",
                2 if name == "separate" else 1,
                one,
                {"deploy": None, "head": name, "reduction": how},
            )
            for (name, how), one in ours.items()
        ),
        *(
            Detector(
                one.title,
                1,
                ByPlugin(one, material.own, in_use=named is deployed),
                {"deploy": {"use": named.plugin.component.name, **named.given}, "detect_p": None},
            )
            for named, one in fitted.items()
        ),
    ]
