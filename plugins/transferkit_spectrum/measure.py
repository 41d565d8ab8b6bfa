"""What the analyzer `spectrum` measures: angles of the weights, spectra of the features, and a sweep over stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.errors import InputError
from transferkit_spectrum.features import batch_spectra, energy_share, smaller_half
from transferkit_spectrum.layers import Layer, measure_layers

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.model import TransferModel
    from transferkit_spectrum.analyzer import Spectrum

COLLAPSED = 0.999  # of the energy in the largest singular value


@dataclass(frozen=True)
class Features:
    """One model's features in batches."""

    name: str
    spectra: NDArray[np.float64]
    """(batches, min(b, d)) singular values, descending."""
    images: int
    penalised: bool = False
    """Whether BSS was at work in its training."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """The sorted spectra averaged over batches."""
        return np.asarray(self.spectra.mean(axis=0), dtype=np.float64)

    @property
    def largest(self) -> float:
        """The share of the energy in the largest singular value."""
        return energy_share(self.spectra, slice(0, 1))

    @property
    def smaller_half(self) -> float:
        """The share of the energy in the smaller half of the singular values."""
        return energy_share(self.spectra, slice(smaller_half(self.spectra.shape[1]), None))

    def smallest(self, k: int) -> float:
        """The share of the energy in the k smallest singular values."""
        return energy_share(self.spectra, slice(max(0, self.spectra.shape[1] - k), None))

    @property
    def collapsed(self) -> bool:
        """Whether the largest singular value carries nearly all energy."""
        return self.largest > COLLAPSED


@dataclass(frozen=True)
class SweepRow:
    """A stage of a sweep: BSS's options as its recipe gives them, and what came out."""

    stage: str
    k: int | None
    """None without BSS."""
    eta: float | None
    """None where the weight is a schedule or one per term."""
    scale: str
    top1_best: float
    top1_last: float
    features: Features | None


@dataclass
class Findings:
    """Everything that was measured."""

    layers: list[Layer] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)
    """Source model, target model, then the further stages."""
    sweep: list[SweepRow] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def of(self, name: str) -> Features | None:
        """The features of that model."""
        return next((found for found in self.features if found.name == name), None)


def measure(session: AnalysisSession, options: Spectrum) -> Findings:
    """All parts; what cannot be measured becomes a gap and costs only itself."""
    found = Findings()
    found.layers = measure_layers(session, options.layers, options.match, found.gaps)
    reader = _Reader(session, options, found.gaps)
    wanted: list[tuple[str, str]] = [(role, role) for role in ("source", "target") if session.has(role)]
    for name, stage in [*wanted, *((name, name) for name in options.compare if name != session.stage_name)]:
        known = reader.features(name, stage)
        if known is not None:
            found.features.append(known)
    found.sweep = [row for row in (_sweep_row(session, reader, name, found.gaps) for name in options.sweep) if row]
    return found


class _Reader:
    """Feature spectra by model; every model's batches are of the same images in the same order."""

    def __init__(self, session: AnalysisSession, options: Spectrum, gaps: list[str]) -> None:
        self.session, self.options, self.gaps = session, options, gaps
        self._known: dict[str, Features | None] = {}

    def features(self, name: str, model: str) -> Features | None:
        """The features of a role or of a finished stage; None and a gap where that is impossible."""
        if name not in self._known:
            try:
                self._known[name] = self._measure(name, model)
            except (InputError, ValueError) as error:
                self.gaps.append(f"The features of {name} were not measured: {' '.join(str(error).split())}.")
                self._known[name] = None
        return self._known[name]

    def _measure(self, name: str, model: str) -> Features:
        session, options = self.session, self.options
        of: str | TransferModel = model if model in ("source", "target") else session.stage_model(model)
        features = session.predictions(of, options.data, options.split).features
        if len(features) < options.batch_size:
            raise InputError(
                f"there are {len(features)} {options.data} images, fewer than a batch of {options.batch_size}; "
                "lower batch_size"
            )
        order = session.rng("spectrum", "batches").permutation(len(features))
        spectra = batch_spectra(features, order, options.batch_size)
        stage = session.stage_name if model == "target" else model
        return Features(name, spectra, len(features), penalised=_bss(session, stage) is not None)


def _bss(session: AnalysisSession, stage: str | None) -> Any:
    """How a stage's recipe uses BSS; None without it, and where no recipe is known."""
    recipe = session.recipe
    if recipe is None or stage is None or stage not in [known.name for known in recipe.stages]:
        return None
    return next((use for use in recipe.stage(stage).regularizers if use.use == "bss"), None)


def _sweep_row(session: AnalysisSession, reader: _Reader, stage: str, gaps: list[str]) -> SweepRow | None:
    if session.recipe is None or stage not in [known.name for known in session.recipe.stages]:
        gaps.append(f'The sweep has no stage "{stage}": it takes the names of stages of the recipe.')
        return None
    use = _bss(session, stage)
    weight = use.weight if use is not None else 0.0
    tops = validation(session.history(stage))
    if not tops:
        gaps.append(f'The stage "{stage}" of the sweep has no validation results.')
    return SweepRow(
        stage,
        None if use is None else int(use.options.get("k", 1)),
        float(weight) if isinstance(weight, int | float) else None,
        "" if use is None else str(use.options.get("scale", "absolute")),
        max(tops, default=math.nan),
        tops[-1] if tops else math.nan,
        reader.features(stage, stage),
    )


def validation(history: Sequence[dict[str, Any]]) -> list[float]:
    """Top-1 of the evaluations of the whole validation split, in order of steps."""
    known = [r for r in history if r.get("split") == "val" and isinstance(r.get("top1"), int | float)]
    whole = max((record.get("images") or 0 for record in known), default=0)
    known = [record for record in known if (record.get("images") or 0) == whole]  # early ones may be of a subset
    return [float(record["top1"]) for record in sorted(known, key=lambda record: record["step"])]
