"""An analysis whose models answer what they are told to: arrays in, and the analyzers that ship run on it unchanged.

Pictures carry their number as their colour, and a made-up model looks its answer up by it. Everything is exact in
float32, so what an analyzer makes of it is the same on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from transferkit.analysis.session import AnalysisSession, RunView
from transferkit.analysis.workbench import Given, Workbench
from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocessing
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.plugins.hooks import RunPlugins
from transferkit.plugins.registry import installed
from transferkit.recipe.plugin_use import make
from transferkit.recipe.schema import Dataset, Recipe
from transferkit.runs.folder import RunFolder
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

_Rows = dict[tuple[str, str], slice]
EPS = 1e-30  # positive, as torch demands, and nothing beside a variance
PIXELS = 8
"""The side of pictures that carry a number."""


@dataclass(frozen=True, eq=False)
class MadeUpImages:
    """A data set.

    classes      the names of its classes
    labels       (n,) indices into them, of a split `val`; or {split: (n,)}
    pictures     (n, H, W, 3) uint8, or {split: …}, for models that look at them; without them each is of one colour,
                 by which made-up models know it
    corruptions  as in a recipe's data set
    """

    classes: Sequence[str]
    labels: ArrayLike | Mapping[str, ArrayLike]
    pictures: ArrayLike | Mapping[str, ArrayLike] | None = None
    corruptions: Sequence[Mapping[str, Any]] = ()

    @property
    def split_labels(self) -> dict[str, NDArray[np.int64]]:
        """{split: (n,)}."""
        return {split: np.asarray(labels, dtype=np.int64) for split, labels in _by_split(self.labels).items()}


@dataclass(frozen=True, eq=False)
class MadeUpModel:
    """A model by its answers; images that are not mentioned get zeros.

    classes        of its classifier; empty for a model that has none, whose `logits` are its features
    logits         {data set: (n, K)}, or {data set: {split: (n, K)}}: what it says of the images
    source_logits  in the same way (n, K_s): what the source's classifier says on its features (the head swap)
    norm           (running mean, running variance) of a batch norm before the classifier; the answers stay the same
    """

    classes: Sequence[str]
    logits: Mapping[str, Any]
    source_logits: Mapping[str, Any] = field(default_factory=dict)
    norm: tuple[float, float] | None = None


def made_up_session(
    folder: Path,
    *,
    images: Mapping[str, MadeUpImages | Mapping[str, Any]],
    models: Mapping[str, MadeUpModel | TransferModel],
    source_classes: Sequence[str] | None = None,
    source_data: str | None = "source",
    target_data: str | None = "target",
    peers: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    stages: Mapping[str, MadeUpModel | TransferModel] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
) -> AnalysisSession:
    """The session that `analyze` gets, around models and images that are made up; reports are written into `folder`.

    images          {name: data set}, made up or as in a recipe; those called "source" and "target" have these roles
                    unless `source_data` and `target_data` name others (None: there are no such images)
    models          {role: model} for `source`, `target` and `baseline`, of which all but `target` may be missing
    source_classes  the classes of the head kept beside a made-up target; needed where there is no source model
    peers           {registered name: analyzer} of the same analysis
    recipe          `stages`, as in a recipe, and `stage`, the one that the target is of (default: the last). Without it
                    the session is that of an audit
    stages, history finished models by stage, and the records of `metrics.jsonl`
    """
    folder.mkdir(parents=True, exist_ok=True)
    inputs = folder.parent / f"{folder.name}-inputs"
    inputs.mkdir(exist_ok=True)
    datasets, rows = _datasets(inputs, images)
    source = models.get("source")
    names = list(source.classes if source is not None else source_classes or ())
    widths = _widths([*models.values(), *(stages or {}).values()], source, names)
    beside = SourceHead(torch.eye(len(names), sum(widths)), None, names) if names else None

    def given(role: str, model: MadeUpModel | TransferModel) -> Given:
        if isinstance(model, TransferModel):
            return Given(f"made-up {role}", lambda: (model, None))
        made = _built(model, rows, widths, is_source=model is source)
        return Given(f"made-up {role}", lambda: (made, beside))

    bench = Workbench(
        models={role: given(role, model) for role, model in models.items()},
        datasets=datasets,
        source_data=source_data if source_data in datasets else None,
        target_data=target_data if target_data in datasets else None,
        seed=seed,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        corruptions=_corruptions(datasets),
        cache=Cache(),
    )
    finished = {name: given(name, model) for name, model in (stages or {}).items()}
    run = None if recipe is None else _run(inputs, recipe, datasets, finished, history)
    return AnalysisSession(bench, folder, peers=dict(peers or {}), run=run)


# -- models ---------------------------------------------------------------------------------------------------


class _Answers(nn.Module):
    """Looks features up by the number that a picture carries; those of no picture of its own are zero."""

    def __init__(self, table: Tensor, classes: int, first: int, norm: tuple[float, float] | None) -> None:
        super().__init__()
        self.register_buffer("table", torch.cat([torch.zeros(1, table.shape[1]), table]))
        self.num_features = self.head_hidden_size = table.shape[1]
        self.norm: nn.Module = nn.Identity()
        if norm is not None:
            self.norm = nn.BatchNorm1d(table.shape[1], eps=EPS)
            self.norm.running_mean.fill_(norm[0])  # type: ignore[union-attr]
            self.norm.running_var.fill_(norm[1])  # type: ignore[union-attr]
        self.fc: nn.Module = nn.Identity()
        if classes:
            self.fc = nn.Linear(table.shape[1], classes, bias=False)
            self.fc.weight.data = torch.eye(table.shape[1])[first : first + classes].contiguous()

    def forward_features(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) -> (n, d)."""
        table: Tensor = self.table  # type: ignore[assignment]
        red, green, blue = (images[:, :, -1, -1] * 255).round().long().unbind(dim=1)
        number = red * 2**16 + green * 2**8 + blue
        known = (number >= 0) & (number < len(table))
        found: Tensor = self.norm(table[torch.where(known, number, 0)])
        return found

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(n, d) -> (n, d), or (n, K) logits."""
        found: Tensor = features if pre_logits else self.fc(features)
        return found

    def get_classifier(self) -> nn.Module:
        """The head, or an identity."""
        return self.fc


class _Colours(nn.Module):
    """Cells of a picture, their mean colour, channels that are linear in it, and their mean over the picture."""

    def __init__(self, cells: int, channels: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.cells = nn.AdaptiveAvgPool2d(cells)
        self.mix = nn.Conv2d(3, len(channels), 1, bias=False)
        self.mix.weight.data = channels[:, :, None, None].contiguous()
        self.relu = nn.ReLU()
        self.fc = nn.Linear(len(channels), len(weight), bias=False)
        self.fc.weight.data = weight
        self.num_features = len(channels)

    def forward_features(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) -> (n, C, cells, cells)."""
        found: Tensor = self.relu(self.mix(self.cells((images * 255).round() / 64)))
        return found

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """(n, C, h, w) -> (n, C), or (n, K) logits."""
        features = maps.mean(dim=(2, 3))
        return features if pre_logits else self.fc(features)

    def get_classifier(self) -> nn.Linear:
        """The head."""
        return self.fc


