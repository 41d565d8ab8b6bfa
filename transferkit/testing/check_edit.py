"""The promises of `edit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from transferkit.errors import InputError, NonFiniteError
from transferkit.model.passes import features_of, outputs
from transferkit.model.wrapper import Output, TransferModel
from transferkit.testing.subject import Hook
from transferkit.testing.tiny import TinySession
from transferkit.training.edit_session import Values, checked, placed
from transferkit.words.kinds import reason, type_of


class TinyEditSession:
    """What `edit` may ask of its session, around a tiny model and a dozen images; checkpoints are two made-up ones."""

    def __init__(self, session: TinySession) -> None:
        self._session, self.source_head = session, session.source_head
        for name in ("stage", "seed", "device", "classes", "rng", "warn", "progress", "cached"):
            setattr(self, name, getattr(session, name))
        self.notes: list[str] = []

    def note(self, text: str = "", **numbers: float) -> None:
        """Keep the sentence; the numbers must be some."""
        self.notes.append(text)
        if not all(isinstance(value, int | float) for value in numbers.values()):
            raise TypeError(f"note takes numbers by name, not {numbers}")

    def samples(self, dataset: str, split: str) -> Any:
        """A dozen images, whatever the data set is called."""
        return self._session.open_samples(dataset, split)

    def features(self, dataset: str, split: str, values: Values | None = None) -> tuple[Tensor, Tensor]:
        """Features (n, d) and labels (n,)."""
        with placed(self._session.model, values or {}):
            return features_of(self._session.model, self.samples(dataset, split), self._session.progress, "")

    def outputs(
        self, dataset: str, split: str, values: Values | None = None, *, model: TransferModel | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Output]]:
        """(images, labels, outputs) of each batch."""
        used = model or self._session.model
        with placed(used, values or {}):
            yield from outputs(used, self.samples(dataset, split), self._session.progress, "")

    def score(self, values: Values | None = None) -> dict[str, float]:
        """`top1` and `loss` on the validation images."""
        samples = self._session.validation_samples
        with placed(self._session.model, values or {}):
            batches = list(outputs(self._session.model, samples, self._session.progress, ""))
        labels, logits = torch.cat([one for _, one, _ in batches]), torch.cat([out.logits for _, _, out in batches])
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return {"top1": float((logits.argmax(1) == labels).double().mean()), "loss": float(loss)}

    def checkpoints(self) -> dict[str, Callable[[], dict[str, Tensor]]]:
        """Two models a little off the present one."""
        return {f"step-{step:06d}": lambda step=step: self._moved(step) for step in (1, 2)}  # type: ignore[misc]

    def open(self, path: Any) -> dict[str, Tensor]:
        """A model a little off the present one, whatever the path is."""
        return self._moved(3)

    def _moved(self, step: int) -> dict[str, Tensor]:
        own = self._session.model.net.state_dict()
        return {name: one * (1 + 0.01 * step) if one.is_floating_point() else one.clone() for name, one in own.items()}


def check_edit(hook: Hook) -> None:
    """Tensors by names and of shapes that the model has, finite, the same for the same model; nothing is changed."""
    session = hook.subject.session
    found = [_asked(hook) for _ in range(2)]
    for name, value in found[0].items():
        if name not in found[1] or not torch.equal(value, found[1][name]):
            raise hook.broken(f"gives another value for {name} the second time; draw from session.rng(…) alone")
    own = session.model.net.state_dict()
    shared = {value.data_ptr() for value in own.values() if value.numel()}
    if any(value.data_ptr() in shared for value in found[0].values() if value.numel()):
        raise hook.broken("returns tensors of the model itself; return copies, which stay as they are")


def _asked(hook: Hook) -> dict[str, Tensor]:
    session = hook.subject.session
    offered = TinyEditSession(session)
    try:
        with torch.no_grad():
            value = hook(session=offered, model=session.model, reference=session.reference)
        if not isinstance(value, Mapping):
            raise hook.broken(f"must return {{parameter: new value}}, not {type_of(value)}")
        return checked(value, session.model, session.source_head)
    except (ValueError, NonFiniteError, InputError) as error:
        raise hook.broken(f"returns what cannot be put into the model: {reason(error)}") from error
