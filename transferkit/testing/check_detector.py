"""The promises of `fit`, `restore` and a detector's module, on a made-up session."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transferkit.analysis.detector_session import DetectorSession, Observed
from transferkit.analysis.detectors import FittedDetector, NamedDetector
from transferkit.data.randomness import numpy_rng
from transferkit.deploy.guarded import GuardedByPlugin
from transferkit.errors import InputError
from transferkit.model.detector import DetectorModule, Verdict
from transferkit.model.weights import plain
from transferkit.model.wrapper import TransferModel
from transferkit.plugins.contained import told
from transferkit.testing.subject import Hook
from transferkit.testing.tiny import tiny_images, tiny_labels, tiny_model, tiny_source_head
from transferkit.words.kinds import type_of

TRAIN, SOURCE, CLEAN, LINGERING = 48, 60, 24, (1, 3)
CLOSE = 1e-4
BATCH = 5


def tiny_detector_session(model: TransferModel | None = None) -> DetectorSession:
    """What `fit` gets: made-up images of a tiny model, whose layers tapped so far are among what they show."""
    model = (model if model is not None else tiny_model()).eval()
    head, source_head = model.source_head(), tiny_source_head(model.num_features)
    readings = {name: model.reading(name) for name in model.tap_names}

    def observed(n: int, seed: int, classes: int) -> Observed:
        with torch.no_grad():
            found = model(tiny_images(n, seed))
        noise = numpy_rng("tiny detector", seed).standard_normal((n, model.num_features))
        return Observed(
            features=found.features,
            logits=head.logits(found.features.double()),
            taps={name: reading.pooled(found.taps[name]) for name, reading in readings.items()},
            labels=tiny_labels(n, classes),
            source_features=found.features + 0.1 * torch.from_numpy(noise).float(),
        )

    return DetectorSession(
        model=model,
        head=head,
        source_head=source_head,
        train=observed(TRAIN, 1, len(head.classes)),
        source=observed(SOURCE, 2, len(source_head.classes)),
        lingering=torch.tensor(LINGERING),
        seed=0,
        clean=observed(CLEAN, 4, len(head.classes)),
    )


def check_fit(hook: Hook) -> None:
    """Scores finite, (n,), the same alone as in a batch and again; a graph and tensors that give them too."""
    name = hook.subject.name
    if not callable(getattr(hook.subject.plugin.instance, "restore", None)):
        raise AssertionError(f"{name} has fit and no restore(tensors), without which no model folder can be opened")
    named = NamedDetector(hook.subject.plugin, {}, {})
    model = tiny_model(name=hook.subject.session.model.architecture)
    model.tap(named.layers(model))
    session = tiny_detector_session(model)
    fitted = _fitted(hook, named, session)
    again = _fitted(hook, named, session)
    if not _equal(fitted.module.state_dict(), again.module.state_dict()):
        raise hook.broken("finds other tensors for the same session; draw from session.rng(…)")
    guarded = _guarded(model, fitted)
    images = tiny_images(BATCH, 3)
    found = _answer(hook, guarded, images)
    _check_scores(hook, fitted, session, guarded, images, found)
    _check_restored(hook, named, fitted, model, images, found)
    _check_graph(hook, guarded, images)


def _fitted(hook: Hook, named: NamedDetector, session: DetectorSession) -> FittedDetector:
    lent = {"train.features": session.train.features, "source.features": session.source.features}
    value = hook(lent, session=session)
    if not isinstance(value, nn.Module):
        raise hook.broken(f"must return a module, not {type_of(value)}")
    try:
        return named.fit(session)
    except InputError as error:
        raise AssertionError(str(error)) from error


def _guarded(model: TransferModel, fitted: FittedDetector) -> GuardedByPlugin:
    return GuardedByPlugin(model, DetectorModule(copy.deepcopy(fitted.module), fitted.watched), [*fitted.layers])


@torch.no_grad()
def _answer(hook: Hook, guarded: GuardedByPlugin, images: Tensor) -> Verdict:
    try:
        _, found = guarded.answer(images)
    except Exception as error:
        raise hook.broken(f"gives a module that fails on {len(images)} images: {told(error)}") from error
    return found


def _check_scores(
    hook: Hook,
    fitted: FittedDetector,
    session: DetectorSession,
    guarded: GuardedByPlugin,
    images: Tensor,
    found: Verdict,
) -> None:
    if found.score.shape != (len(images),):
        raise hook.broken(f"gives a module with scores {list(found.score.shape)} of {len(images)} images")
    if not bool(found.score.isfinite().all()):
        raise hook.broken("gives a module whose scores are not finite")
    classes = len(session.source_classes)
    if bool(((found.source_class < -1) | (found.source_class >= classes)).any()):
        raise hook.broken(f"gives a module that names other classes than -1 to {classes - 1}")
    if not torch.equal(found.score, _answer(hook, guarded, images).score):
        raise hook.broken("gives a module with another score for the same images; it must be a function of them")
    single = torch.cat([_answer(hook, guarded, images[at : at + 1]).score for at in range(len(images))])
    if not _near(single, found.score):
        raise hook.broken("gives a module whose score of an image depends on the others of its batch")
    try:
        exact, _ = fitted(session.source)
    except Exception as error:
        raise hook.broken(
            f"gives a module that fails in double precision: {told(error)}; compute in the dtype that is given"
        ) from error
    if not _near(torch.from_numpy(exact), torch.from_numpy(fitted(session.source, in_use=True)[0])):
        raise hook.broken("gives a module whose scores in single precision are not those in double precision")


def _check_restored(
    hook: Hook, named: NamedDetector, fitted: FittedDetector, model: TransferModel, images: Tensor, found: Verdict
) -> None:
    """Through safetensors and into another instance, as a model folder does."""
    where, tensors = f"{hook.subject.name}.restore", plain(fitted.module.state_dict())
    path = Path(hook.subject.session.out) / "detector.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    if tensors:
        save_file(tensors, path)
        tensors = load_file(path)
    other = named.plugin.component.create(_options(named.plugin.instance))
    try:
        module = other.restore(tensors)
        module.load_state_dict(tensors)
    except Exception as error:
        raise AssertionError(
            f"{where} raises {told(error)}: it gets the tensors of the state_dict of the module that fit gave, and "
            "returns a module that has them"
        ) from error
    restored = FittedDetector(fitted.plugin, {}, module, fitted.watched, fitted.layers, module)
    if not torch.equal(_answer(hook, _guarded(model, restored), images).score, found.score):
        raise AssertionError(f"{where} gives a module with other scores; what it needs beside options must be tensors")


def _options(instance: Any) -> Mapping[str, Any]:
    fields = dataclasses.fields(instance) if dataclasses.is_dataclass(instance) else ()
    return {one.name: getattr(instance, one.name) for one in fields if one.init}


def _check_graph(hook: Hook, guarded: GuardedByPlugin, images: Tensor) -> None:
    """torch.export for any batch, which ONNX is made from."""
    batch = torch.export.Dim("batch", min=1, max=64)
    try:
        with torch.no_grad():
            program = torch.export.export(guarded, (images[:2],), dynamic_shapes=({0: batch},), strict=False).module()
            for n in (1, len(images)):
                _, score, source_class = program(images[:n])
                eager = guarded(images[:n])
                if not _near(score, eager.score) or not torch.equal(source_class, eager.source_class):
                    raise hook.broken(f"gives a module whose exported graph scores {n} images otherwise")
    except AssertionError:
        raise
    except Exception as error:
        raise hook.broken(
            f"gives a module that torch.export cannot trace for any batch size: {told(error)}; use plain tensor "
            "operations (no cdist, no kthvalue, no branch on a value)"
        ) from error


def _near(one: Tensor, other: Tensor) -> bool:
    scale = max(1.0, float(other.abs().max()))
    return bool(((one.double() - other.double()).abs() <= CLOSE * scale).all())


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