def colour_model(
    classes: Sequence[str],
    weight: ArrayLike,
    *,
    channels: ArrayLike = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    cells: int = 4,
    size: int = 32,
) -> TransferModel:
    """A model that looks at pictures, for analyzers that change them: its logits follow from colours.

    A picture of `size` pixels a side becomes cells x cells mean colours, a 64th of the 8-bit values. Each of the C
    `channels` (C, 3) weighs red, green and blue of a cell, without what is below zero: these are the maps, of a layer
    `mix`. Their mean over the cells is the features, `weight` (K, C) the classifier. With `size` and `cells` powers of
    two and small weights that are multiples of 1/16 all of it is exact.
    """
    net = _Colours(cells, torch.as_tensor(channels, dtype=torch.float32), torch.as_tensor(weight, dtype=torch.float32))
    return TransferModel(net, classes=classes, preprocessing=_plain(size), architecture="colours")


def _plain(size: int) -> Preprocessing:
    return Preprocessing((size, size), (0.0,) * 3, (1.0,) * 3, 1.0, "center", "bilinear")


def _built(model: MadeUpModel, rows: _Rows, widths: tuple[int, int], *, is_source: bool) -> TransferModel:
    """Features are logits of the source's classifier, then of the model's own; each classifier reads its own part."""
    table = torch.zeros(max((part.stop for part in rows.values()), default=0), sum(widths))
    _fill(table, model.logits if is_source else model.source_logits, rows, 0)
    if not is_source:
        _fill(table, model.logits, rows, widths[0])
    if model.norm is not None:
        table = table * model.norm[1] ** 0.5 + model.norm[0]
    net = _Answers(table, len(model.classes), 0 if is_source else widths[0], model.norm)
    return TransferModel(net, classes=model.classes, preprocessing=_plain(PIXELS), architecture="made up")


