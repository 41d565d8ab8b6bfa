"""What more than one linear map would give, and at what cost: inner layers, a non-linear map, two scores together."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.errors import InputError
from transferkit.model import TransferModel
from transferkit.report import Table
from transferkit_interference.evaluation import Groups, Row
from transferkit_interference.generic import Fitted, nearest
from transferkit_interference.kernel import kernel_map
from transferkit_interference.material import Material
from transferkit_interference.ranks import auroc, fpr_at_tpr, share_above
from transferkit_interference.refit import ridge_map
from transferkit_interference.splits import some
from transferkit_interference.threshold import conformal_threshold

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.data.samples import Samples
    from transferkit_interference.analyzer import InterferenceDetector

LARGEST = 1e4
SEPARATE = "separate source model, sum"
LIMIT = 4000  # images a kernel map keeps
BATCH = 16
GROUPS = ("lingering", "shared", "calibration", "clean")
Scores = dict[str, NDArray[np.float64]]
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Inputs:
    """The same images by inner layer as by feature: for fitting, and by group."""

    fit: dict[str, Tensor]
    outputs: Tensor
    groups: dict[str, dict[str, Tensor]]


def attempts(
    session: AnalysisSession, options: InterferenceDetector, material: Material, found: Groups, rows: list[Row]
) -> Table:
    """One row per attempt: multiply-adds per image over those of the plain model, and what it detects."""
    trial = Trial(material, found, _inputs(session, material, options), _operations(session))
    layers = [name for name in trial.inputs.fit if name != "features"]
    one = trial.linear("one linear map of the features: the refitted head", ["features"])
    trial.both("the same and kNN on the features, added", one, trial.neighbours(options.neighbours))
    trial.kernel("a kernel map of the features", ["features"])
    if layers:
        last = layers[-1]
        inner = trial.linear(f"one linear map of the layer {last}", [last])
        trial.linear("one linear map of features and inner layers", ["features", *layers])
        trial.both(f"two linear maps, of the features and of {last}, added", one, inner)
        deep = trial.kernel("a kernel map of features and inner layers", ["features", *layers])
        trial.both(f"that kernel map and the linear map of {last}, added", deep, inner)
    table = [_measured(attempt, options) for attempt in trial.made]
    table += [
        [row.detector.name, 2.0, row.presence.value, row.fpr95, row.tpr, row.specificity.value]
        for row in rows
        if row.detector.name == SEPARATE
    ]
    return Table(["attempt", "cost", "auroc_presence", "fpr95_presence", "tpr_presence", "specificity"], table)


@dataclass(frozen=True)
class Attempt:
    """Scores by group, and the multiply-adds of one image beyond the plain model's, as a share of those."""

    name: str
    extra: float
    scores: Scores
    fitting: NDArray[np.float64]
    """Scores of the images it was fitted on, for the scale."""


