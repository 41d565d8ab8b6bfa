"""What an analyzer sees: models by role, data sets, randomness and a folder. It never changes a run."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from transferkit.data.randomness import numpy_rng
from transferkit.data.samples import Samples, corruptions
from transferkit.data.sources import open_split
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.model import SourceHead, TransferModel
from transferkit.model_folder import open_model
from transferkit.recipe import Loaded, schema
from transferkit.training.progress import Bar, Display

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from transferkit.folder import RunFolder


@dataclass
class AnalysisSession:
    """One analysis: its models, its data, where it writes."""

    loaded: Loaded
    out: Path
    seed: int
    display: Display
    folders: dict[str, Path]  # {role: model folder}: target, and baseline where there is one
    dataset: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _models: dict[str, tuple[TransferModel, SourceHead | None]] = field(default_factory=dict, repr=False)

    @classmethod
    def of_run(
        cls,
        loaded: Loaded,
        folder: RunFolder,
        use: schema.AnalyzerUse,
        *,
        display: Display,
        seed: int,
        live: tuple[TransferModel, SourceHead | None] | None = None,
        epoch: int | None = None,
    ) -> AnalysisSession:
        """The session of one entry of a recipe's analyses, on the saved models of a run.

        `live` is the model in training after `epoch`, of which a copy is looked at: the run stays as it is.
        """
        folders = {"target": folder.model(use.stage or loaded.recipe.stages[-1].name)}
        if use.baseline is not None:
            folders["baseline"] = folder.model(use.baseline)
        out = folder.analysis(use.instance_name)
        if epoch is not None:
            out = out / f"epoch-{epoch:04d}"
        out.mkdir(parents=True, exist_ok=True)
        wanted = loaded.recipe.device
        device = torch.device("cuda" if wanted in ("auto", "cuda") and torch.cuda.is_available() else "cpu")
        session = cls(loaded, out, seed, display, folders, use.dataset, device)
        if live is not None:
            session._models["target"] = (_frozen(copy.deepcopy(live[0]), device), live[1])
        return session

    def model(self, role: str = "target") -> TransferModel:
        """The model of a role: frozen, in eval mode. Raises InputError for a role this session does not have."""
        return self._open(role)[0]

    def source_head(self, role: str = "target") -> SourceHead | None:
        """The head of the model that this role's model was fine-tuned from."""
        return self._open(role)[1]

    def _open(self, role: str) -> tuple[TransferModel, SourceHead | None]:
        if role not in self.folders:
            raise InputError(f"this analysis has no {role} model; name one in the recipe (`{role}: STAGE`)")
        if role not in self._models:
            model, head = open_model(self.folders[role])
            self._models[role] = (_frozen(model, self.device), head)
        return self._models[role]

    def samples(self, split: str = "val", *, dataset: str | None = None, role: str = "target") -> Samples:
        """A split of a data set, with the preprocessing of a role's model and without augmentation."""
        name = dataset or self.dataset
        if name is None:
            raise InputError("this analysis needs a data set: name one in the recipe (`dataset: NAME`)")
        source = open_split(name, self.loaded.recipe.datasets, split)
        if source is None:
            raise InputError(f'the data set "{name}" has no {split} split')
        spec = self.loaded.recipe.datasets[name]
        splits = {use.instance_name: use.splits for use in spec.corruptions}
        planted = corruptions(self.loaded.corruptions(name), split, splits)
        pipeline = transforms(self.model(role).preprocessing, None)
        return Samples(name, split, source, pipeline, seed=self.seed, corruptions=planted)

    def rng(self, *parts: str | int) -> np.random.Generator:
        """A generator that depends on the seed and `parts` alone."""
        return numpy_rng(self.seed, "analysis", *parts)

    def progress(self, total: int, description: str) -> AbstractContextManager[Bar]:
        """A progress display: `with session.progress(n, "…") as bar: bar.advance(1)`."""
        return self.display.task(total, description)


def _frozen(model: TransferModel, device: torch.device) -> TransferModel:
    model.requires_grad_(False)
    model.eval()
    return model.to(device)


@dataclass
class Offer:
    """What `analyze` may ask for."""

    session: AnalysisSession
