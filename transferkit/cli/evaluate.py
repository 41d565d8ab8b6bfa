"""`transferkit evaluate`: how good is a model on a folder of images?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.inputs import Tta, TtaOption
from transferkit.cli.predictions import passes, views_line
from transferkit.deploy.place import model_folder
from transferkit.errors import InputError, Problem
from transferkit.system.memory import enough_memory, fewer_at_once
from transferkit.system.terminal import note, print_json, print_table, progress, say
from transferkit.words.formats import number, percent
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import comparable

NAMED = 8

if TYPE_CHECKING:
    from torch import nn

    from transferkit.data.contents import Source
    from transferkit.model.wrapper import TransferModel
    from transferkit.training.evaluation import Evaluation


def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, a run folder, or hf-hub:org/name.", show_default=False)],
    data: Annotated[Path, typer.Option(help="A folder with one folder per class, or with splits.", show_default=False)],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A CSV that maps folders to class names.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    tta: TtaOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Evaluate a model on a folder: accuracy, loss and recall per class, worst first."""
    folder = model_folder(model, stage)

    from transferkit.model.folder import open_model

    opened, _ = open_model(folder)
    source = open_data(data, split, opened.classes, labels)
    with enough_memory(fewer_at_once("--batch-size", batch_size)):
        found = measure(opened, source, batch_size=batch_size, workers=workers, tta=tta)
    facts = as_json(found, opened.classes) | {"model": str(folder), "data": str(data), "split": split}
    if tta is not None:
        facts["tta"] = {"views": tta.value, "passes": passes(tta)}
    if json:
        print_json(facts)
    else:
        if tta is not None:
            note(views_line(tta))
        show(facts)


def open_data(data: Path, split: str, classes: list[str], labels: Path | None = None) -> Source:
    """The images of one split, labelled as the model's classes are.

    A folder of class folders without splits is taken whole. Raises InputError for a missing split and for
    classes that the model does not know.
    """
    from transferkit.data.folders import find_splits
    from transferkit.data.sources import open_split
    from transferkit.recipe.schema import SPLITS, Dataset

    if split not in SPLITS:
        raise InputError(f'"{split}" is no split; use one of {", ".join(SPLITS)}')
    splits = find_splits(data)
    if list(splits.values()) == [data] and split != "train":
        note(f"{data} has no splits; all of its images are evaluated")
        split = "train"
    if split not in splits:
        raise InputError(f"{data} has no {split} split; it has {', '.join(splits)}: choose with --split")
    if labels is None:
        refuse_unknown_classes(splits[split], classes)
    spec = Dataset.model_validate({"folder": str(data), "labels": str(labels) if labels else None})
    source = open_split(data.name or "data", {data.name or "data": spec}, split, classes)
    if source is None:
        raise InputError(f"{data} has no {split} split")
    return source


def refuse_unknown_classes(folder: Path, classes: list[str]) -> None:
    """Raise InputError for class folders that are no classes of the model."""
    from transferkit.data.folders import scan

    known = set(map(comparable, classes))
    unknown = [name for name in scan(folder) if name not in known]
    if unknown:
        listed = ", ".join(unknown[:NAMED]) + (f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else "")
        what = f"{folder} has classes that the model does not know: {listed}"
        hint = did_you_mean(unknown[0], classes)
        raise InputError(Problem("", what, f"{hint}\n    folders with other names: give a class list with --labels"))


def measure(
    model: TransferModel, source: Source, *, batch_size: int = 64, workers: int = 0, tta: Tta | None = None
) -> Evaluation:
    """Evaluate on every image of the source, on the fastest device there is; with `tta` over views of each."""
    from accelerate import Accelerator

    from transferkit.data.batches import EvalLoader
    from transferkit.data.samples import Samples
    from transferkit.data.transforms import transforms
    from transferkit.model.views import OverViews
    from transferkit.training.evaluation import evaluate as run_evaluation

    accelerator = Accelerator()
    asked: nn.Module = model if tta is None else OverViews(model, tta.value)
    samples = Samples("data", "val", source, transforms(model.preprocessing, None), seed=0)
    loader = EvalLoader(samples, batch_size=batch_size, workers=workers)
    try:
        with progress(len(samples), "evaluating") as advance:
            return run_evaluation(
                asked.to(accelerator.device), loader, accelerator, len(model.classes), each_batch=advance
            )
    finally:
        loader.close()


def as_json(found: Evaluation, classes: list[str]) -> dict[str, Any]:
    """The evaluation as a JSON value; classes without images are left out of `per_class`.

    Of more than 1000 classes there is no matrix `confusion` but `confused`: [true, predicted, images] by class number.
    """
    from transferkit.statistics import share
    from transferkit.training.evaluation import LISTED_CLASSES

    counts, right = found.counts.tolist(), found.true.eq(found.predicted).numpy()
    top1, of_classes = share(right), share(right, found.true.numpy())
    recalls = zip(classes, found.per_class, counts, strict=True)
    facts: dict[str, Any] = {
        "top1": found.top1,
        "top1_interval": [top1.low, top1.high],
        "top1_interval_over_classes": [of_classes.low, of_classes.high] if of_classes.known else None,
        "loss": found.loss,
        "images": found.images,
        "classes": len(classes),
        "chance": 1 / len(classes),
        "per_class": {
            name: {"recall": recall, "images": images} for name, recall, images in recalls if not math.isnan(recall)
        },
        "confusion": found.confusion.tolist() if len(classes) <= LISTED_CLASSES else None,
        "class_names": classes,
    }
    if len(classes) > 5:
        facts["top5"] = found.top5
    if facts["confusion"] is None:
        facts["confused"] = found.confused()
    return facts


def show(facts: dict[str, Any]) -> None:
    """Print the evaluation for people."""
    low, high = facts["top1_interval"]
    right = round(facts["top1"] * facts["images"])
    say(f"top-1  {percent(facts['top1'])}  ({right} of {facts['images']} images)")
    say(f"       95 % interval {percent(low)} to {percent(high)} for other images of these classes")
    if facts["top1_interval_over_classes"] is not None:
        low, high = facts["top1_interval_over_classes"]
        say(f"       {percent(low)} to {percent(high)} for other classes, too: images of one class are alike")
    chance = facts["chance"]
    told = "" if facts["top1_interval"][0] > chance else ", and this is not distinguishable from it"
    say(f"       guessing gives {percent(chance)}{told}")
    if "top5" in facts:
        say(f"top-5  {percent(facts['top5'])}")
    say(f"loss   {number(facts['loss'])}")
    say()
    ranked = sorted(facts["per_class"].items(), key=lambda item: (item[1]["recall"], item[0]))
    rows = [[name, str(one["images"]), percent(one["recall"])] for name, one in ranked]
    print_table(["class", "images", "recall"], rows, right=["images", "recall"])
    absent = facts["classes"] - len(ranked)
    if absent:
        note(f"{absent} of the model's {facts['classes']} classes have no image here")