@dataclass
class Trial:
    """Makes attempts from the same inputs."""

    material: Material
    found: Groups
    inputs: Inputs
    operations: float
    made: list[Attempt] = field(default_factory=list)

    def linear(self, title: str, names: list[str]) -> Attempt:
        """A ridge map folded into the source head."""
        fitted = ridge_map(_joined(self.inputs.fit, names), self.inputs.outputs)
        work = self._width(names) * len(self.material.head.classes)
        return self._add(title, work, names, lambda x: x.double() @ fitted.weight.T + fitted.bias)

    def kernel(self, title: str, names: list[str]) -> Attempt:
        """A kernel map folded into the source head: distances to every fitting image, then their classes."""
        fitted = kernel_map(_joined(self.inputs.fit, names), self.inputs.outputs)
        work = len(self.inputs.outputs) * (self._width(names) + len(self.material.head.classes))
        return self._add(title, work, names, fitted)

    def neighbours(self, k: int) -> Attempt:
        """The distance to the k-th nearest training image; not a row of its own."""
        own, train = self.material.own, self.material.train
        fitted = Fitted(train.target, torch.from_numpy(train.labels), own.weight, torch.zeros(len(own.weight)))
        score = nearest(fitted, max(1, min(k, len(train) // 100)))
        scores = {name: score(self.inputs.groups[name]["features"]).numpy() for name in GROUPS}
        work = train.target.numel() / self.operations
        return Attempt("kNN", work, scores, score(self.inputs.fit["features"]).numpy())

    def both(self, title: str, one: Attempt, other: Attempt) -> Attempt:
        """Two scores added, each divided by its spread over the fitting images."""
        scales = [part.fitting.std() or 1.0 for part in (one, other)]
        scores = {name: one.scores[name] / scales[0] + other.scores[name] / scales[1] for name in GROUPS}
        fitting = one.fitting / scales[0] + other.fitting / scales[1]
        self.made.append(Attempt(title, one.extra + other.extra, scores, fitting))
        return self.made[-1]

    def _add(self, title: str, work: float, names: list[str], to_source: Map) -> Attempt:
        def score(images: dict[str, Tensor]) -> NDArray[np.float64]:
            return self._log_odds(to_source(_joined(images, names)))

        scores = {name: score(self.inputs.groups[name]) for name in GROUPS}
        self.made.append(Attempt(title, work / self.operations, scores, score(self.inputs.fit)))
        return self.made[-1]

    def _width(self, names: list[str]) -> int:
        return sum(self.inputs.fit[name].shape[1] for name in names)

    def _log_odds(self, features: Tensor) -> NDArray[np.float64]:
        """log(p / (1 − p)) of the sum p over the lingering classes: the order of the score, made to be added up."""
        head = self.material.head
        logits = features @ head.weight.double().T + (0 if head.bias is None else head.bias.double())
        watched = torch.zeros(logits.shape[1], dtype=torch.bool)
        watched[torch.from_numpy(self.material.half.lingering)] = True
        inside, outside = (logits[:, chosen].logsumexp(dim=1) for chosen in (watched, ~watched))
        return np.asarray((inside - outside).nan_to_num(posinf=LARGEST, neginf=-LARGEST).numpy())


def _measured(attempt: Attempt, options: InterferenceDetector) -> list[object]:
    scores = attempt.scores
    threshold = conformal_threshold(torch.from_numpy(scores["calibration"]), options.alpha, options.confidence)
    return [
        attempt.name,
        1 + attempt.extra,
        auroc(scores["lingering"], scores["clean"]),
        fpr_at_tpr(scores["lingering"], scores["clean"]),
        share_above(scores["lingering"], threshold) if math.isfinite(threshold) else math.nan,
        auroc(scores["lingering"], scores["shared"]),
    ]


def _joined(images: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([images[name] for name in names], dim=1)


def _inputs(session: AnalysisSession, material: Material, options: InterferenceDetector) -> Inputs:
    """Features, and the inner layers where timm knows them, of all images from one more pass each."""
    source = _layers(session, material, "source", None)
    train, clean = (_layers(session, material, "target", split) for split in ("train", material.clean_split))
    images = some(material.source_ids, material.fit, min(LIMIT, options.fit_images), session.seed)
    few = some(material.train_ids, np.ones(len(material.train), dtype=bool), LIMIT, session.seed)
    rows, also = torch.from_numpy(images), torch.from_numpy(few)
    masks = {
        "lingering": (source, material.lingering),
        "shared": (source, material.shared),
        "calibration": (clean, material.calibrate),
        "clean": (clean, material.judge),
    }
    return Inputs(
        fit={name: torch.cat([source[name][rows], train[name][also]]) for name in source},
        outputs=torch.cat([material.source.source[rows], material.train.source[also]]),
        groups={
            group: {name: values[torch.from_numpy(mask)] for name, values in of.items()}
            for group, (of, mask) in masks.items()
        },
    )


def _layers(session: AnalysisSession, material: Material, data: str, split: str | None) -> dict[str, Tensor]:
    """{layer: (n, channels)} averaged over positions, `features` among them; in the order of the network."""
    known = {("source", None): material.source, ("target", "train"): material.train}.get((data, split), material.clean)
    try:
        names = session.model("target").default_taps()
    except InputError:
        names = []
    facts = {
        "what": "pooled inner layers",
        "model": session.digest("target"),
        "images": session.data_digest(data, split),
        "layers": names,
        "device": session.device.type,
    }

    def compute() -> dict[str, Tensor]:
        model = copy.deepcopy(session.model("target"))
        model.tap(names)
        return _pass(session, model, session.samples(data, split))

    inner = session.cached(facts, compute) if names else {}
    return {"features": known.target, **{name: inner[name] for name in names}}


@torch.no_grad()
def _pass(session: AnalysisSession, model: TransferModel, samples: Samples) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {name: [] for name in model.tap_names}
    with session.progress(len(samples), f"inner layers of the target model on {len(samples)} images") as bar:
        for images, _ in samples.evaluation_batches(BATCH, session.device):
            for name, output in model(images).taps.items():
                found[name].append(pooled(output, model.tap_channels(name)).float().cpu())
            bar.advance(len(images))
    return {name: torch.cat(parts) for name, parts in found.items()}


def pooled(output: Tensor, channels: int | None) -> Tensor:
    """(n, channels): the mean over positions of maps (n, C, H, W) or (n, H, W, C), or of tokens (n, L, C)."""
    if output.dim() == 4:
        last = output.shape[1] != channels and output.shape[3] == channels
        return output.mean(dim=(1, 2) if last else (2, 3))
    return output.mean(dim=1) if output.dim() == 3 else output.flatten(1)


def _operations(session: AnalysisSession) -> float:
    """Multiply-adds of the target model for one image."""
    from torch.utils.flop_counter import FlopCounterMode

    model = session.model("target")
    size = model.preprocessing.input_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, model.preprocessing.in_chans, *size, device=session.device))
    return max(1.0, float(counter.get_total_flops()) / 2)
