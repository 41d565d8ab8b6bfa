"""The promises of `penalty` and `anchors`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit.model.wrapper import Output
from transferkit.testing.subject import Hook, Subject
from transferkit.testing.tiny import tiny_images, tiny_labels
from transferkit.training.anchors import Anchor
from transferkit.words.kinds import type_of

BATCH = 8
OF_REFERENCE = ("reference_features", "source_logits", "reference_taps")


def check_penalty(hook: Hook) -> None:
    """A scalar, finite, repeatable, with a finite gradient that is not zero; nothing is changed."""
    offer = _offer(hook.subject, BATCH)
    lent = {name: value for name, value in offer.items() if isinstance(value, Tensor)}
    for name in ("taps", "reference_taps"):
        lent |= {f'{name}["{layer}"]': tap for layer, tap in offer.get(name, {}).items()}
    terms, again = (_as_terms(hook, hook(lent, **offer)) for _ in range(2))
    _require_finite(hook, terms, "")
    for term, value in terms.items():
        if term not in again or not torch.equal(value, again[term]):
            raise hook.broken(f"gives another value for the same input{_of(term)}; it must be a function of it")
    _check_gradient(hook, terms)
    _check_half(hook)
    _check_single(hook)


def _offer(subject: Subject, size: int, *, half: bool = False) -> dict[str, Any]:
    """What `penalty` may ask for, from one forward pass; features of half precision arrive as float32."""
    session = subject.session
    images, labels = tiny_images(size), tiny_labels(size)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=half)
    # a batch of one has no batch statistics, and running ones are not to be moved
    session.model.eval()
    with autocast:
        features, logits, taps = _floats(session.model(images))
    offer = {
        "images": images, "labels": labels, "ids": [f"{i}.png" for i in range(size)], "groups": labels * 2,
        "own": subject.own, "model": session.model, "head": session.model.head, "features": features,
        "logits": logits, "taps": taps, "reference": session.reference, "step": 1, "epoch": 0, "progress": 0.25,
    }  # fmt: skip
    if session.reference is not None:
        with torch.no_grad(), autocast:
            offer |= dict(zip(OF_REFERENCE, _floats(session.reference(images)), strict=True))
    return offer


def _floats(output: Output) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    taps = {name: tap.float() for name, tap in output.taps.items()}
    return output.features.float(), output.logits.float(), taps


def _as_terms(hook: Hook, value: Any) -> dict[str, Tensor]:
    """{term: scalar}; a single value is the term ""."""
    terms = dict(value) if isinstance(value, Mapping) else {"": value}
    if not terms:
        raise hook.broken("returns no term; return a scalar tensor or {term: scalar tensor}")
    for term, scalar in terms.items():
        if not isinstance(scalar, Tensor):
            raise hook.broken(f"returns {type_of(scalar)}{_of(term)}; a scalar tensor is needed")
        if scalar.ndim:
            raise hook.broken(f"returns a tensor of shape {tuple(scalar.shape)}{_of(term)}; a scalar is needed")
    return terms


def _of(term: str) -> str:
    return f" for the term {term}" if term else ""


def _require_finite(hook: Hook, terms: Mapping[str, Tensor], when: str) -> None:
    for term, value in terms.items():
        if not torch.isfinite(value.detach()):
            raise hook.broken(f"is {float(value.detach())}{_of(term)}{when}; it must be finite")


def _check_gradient(hook: Hook, terms: Mapping[str, Tensor]) -> None:
    names, parameters = zip(*hook.subject.session.model.named_parameters(), strict=True)
    total = torch.stack([value.float() for value in terms.values()]).sum()
    if not total.requires_grad:
        raise hook.broken("does not depend on the model: its value has no gradient")
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    found = {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
    for name, gradient in found.items():
        if not torch.isfinite(gradient).all():
            raise AssertionError(f"{hook.where}: the gradient of {name} is not finite")
    if not any(gradient.abs().max() > 0 for gradient in found.values()):
        raise AssertionError(f"{hook.where}: every gradient is zero, so it would change nothing; try other options")


def _check_half(hook: Hook) -> None:
    when = " on features that were computed in bfloat16"
    half = replace(hook, where=f"{hook.where}{when}")
    terms = _as_terms(hook, half.invoke(_offer(hook.subject, BATCH, half=True)))
    _require_finite(hook, terms, when)
    _check_gradient(half, terms)


def _check_single(hook: Hook) -> None:
    """One image: a finite value, or an InputError or ValueError that says what is needed."""
    when = " for a batch of one image"
    try:
        value = hook.invoke(_offer(hook.subject, 1), when, refusals=(InputError, ValueError))
    except (InputError, ValueError) as error:
        if not str(error).strip():
            raise hook.broken("refuses a batch of one image without saying why") from error
        return
    _require_finite(hook, _as_terms(hook, value), when)


def check_anchors(hook: Hook) -> None:
    """Anchors name parameters of the model and give finite targets and importances of their shapes."""
    session = hook.subject.session
    value = hook(model=session.model, head=session.model.head, reference=session.reference)
    found = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(item, Anchor) for item in found):
        raise hook.broken("must return a list of transferkit.Anchor")
    if not any(anchor.parameters for anchor in found):
        raise hook.broken("anchors no parameter, so it would change nothing; try other options")
    own = set(map(id, session.model.parameters()))
    for anchor in found:
        _check_anchor(hook, anchor, own)


def _check_anchor(hook: Hook, anchor: Anchor, own: set[int]) -> None:
    where, term = hook.where, _of(anchor.term)
    if any(id(parameter) not in own for parameter in anchor.parameters):
        raise AssertionError(f"{where} holds a tensor{term} that is no parameter of the model (a copy has no effect)")
    for what in ("targets", "importance"):
        tensors = getattr(anchor, what) or []
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise AssertionError(f"{where}: {what}{term} are not finite")
        shared = {tensor.data_ptr() for tensor in tensors} & {p.data_ptr() for p in anchor.parameters}
        if shared:
            raise AssertionError(f"{where}: {what}{term} share memory with the parameters and would move with them")
    if any(bool((tensor < 0).any()) for tensor in anchor.importance or []):
        raise AssertionError(f"{where}: an importance{term} is negative, which pushes weights away without limit")
    if not torch.isfinite(anchor.value()):
        raise AssertionError(f"{where}: the value{term} is not finite")
