"""What the analyses of one run or audit share: models by role, data sets, the cache, and whether they fit together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from transferkit.analysis.class_mapping import ClassList, source_class_list
from transferkit.analysis.predictions import Predictions
from transferkit.data.digest import samples_digest
from transferkit.data.parts import Part, StageImages
from transferkit.data.planting import Planters
from transferkit.data.samples import Samples
from transferkit.data.sources import split_contents
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.model.digest import backbone_digest, model_digest
from transferkit.model.passes import features_of, reading_workers
from transferkit.model.witness import Facts, difference, structure, versions
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.recipe import schema
from transferkit.recipe.lineage import resolve
from transferkit.training.boards import Board
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

SPLITS = {"source": ("val", "test", "train"), "target": ("train", "val", "test")}
"""Which split is looked at when none is named: source images that M^s was not trained on, target images that
the fine-tuning saw."""


@dataclass(eq=False)
class Given:
    """A model as it was given, opened when first asked for.

    `live`: it still trains, so nothing of it is kept. `folder`: the model folder it is opened from, if there is one.
    """

    label: str
    open: Callable[[], tuple[TransferModel, SourceHead | None]] = field(repr=False)
    live: bool = False
    folder: Path | None = None

    @cached_property
    def opened(self) -> tuple[TransferModel, SourceHead | None]:
        """The model, frozen and in eval mode, and the source head kept beside it."""
        model, head = self.open()
        model.requires_grad_(False).eval()
        self._facts = _facts(model)
        return model, head

    def restore(self) -> str | None:
        """Back to eval mode. A model that was changed is forgotten and opened anew: then what was, in words."""
        if "opened" not in vars(self):
            return None
        what = difference(self._facts, _facts(self.opened[0].eval()))
        if what is not None:
            del vars(self)["opened"]
        return what

    @cached_property
    def backbone(self) -> str:
        """The content hash of everything but the classifier."""
        return backbone_digest(self.opened[0])

    @cached_property
    def digest(self) -> str:
        """The content hash of the whole model."""
        return model_digest(self.opened[0])


class Workbench:
    """Models by role (source, target, baseline), data by role (source, target), opened once and shared.

    `images(role or name, data set)` says as which stage saw it a data set is looked at. Without it every data set is
    whole, with the changes of `corruptions(data set)` planted.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, Given],
        datasets: Mapping[str, schema.Dataset],
        source_data: str | None,
        target_data: str | None,
        seed: int,
        display: Display,
        device: torch.device,
        corruptions: Callable[[str], Planters | None] | None = None,
        images: Callable[[str, str], StageImages] | None = None,
        board: Board | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.models, self.datasets = dict(models), dict(datasets)
        self.data = {"source": source_data, "target": target_data}
        self.seed, self.display, self.device, self.board = seed, display, device, board
        self.cache = cache if cache is not None else Cache.of_user()
        whole = StageImages(None, datasets, seed, corruptions or (lambda name: None))
        self._images = images if images is not None else lambda data, name: whole
        self._parts: dict[tuple[str, str], Part | None] = {}
        self._samples: dict[tuple[str, str, str], Samples] = {}
        self._digests: dict[tuple[str, str], str] = {}

    def with_models(self, models: Mapping[str, Given], board: Board | None) -> Workbench:
        """Other models at the same bench: images are opened and hashed once for all of them.

        The source and the target model must have the classes of those that looked at the images before.
        """
        other = copy.copy(self)
        other.models, other.board, other._samples = dict(models), board, {}
        for name in ("source_head", "class_list"):  # they follow from the models
            vars(other).pop(name, None)
        return other

    # -- models -----------------------------------------------------------------------------------------------

    def given(self, role: str) -> Given:
        """The model of a role. Raises InputError when this analysis has none."""
        if role not in self.models:
            have = ", ".join(self.models) or "none"
            raise InputError(f"this analysis has no {role} model (it has: {have}); name one")
        return self.models[role]

    def model(self, role: str) -> TransferModel:
        """The model of a role, on the device of the analyses."""
        return self.placed(self.given(role).opened[0])

    def placed(self, model: TransferModel) -> TransferModel:
        """On the device; on a CPU in the layout in which convolutions are 1.3 to 1.9 times faster there."""
        model = model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.device.type == "cpu" else model

    @cached_property
    def source_head(self) -> SourceHead:
        """H(M^s) on the CPU: the source model's own, fitted to its features if it has none, or that kept with M^t."""
        if "source" in self.models:
            model = self.model("source")
            return on_cpu(model.source_head() if has_classifier(model) else self._probe())
        head = self.given("target").opened[1]
        if head is None:
            raise InputError(
                f"the head of the source model is needed, but {self.given('target').label} has none kept beside it; "
                "give the source model"
            )
        return on_cpu(head)

    @property
    def source_head_is_probe(self) -> bool:
        """Whether the source model came without a classifier."""
        return "source" in self.models and not has_classifier(self.model("source"))

    def _probe(self) -> SourceHead:
        """A ridge regression on M^s's features of labelled source images that are not evaluated on."""
        from transferkit.model.head_init import ridge_head

        if self.part("source", "train") is None or self.default_split("source") == "train":
            raise InputError(
                f"{self.given('source').label} has no classifier, so one must be fitted to its features: give source "
                "data with a train split to fit it on and a val split to look at"
            )
        fitted = self.predictions("source", "source", "train")
        weight, bias = ridge_head(fitted.features, fitted.labels, len(fitted.classes))
        return SourceHead(weight, bias, fitted.classes)

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Inside, the analyzer `name` may do what it likes to the models: the next one gets them as they were given."""
        try:
            yield
        finally:
            for role, given in self.models.items():
                if what := given.restore():
                    self.display.warn(f"{name} changed {what} of the {role} model; it will be opened again")

    # -- data -------------------------------------------------------------------------------------------------

    def default_split(self, data: str) -> str:
        """The split of a data role that is looked at when none is named. Raises InputError when it has no images."""
        for split in SPLITS.get(data, SPLITS["source"]):
            if self.part(data, split) is not None:
                return split
        raise InputError(f'the data set "{self.dataset(data)}" has no images')

    def dataset(self, data: str) -> str:
        """The name of the data set of a role; any other text is a data set's name itself."""
        name = self.data.get(data, data)
        if name is None:
            raise InputError(f"this analysis has no {data} images; name a data set")
        return name

    def part(self, data: str, split: str) -> Part | None:
        """A split as the stage that it belongs to saw it, labelled in the classes of the model of that role.

        None where there is no such split.
        """
        where = (data, split)
        if where not in self._parts:
            self._parts[where] = self._open(data, split)
        return self._parts[where]

    def _open(self, data: str, split: str) -> Part | None:
        name = self.dataset(data)
        images = self._images(data, name)
        if data == "source" and ("source" in self.models or self.given("target").opened[1] is not None):
            mapping = self.class_list
            return images.part(name, split, mapping.names, mapping.aliases)
        return images.part(name, split, self.model("target").classes if data == "target" else None)

    @cached_property
    def class_list(self) -> ClassList:
        """Which class of the source model each class of the source data is. Raises InputError when that is unclear."""
        name = self.dataset("source")
        spec = resolve(name, self.datasets)
        splits = [split_contents(name, self.datasets, split) for split in SPLITS["source"]]
        folders = list(dict.fromkeys(known for one in splits if one is not None for known in one.classes))
        if "source" not in self.models:
            known = self.source_head.classes
        else:
            known = folders if self.source_head_is_probe else list(self.model("source").classes)
        return source_class_list(known, spec, folders)

    def samples(self, data: str, split: str | None, role: str) -> Samples:
        """The images of a split as the model of a role takes them, without augmentation. Raises InputError."""
        split = split if split is not None else self.default_split(data)
        where = (data, split, role)
        if where not in self._samples:
            part, name = self.part(data, split), self.dataset(data)
            if part is None:
                raise InputError(f'the data set "{name}" has no {split} split')
            pipeline = transforms(self.model(role).preprocessing, None)
            self._samples[where] = self._images(data, name).samples(name, split, part, pipeline, pipeline)
        return self._samples[where]

    def samples_digest(self, samples: Samples, data: str) -> str:
        """The content hash of samples, worked out once per split."""
        where = (data, samples.split)
        if where not in self._digests:
            self._digests[where] = samples_digest(samples)
        return self._digests[where]

    # -- predictions ------------------------------------------------------------------------------------------

    def predictions(self, model: str | TransferModel, data: str, split: str | None) -> Predictions:
        """One pass of a model (a role, or a model made by an analyzer) over a split, or what it gave before."""
        role = model if isinstance(model, str) else "target"
        network = self.model(role) if isinstance(model, str) else self.placed(model.requires_grad_(False).eval())
        samples = self.samples(data, split, role)
        given = self.given(role)
        facts = {
            "what": "features",
            "backbone": given.backbone if isinstance(model, str) else backbone_digest(network),
            "images": self.samples_digest(samples, data),
            "device": self.device.type,
        }

        def compute() -> dict[str, torch.Tensor]:
            text = f"{role} model on {len(samples)} {data} images"
            features, _ = features_of(network, samples, self.display.task, text, workers=reading_workers(len(samples)))
            return {"features": features}

        features = self.cache.get(facts, compute, keep=not given.live, warn=self.display.warn)["features"]
        labels = torch.from_numpy(samples.labels)
        head = on_cpu(network.source_head()) if has_classifier(network) else SourceHead(torch.empty(0, 0), None, [])
        return Predictions(features, labels, samples.ids, list(samples.classes), head, samples)


def _facts(model: TransferModel) -> Facts:
    """What no analysis may change; not the norms of weights, which another device or layout rounds otherwise."""
    return {"version": versions(model)} | structure(model)


def has_classifier(model: TransferModel) -> bool:
    """Whether the model has a linear head; backbones from self-supervision come without."""
    return isinstance(model.net.get_classifier(), nn.Linear)  # type: ignore[operator]


def on_cpu(head: SourceHead) -> SourceHead:
    """The same head, on the CPU."""
    return SourceHead(head.weight.cpu(), None if head.bias is None else head.bias.cpu(), head.classes)
