"""Sessions of analyses on a run that is finished: what analyzers that compare stages are tried on."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from transferkit.analysis.run_analyses import RunModels
from transferkit.analysis.session import AnalysisSession
from transferkit.api import RunResult
from transferkit.recipe import load_recipe
from transferkit.recipe.uses import AnalyzerUse
from transferkit.runs.folder import RunFolder
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

MODEL = {
    "name": "transferkit_mlp",
    "options": {"in_chans": 3, "img_size": 16, "hidden": [32, 32]},
    "preprocessing": {"input_size": 16, "crop_pct": 1.0, "mean": [0.2, 0.2, 0.2], "std": [0.3, 0.3, 0.3]},
}
STAGE = {
    "batch_size": 16,
    "workers": 0,
    "keep": "last",
    "optimizer": {"name": "momentum", "lr": 0.02},
    "augmentation": {"none": True},
}


def recipe(datasets: dict[str, Any], stages: list[dict[str, Any]]) -> dict[str, Any]:
    """A recipe of small perceptrons on drawn digits; every stage starts from `start` with its head."""
    made = [STAGE | ({"head_init": "source"} if stage["start"] != "scratch" else {}) | stage for stage in stages]
    return {"name": "tiny", "device": "cpu", "threads": 1, "model": MODEL, "datasets": datasets, "stages": made}


class Finished:
    """A finished run to be analysed again and again, with one cache."""

    def __init__(self, result: RunResult) -> None:
        self.run_dir = result.run_dir

    @cached_property
    def models(self) -> RunModels:
        """The models of the run."""
        loaded = load_recipe(self.run_dir / "recipe.yaml")
        return RunModels(loaded, RunFolder.open(self.run_dir), loaded.recipe.seed, Display(quiet=True), Cache())

    def session(self, out: Path, stage: str) -> AnalysisSession:
        """What an analyzer of that stage gets; it writes to `out`."""
        use = AnalyzerUse(use="any", stage=stage)
        out.mkdir(parents=True, exist_ok=True)
        return AnalysisSession(self.models.workbench(use), out, "any", run=self.models.view(use))
