"""What a plugin that edits a finished model may ask for, and how its values are checked and put in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transferkit.data.digest import samples_digest
from transferkit.errors import InputError, NonFiniteError
from transferkit.model.digest import backbone_digest
from transferkit.model.folder import open_model
from transferkit.model.passes import features_of, outputs, reading_workers
from transferkit.model.weights import not_finite
from transferkit.model.wrapper import Output, SourceHead, TransferModel
from transferkit.recipe import schema
from transferkit.training.checkpoint import Checkpoints, verify
from transferkit.training.state import load_tree
from transferkit.words.formats import some
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.training.progress import Bar
    from transferkit.training.workspace import Workspace

HEAD = "source_head."
"""What stands before `weight` and `bias` of the source head among the values of an edit."""
Values = Mapping[str, Tensor]


class EditSession:
    """What `edit` gets: the images and scores of a finished model, and nothing that trains.

    Values are tensors by timm's names of parameters and buffers, as in `model.net.state_dict()`.
    """

    def __init__(
        self,
        workspace: Workspace,
        model: TransferModel,
        head: SourceHead | None,
        *,
        score: Callable[[], Any],
        find_model: Callable[[str], Path],
        checkpoints: Path,
    ) -> None:
        self._workspace, self._model = workspace, model
        self._evaluate, self._find_model, self._checkpoints = score, find_model, checkpoints
        self.source_head = head
        """The classifier of the source model, with the edits before this one; None where there is none."""
        self._notes: list[str] = []
        self._numbers: dict[str, float] = {}

    @property
    def stage(self) -> schema.Stage:
        """The stage as the recipe has it."""
        return self._workspace.stage

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self._workspace.seed

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._workspace.device

    @property
    def classes(self) -> list[str]:
        """The target's class names by label."""
        return self._workspace.classes

    def rng(self, *parts: str | int) -> np.random.Generator:
        """A generator that depends on the seed, the stage and `parts` alone."""
        return self._workspace.rng("edit", *parts)

    def warn(self, text: str) -> None:
        """Say it now, and once more in the summary and the report."""
        self._workspace.warn(text)

    def note(self, text: str = "", **numbers: float) -> None:
        """A sentence for the page, and numbers for result.json, about what this edit found."""
        self._notes += [text] if text else []
        self._numbers |= {name: float(value) for name, value in numbers.items()}

    def progress(self, total: int, description: str) -> AbstractContextManager[Bar]:
        """A progress display: `with session.progress(n, "…") as bar: bar.advance(1)`."""
        return self._workspace.progress(total, description)

    def cached(self, facts: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors worth keeping, on the CPU, under the facts they follow from: JSON values that name everything."""
        return self._workspace.cached(facts, compute)

    def samples(self, dataset: str, split: str) -> Samples:
        """The images of a split of any data set of the recipe, without augmentation; of the stage's own what it trains
        and validates on. Raises InputError where there is no such split."""
        found = copy.copy(self._workspace.open_samples(dataset, split))
        if hasattr(found, "evaluation"):  # a table has none
            found.pipeline = found.evaluation
        return found

    def features(self, dataset: str, split: str, values: Values | None = None) -> tuple[Tensor, Tensor]:
        """Features (n, d) float32 and labels (n,) of a split's images, on the CPU; `values` are put in for the pass.

        They are kept in the cache under the content of model and images. Labels are the data set's own class ids.
        """
        samples = self.samples(dataset, split)
        with placed(self._model, values or {}):
            facts = {
                "what": "features",
                "backbone": backbone_digest(self._model),
                "images": samples_digest(samples),
                "device": self.device.type,
            }
            text, workers = f"features of {len(samples)} {dataset} images", reading_workers(len(samples))

            def compute() -> dict[str, Tensor]:
                return {"features": features_of(self._model, samples, self.progress, text, workers=workers)[0]}

            return self.cached(facts, compute)["features"], torch.from_numpy(samples.labels)

    def outputs(
        self, dataset: str, split: str, values: Values | None = None, *, model: TransferModel | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Output]]:
        """(images, labels, what the model gives) of each batch of a split, without gradients.

        `values` are put in for the pass; `model` is another one, such as a copy with hooks of the plugin's own.
        """
        samples, used = self.samples(dataset, split), model or self._model
        with placed(used, values or {}):
            yield from outputs(used, samples, self.progress, f"{len(samples)} {dataset} images")

    def score(self, values: Values | None = None) -> dict[str, float]:
        """`top1` and `loss` (of numbers `loss` and `r2`) on the validation images, with these values put in.

        Raises InputError where the stage has no validation images.
        """
        with placed(self._model, values or {}):
            found = self._evaluate()
        if found is None:
            raise InputError(
                f'stage "{self.stage.name}" has no validation images, by which this edit chooses: '
                "give the data set a val split, or validation above 0"
            )
        return {name: value for name, value in short(found).items() if name != "images"}

    def checkpoints(self) -> dict[str, Callable[[], dict[str, Tensor]]]:
        """{name: what gives its values} of the training's checkpoints that are kept, oldest first.

        Of a stage without training they are those of the stage that it starts from.
        """
        kept = reversed(Checkpoints(self._checkpoints).folders())
        return {one.name: lambda one=one: self._from_checkpoint(one) for one in kept if verify(one) is None}  # type: ignore[misc]

    def _from_checkpoint(self, folder: Path) -> dict[str, Tensor]:
        tree = load_tree(folder / ("ema" if (folder / "ema.json").is_file() else "model"))
        saved = {name.removeprefix("net."): value for name, value in tree.items() if name.startswith("net.")}
        classes = load_tree(folder / "fingerprint")["data"]["splits"]["train"].get("classes", self.classes)
        return self._as_here(saved, classes, folder)

    def open(self, path: str | Path) -> dict[str, Tensor]:
        """The values of another model of this architecture: a model folder or a run, its head's rows as they are here.

        Raises InputError for another architecture or other classes.
        """
        folder = self._find_model(str(path))
        other, _ = open_model(folder)
        return self._as_here(other.net.state_dict(), other.classes, folder)

    def _as_here(self, values: Mapping[str, Tensor], classes: list[str], place: Path) -> dict[str, Tensor]:
        own = self._model.net.state_dict()
        if sorted(classes) != sorted(self.classes):
            raise InputError(f"{place} is of a model for other classes ({some(classes)}) than {some(self.classes)}")
        rows = [classes.index(name) for name in self.classes]
        heads = {name for name, _ in self._model.named_head_parameters()}
        found = {name: value[rows] if name in heads else value for name, value in values.items()}
        if {name: one.shape for name, one in own.items()} != {name: one.shape for name, one in found.items()}:
            raise InputError(f"{place} is of another architecture than {self._model.architecture} as it is here")
        return found


def checked(values: Any, model: TransferModel, head: SourceHead | None) -> dict[str, Tensor]:
    """The values of an edit, whose names, shapes and numbers are seen to fit. Raises ValueError, NonFiniteError."""
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise ValueError("an edit must return {parameter: its new value}, a tensor for each")
    shapes = {name: tuple(value.shape) for name, value in model.net.state_dict().items()}
    if head is not None:
        shapes |= {f"{HEAD}weight": tuple(head.weight.shape), f"{HEAD}bias": tuple(head.weight.shape[:1])}
    for name, value in values.items():
        if name not in shapes:
            raise ValueError(f'the model has no parameter or buffer "{name}"; {did_you_mean(name, shapes)}')
        if tuple(value.shape) != shapes[name]:
            raise ValueError(f"{name} has the shape {shapes[name]}, its new value {tuple(value.shape)}")
    if broken := not_finite(values):
        raise NonFiniteError(f"an edit gave values that are not finite in {some(broken)}")
    return dict(values)


@torch.no_grad()
def put_in_place(model: TransferModel, head: SourceHead | None, values: Values) -> SourceHead | None:
    """Copy the values into the model; returns the source head with its own."""
    own = model.net.state_dict()
    for name, value in values.items():
        if not name.startswith(HEAD):
            own[name].copy_(value)
    if head is None:
        return None
    new = {name: values.get(f"{HEAD}{name}", getattr(head, name)) for name in ("weight", "bias")}
    like = head.weight
    return SourceHead(new["weight"].to(like), None if new["bias"] is None else new["bias"].to(like), head.classes)


@contextmanager
def placed(model: TransferModel, values: Values) -> Iterator[None]:
    """These values in the model inside; afterwards, also after an error, those that were there."""
    checked(values, model, None)
    own = model.net.state_dict()
    kept = {name: own[name].clone() for name in values}
    put_in_place(model, None, values)
    try:
        yield
    finally:
        put_in_place(model, None, kept)


def short(found: Any) -> dict[str, Any]:
    """An evaluation without its classes: `top1` and `loss`, or `loss` and `r2` of numbers, and `images`."""
    record = found.record([str(index) for index in range(found.num_classes)])
    return {
        name: value for name, value in record.items() if name in ("top1", "loss", "r2", "images") and value is not None
    }
