"""The promises of `penalty` and `anchors`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transferkit.testing.guard import unchanged
from transferkit.testing.subject import Subject, invoke
from transferkit.testing.tiny import tiny_images, tiny_labels

if TYPE_CHECKING:
    from transferkit.model import Output
    from transferkit.training.anchors import Anchor

BATCH = 8


def check_penalty(subject: Subject) -> None:
    """A scalar, finite, repeatable, with a finite gradient that is not zero; nothing is changed."""
    call = subject.call("penalty")
    if call is None:
        return
    where = f"{subject.name}.penalty"
    offer = penalty_offer(subject, BATCH)
    with unchanged(where, tensors=lent(offer), model=subject.session.model, reference=subject.session.reference):
        terms = as_terms(where, invoke(where, call, offer))
        again = as_terms(where, invoke(where, call, offer))
    _require_finite(where, terms, "")
    for term, value in terms.items():
        if term not in again or not torch.equal(value, again[term]):
            raise AssertionError(
                f"{where} gives another value for the same input{_of(term)}; it must be a function of it"
            )
    _check_gradient(where, subject, terms)
    _check_half(where, subject)
    _check_single(where, subject)


def penalty_offer(subject: Subject, size: int, *, half: bool = False) -> SimpleNamespace:
    """What `penalty` may ask for, from one forward pass; features of half precision arrive as float32."""
    session = subject.session
    images, labels = tiny_images(size), tiny_labels(size)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=half)
    # a batch of one has no batch statistics, and running ones are not to be moved
    session.model.eval()
    with autocast:
        output = session.model(images)
    offer = SimpleNamespace(labels=labels, model=session.model, head=session.model.head, reference=session.reference)
    offer.features, offer.logits, offer.taps = _floats(output)
    if session.reference is not None:
        with torch.no_grad(), autocast:
            offer.reference_features, _, offer.reference_taps = _floats(session.reference(images))
    offer.step, offer.epoch, offer.progress = 1, 0, 0.25
    return offer


def _floats(output: Output) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    taps = {name: tap.float() for name, tap in output.taps.items()}
    return output.features.float(), output.logits.float(), taps


def lent(offer: SimpleNamespace) -> dict[str, Tensor]:
    """The tensors of an offer by name."""
    found = {name: value for name, value in vars(offer).items() if isinstance(value, Tensor)}
    for name in ("taps", "reference_taps"):
        found |= {f'{name}["{layer}"]': tap for layer, tap in getattr(offer, name, {}).items()}
    return found


def as_terms(where: str, value: Any) -> dict[str, Tensor]:
    """{term: scalar}; a single value is the term ""."""
    terms = dict(value) if isinstance(value, Mapping) else {"": value}
    if not terms:
        raise AssertionError(f"{where} returns no term; return a scalar tensor or {{term: scalar tensor}}")
    for term, scalar in terms.items():
        if not isinstance(scalar, Tensor):
            raise AssertionError(f"{where} returns a {type(scalar).__name__}{_of(term)}; a scalar tensor is needed")
        if scalar.ndim:
            raise AssertionError(
                f"{where} returns a tensor of shape {tuple(scalar.shape)}{_of(term)}; a scalar is needed"
            )
    return terms


def _of(term: str) -> str:
    return f" for the term {term}" if term else ""


def _require_finite(where: str, terms: Mapping[str, Tensor], when: str) -> None:
    for term, value in terms.items():
        if not torch.isfinite(value.detach()):
            raise AssertionError(f"{where} is {float(value.detach())}{_of(term)}{when}; it must be finite")


def _check_gradient(where: str, subject: Subject, terms: Mapping[str, Tensor]) -> None:
    names, parameters = zip(*subject.session.model.named_parameters(), strict=True)
    total = torch.stack([value.float() for value in terms.values()]).sum()
    if not total.requires_grad:
        raise AssertionError(f"{where} does not depend on the model: its value has no gradient")
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    found = {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
    for name, gradient in found.items():
        if not torch.isfinite(gradient).all():
            raise AssertionError(f"{where}: the gradient of {name} is not finite")
    if not any(gradient.abs().max() > 0 for gradient in found.values()):
        raise AssertionError(f"{where}: every gradient is zero, so it would change nothing; try other options")


def _check_half(where: str, subject: Subject) -> None:
    call = subject.call("penalty")
    assert call is not None
    when = " on features that were computed in bfloat16"
    offer = penalty_offer(subject, BATCH, half=True)
    terms = as_terms(where, invoke(f"{where}{when}", call, offer))
    _require_finite(where, terms, when)
    _check_gradient(f"{where}{when}", subject, terms)


def _check_single(where: str, subject: Subject) -> None:
    """One image: a finite value, or an InputError or ValueError that says what is needed."""
    from transferkit.errors import InputError

    call = subject.call("penalty")
    assert call is not None
    try:
        value = call(penalty_offer(subject, 1))
    except (InputError, ValueError) as error:
        if not str(error).strip():
            raise AssertionError(f"{where} refuses a batch of one image without saying why") from error
        return
    except Exception as error:
        raise AssertionError(f"{where} raises {type(error).__name__} for a batch of one image: {error}") from error
    _require_finite(where, as_terms(where, value), " for a batch of one image")


def check_anchors(subject: Subject) -> None:
    """Anchors name parameters of the model and give finite targets and importances of their shapes."""
    call = subject.call("anchors")
    if call is None:
        return
    session, where = subject.session, f"{subject.name}.anchors"
    offer = SimpleNamespace(model=session.model, head=session.model.head, reference=session.reference)
    with unchanged(where, model=session.model, reference=session.reference):
        found = invoke(where, call, offer)
    _check_each(where, subject, found)


def _check_each(where: str, subject: Subject, value: Any) -> None:
    from transferkit.training.anchors import Anchor

    found = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(item, Anchor) for item in found):
        raise AssertionError(f"{where} must return a list of transferkit.Anchor")
    if not any(anchor.parameters for anchor in found):
        raise AssertionError(f"{where} anchors no parameter, so it would change nothing; try other options")
    own = {id(parameter) for parameter in subject.session.model.parameters()}
    for anchor in found:
        _check_anchor(where, anchor, own)


def _check_anchor(where: str, anchor: Anchor, own: set[int]) -> None:
    term = _of(anchor.term)
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
