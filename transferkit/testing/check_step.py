"""The promises of `parameters`, `loss`, `gradients` and `project`: what a plugin does to the training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from transferkit.data.randomness import seeded
from transferkit.errors import InputError
from transferkit.testing.subject import Hook, Subject, unchanged
from transferkit.testing.tiny import TARGET_CLASSES, tiny_images, tiny_labels
from transferkit.words.kinds import type_of

BATCH = 8
LR = 0.01


def check_parameters(subject: Subject) -> None:
    """A module of the plugin's own, the same for the same key; it is kept as `subject.own`."""
    hook = subject.hook("parameters")
    if hook is None:
        return
    first, again = _made(hook), _made(hook)
    if any(not torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items()):
        raise hook.broken("starts with other values for the same key; draw from torch's generator or session.rng only")
    subject.own = first


def _made(hook: Hook) -> nn.Module:
    session = hook.subject.session
    with seeded("check", "parameters"):  # it may draw from torch's generator, which a run keys
        module = hook.invoke({"model": session.model, "session": session})
    if not isinstance(module, nn.Module):
        raise hook.broken(f"must return a torch.nn.Module, not {type_of(module)}")
    lent = {id(p) for part in (session.model, session.reference) if part is not None for p in part.parameters()}
    if any(id(parameter) in lent for parameter in module.parameters()):
        raise hook.broken("returns parameters of the model or the reference; give copies of them")
    return module


def check_loss(hook: Hook) -> None:
    """One finite number for each image, with a finite gradient, for labels that are classes or shares of them."""
    labels = tiny_labels(BATCH)
    for given in (labels, one_hot(labels, len(TARGET_CLASSES)).float().roll(1, 0) / 2 + 0.5 / len(TARGET_CLASSES)):
        value, logits = _losses(hook, given)
        if not torch.equal(value, _losses(hook, given)[0]):
            raise hook.broken("gives other losses for the same input; it must be a function of it")
        (gradient,) = torch.autograd.grad(value.sum(), logits, allow_unused=True)
        if gradient is None or not gradient.isfinite().all() or not gradient.abs().max() > 0:
            what = "not finite" if gradient is not None and not gradient.isfinite().all() else "zero"
            raise AssertionError(f"{hook.where}: the gradient of the logits is {what}, so nothing would be learnt")
    try:
        _losses(hook, labels[:1], refusals=(InputError, ValueError))
    except (InputError, ValueError) as error:
        if not str(error).strip():
            raise hook.broken("refuses a batch of one image without saying why") from error


def _losses(hook: Hook, labels: Tensor, refusals: tuple[type[Exception], ...] = ()) -> tuple[Tensor, Tensor]:
    session, size = hook.subject.session, len(labels)
    with torch.no_grad():
        output = session.model.eval()(tiny_images(size))
    logits, features = output.logits.requires_grad_(), output.features.requires_grad_()
    counts = torch.bincount(torch.as_tensor(session.train_samples.labels), minlength=len(TARGET_CLASSES))
    offer = {
        "logits": logits, "features": features, "labels": labels, "ids": [f"{i}.png" for i in range(size)],
        "groups": tiny_labels(size) * 2, "class_counts": counts, "own": hook.subject.own,
        "step": 1, "epoch": 0, "progress": 0.25,
    }  # fmt: skip
    lent = {name: value for name, value in offer.items() if isinstance(value, Tensor)}
    with unchanged(hook.where, tensors=lent, model=session.model, reference=session.reference):
        value = hook.invoke(offer, refusals=refusals)
    if not isinstance(value, Tensor) or tuple(value.shape) != (size,) or not value.is_floating_point():
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type_of(value)}"
        raise hook.broken(f"returns {given} for {size} images; one number for each is needed, so do not average")
    if not value.isfinite().all():
        raise hook.broken(f"gives losses that are not finite for labels of shape {tuple(labels.shape)}")
    return value, logits


def check_gradients(hook: Hook) -> None:
    """{name: tensor} for names that it was given, of their shapes and finite; or nothing."""
    session = hook.subject.session
    weights = {name: weight.detach() for name, weight in session.model.named_weights().items()}
    gradients = _gradients(hook.subject)
    given: dict[str, Any] = {
        "gradients": gradients, "parameters": {name: weights[name] for name in gradients}, "model": session.model,
        "reference": session.reference, "step": 1, "epoch": 0, "progress": 0.25,
    }  # fmt: skip
    _require(hook, hook(_lent(gradients=gradients), **given), gradients)


def check_project(hook: Hook) -> None:
    """The same before training, where there are no gradients yet, and after a step."""
    session = hook.subject.session
    weights = {name: weight.detach() for name, weight in session.model.named_weights().items()}
    common: dict[str, Any] = {"parameters": weights, "model": session.model, "reference": session.reference, "lr": LR}
    _require(hook, hook(previous=weights, gradients={}, step=0, **common), weights)
    gradients = _gradients(hook.subject)
    previous = {name: weight + LR * gradients.get(name, torch.zeros_like(weight)) for name, weight in weights.items()}
    lent = _lent(gradients=gradients, previous=previous)
    _require(hook, hook(lent, previous=previous, gradients=gradients, step=1, **common), weights)


def _gradients(subject: Subject) -> dict[str, Tensor]:
    """Those of a cross-entropy, by name."""
    model = subject.session.model.eval()
    weights = model.named_weights()
    loss = torch.nn.functional.cross_entropy(model(tiny_images(BATCH)).logits, tiny_labels(BATCH))
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(weights, found, strict=True) if gradient is not None}


def _lent(**named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f'{what}["{name}"]': tensor for what, tensors in named.items() for name, tensor in tensors.items()}


def _require(hook: Hook, value: Any, places: Mapping[str, Tensor]) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise hook.broken(f"must return {{name: tensor}} or nothing, not {type_of(value)}")
    for name, new in value.items():
        if name not in places:
            raise hook.broken(f'returns a value for "{name}", which it was not given')
        if not isinstance(new, Tensor) or new.shape != places[name].shape:
            given = f"of shape {tuple(new.shape)}" if isinstance(new, Tensor) else f"{type_of(new)}"
            raise hook.broken(f"returns a value {given} for {name}; {tuple(places[name].shape)} is needed")
        if not new.isfinite().all():
            raise hook.broken(f"returns a value for {name} that is not finite")
