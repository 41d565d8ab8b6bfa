"""Streams and their loaders, and the way of a loaded batch to what the model sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from timm.data import Mixup
from torch import Tensor
from torch.nn.functional import one_hot, pad

from transferkit.data.batches import EvalLoader, TrainLoader
from transferkit.data.randomness import numpy_rng, seeded
from transferkit.data.samples import Samples
from transferkit.data.streams import Combined, Stream
from transferkit.data.tables import refuse_other_kind
from transferkit.errors import InputError
from transferkit.model.wrapper import TransferModel
from transferkit.plugins.hooks import RunPlugins
from transferkit.recipe import schema
from transferkit.system.cores import cores
from transferkit.training.lent import BEFORE, Lent
from transferkit.training.offers import BatchOffers
from transferkit.training.stage_plan import StagePlan
from transferkit.training.workspace import Workspace

if TYPE_CHECKING:
    from transferkit.data.batches import Batch
    from transferkit.training.session import TrainingSession


def open_streams(plugins: RunPlugins, workspace: Workspace) -> dict[str, Stream]:
    """The target stream first, then what the curriculum adds."""
    streams = {"target": Stream(workspace.train_samples)}
    for call in plugins.calls("streams"):
        given = dict(call(SimpleNamespace(session=Lent(workspace, BEFORE))))
        streams["target"] = given.pop("target", streams["target"])
        streams |= given
    target = streams["target"].samples
    for stream in streams.values():
        refuse_other_kind(target.source, target.name, stream.samples.source, stream.samples.name)
    return streams


def add_heads(model: TransferModel, streams: Mapping[str, Stream]) -> None:
    """A head for every stream that wants one of its own. Raises InputError where a shared head does not fit."""
    for name, stream in streams.items():
        if name != "target" and stream.head != "target":
            model.add_head(name, len(stream.classes), stream.initial)
        elif len(stream.classes) != len(model.classes):
            raise InputError(
                f'the stream "{name}" shares the target\'s head, but has {len(stream.classes)} classes instead of '
                f"{len(model.classes)}"
            )
    model.joint_heads = any(stream.head == "joint" for stream in streams.values())


def joint_labels(labels: Mapping[str, Tensor], model: TransferModel) -> dict[str, Tensor]:
    """Labels of all streams in one list of classes, the target's first: indices are shifted, soft labels padded."""
    sizes = {"target": len(model.classes)} | {name: int(model.heads[name].out_features) for name in model.heads}  # type: ignore[arg-type]
    total, before, found = sum(sizes.values()), 0, {}
    for name, size in sizes.items():
        if name in labels:
            given = labels[name]
            found[name] = pad(given, (before, total - before - size)) if given.ndim == 2 else given + before
        before += size
    return found


def train_loader(plan: StagePlan, streams: Mapping[str, Stream], accelerator: Accelerator) -> TrainLoader:
    """The training batches of all streams, mixed as the curriculum says."""
    stage = plan.stage
    calls = plan.plugins.calls("mix")
    if len(calls) > 1:
        names = " and ".join(call.plugin.name for call in calls)
        raise InputError(f"only one plugin can mix streams, but {names} both do")

    def mix(step: int, epoch: int, progress: float) -> Mapping[str, float]:
        shares: Mapping[str, float] = calls[0](SimpleNamespace(step=step, epoch=epoch, progress=progress))
        return shares

    return TrainLoader(
        {name: stream.samples for name, stream in streams.items()},
        seed=plan.seed,
        mix=mix if calls else None,
        partners={name: stream.partner for name, stream in streams.items() if stream.partner is not None},
        **_reading(stage, accelerator),
        weights=_draws(stage.balance, streams["target"].samples),
    )


def _draws(balance: str, samples: Samples) -> NDArray[np.float64] | None:
    """(n,) how often each sample is drawn: by the data set's weights, and so that classes or groups come equally often.

    None: each once.
    """
    if balance not in ("sampling", "groups"):
        return samples.weights
    kinds = samples.groups if balance == "groups" else samples.labels
    if samples.weights is None:
        return 1.0 / np.bincount(kinds)[kinds]
    sums = np.bincount(kinds, samples.weights)[kinds]
    return np.divide(samples.weights, sums, out=np.zeros_like(sums), where=sums > 0)


def eval_loader(plan: StagePlan, samples: Samples, accelerator: Accelerator) -> EvalLoader:
    """The batches of an evaluation, every sample once."""
    return EvalLoader(samples, **_reading(plan.stage, accelerator))


