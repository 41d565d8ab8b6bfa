"""What the models make of changed images: patches occluded one by one, and interventions on a region."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit_spurious.intervals import Interval, Resampled
from transferkit_spurious.interventions import intervene_region, patches, region_box
from transferkit_spurious.models import Subject

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.analysis import AnalysisSession
    from transferkit_spurious.analyzer import Spurious

Numbers = NDArray[np.floating[Any]]
ON_IMAGES = ("occlude", "shift", "permute")
BATCH = 32


@dataclass
class Pictures:
    """Everything measured on images."""

    images: int
    split: str
    loss: dict[str, Interval] = field(default_factory=dict)
    patches: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    """{model: (change of the loss, |change of the label's probability|), each (rows, columns)}."""
    effects: dict[tuple[str, str], tuple[Interval, Interval]] = field(default_factory=dict)
    """{(model, intervention on the region): (change of the loss, |change of the label's probability|)}."""
    excess: dict[tuple[str, str], Interval] = field(default_factory=dict)


def measure(session: AnalysisSession, options: Spurious, subjects: list[Subject]) -> Pictures:
    """All probes of all models on the same validation images."""
    import torch

    split = session.overlay_split()
    samples = session.samples("target", split)
    count = min(options.images, len(samples))
    chosen = np.sort(session.rng("spurious", "images").permutation(len(samples))[:count])
    images, labels = samples.batch(chosen, np.zeros_like(chosen))
    boot = Resampled(count, options.bootstrap, session.rng("spurious", "bootstrap"))
    found = Pictures(count, split)
    height, width = images.shape[2:]
    boxes = patches(options.grid, height, width)
    rows = min(options.grid, height)
    moved: dict[tuple[str, str], Numbers] = {}
    passes = 1 + len(boxes) + (len(ON_IMAGES) if options.region else 0)
    with session.progress(len(subjects) * passes, "spurious: changed images") as bar, torch.no_grad():
        for subject in subjects:
            before = _answers(session, subject, images, labels)
            found.loss[subject.name] = boot.mean(before[0])
            bar.advance(1)
            gaps = []
            for box in boxes:
                after = _answers(session, subject, intervene_region(images, box, "occlude"), labels)
                gaps.append([float((after[0] - before[0]).mean()), float(np.abs(after[1] - before[1]).mean())])
                bar.advance(1)
            change, shift = np.array(gaps).T.reshape(2, rows, -1)
            found.patches[subject.name] = (change, shift)
            for how in ON_IMAGES if options.region else ():
                box = region_box(options.region or (0, 0, 1, 1), height, width)
                changed = intervene_region(images, box, how, session.rng("spurious", how))
                after = _answers(session, subject, changed, labels)
                moved[subject.name, how] = np.abs(after[1] - before[1])
                effect = boot.mean(after[0] - before[0]), boot.mean(moved[subject.name, how])
                found.effects[subject.name, how] = effect
                bar.advance(1)
    baseline = next((one.name for one in subjects if one.role == "baseline"), None)
    for name, how in moved:
        if baseline is not None and name != baseline:
            found.excess[name, how] = boot.mean(moved[name, how] - moved[baseline, how])
    return found


def _answers(session: AnalysisSession, subject: Subject, images: Tensor, labels: Tensor) -> tuple[Numbers, Numbers]:
    """Cross entropy (n,) and the label's probability (n,)."""
    losses = []
    for start in range(0, len(images), BATCH):
        logits = subject.model(images[start : start + BATCH].to(session.device)).logits.double().cpu()
        losses.append(-logits.log_softmax(dim=1).gather(1, labels[start : start + BATCH, None]).squeeze(1).numpy())
    loss = np.concatenate(losses)
    return loss, np.exp(-loss)
