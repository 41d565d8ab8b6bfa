"""The importance of a stage's reference weights: its Fisher information on a data set, kept by content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from transferkit.data import numpy_rng
from transferkit.errors import InputError
from transferkit.model import model_digest
from transferkit_ewc.fisher import Named, diagonal_fisher

if TYPE_CHECKING:
    from transferkit import Session
    from transferkit.data import Samples
    from transferkit.model import TransferModel
    from transferkit_ewc.penalty import EWC

BATCH = 64
MANY_CLASSES = 50  # gradients per image beyond which the exact expectation is worth a warning
VERSION = 1  # of the procedure: older cached results are not used


def measured(session: Session, options: EWC) -> dict[str, Tensor]:
    """{parameter's name: importance, float32} of the reference, on the CPU. From the cache where it is known.

    Raises InputError where there is no reference or its classes are not those of the labels.
    """
    reference = session.reference
    if reference is None:
        raise InputError("ewc: a stage that starts from scratch has no weights to hold on to")
    samples = _chosen(session, options)
    facts = {
        "what": "ewc importance",
        "version": VERSION,
        "model": model_digest(reference),
        "classes": reference.classes,
        "fisher": options.fisher,
        "head": options.head,
        "seed": session.seed,
        "data": samples.fingerprint(),
    }
    found = session.cached(facts, lambda: _measure(session, reference, samples, options))
    if not any(bool(tensor.any()) for tensor in found.values()):
        session.warn("ewc: the importance of every weight is zero, so it holds nothing; look at the source model")
    _warn_of_instability(session, options, found)
    return found


def _chosen(session: Session, options: EWC) -> Samples:
    """The images: a keyed subset of the source's training images, the same in every stage of a run."""
    samples = session.train_samples if options.dataset is None else session.open_samples(options.dataset, "train")
    order = numpy_rng(session.seed, "ewc", "images", len(samples)).permutation(len(samples))
    return samples.subset(np.sort(order[: options.images]))


def _measure(session: Session, reference: TransferModel, samples: Samples, options: EWC) -> Named:
    values = _parameters(reference, options.head)
    classes = reference.head.out_features
    label_of = _label_map(samples.classes, reference.classes) if options.fisher == "empirical" else None
    draws = torch.from_numpy(numpy_rng(session.seed, "ewc", "labels").random(len(samples)))
    if options.fisher == "exact" and classes > MANY_CLASSES:
        session.warn(
            f"ewc: the exact Fisher information takes {classes} backward passes for each of {len(samples)} images; "
            "`fisher: sampled` estimates the same with one"
        )

    def forward(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        named = {f"net.{name}": tensor for name, tensor in parameters.items()}
        logits: Tensor = functional_call(reference, named, (images,)).logits
        return logits

    totals: Named = {}
    done = 0
    with session.progress(len(samples), f"EWC: {options.fisher} Fisher information") as bar:
        for images, given in samples.evaluation_batches(BATCH, session.device):
            labels = None
            if label_of is not None:
                labels = label_of.to(given.device)[given]
            elif options.fisher == "sampled":
                labels = _drawn(forward(values, images), draws[done : done + len(images)])
            for name, part in diagonal_fisher(forward, values, images, labels).items():
                share = part.cpu() * (len(images) / len(samples))
                totals[name] = totals[name] + share if name in totals else share
            done += len(images)
            bar.advance(len(images))
    bad = [name for name, tensor in totals.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise InputError(
            f"ewc: the Fisher information of {bad[0]} is not finite; the source model's weights are broken"
        )
    return {name: tensor.float().contiguous() for name, tensor in totals.items()}


def _parameters(reference: TransferModel, head: bool) -> dict[str, Tensor]:
    named = dict(reference.named_backbone_parameters())
    if head:
        named |= dict(reference.named_head_parameters())
    return {name: parameter.detach() for name, parameter in named.items()}


def _label_map(names: list[str], known: list[str]) -> Tensor:
    """(classes of the data set,) -> the source head's class of the same name."""
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f'ewc: {len(missing)} classes of the data set, "{missing[0]}" among them, are none of the source model\'s '
            "classes, so its labels say nothing to it; name its own training data, or use `fisher: sampled`"
        )
    return torch.tensor([known.index(name) for name in names])


@torch.no_grad()
def _drawn(logits: Tensor, draws: Tensor) -> Tensor:
    """(n,) classes drawn with the model's own probabilities; `draws` are uniform on [0, 1)."""
    cumulative = logits.double().cpu().softmax(dim=1).cumsum(dim=1)
    drawn = torch.searchsorted(cumulative, draws[:, None] * cumulative[:, -1:], right=True).squeeze(1)
    return drawn.clamp(max=logits.shape[1] - 1).to(logits.device)


def _warn_of_instability(session: Session, options: EWC, found: Named) -> None:
    """Heavy-ball SGD on ½ λ F (w − w⁰)² is stable below lr = 2 (1 + m)/(λ F): the most important weight decides."""
    optimizer = session.stage.optimizer
    if not {"sgd", "momentum"} & set(optimizer.name.lower().split("_")):
        return
    for use in session.stage.regularizers:
        weight = getattr(use.weight, "to", use.weight)
        if use.use != "ewc" or use.options.get("fisher", "sampled") != options.fisher or not isinstance(weight, float):
            continue
        curvature = weight * max(float(tensor.max()) for tensor in found.values())
        limit = 2 * (1 + optimizer.momentum) / curvature if curvature > 0 else math.inf
        if optimizer.lr > limit:
            session.warn(
                f"ewc: at weight {weight:g} the most important weight is only stable below a learning rate of "
                f"{limit:.3g}, and this stage's is {optimizer.lr:g}: lower the weight or the rate"
            )
