"""Settings that are drawn: at random by key, or by Optuna's TPE from what finished trials came to.

Trials are written down as they are drawn, so that a sweep that is started again has the same ones.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

from transferkit.data.randomness import numpy_rng
from transferkit.errors import InputError
from transferkit.report import json_text
from transferkit.runs.comparison import STAGE_METRICS, MetricOfRun, analysis_metrics, short_names, stage_values
from transferkit.runs.record import read_run
from transferkit.sweeps.cells import Cell, Known, by_label, cells_with, text
from transferkit.sweeps.folder import BEGUN, Standing, SweepFolder
from transferkit.sweeps.spec import Search, Space, Sweep
from transferkit.system.atomic import read_json, write_text

AT_LEAST = 5  # finished trials, before one is given up
BETWEEN_LOOKS = 5.0  # seconds
ENDED = ("done", "failed", "pruned")


class Sampler:
    """Adds trials until there are as many as the sweep says; with TPE as many at a time as run at once."""

    def __init__(self, sweep: Sweep, recipe: Path, folder: SweepFolder, known: Known, *, allow_plugins: bool) -> None:
        assert sweep.search is not None
        if sweep.search.method == "tpe" and find_spec("optuna") is None:
            raise InputError('search: method: tpe needs optuna: pip install "transferkit[optuna]"')
        self.sweep, self.search, self.recipe, self.folder, self.known = sweep, sweep.search, recipe, folder, known
        self.allow_plugins = allow_plugins
        self.place = folder.path / BEGUN
        self.drawn: list[dict[str, Any]] = read_json(self.place, list) if self.place.is_file() else []
        self.planned: list[Cell] = []
        self._looked = 0.0

    def more(self, standings: Mapping[str, Standing]) -> Sequence[Cell]:
        """The cells of trials that were drawn before and, as others end, of new ones."""
        index = len(by_label(self.planned))
        if index >= self.search.trials:
            return ()
        if index >= len(self.drawn):
            if self.search.method == "tpe" and any(standings[cell.name].status not in ENDED for cell in self.planned):
                return ()
            self._draw(index)
        settings = self.drawn[index]
        cells = cells_with(
            self.sweep,
            self.recipe,
            self._label(index, settings),
            settings,
            self.known,
            allow_plugins=self.allow_plugins,
        )
        self.planned += cells
        return cells

    def hopeless(self, running: Sequence[Cell]) -> Mapping[str, str]:
        """By the rule of medians: those whose best epoch so far is worse than the median of what the finished trials
        of the same seed had reached after as many epochs, once there are five of them.
        """
        if not self.search.prune or time.monotonic() - self._looked < BETWEEN_LOOKS:
            return {}
        self._looked = time.monotonic()
        found = {}
        for cell in running:
            own = self._curve(cell)
            others = [self._curve(one) for one in self.planned if one.seed == cell.seed and one is not cell]
            reached = [curve[len(own) - 1] for curve in others if own and len(curve) >= self._length(cell)]
            if len(reached) >= AT_LEAST and self._worse(own[-1], statistics.median(reached)):
                found[cell.name] = (
                    f"{own[-1]:.4g} after {len(own)} evaluations, others {statistics.median(reached):.4g}"
                )
        return found

    def _curve(self, cell: Cell) -> list[float]:
        """The best validation value of the stage after each of its evaluations so far."""
        path = self.folder.run(cell.name).path
        if not (path / "result.json").is_file():
            return []
        lines = read_run(path).lines(self._stage(cell))
        values = [
            line[self.search.metric] for line in lines if line.get("split") == "val" and self.search.metric in line
        ]
        return list(accumulate(values, max if self.search.direction == "more" else min))

    def _length(self, cell: Cell) -> int:
        """How many evaluations a whole trial has; of a stage in steps, more than any has."""
        stage = cell.loaded.recipe.stage(self._stage(cell))
        return stage.epochs // stage.evaluate_every if stage.epochs else 1 << 30

    def _worse(self, one: float, other: float) -> bool:
        return one < other if self.search.direction == "more" else one > other

    def _stage(self, cell: Cell) -> str:
        return self.search.stage or cell.loaded.recipe.stages[-1].name

    def _draw(self, index: int) -> None:
        drawn = draw(self.search, index) if self.search.method == "random" else self._ask()
        self.drawn.append(drawn)
        write_text(self.place, json_text(self.drawn, indent=1) + "\n")

    def _label(self, index: int, settings: Mapping[str, Any]) -> str:
        names = short_names(list(settings))
        shown = (f"{names[key]}={value:.3g}" if isinstance(value, float) else f"{names[key]}={text(value)}"
                 for key, value in settings.items())  # fmt: skip
        return f"trial {index:03d}, {', '.join(shown)}"

    def _ask(self) -> dict[str, Any]:
        """What TPE draws after the trials so far."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = int(numpy_rng(self.search.seed, "tpe", len(self.drawn)).integers(2**31))
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed),
            direction="maximize" if self.search.direction == "more" else "minimize",
        )
        space = {key: _distribution(one) for key, one in self.search.space.items()}
        for settings, cells in zip(self.drawn, by_label(self.planned).values(), strict=False):
            value = self._value(cells)
            state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
            known = {key: _index(self.search.space[key], settings[key]) for key in space}
            study.add_trial(optuna.trial.create_trial(params=known, distributions=space, value=value, state=state))
        trial = study.ask(space)
        return {key: _value_of(self.search.space[key], value) for key, value in trial.params.items()}

    def _value(self, cells: Sequence[Cell]) -> float | None:
        """The mean over seeds of what the search is after; None where a seed has none."""
        found = []
        for cell in cells:
            try:
                record = read_run(self.folder.run(cell.name).path)
                if self.search.metric in STAGE_METRICS:
                    values = stage_values(record, self._stage(cell), self.search.metric)
                else:
                    values = dict(analysis_metrics(record).get(self.search.metric, MetricOfRun()).values)
            except InputError:
                return None
            found += list(values.values())
        return sum(found) / len(found) if len(found) == len(cells) and found else None


def draw(search: Search, index: int) -> dict[str, Any]:
    """The settings of a trial: a function of the search's seed, the trial's number and each key."""
    found: dict[str, Any] = {}
    for key, one in search.space.items():
        rng = numpy_rng(search.seed, "trial", index, key)
        if one.choices:
            found[key] = one.choices[int(rng.integers(len(one.choices)))]
            continue
        low, high = one.ends
        if one.whole and not one.log:
            found[key] = int(rng.integers(int(low), int(high), endpoint=True))
        elif one.log:
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
            found[key] = round(value) if one.whole else min(max(value, low), high)
        else:
            found[key] = float(rng.uniform(low, high))
    return found


def _distribution(one: Space) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.choices:
        return CategoricalDistribution(list(range(len(one.choices))))
    low, high = one.ends
    return IntDistribution(int(low), int(high), log=one.log) if one.whole else FloatDistribution(low, high, log=one.log)


def _index(one: Space, value: Any) -> Any:
    """How Optuna knows a value: a choice, which may be a list, by its place."""
    return one.choices.index(value) if one.choices else value


def _value_of(one: Space, value: Any) -> Any:
    return one.choices[value] if one.choices else value
