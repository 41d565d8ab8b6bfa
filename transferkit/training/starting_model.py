"""The model a stage starts from: built, given its head, and kept as a frozen reference if a plugin asks for one."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from transferkit import head_init
from transferkit.data.samples import Samples
from transferkit.data.sources import labelled_classes
from transferkit.errors import InputError
from transferkit.hookspecs import REFERENCE
from transferkit.model import SourceHead, TransferModel, build, reference_of
from transferkit.training.stage_plan import StagePlan


def starting_model(plan: StagePlan, classes: list[str]) -> tuple[TransferModel, SourceHead | None]:
    """The model with a new head for these classes, and the head it had: none when it starts from scratch."""
    spec = plan.stage.model or plan.recipe.model
    if plan.start is not None:
        spec = spec.model_copy(update={"name": f"local-dir:{plan.start}", "weights": None})
        return build(spec, weights="pretrained", source_classes=None, classes=classes)
    if plan.stage.start == "scratch":
        model, _ = build(spec, weights="scratch", source_classes=None, classes=classes)
        return model, None
    weights = Path(spec.weights) if spec.weights else "pretrained"
    return build(spec, weights=weights, source_classes=None, classes=classes, say=plan.display.line)  # type: ignore[arg-type]


def initialise_head(
    plan: StagePlan, model: TransferModel, source_head: SourceHead | None, samples: Samples, accelerator: Accelerator
) -> None:
    """Fill the new head as `head_init` says."""
    how = plan.stage.head_init
    if how == "source" and source_head is not None:
        every = labelled_classes(plan.stage.dataset, plan.recipe.datasets)
        model.set_head(head_init.rows_of(source_head, model.classes, every))
    if how != "ridge":
        head_init.initialise_head(model, how)
        return
    features, labels = _features(plan, model, samples, accelerator)
    head_init.initialise_head(model, how, features, labels)


@torch.no_grad()
def _features(
    plan: StagePlan, model: TransferModel, samples: Samples, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Features (n, d) and labels (n,) of all training images, through the evaluation transform."""
    features, labels = [], []
    model.eval()
    with plan.display.task(len(samples), "features for the ridge head") as bar:
        for images, batch_labels in samples.evaluation_batches(plan.stage.batch_size, device=accelerator.device):
            features.append(model(images).features.float().cpu())
            labels.append(batch_labels.cpu())
            bar.advance(len(batch_labels))
    return torch.cat(features), torch.cat(labels)


def reference_model(
    plan: StagePlan, model: TransferModel, source_head: SourceHead | None, accelerator: Accelerator
) -> TransferModel | None:
    """The frozen model the stage starts from, only if some plugin asks for it."""
    asked = {hook: plan.plugins.requests(hook) & REFERENCE for hook in ("penalty", "anchors")}
    sessions = any("session" in plan.plugins.requests(hook) for hook in ("setup", "streams"))
    if source_head is None:
        if any(asked.values()):
            raise InputError(
                f'stage "{plan.stage.name}" starts from scratch, but one of its regularizers compares with the model '
                "it starts from; remove the regularizer or start from pretrained weights"
            )
        return None
    if not any(asked.values()) and not sessions:
        return None
    reference = reference_of(model, source_head).to(accelerator.device)
    # no gradient flows through it, so its layout is free: on a CPU convolutions are faster in this one
    return reference.to(memory_format=torch.channels_last) if accelerator.device.type == "cpu" else reference