def early_loaders(plan: StagePlan, samples: Mapping[str, Samples], accelerator: Accelerator) -> dict[str, EvalLoader]:
    """What `evaluate_at` looks at: the same images every time, and of data sets made from one another the same ones."""
    stage, count = plan.stage, plan.stage.evaluate_images
    if not stage.evaluate_at:
        return {}
    loaders = {}
    for name, given in samples.items():
        if name == "test":
            continue  # never looked at while training
        if count is not None and count < len(given):
            rng = numpy_rng(plan.seed, "evaluate_images", len(given), count)
            given = given.subset(np.sort(rng.permutation(len(given))[:count]))
        loaders[name] = eval_loader(plan, given, accelerator)
    return loaders


def make_feature_transform(plugins: RunPlugins) -> Callable[[Tensor], Tensor] | None:
    """The plugins' `transform_features` one after the other; None without any."""
    calls = plugins.calls("transform_features")
    if not calls:
        return None

    def transform(features: Tensor) -> Tensor:
        for call in calls:
            features = call(SimpleNamespace(features=features))
        return features

    return transform


def _reading(stage: schema.Stage, accelerator: Accelerator) -> dict[str, Any]:
    """What all loaders of a stage have in common."""
    spare = min(4 if torch.cuda.is_available() else 2, max(0, cores() - 1))  # a core is left to the training itself
    return {
        "batch_size": stage.batch_size,
        "workers": spare if stage.workers is None else stage.workers,
        "rank": accelerator.process_index,
        "world": accelerator.num_processes,
        "pin_memory": accelerator.device.type == "cuda",
    }


def make_mixup(stage: schema.Stage, num_classes: int) -> Mixup | None:
    """timm's Mixup, if the recipe asks for it."""
    options = stage.mixup
    if options is None or (options.mixup == 0 and options.cutmix == 0):
        return None
    return Mixup(
        mixup_alpha=options.mixup,
        cutmix_alpha=options.cutmix,
        prob=options.probability,
        switch_prob=options.switch_probability,
        mode=options.mode,
        label_smoothing=0.0,  # the loss smooths, once
        num_classes=num_classes,
    )


def mixed(mixup: Mixup, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A batch through timm's Mixup, which pairs images and so needs an even number: an odd one out stays as it is."""
    even = len(labels) - len(labels) % 2
    new, soft = mixup(images[:even], labels[:even])
    if even < len(labels):
        rest = one_hot(labels[even:], soft.shape[1]).to(soft.dtype)
        new, soft = torch.cat([new, images[even:]]), torch.cat([soft, rest])
    return new, soft


def place(session: TrainingSession, batch: Batch) -> Combined:
    """Images and labels by stream. All that is random here is keyed by the step and the process."""
    images, labels = batch.on(session.device)
    if session.stage.channels_last:
        images = {name: x.contiguous(memory_format=torch.channels_last) for name, x in images.items()}
    state = session.state
    key = ("batch", state.step, state.batch, session.accelerator.process_index)
    if "target" in labels:  # a curriculum may leave the target out of a batch
        _transform(session, images, labels, key)
    given = Combined(images, labels)
    for call in session.combine:
        offer = BatchOffers(
            make_rng=partial(session.rng, *key, "combine"),
            images=given.images,
            labels=given.labels,
            step=state.step,
            epoch=state.epoch,
            progress=session.progress_made,
        )
        given = call(offer)
        if not isinstance(given, Combined):
            raise InputError(f"{call.plugin} returned a {type(given).__name__} from combine; return a Combined")
    if session.model.joint_heads:
        given = replace(given, labels=joint_labels(given.labels, session.model))
    return given


def _transform(
    session: TrainingSession, images: dict[str, Tensor], labels: dict[str, Tensor], key: tuple[str | int, ...]
) -> None:
    """The target's images through mixup and the plugins' `transform_batch`."""
    if session.mixup is not None and len(labels["target"]) > 1:
        with seeded(session.seed, session.stage.name, *key):
            images["target"], labels["target"] = mixed(session.mixup, images["target"], labels["target"])
    for index, call in enumerate(session.transform_batch):
        rng = partial(session.rng, *key, index)
        offers = BatchOffers(make_rng=rng, images=images["target"], labels=labels["target"])
        images["target"], labels["target"] = call(offers)
