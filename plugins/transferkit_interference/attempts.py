"""What more than one linear map would give, and at what cost: inner layers, a non-linear map, two scores together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.errors import InputError
from transferkit_interference.detectors import observed
from transferkit_interference.evaluation import Row, Scores
from transferkit_interference.material import Material, Seen, pooled_layers, some
from transferkit_interference.ranks import auroc, fpr_at_tpr, share_above
from transferkit_interference.refit import kernel_map, ridge_map
from transferkit_interference.threshold import conformal_threshold

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession, FittedDetector
    from transferkit_interference.options import Options

LARGEST = 1e4
SEPARATE = "separate source model, sum"
DISTANCE = "knn"
LIMIT = 4000  # images a kernel map keeps
Map = Callable[[Tensor], Tensor]


class Tried(NamedTuple):
    """What an attempt detects, as `Row` has it, and its multiply-adds per image over those of the plain model."""

    attempt: str
    cost: float
    auroc_presence: float
    fpr95_presence: float
    tpr_presence: float
    specificity: float


def attempts(
    session: AnalysisSession,
    options: Options,
    material: Material,
    rows: list[Row],
    fitted: Sequence[FittedDetector],
) -> list[Tried]:
    """Every attempt and, to compare, the separate source model."""
    trial = Trial(material, *_inputs(session, material, options), _operations(session), fitted)
    layers = [name for name in trial.inputs["fit"] if name != "features"]
    one = trial.linear("one linear map of the features: the refitted head", ["features"])
    distance = trial.listed(DISTANCE)
    if distance is not None:
        trial.both("the same and kNN on the features, added", one, distance)
    trial.kernel("a kernel map of the features", ["features"])
    if layers:
        last = layers[-1]
        inner = trial.linear(f"one linear map of the layer {last}", [last])
        trial.linear("one linear map of features and inner layers", ["features", *layers])
        trial.both(f"two linear maps, of the features and of {last}, added", one, inner)
        deep = trial.kernel("a kernel map of features and inner layers", ["features", *layers])
        trial.both(f"that kernel map and the linear map of {last}, added", deep, inner)
    row = next(row for row in rows if row.detector.name == SEPARATE)
    separate = Tried(SEPARATE, 2.0, row.presence.value, row.fpr95, row.tpr.value, row.specificity.value)
    return [*(_measured(attempt, options) for attempt in trial.made), separate]


@dataclass(frozen=True)
class Attempt:
    """Scores by group, and the multiply-adds of one image beyond the plain model's, as a share of those."""

    name: str
    extra: float
    scores: Scores


