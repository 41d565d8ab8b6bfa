"""A stage without training: a finished model opened with its data, to be edited, evaluated and saved again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.data.sources import labelled_classes
from transferkit.errors import InputError
from transferkit.model.creation import build
from transferkit.model.folder import open_model
from transferkit.model.head_init import rows_of
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.recipe import schema
from transferkit.system.atomic import cache_folder, make_folder
from transferkit.system.memory import enough_memory
from transferkit.training.datasets import open_samples, open_sources, stage_data
from transferkit.training.devices import make_accelerator
from transferkit.training.evaluation import Evaluation, evaluate
from transferkit.training.loaders import eval_loader
from transferkit.training.pictures import record_corruptions
from transferkit.training.prepare import short_of_memory
from transferkit.training.stage_plan import StagePlan
from transferkit.training.workspace import State, Workspace
from transferkit.words.formats import some

if TYPE_CHECKING:
    from transferkit.data.batches import EvalLoader


@dataclass
class Still(Workspace):
    """The stage's workspace, with what its model is evaluated on."""

    plan: StagePlan
    validation: EvalLoader | None
    others: Mapping[str, EvalLoader]

    def evaluate_on(self, model: TransferModel, loaders: Mapping[str, EvalLoader | None]) -> dict[str, Evaluation]:
        """Evaluate a model on every data set that is there."""
        found = {}
        for name, loader in loaders.items():
            if loader is not None:
                with self.progress(len(loader.samples), f"evaluate {name}") as bar:
                    found[name] = evaluate(
                        model,
                        loader,
                        self.accelerator,
                        len(self.classes),
                        channels_last=self.stage.channels_last,
                        each_batch=bar.advance,
                    )
        return found

    def evaluate_best(self, model: TransferModel) -> dict[str, Evaluation]:
        """Evaluate the model on every split the stage knows."""
        return self.evaluate_on(model, {"val": self.validation, **self.others})


@contextmanager
def opened_still(plan: StagePlan) -> Iterator[Still]:
    """The model that the stage starts from, and its data; closed in the end, whatever happens inside.

    Raises InputError where the classes of the data set are not the model's.
    """
    make_folder(plan.out)
    accelerator = make_accelerator(plan.recipe, plan.stage, plan.display.warn)
    loaders: list[EvalLoader] = []
    with enough_memory(lambda: short_of_memory(plan, None)):
        sources = open_sources(plan)
        model, head = _finished(plan)
        _order_classes(plan, model, sources.classes)
        data = stage_data(plan, sources, model.preprocessing)
        model.requires_grad_(False).eval().to(accelerator.device)
        read = {"val": data.validation, **data.others}
        others = {name: eval_loader(plan, one, accelerator) for name, one in read.items() if one is not None}
        loaders += others.values()
        still = Still(
            stage=plan.stage,
            seed=plan.seed,
            out=plan.out,
            cache=cache_folder(),
            accelerator=accelerator,
            model=model,
            reference=None,
            source_head=head,
            train_samples=data.train,
            validation_samples=data.validation,
            open_samples=partial(open_samples, plan, sources.images, preprocessing=model.preprocessing),
            display=plan.display,
            state=State(),
            plan=plan,
            validation=others.pop("val", None),
            others=others,
        )
        every = {name: one for name, one in {"train": data.train, **read}.items() if one is not None}
        record_corruptions(plan.out, accelerator, every)
        try:
            yield still
        finally:
            with plan.stop.held():
                plan.display.end()
                for loader in loaders:
                    loader.close()


def source_model(plan: StagePlan) -> TransferModel | None:
    """The frozen model that the training before a stage without training started from, with its own head.

    None where that is not known, or was nothing.
    """
    found = plan.find_source()
    if found is None:
        return None
    model, _ = open_model(found) if isinstance(found, Path) else _pretrained(found)
    model.requires_grad_(False).eval().frozen = True
    return model


def _finished(plan: StagePlan) -> tuple[TransferModel, SourceHead | None]:
    """The model that the stage starts from with its head, and the source head that it hands on."""
    if plan.start is not None:
        return open_model(plan.start)
    return _pretrained(plan.stage.model or plan.recipe.model)


def _pretrained(spec: schema.Model) -> tuple[TransferModel, SourceHead]:
    weights = Path(spec.weights) if spec.weights else "pretrained"
    return build(spec, weights=weights, source_classes=None, classes=None)  # type: ignore[arg-type]


def _order_classes(plan: StagePlan, model: TransferModel, classes: list[str]) -> None:
    """The rows of the head in the order of the data set's classes, which must be the model's."""
    if model.classes == classes:
        return
    every = labelled_classes(plan.stage.dataset, plan.recipe.datasets)
    nameless = model.classes == [str(index) for index in range(len(classes))]
    if not (sorted(model.classes) == sorted(classes) or (nameless and len(every) == len(classes))):
        strangers = [name for name in classes if name not in model.classes]
        differ = some(strangers) if strangers else f"without {some([c for c in model.classes if c not in classes])}"
        raise InputError(
            f'stage "{plan.stage.name}" does not train, so its data set must have the classes of the model that it '
            f'starts from ({some(model.classes)}), but "{plan.stage.dataset}" differs: {differ}'
        )
    model.set_head(rows_of(model.source_head(), classes, every))
