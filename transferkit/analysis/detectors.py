"""Detectors by name: the module that comes of fitting one, and its scores of any images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from transferkit.analysis.detector_session import DetectorSession, Observed
from transferkit.analysis.detector_use import detector_use
from transferkit.errors import InputError
from transferkit.model.detector import probe_scores, verdict
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.plugins.contained import told
from transferkit.plugins.files import known
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.recipe.uses import PluginUse
from transferkit.words.kinds import type_of

ROWS = 1024  # images that a module sees at a time


@dataclass(frozen=True, eq=False)
class FittedDetector:
    """A detector with its module: what it watches, its scores, and what a model folder says of it."""

    plugin: Plugin
    options: Mapping[str, Any]
    module: nn.Module
    """In single precision, as in use."""
    watched: list[int]
    """Indices among all source classes."""
    layers: Mapping[str, int]
    """Inner layers that it looks at, with their numbers of channels."""
    _exact: nn.Module = field(repr=False)

    @property
    def name(self) -> str:
        """The name that a recipe knows it by."""
        return self.plugin.name

    @property
    def title(self) -> str:
        """The name in tables: what its module says, if it does, or its registered name."""
        return str(getattr(self.module, "title", "") or self.name)

    @torch.no_grad()
    def __call__(self, seen: Observed, *, in_use: bool = False) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Scores (n,) and source classes (n,), −1 for none; in double precision, or as `in_use`."""
        module, dtype = (self.module, torch.float32) if in_use else (self._exact, torch.float64)
        indices = torch.tensor(self.watched, dtype=torch.int64)
        scores, named = [torch.empty(0, dtype=torch.float64)], [torch.empty(0, dtype=torch.int64)]
        for start in range(0, len(seen), ROWS):
            part = slice(start, start + ROWS)
            taps = {name: seen.taps[name][part].to(dtype) for name in self.layers}
            answer = module(seen.features[part].to(dtype), seen.logits[part].to(dtype), taps)
            found = verdict(answer, indices)
            scores.append(found.score.double())
            named.append(found.source_class)
        return torch.cat(scores).numpy(), torch.cat(named).numpy()

    def facts(self, head: SourceHead) -> dict[str, Any]:
        """The fields of a `DetectorRecord`, for a model with that head."""
        owner = self.plugin.component.owner
        return {
            "plugin": self.plugin.component.name,
            "distribution": owner.distribution,
            "version": owner.version,
            "options": dict(self.options),
            "layers": dict(self.layers),
            "tensors": len(self.module.state_dict()),
            "probe": probe_scores(self.module, head, self.layers),
        }


@dataclass(frozen=True, eq=False)
class NamedDetector:
    """An installed detector with its options."""

    plugin: Plugin
    options: Mapping[str, Any]
    """All of them, with their values."""
    given: Mapping[str, Any]
    """Those that were given."""

    @classmethod
    def of(cls, given: PluginUse | Mapping[str, Any] | str) -> NamedDetector:
        """From its name, or `{use: NAME, …options}`. Raises InputError."""
        use = detector_use(given)
        component = known().get("detector", use.use)
        options = component.validate(use.options).model_dump(mode="json", warnings=False)
        return cls(
            Plugin("detector", use.instance_name, component.create(use.options), component), options, use.options
        )

    @property
    def name(self) -> str:
        """The name that a recipe knows it by."""
        return self.plugin.name

    @property
    def needs_clean(self) -> bool:
        """Whether it is fitted on clean images too."""
        return self.plugin.component.declared.needs_clean

    def layers(self, model: TransferModel) -> list[str]:
        """The inner layers that it wants to see."""
        return [name for call in RunPlugins([self.plugin]).calls("taps") for name in call(SimpleNamespace(model=model))]

    def fit(self, session: DetectorSession) -> FittedDetector:
        """Raises InputError where the plugin's `fit` fails, and for a module that cannot be used."""
        (call,) = RunPlugins([self.plugin]).calls("fit")
        layers = self.layers(session.model)
        parts = {
            name: seen.with_layers(layers)
            for name in ("train", "source", "clean")
            if (seen := getattr(session, name)) is not None
        }
        session = replace(session, **parts)
        try:
            module = call(SimpleNamespace(session=session))
        except Exception as error:
            raise self._refused(f"its fit raises {told(error)}") from error
        if not isinstance(module, nn.Module):
            raise self._refused(f"its fit gives {type_of(module)} instead of a module")
        widths = {name: session.train.taps[name].shape[1] for name in layers}
        exact = copy.deepcopy(module).double().eval().requires_grad_(False)
        plain = module.float().eval().requires_grad_(False)
        watched = self._watched(getattr(module, "watches", ()), session.source_classes)
        fitted = FittedDetector(self.plugin, self.options, plain, watched, widths, exact)
        try:
            probe_scores(plain, session.head, widths)
        except Exception as error:
            raise self._refused(f"its module cannot be used: {told(error)}") from error
        return fitted

    def _watched(self, watches: Sequence[str | int], classes: Sequence[str]) -> list[int]:
        found = []
        for one in watches:
            places = [one] if isinstance(one, int) else [at for at, name in enumerate(classes) if name == one]
            if len(places) != 1 or not 0 <= places[0] < len(classes):
                many = f"{len(places)} source classes are called so" if places else "there is no such source class"
                raise self._refused(f"it watches {one!r}, and {many}; `watches` has names of classes, or their indices")
            found += places
        return found

    def _refused(self, text: str) -> InputError:
        return InputError(f"{self.plugin}: {text}")


def standard_detectors() -> list[NamedDetector]:
    """The installed detectors that declare a place in the table, `standard_audit`, in its order."""
    registry = known()
    found = [
        (place, name)
        for name in registry.names("detector")
        if (place := registry.get("detector", name).declared.standard_audit) is not None
    ]
    return [NamedDetector.of(name) for _, name in sorted(found)]
