"""What `spectrum` finds: angles of the weights, spectra of the features, and a sweep over stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.errors import InputError
from transferkit.report import attempt
from transferkit.statistics import Estimate, sample_mean
from transferkit_spectrum.angles import compare
from transferkit_spectrum.features import batch_spectra, energy_share, energy_shares, smaller_half
from transferkit_spectrum.layers import Layer, weights

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.model import TransferModel
    from transferkit_spectrum.options import Options

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
    def smaller_shares(self) -> NDArray[np.float64]:
        """(batches,) the share of the energy in the smaller half of the singular values."""
        return energy_shares(self.spectra, slice(smaller_half(self.spectra.shape[1]), None))

    @property
    def smaller_half(self) -> Estimate:
        """The same over batches."""
        return sample_mean(self.smaller_shares).within(0)

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


@dataclass(frozen=True)
class Findings:
    """Everything that was measured, and what could not be."""

    layers: list[Layer]
    features: list[Features]
    """Source model, target model, then the further stages."""
    sweep: list[SweepRow]
    gaps: list[str]

    def of(self, name: str) -> Features | None:
        """The features of that model."""
        return next((found for found in self.features if found.name == name), None)

    @property
    def change(self) -> Estimate:
        """The energy in the smaller half, after less before: over batches of the same images; NaN without either."""
        before, after = self.of("source"), self.of("target")
        if before is None or after is None or len(before.spectra) != len(after.spectra):
            return Estimate(math.nan)
        return sample_mean(after.smaller_shares - before.smaller_shares)


def measure(session: AnalysisSession, options: Options) -> Findings:
    """All parts; what cannot be measured becomes a gap and costs only itself."""
    gaps: list[str] = []
    layers = _layers(session, options, gaps)

    @cache
    def features(name: str) -> Features | None:
        """Of a role or of a finished stage; said once where that is impossible."""
        what = f"The features of {name} were not measured"
        return attempt(gaps, what, lambda: _features(session, options, name))

    names = [role for role in ("source", "target") if session.has(role)]
    names += [stage for stage in options.compare if stage != session.stage_name]
    found = [known for known in map(features, names) if known is not None]
    rows = [row for stage in options.sweep if (row := _sweep_row(session, stage, features, gaps)) is not None]
    return Findings(layers, found, rows, gaps)


def _layers(session: AnalysisSession, options: Options, gaps: list[str]) -> list[Layer]:
    """Every layer that both models have in one shape."""
    if not session.has("source"):
        gaps.append("There is no source model, so no weights to compare with: the training began from scratch.")
        return []
    now, start = weights(session.model("target"), options.layers), weights(session.model("source"))
    common = [name for name, weight in now.items() if name in start and start[name].shape == weight.shape]
    rest = [name for name in now if name not in common]
    if rest:
        few = ", ".join(rest[:3]) + (", …" if len(rest) > 3 else "")
        gaps.append(
            f"{len(rest)} of {len(now)} layers have no counterpart of the same shape in the source model and are left "
            f"out: {few}."
        )

    def compared(name: str) -> Layer:
        with _refusals():
            return Layer(name, tuple(now[name].shape), compare(now[name], start[name], options.match))

    found = []
    with session.progress(len(common), "singular vectors of the weights") as bar:
        for name in common:
            found.append(attempt(gaps, f"The layer {name} is left out", partial(compared, name)))
            bar.advance(1)
    return [layer for layer in found if layer is not None]


def _features(session: AnalysisSession, options: Options, name: str) -> Features:
    """Every model's batches are of the same images in the same order. Raises InputError where there are none."""
    model: str | TransferModel = name if name in ("source", "target") else session.stage_model(name)
    features = session.predictions(model, options.data, options.split).features
    if len(features) < options.batch_size:
        raise InputError(
            f"there are {len(features)} {options.data} images, fewer than a batch of {options.batch_size}; "
            "lower batch_size"
        )
    order = session.rng("spectrum", "batches").permutation(len(features))
    with _refusals():
        spectra = batch_spectra(features, order, options.batch_size)
    stage = session.stage_name if name == "target" else name
    return Features(name, spectra, len(features), penalised=_bss(session, stage) is not None)


@contextmanager
def _refusals() -> Iterator[None]:
    """A model's numbers that have no spectrum are wrong input here."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def _bss(session: AnalysisSession, stage: str | None) -> Any:
    """How a stage's recipe uses BSS; None without it, and where no recipe is known."""
    recipe = session.recipe
    if recipe is None or stage is None or stage not in [known.name for known in recipe.stages]:
        return None
    return next((use for use in recipe.stage(stage).regularizers if use.use == "bss"), None)


def _sweep_row(
    session: AnalysisSession, stage: str, features: Callable[[str], Features | None], gaps: list[str]
) -> SweepRow | None:
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
        features(stage),
    )


def validation(history: Sequence[dict[str, Any]]) -> list[float]:
    """Top-1 of the evaluations of the whole validation split, in order of steps."""
    known = [r for r in history if r.get("split") == "val" and isinstance(r.get("top1"), int | float)]
    whole = max((record.get("images") or 0 for record in known), default=0)
    known = [record for record in known if (record.get("images") or 0) == whole]  # early ones may be of a subset
    return [float(record["top1"]) for record in sorted(known, key=lambda record: record["step"])]
