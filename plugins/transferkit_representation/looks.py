"""Looks at data sets: which images and layers, the passes, and their outcome as tensors worth keeping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit.report import attempt
from transferkit_representation.collect import POOLED, Layer, Plan, collect
from transferkit_representation.probes import held_out, stratified_folds
from transferkit_representation.similarity import FullCKA, MinibatchCKA
from transferkit_representation.spectra import apart, from_covariance, participation_without

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_representation.options import Options

Tensors = dict[str, Tensor]
ROUNDING = torch.finfo(torch.float32).eps
PARTS = 20  # of the classes, that are left out one at a time


@dataclass(frozen=True)
class Looked:
    """One data set as it was looked at; tensors are named `KIND.ROLE.LAYER`."""

    data: str
    split: str
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
    for role in filter(session.has, ("source", "target")):
        model = session.model(role)
        what = f"Only the pooled features of the {role} model were looked at"
        wanted = names if names is not None else attempt(gaps, what, model.default_taps) or ()
        chosen = [name for name in dict.fromkeys(wanted) if name != POOLED]
        try:
            model.tap(chosen)
        except InputError as error:
            raise InputError(f"representation looks at the layers of {session.describe(role)}: {error}") from None
        found[role] = [*chosen, POOLED]
    return found


def look(
    session: AnalysisSession, options: Options, data: str, layers: Mapping[str, list[str]], *, compare: bool
) -> Looked:
    """Ranks and probes of all layers on a data set, with `compare` CKA too; from the cache where they are known."""
    split = options.split or (session.overlay_split() if data == "target" else None)
    samples = {role: session.samples(data, split, role=role) for role in layers}
    any_of = next(iter(samples.values()))
    facts = {
        "what": "representation, by parts",
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
        planted=any(mask[chosen].any() for mask in planted.values()) if planted else None,
        available=len(any_of),
        tensors=tensors,
    )


def _measure(session: AnalysisSession, options: Options, plan: Plan, name: str, compare: bool) -> Tensors:
    both = "both models" if len(plan.models) == 2 else "the model"
    similar: MinibatchCKA | FullCKA | None = None
    if compare and len(plan.chosen) >= 4:
        if options.estimator == "unbiased-minibatch":
            similar = MinibatchCKA()
        else:
            similar = FullCKA(len(plan.chosen), options.memory, options.estimator)
    collected = collect(session, plan, similar, f"layers of {both} on {name}")
    result: Tensors = {"labels": collected.labels}
    result |= {"compared": torch.tensor(collected.compared), "passes": torch.tensor(collected.passes)}
    if similar is not None and collected.compared:
        result |= zip(("cka.cross", "cka.source", "cka.target"), similar.terms(), strict=True)
        if isinstance(similar, MinibatchCKA):
            result |= zip(("batches.cross", "batches.source", "batches.target"), similar.by_batch(), strict=True)
    with session.progress(sum(map(len, collected.layers.values())), f"ranks and probes on {name}") as bar:
        for role, found in collected.layers.items():
            for index, layer in enumerate(found):
                result |= _layer(layer, collected.labels, plan, f"{role}.{index}")
                layer.rows.clear()
                bar.advance(1)
    return result


def _layer(layer: Layer, labels: Tensor, plan: Plan, where: str) -> Tensors:
    rows = torch.cat(layer.rows)
    spectrum = torch.full((1,), torch.nan, dtype=torch.float64)
    correct = torch.full((len(rows),), -1, dtype=torch.int8)
    without, lam = torch.empty(0, dtype=torch.float64), torch.nan
    if bool(rows.isfinite().all()):
        spectrum = _spectrum(rows, layer)
        if layer.sums is None:
            without = participation_without(rows, parts_of(labels))
        if len(set(labels.tolist())) > 1 and len(set(plan.folds.tolist())) > 1:
            classes = len(next(iter(plan.samples.values())).classes)
            probe = held_out(rows, labels, plan.folds, classes, layer.sums)
            correct, lam = probe.correct.to(torch.int8), probe.lam
    count = len(rows) if layer.sums is None else len(rows) * layer.positions
    return {
        f"spectrum.{where}": spectrum,
        f"without.{where}": without,
        f"size.{where}": torch.tensor([count, rows.shape[1]]),
        f"correct.{where}": correct,
        f"lambda.{where}": torch.tensor(lam, dtype=torch.float64),
    }


def parts_of(labels: Tensor) -> Tensor:
    """(n,) labels -> (n,) parts of whole classes, at most `PARTS`: what is drawn are classes, not single images."""
    _, place = torch.unique(labels, return_inverse=True)
    parts: Tensor = place % PARTS
    return parts


def _spectrum(rows: Tensor, layer: Layer) -> Tensor:
    """Singular values of the centred rows, or of all positions in the view `tokens`."""
    if layer.sums is not None:
        return from_covariance(layer.sums.total().scatter(), ROUNDING * (layer.squares / layer.positions) ** 0.5)
    centred = apart(rows)
    scatter = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    return from_covariance(scatter, ROUNDING * float(rows.double().norm()))