@dataclass
class Trial:
    """Makes attempts from the same inputs."""

    material: Material
    inputs: dict[str, dict[str, Tensor]]
    """{group: {layer: (n, channels)}}; what is fitted on is the group `fit`."""
    outputs: Tensor
    """(n, d_s) features of M^s of what is fitted on."""
    operations: float
    fitted: Sequence[FittedDetector]
    made: list[Attempt] = field(default_factory=list)

    def linear(self, title: str, names: list[str]) -> Attempt:
        """A ridge map folded into the source head."""
        x = _joined(self.inputs["fit"], names)
        fitted = ridge_map(x, self.outputs)
        work = x.shape[1] * len(self.material.head.classes)
        return self._add(title, work, names, lambda x: x.double() @ fitted.weight.T + fitted.bias)

    def kernel(self, title: str, names: list[str]) -> Attempt:
        """A kernel map folded into the source head: distances to every fitting image, then their classes."""
        x = _joined(self.inputs["fit"], names)
        fitted, _ = kernel_map(x, self.outputs)
        return self._add(title, len(x) * (x.shape[1] + len(self.material.head.classes)), names, fitted)

    def listed(self, name: str) -> Attempt | None:
        """The detector of that name, where it is in the table; not a row of its own."""
        found = next((one for one in self.fitted if one.name == name), None)
        if found is None:
            return None
        size = sum(tensor.numel() for tensor in found.module.state_dict().values())
        seen = {
            group: Seen(images["features"], images["features"], np.zeros(0, np.int64))
            for group, images in self.inputs.items()
        }
        scores = {group: found(observed(self.material, one))[0] for group, one in seen.items()}
        return Attempt(found.title, size / self.operations, scores)

    def both(self, title: str, one: Attempt, other: Attempt) -> None:
        """Two scores added, each divided by its spread over the fitting images."""
        parts = [
            {group: scores / (attempt.scores["fit"].std() or 1.0) for group, scores in attempt.scores.items()}
            for attempt in (one, other)
        ]
        scores = {group: parts[0][group] + parts[1][group] for group in self.inputs}
        self.made.append(Attempt(title, one.extra + other.extra, scores))

    def _add(self, title: str, work: float, names: list[str], to_source: Map) -> Attempt:
        scores = {group: self._log_odds(to_source(_joined(of, names))) for group, of in self.inputs.items()}
        self.made.append(Attempt(title, work / self.operations, scores))
        return self.made[-1]

    def _log_odds(self, features: Tensor) -> NDArray[np.float64]:
        """log(p / (1 − p)) of the sum p over the lingering classes: the order of the score, made to be added up."""
        head = self.material.head
        logits = features @ head.weight.double().T + (0 if head.bias is None else head.bias.double())
        watched = torch.zeros(logits.shape[1], dtype=torch.bool)
        watched[torch.from_numpy(self.material.memories.lingering)] = True
        inside, outside = (logits[:, chosen].logsumexp(dim=1) for chosen in (watched, ~watched))
        return np.asarray((inside - outside).nan_to_num(posinf=LARGEST, neginf=-LARGEST).numpy())


def _measured(attempt: Attempt, options: Options) -> Tried:
    scores = attempt.scores
    threshold = conformal_threshold(torch.from_numpy(scores["calibration"]), options.alpha, options.confidence)
    return Tried(
        attempt=attempt.name,
        cost=1 + attempt.extra,
        auroc_presence=auroc(scores["lingering"], scores["clean"]),
        fpr95_presence=fpr_at_tpr(scores["lingering"], scores["clean"]),
        tpr_presence=share_above(scores["lingering"], threshold),
        specificity=auroc(scores["lingering"], scores["shared"]),
    )


def _joined(images: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([images[name] for name in names], dim=1)


def _inputs(
    session: AnalysisSession, material: Material, options: Options
) -> tuple[dict[str, dict[str, Tensor]], Tensor]:
    """Features, and the inner layers where timm knows them, of all images from one more pass each; see `Trial`."""
    source = _layers(session, material.source, "source", None)
    train = _layers(session, material.train, "target", "train")
    clean = _layers(session, material.clean, "target", material.clean_split)
    images = some(material.source_ids, material.fit, min(LIMIT, options.fit_images), session.seed)
    few = some(material.train_ids, np.ones(len(material.train), dtype=bool), LIMIT, session.seed)
    rows, also = torch.from_numpy(images), torch.from_numpy(few)
    groups = {
        "lingering": (source, material.lingering),
        "shared": (source, material.shared),
        "calibration": (clean, material.calibrate),
        "clean": (clean, material.judge),
    }
    inputs = {
        group: {name: values[torch.from_numpy(mask)] for name, values in of.items()}
        for group, (of, mask) in groups.items()
    }
    inputs["fit"] = {name: torch.cat([source[name][rows], train[name][also]]) for name in source}
    return inputs, torch.cat([material.source.source[rows], material.train.source[also]])


def _layers(session: AnalysisSession, known: Seen, data: str, split: str | None) -> dict[str, Tensor]:
    """{layer: (n, channels)} averaged over positions, `features` first; the others in the order of the network."""
    try:
        names = session.model("target").default_taps()
    except InputError:
        names = []
    return {"features": known.target, **pooled_layers(session, data, split, names)}


def _operations(session: AnalysisSession) -> float:
    """Multiply-adds of the target model for one image."""
    from torch.utils.flop_counter import FlopCounterMode

    model = session.model("target")
    size = model.preprocessing.input_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, model.preprocessing.in_chans, *size, device=session.device))
    return max(1.0, float(counter.get_total_flops()) / 2)
