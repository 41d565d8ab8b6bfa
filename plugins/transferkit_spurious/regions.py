"""What the models make of changed images: patches occluded one by one, and interventions on a region."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import AnalysisSession
from transferkit_spurious.findings import REGION, Effect, Findings, Patches, Subject, against_baseline, average
from transferkit_spurious.interventions import Numbers, intervene_region, patches, region_box
from transferkit_spurious.options import Options

ON_IMAGES = ("occlude", "shift", "permute")
BATCH = 32


def measure_images(session: AnalysisSession, options: Options, models: list[Subject]) -> Findings:
    """All probes of all models on the same validation images."""
    split = session.overlay_split()
    samples = session.samples("target", split)
    count = min(options.images, len(samples))
    chosen = np.sort(session.rng("spurious", "images").permutation(len(samples))[:count])
    images, labels = samples.batch(chosen, np.zeros_like(chosen))
    classes = labels.numpy()
    found = Findings(models, count, split, classes=len(np.unique(classes)))
    height, width = images.shape[2:]
    boxes = patches(options.grid, height, width)
    rows, region = min(options.grid, height), region_box(options.region or (0, 0, 1, 1), height, width)
    changes = ON_IMAGES if options.region else ()
    moved: dict[tuple[str, str], Numbers] = {}
    work = len(models) * (1 + len(boxes) + len(changes))
    with session.progress(work, "spurious: changed images") as bar, torch.no_grad():
        for subject in models:
            before = _answers(session, subject, images, labels)
            found.loss[subject.name] = average(before[0], classes).within(0)
            bar.advance(1)
            gaps = []
            for box in boxes:
                after = _answers(session, subject, intervene_region(images, box, "occlude"), labels)
                gaps.append([after[0] - before[0], np.abs(after[1] - before[1])])
                bar.advance(1)
            found.patches[subject.name] = _patches(np.array(gaps), classes, rows)
            for how in changes:
                changed = intervene_region(images, region, how, session.rng("spurious", how))
                after = _answers(session, subject, changed, labels)
                moved[subject.name, how] = np.abs(after[1] - before[1])
                found.effects[subject.name, REGION, how] = _effect(
                    after[0] - before[0], moved[subject.name, how], classes
                )
                bar.advance(1)
    found.excess = against_baseline(models, moved, classes)
    return found


def _patches(gaps: Numbers, classes: NDArray[np.int64], rows: int) -> Patches:
    """(patches, 2, n) changes of loss and probability by patch and image.

    The largest of many noisy means is too large: the patch is chosen by every other image, and measured on the rest.
    """
    change, moved = gaps.mean(axis=2).T.reshape(2, rows, -1)
    most = int(gaps[:, 1, ::2].mean(axis=1).argmax())
    return Patches(
        change, moved, divmod(most, change.shape[1]), _effect(gaps[most, 0, 1::2], gaps[most, 1, 1::2], classes[1::2])
    )


def _effect(change: Numbers, moved: Numbers, classes: NDArray[np.int64]) -> Effect:
    """(n,) changes of the loss, and how far the probability moved, which lies within 0..1."""
    return Effect(average(change, classes), average(moved, classes).within(0, 1))


def _answers(session: AnalysisSession, subject: Subject, images: Tensor, labels: Tensor) -> tuple[Numbers, Numbers]:
    """Cross entropy (n,) and the label's probability (n,)."""
    losses = []
    for start in range(0, len(images), BATCH):
        logits = subject.model(images[start : start + BATCH].to(session.device)).logits.double().cpu()
        losses.append(-logits.log_softmax(dim=1).gather(1, labels[start : start + BATCH, None]).squeeze(1).numpy())
    loss = np.concatenate(losses)
    return loss, np.exp(-loss)
