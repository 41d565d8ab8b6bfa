"""What is to be unlearnt, found once: passes of the source model over target images, and over source images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from transferkit.analysis import image_threshold, prevalence, source_only
from transferkit.data import numpy_rng
from transferkit.errors import InputError
from transferkit.model import features_of
from transferkit_unlearn_source.features import active_features, source_features

if TYPE_CHECKING:
    from transferkit import Session
    from transferkit.data import Samples
    from transferkit.model import TransferModel
    from transferkit_unlearn_source.penalty import UnlearnSource


@torch.no_grad()
def found(session: Session, options: UnlearnSource) -> tuple[list[int], list[int]]:
    """(source-only classes, features of theirs that no target class has); the latter only for `form: features`.

    Raises InputError where the stage has no source model or the source's images do not fit it.
    """
    reference = session.reference
    if reference is None:
        raise InputError("unlearn_source: a stage that starts from scratch has no source to unlearn")
    features, labels = _features(session, reference, session.train_samples, "what the target images show")
    counts = prevalence(reference.head(features), options.k)
    classes = source_only(counts, image_threshold(options.v_lo, len(labels)))
    if not len(classes):
        session.warn(
            f"unlearn_source: every source class is among the {options.k} best of some training image, so none is "
            "source-only and there is nothing to unlearn; lower k or raise v_lo"
        )
    if options.form == "probability" or not len(classes):
        return classes.tolist(), []
    return classes.tolist(), _only_source(session, reference, options, classes, (features, labels))


def _only_source(
    session: Session, reference: TransferModel, options: UnlearnSource, classes: Tensor, target: tuple[Tensor, Tensor]
) -> list[int]:
    features, labels = target
    threshold = float(features.mean()) if options.threshold is None else options.threshold
    of_target = active_features(features, labels, len(session.classes), threshold)
    samples = _source_images(session, reference, options, classes)
    seen, names = _features(session, reference, samples, "what source-only classes look like")
    own = active_features(seen, names, len(samples.classes), threshold)
    chosen = source_features(own, of_target)
    if not len(chosen):
        session.warn(
            f"unlearn_source: no feature is above {threshold:.3g} on all images of a source-only class and not on all "
            "images of a target class, so there is nothing to suppress; try another threshold or `form: probability`"
        )
    return chosen.tolist()


def _source_images(session: Session, reference: TransferModel, options: UnlearnSource, classes: Tensor) -> Samples:
    """Some training images of every source-only class; classes are matched by name."""
    assert options.dataset is not None
    samples = session.open_samples(options.dataset, "train")
    wanted = {reference.classes[index] for index in classes.tolist()}
    chosen = []
    for label, name in enumerate(samples.classes):
        if name in wanted:
            members = np.flatnonzero(samples.labels == label)
            chosen.append(numpy_rng(session.seed, "unlearn_source", name).permutation(members)[: options.images])
    if not chosen:
        raise InputError(
            f'unlearn_source: the data set "{options.dataset}" has none of the {len(wanted)} source-only classes of '
            "the source model; name its own training data, or use `form: probability`"
        )
    return samples.subset(np.sort(np.concatenate(chosen)))


def _features(session: Session, reference: TransferModel, samples: Samples, purpose: str) -> tuple[Tensor, Tensor]:
    text, batch_size = f"unlearn_source: {purpose}", session.stage.batch_size
    features, labels = features_of(reference, samples, session.progress, text, batch_size=batch_size)
    return features.to(session.device), labels.to(session.device)
