"""What `distance` finds: what the observer of that name left in a run's metrics.jsonl, by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from transferkit.analysis import AnalysisSession, exposures
from transferkit.errors import InputError, did_you_mean
from transferkit.report import attempt
from transferkit_distance.options import Options

LENGTHS = ("distance", "displacement", "straightness", "fisher_length", "fisher_length_definition_2")


@dataclass(frozen=True)
class Path:
    """One stage's way, an epoch at a time."""

    stage: str
    records: list[dict[str, float]]
    """`epoch` counted from 1, `steps` and the lengths so far; those that were not recorded are NaN."""
    target_images: float = math.nan
    source_images: float = math.nan
    """Trained on in this stage, as often as they were seen; NaN where nobody noted it."""

    @property
    def end(self) -> dict[str, float]:
        """The last epoch."""
        return self.records[-1]

    @property
    def has_fisher(self) -> bool:
        """Whether predictions were looked at."""
        return math.isfinite(self.end["fisher_length"])


@dataclass(frozen=True)
class Findings:
    """The ways that are on record, in the order asked for."""

    paths: list[Path]
    own: Path | None
    """The one whose numbers are the metrics: of the analysis's own stage, else the first."""
    gaps: list[str]


def measure(session: AnalysisSession, options: Options) -> Findings:
    """Every stage asked for, from its records."""
    gaps: list[str] = []
    stages = dict.fromkeys(options.stages or [session.stage_name or ""])
    found = {stage: attempt(gaps, "", partial(read_path, session, stage)) for stage in stages}
    paths = [path for path in found.values() if path is not None]
    own = found.get(session.stage_name or "") or next(iter(paths), None)
    return Findings(paths, own, gaps)


def read_path(session: AnalysisSession, stage: str) -> Path:
    """A stage's way. Raises InputError, in words for a report, where there is no record of it."""
    recipe = session.recipe
    if recipe is None:
        raise InputError("an audit knows models, not how they were trained; distances are recorded in a run")
    names = [known.name for known in recipe.stages]
    if stage not in names:
        raise InputError(f'the recipe has no stage "{stage}"; {did_you_mean(stage, names) or "see its stages"}')
    watching = [use.instance_name for use in recipe.stage(stage).observers if use.use == "distance"]
    if not watching:
        raise InputError(f'the stage "{stage}" has no observer distance; add {{use: distance}} to its observers')
    found = []
    for record in session.history(stage):
        values = record.get("plugins", {}).get(watching[0])
        if values is not None:
            lengths = {name: math.nan if values.get(name) is None else float(values[name]) for name in LENGTHS}
            found.append({"epoch": int(record["epoch"]) + 1, "steps": int(record["step"]), **lengths})
    if not found:
        raise InputError(f'the stage "{stage}" has not finished an epoch, so nothing is recorded yet')
    return Path(stage, found, *exposures(session, stage))