def _fill(table: Tensor, answers: Mapping[str, Any], rows: _Rows, first: int) -> None:
    for name, given in answers.items():
        for split, values in _by_split(given).items():
            if (name, split) not in rows:
                raise ValueError(f"there are answers about {name} ({split}), but no such images")
            part, known = rows[name, split], torch.as_tensor(np.asarray(values), dtype=torch.float32)
            if len(known) != part.stop - part.start:
                raise ValueError(f"{name} ({split}) has {part.stop - part.start} images, and {len(known)} answers")
            table[part, first : first + known.shape[1]] = known


def _widths(models: Sequence[MadeUpModel | TransferModel], source: Any, names: Sequence[str]) -> tuple[int, int]:
    """How many logits of the source's classifier there are at most, and of other models."""
    made = [model for model in models if isinstance(model, MadeUpModel)]
    others = [model for model in made if model is not source]
    swapped = [model.logits for model in made if model is source] + [model.source_logits for model in others]
    own = max([0, *(len(model.classes) for model in others), *_counts([model.logits for model in others])])
    return max([len(names), *_counts(swapped)]), own


def _counts(answers: Sequence[Mapping[str, Any]]) -> list[int]:
    return [np.shape(one)[1] for each in answers for given in each.values() for one in _by_split(given).values()]


# -- images and the run ---------------------------------------------------------------------------------------


def _datasets(folder: Path, images: Mapping[str, MadeUpImages | Mapping[str, Any]]) -> tuple[dict[str, Dataset], _Rows]:
    """Files of the made-up data sets, and which numbers their pictures carry (from 0; the colour is one more)."""
    datasets: dict[str, Dataset] = {}
    rows: _Rows = {}
    for name, given in images.items():
        if isinstance(given, Mapping):
            datasets[name] = Dataset.model_validate(given)
            continue
        arrays: dict[str, NDArray[Any]] = {"classes": np.array(list(given.classes))}
        pictures = {} if given.pictures is None else _by_split(given.pictures)
        for split, labels in given.split_labels.items():
            first = max((part.stop for part in rows.values()), default=0)
            rows[name, split] = slice(first, first + len(labels))
            numbered = _numbered(np.arange(first + 1, first + 1 + len(labels)))
            arrays |= {f"y_{split}": labels, f"x_{split}": np.asarray(pictures.get(split, numbered), dtype=np.uint8)}
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        section = {"npz": str(folder / f"{name}.npz"), "corruptions": list(given.corruptions)}
        datasets[name] = Dataset.model_validate(section)
    return datasets, rows


def _numbered(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(n,) -> (n, 8, 8, 3): the number as a colour, red the highest byte. Whatever covers the last pixel hides it."""
    colours = np.stack([numbers >> 16, numbers >> 8, numbers], axis=1) & 255
    return np.broadcast_to(colours[:, None, None], (len(numbers), PIXELS, PIXELS, 3)).astype(np.uint8)


def _by_split(given: Any) -> dict[str, Any]:
    return dict(given) if isinstance(given, Mapping) else {"val": given}


def _corruptions(datasets: Mapping[str, Dataset]) -> Callable[[str], RunPlugins]:
    return lambda name: RunPlugins(make(list(datasets[name].corruptions), "corruption", installed()))


def _run(
    folder: Path,
    recipe: Mapping[str, Any],
    datasets: Mapping[str, Dataset],
    stages: Mapping[str, Given],
    history: Sequence[Mapping[str, Any]],
) -> RunView:
    content = {"name": "made-up", "model": {"name": "made up"}, "datasets": datasets} | dict(recipe)
    stage = content.pop("stage", None)
    known = Recipe.model_validate(content)
    lines = [json.dumps(record) + "\n" for record in history]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")

    def opened(name: str) -> Given:
        if name not in stages:
            raise InputError(f'the stage "{name}" has no finished model yet')
        return stages[name]

    return RunView(known, stage or known.stages[-1].name, RunFolder(folder), opened)
