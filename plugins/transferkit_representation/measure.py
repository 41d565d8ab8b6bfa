"""What the analyzer measures: which images and layers, the passes, and their outcome as tensors worth keeping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit_representation.collect import POOLED, Collected, Layer, Plan, collect
from transferkit_representation.full import FullCKA
from transferkit_representation.probes import held_out, stratified_folds
from transferkit_representation.similarity import MinibatchCKA
from transferkit_representation.spectra import apart, from_covariance

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_representation.analyzer import Representation

Tensors = dict[str, Tensor]
ROLES = ("source", "target")
ROUNDING = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Looked:
    """One data set as it was looked at; tensors are named `KIND.ROLE.LAYER`."""

    data: str
    split: str
    classes: list[str]
    planted: bool | None
    """Whether a corruption changes any of the images; None where none is set up."""
    available: int
    tensors: Tensors

    @property
    def labels(self) -> Tensor:
        """(n,) int64."""
        return self.tensors["labels"]


def layers_of(session: AnalysisSession, names: Sequence[str] | None, gaps: list[str]) -> dict[str, list[str]]:
    """{role: its layers}, tapped; the pooled features come last. Raises InputError for layers a model lacks."""
    found = {}
    for role in ROLES:
        if session.has(role):
            found[role] = [*_tapped(session, role, names, gaps), POOLED]
    return found


def _tapped(session: AnalysisSession, role: str, names: Sequence[str] | None, gaps: list[str]) -> list[str]:
    model = session.model(role)
    if names is None:
        try:
            names = model.default_taps()
        except InputError as error:
            gaps.append(f"Only the pooled features of the {role} model were looked at: {error}.")
            return []
    chosen = [name for name in dict.fromkeys(names) if name != POOLED]
    try:
        model.tap(chosen)
    except InputError as error:
        raise InputError(f"representation looks at the layers of {session.describe(role)}: {error}") from None
    return chosen


def main_data(session: AnalysisSession) -> str:
    """The data set the analysis names, under its own name so that labels need no source class; else the target's."""
    return session.dataset("source") if session.has_data("source") else "target"


def look(
    session: AnalysisSession, options: Representation, data: str, layers: Mapping[str, list[str]], *, compare: bool
) -> Looked:
    """Ranks and probes of all layers on a data set, with `compare` CKA too; from the cache where they are known."""
    split = options.split or (session.overlay_split() if data == "target" else None)
    samples = {role: session.samples(data, split, role=role) for role in layers}
    any_of = next(iter(samples.values()))
    facts = {
        "what": "representation",
        "models": {role: session.digest(role) for role in layers},
        "layers": dict(layers),
        "images": session.data_digest(data, any_of.split),
        "classes": any_of.classes,
        "seed": session.seed,
        "most": options.images,
        "batch_size": options.batch_size,
        "view": options.view,
        "folds": options.folds,
        "cka": options.estimator if compare else None,
        "device": session.device.type,
    }
    chosen = session.rng("representation", "images").permutation(len(any_of))[: options.images]
    planted = any_of.planted
    plan = Plan(
        models={role: (session.model(role), names) for role, names in layers.items()},
        samples=samples,
        chosen=chosen,
        folds=stratified_folds(torch.from_numpy(any_of.labels[chosen]), options.folds),
        batch_size=options.batch_size,
        view=options.view,
        device=session.device,
    )
    tensors = session.cached(facts, lambda: _measure(session, options, plan, any_of.name, compare))
    return Looked(
        data=any_of.name,
        split=any_of.split,
        classes=list(any_of.classes),
        planted=any(mask[chosen].any() for mask in planted.values()) if planted else None,
        available=len(any_of),
        tensors=tensors,
    )


def _measure(session: AnalysisSession, options: Representation, plan: Plan, name: str, compare: bool) -> Tensors:
    both = "both models" if len(plan.models) == 2 else "the model"
    similar = _estimator(options, len(plan.chosen)) if compare else None
    collected = collect(session, plan, similar, f"layers of {both} on {name}")
    result: Tensors = {"labels": collected.labels, "compared": torch.tensor(collected.compared)}
    result["passes"] = torch.tensor(collected.passes)
    result |= _similarity(collected)
    with session.progress(sum(map(len, collected.layers.values())), f"ranks and probes on {name}") as bar:
        for role, found in collected.layers.items():
            for index, layer in enumerate(found):
                where = f"{role}.{index}"
                result |= _layer(layer, collected.labels, plan, where)
                layer.rows.clear()
                bar.advance(1)
    return result


def _estimator(options: Representation, images: int) -> MinibatchCKA | FullCKA | None:
    if images < 4:
        return None
    if options.estimator == "unbiased-minibatch":
        return MinibatchCKA()
    return FullCKA(images, options.memory, options.estimator)


def _similarity(collected: Collected) -> Tensors:
    if collected.similar is None or not collected.compared:
        return {}
    return dict(zip(("cka.cross", "cka.source", "cka.target"), collected.similar.terms(), strict=True))


def _layer(layer: Layer, labels: Tensor, plan: Plan, where: str) -> Tensors:
    rows = torch.cat(layer.rows)
    spectrum = torch.full((1,), torch.nan, dtype=torch.float64)
    correct = torch.full((len(rows),), -1, dtype=torch.int8)
    lam = torch.nan
    if bool(rows.isfinite().all()):
        spectrum = _spectrum(rows, layer)
        if can_be_probed(labels, plan.folds):
            classes = len(next(iter(plan.samples.values())).classes)
            probe = held_out(rows, labels, plan.folds, classes, layer.sums)
            correct, lam = probe.correct.to(torch.int8), probe.lam
    count = len(rows) if layer.sums is None else len(rows) * layer.positions
    return {
        f"spectrum.{where}": spectrum,
        f"size.{where}": torch.tensor([count, rows.shape[1]]),
        f"correct.{where}": correct,
        f"lambda.{where}": torch.tensor(lam, dtype=torch.float64),
    }


def can_be_probed(labels: Tensor, folds: Tensor) -> bool:
    """Whether there is something to tell apart, and in every fold something to be tried on."""
    return len(set(labels.tolist())) > 1 and len(set(folds.tolist())) > 1


def _spectrum(rows: Tensor, layer: Layer) -> Tensor:
    """Singular values of the centred rows, or of all positions in the view `tokens`."""
    if layer.sums is not None:
        return from_covariance(layer.sums.total().scatter(), ROUNDING * (layer.squares / layer.positions) ** 0.5)
    centred = apart(rows)
    scatter = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    return from_covariance(scatter, ROUNDING * float(rows.double().norm()))
