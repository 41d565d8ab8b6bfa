"""Twenty situations: an analyzer, its options, and models and images that it looks at.

Inputs are whole numbers, or multiples of powers of two, so what the models say is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transferkit_lingering.analyzer import Lingering

from tests.plugins import made_up_analyses as runs
from tests.plugins.test_across_curves import sizes
from transferkit.analysis.session import AnalysisSession
from transferkit.model import Preprocessing, TransferModel
from transferkit.testing import MadeUpImages, MadeUpModel, colour_model, made_up_session


@dataclass
class Situation:
    """`use` is what a recipe says; `out` is where the report goes, if not where the session says."""

    session: AnalysisSession
    use: dict[str, Any]
    out: Path | None = None


SITUATIONS: dict[str, Callable[[Path], Situation]] = {}


def situation(make: Callable[[Path], Situation]) -> Callable[[Path], Situation]:
    """Among those that are compared."""
    SITUATIONS[make.__name__] = make
    return make


# -- answers --------------------------------------------------------------------------------------------------

SIX = ["tench", "goldfish", "cock", "hen", "ostrich", "brambling"]
TWO = ["ants", "bees"]
LABELS = [0] * 10 + [1] * 10 + [2] * 8 + [3] * 6 + [4] * 2
"""Of six classes; the last has no images, the one before two."""
BEFORE = [0] * 10 + [1] * 8 + [0] * 2 + [2] * 8 + [3] * 5 + [0] + [4] * 2
AFTER = [0] * 2 + [1] * 8 + [1] * 7 + [0] * 3 + [2] * 6 + [3] * 2 + [3] * 1 + [5] * 5 + [4, 0]
SHOWN = [0] * 15 + [1] + [0] * 4
"""What the source model sees in the target images."""
VOTES = [0] * 10 + [0] * 8 + [1] * 2 + [1] * 8 + [0] * 3 + [1] * 3 + [0, 1]


def sure(classes: list[int], size: int, logit: float = 4.0) -> np.ndarray:
    """(n, size) logits that name these classes, some more than others, in sixteenths."""
    rows = np.arange(len(classes))[:, None] * 5 + np.arange(size)[None] * 3
    found = (rows % 16) / 16
    found[np.arange(len(classes)), classes] += logit
    return found


def audited(folder: Path, *, baseline: list[int] | None = None, **changes: Any) -> AnalysisSession:
    """Six source classes, two target classes: the answers above, and one batch norm."""
    images = {"source": MadeUpImages(SIX, LABELS), "target": MadeUpImages(TWO, [0, 1] * 10)}
    source = MadeUpModel(SIX, {"source": sure(BEFORE, 6), "target": sure(SHOWN, 6)}, norm=(2.0, 4.0))
    target = MadeUpModel(TWO, {"source": sure(VOTES, 2, 2.0)}, {"source": sure(AFTER, 6)}, norm=(0.0, 1.0))
    models = {"source": source, "target": target}
    if baseline is not None:
        models["baseline"] = MadeUpModel(TWO, {"source": sure(baseline, 2)})
    given = {"images": images, "models": models, "peers": {"lingering": Lingering(k=1, v_lo=2)}} | changes
    return made_up_session(folder, **given)


def with_probe(folder: Path) -> AnalysisSession:
    """A source model without a classifier; every source class shows in the target images."""
    images = {
        "source": MadeUpImages(SIX, {"train": list(range(6)) * 4, "val": LABELS}),
        "target": MadeUpImages(TWO, [0, 1] * 6),
    }
    answers = {"train": sure(list(range(6)) * 4, 6), "val": sure(BEFORE, 6)}
    source = MadeUpModel([], {"source": answers, "target": sure(list(range(6)) * 2, 6)}, norm=(1.0, 4.0))
    target = MadeUpModel(TWO, {"source": {"val": sure(VOTES, 2)}}, {"source": {"val": sure(AFTER, 6)}}, norm=(0.0, 1.0))
    models = {"source": source, "target": target}
    return made_up_session(folder, images=images, models=models, peers={"lingering": Lingering(k=1, v_lo=0)})


@situation
def retention(folder: Path) -> Situation:
    """Everything is there; a class has no images, and two have few."""
    return Situation(audited(folder / "out"), {"use": "retention", "common": 0.5})


@situation
def retention_probe(folder: Path) -> Situation:
    """A fitted head, the source's batch-norm statistics, nothing common."""
    use = {"use": "retention", "bn": "source", "common": 0.25}
    return Situation(with_probe(folder / "out"), use)


@situation
def retention_alone(folder: Path) -> Situation:
    """No source model, no target images; batch-norm statistics are estimated."""
    target = MadeUpModel(TWO, {"source": sure(VOTES, 2)}, {"source": sure(AFTER, 6, 16.0)}, norm=(0.0, 1.0))
    images = {"source": MadeUpImages(SIX, LABELS)}
    session = made_up_session(folder / "out", images=images, models={"target": target}, source_classes=SIX)
    return Situation(session, {"use": "retention", "bn": "recalibrated", "bn_images": 24})


@situation
def lingering(folder: Path) -> Situation:
    """Shared, lingering, uncertain (by the interval, and by the number of images) and unknown classes."""
    session = audited(folder / "out", peers={})
    return Situation(session, {"use": "lingering", "k": 1, "v_lo": 2, "p_lo": 0.3})


@situation
def lingering_probe(folder: Path) -> Situation:
    """Nothing is source-only, and the head was fitted."""
    return Situation(with_probe(folder / "out"), {"use": "lingering", "k": 3, "v_lo": 0})


@situation
def bias(folder: Path) -> Situation:
    """Votes that follow the class, a baseline whose votes do not."""
    session = audited(folder / "out", baseline=[0, 1] * 18)
    return Situation(session, {"use": "bias", "permutations": 50})


@situation
def bias_one_class(folder: Path) -> Situation:
    """One target class, no baseline, no source model: hardly anything can be said."""
    images = {"source": MadeUpImages(SIX, LABELS), "target": MadeUpImages(["ants"], [0] * 4)}
    target = MadeUpModel(["ants"], {"source": sure([0] * len(LABELS), 1)}, {"source": sure(AFTER, 6)})
    session = made_up_session(folder / "out", images=images, models={"target": target}, source_classes=SIX)
    return Situation(session, {"use": "bias", "permutations": 50})


# -- pictures -------------------------------------------------------------------------------------------------

COLOURS = {
    "red": (216, 32, 32), "rose": (200, 60, 60), "blue": (32, 32, 216), "navy": (60, 60, 200), "grey": (128,) * 3,
    "iron": (100,) * 3,
}  # fmt: skip
GROUNDS = {"ants": (184, 104, 72), "bees": (72, 104, 184)}
CHANNELS = [[1, 0, -1], [-1, 0, 1], [0, 1, 0], [1, -1, 0], [0, -1, 1], [1, 1, 1]]
SIDE = 32


def pictures(colours: dict[str, tuple[int, ...]], each: int, start: int = 0) -> dict[str, Any]:
    """Labels and pictures (n, 32, 32, 3) of a ground with a brighter spot and a texture, by a formula."""
    y, x, c = np.indices((SIDE, SIDE, 3))
    labels, made = [], []
    for label, colour in enumerate(colours.values()):
        for i in range(start, start + each):
            texture = (y * 37 + x * 101 + c * 53 + i * 71 + label * 29 + (x * y) % 13) % 41 - 20
            spot = 24 * ((y // 8 == (i + label) % 4) & (x // 8 == (i * 3 + label) % 4)) * ((c + i) % 3 == 0)
            tint = np.array([12, 2, -12]) * ((i * 7 + label * 3) % 11 - 5)
            made.append(np.clip(np.array(colour) + texture + spot + tint, 0, 255).astype(np.uint8))
            labels.append(label)
    return {"labels": labels, "pictures": np.stack(made)}


def pictured(colours: dict[str, tuple[int, ...]], **splits: tuple[int, int]) -> MadeUpImages:
    """{split: (images per class, the first one's number)}."""
    made = {split: pictures(colours, *how) for split, how in splits.items()}
    return MadeUpImages(
        list(colours),
        {split: one["labels"] for split, one in made.items()},
        {split: one["pictures"] for split, one in made.items()},
    )


SOURCE_HEAD = [[1, 0, 0, 0.5, 0, 0], [0.75, 0, 0, 0.25, 0, 0.0625], [0, 1, 0, 0, 0.5, 0], [0, 0.75, 0, 0, 0.25, 0.0625],
               [-0.25, -0.25, 0.5, 0, 0, 0], [-0.25, -0.25, 0.25, 0, 0, 0.0625]]  # fmt: skip
MODELS = {
    "source": partial(colour_model, list(COLOURS), 2 * np.array(SOURCE_HEAD), channels=CHANNELS),
    "target": partial(
        colour_model,
        TWO,
        [[1, -0.5, 0.25, 0.5, 0, 0], [-0.5, 1, 0.25, 0, 0.5, 0]],
        channels=[[1, 0.25, -1], [-1, 0.25, 1], [0.25, 1, 0], [1, -1, 0.25], [0, -1, 1], [1, 0.5, 1]],
    ),
    "baseline": partial(
        colour_model,
        TWO,
        [[0.5, -0.25, 1, 0.25, 0, 0], [-0.25, 0.5, 1, 0, 0.25, 0]],
        channels=[[0.5, 0, -1], [-1, 0, 0.5], [0, 1, 0.5], [1, -0.5, 0], [0.5, -1, 1], [0.5, 1, 1]],
    ),
}


def seen(folder: Path, *roles: str, **changes: Any) -> AnalysisSession:
    """Models of these roles that look at colours."""
    images = {
        "source": pictured(COLOURS, val=(8, 0)),
        "target": pictured(GROUNDS, train=(8, 0), val=(6, 20)),
    }
    models = {role: MODELS[role]() for role in roles}
    return made_up_session(folder, **({"images": images, "models": models} | changes))


@situation
def confusion(folder: Path) -> Situation:
    """Backgrounds decide, for the baseline too; source classes that show in the target images are left out."""
    session = seen(folder / "out", "source", "target", "baseline", peers={"lingering": Lingering(k=1)})
    use = {"use": "confusion", "overlays": 3, "backgrounds": 2, "neutral": 2, "repeats": 2, "limit": 12, "area": 0.5}
    return Situation(session, use)


LOOKING = {"use": "distraction", "classes": 4, "composites": 6}


@situation
def distraction(folder: Path) -> Situation:
    """With a baseline, everything lingers that is not shared, and a gallery."""
    session = seen(folder / "out", "source", "target", "baseline", peers={"lingering": Lingering(k=1, v_lo=1, p_lo=0)})
    return Situation(session, LOOKING | {"gallery": 2})


@situation
def distraction_alone(folder: Path) -> Situation:
    """No baseline; maps of margins, of the class that is predicted, on the background alone."""
    session = seen(folder / "out", "source", "target", peers={"lingering": Lingering(k=1, v_lo=1, p_lo=0)})
    options = {"gallery": 0, "of": "margin", "target_class": "predicted", "scope": "region", "percentile": 70}
    return Situation(session, LOOKING | options)


@situation
def interference(folder: Path) -> Situation:
    """A detector that is not installed, with what inner layers would add."""
    session = seen(folder / "out", "source", "target", peers={"lingering": Lingering(k=1, v_lo=1, p_lo=0.1)})
    use = {"use": "interference", "alpha": 0.34, "composite_classes": 3, "composites_per_class": 2, "bootstrap": 50}
    return Situation(session, use)


@situation
def representation(folder: Path) -> Situation:
    """Two layers and the features, CKA within batches, probes of the source images."""
    session = seen(folder / "out", "source", "target")
    use = {"use": "representation", "layers": ["cells", "mix"], "images": 40, "batch_size": 16, "folds": 4}
    return Situation(session, use)


@situation
def spurious_images(folder: Path) -> Situation:
    """A grid of patches and a region of images, against a baseline."""
    session = seen(folder / "out", "source", "target", "baseline")
    use = {"use": "spurious", "images": 10, "grid": 2, "region": [0.25, 0.25, 0.5, 0.5]}
    return Situation(session, use)


@situation
def data(folder: Path) -> Situation:
    """A wrong label, a training picture that is in val, a black one, and a class told by its ground."""
    train, val = pictures(GROUNDS, 14), pictures(GROUNDS, 5, 40)
    train["labels"][3] = 1
    train["pictures"][20] //= 32
    val["pictures"][2] = train["pictures"][6]
    images = MadeUpImages(
        TWO,
        {"train": train["labels"], "val": val["labels"]},
        {"train": train["pictures"], "val": val["pictures"]},
    )
    models = {role: MODELS[role]() for role in ("source", "target")}
    session = made_up_session(folder / "out", images={"target": images}, models=models, source_data=None)
    return Situation(session, {"use": "data", "permutations": 39, "pictures": 2})


# -- tables ---------------------------------------------------------------------------------------------------


class Rows(nn.Module):
    """Answers that are linear in a row, in float64."""

    def __init__(self, slopes: list[float]) -> None:
        super().__init__()
        self.fc = nn.Linear(len(slopes), 1, bias=False, dtype=torch.float64)
        self.fc.weight.data = torch.tensor([slopes], dtype=torch.float64)
        self.num_features = len(slopes)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).double()

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return features if pre_logits else self.fc(features)

    def get_classifier(self) -> nn.Linear:
        return self.fc


def rows_model(slopes: list[float]) -> TransferModel:
    """A model of tables."""
    preprocessing = Preprocessing((1, len(slopes)), (0.0,), (1.0,), 1.0, "center", "bilinear", in_chans=1)
    return TransferModel(Rows(slopes), classes=["y"], preprocessing=preprocessing, architecture="rows")


@situation
def spurious_table(folder: Path) -> Situation:
    """Interventions on columns and LIME, with the values that the suspect columns had before."""
    common = {"features": 10, "train": 60, "val": 40}
    images = {
        "source": {"synthetic": {"task": "source", **common}},
        "target": {"synthetic": {"task": "target", "permuted": 4, **common}},
        "plain": {"synthetic": {"task": "target", **common}},
    }
    slopes = {
        "target": [0.25] * 4 + [0.125] * 6,
        "baseline": [0.0625] * 4 + [0.125] * 6,
        "source": [0.25] * 6 + [0.0] * 4,
    }
    models = {role: rows_model(each) for role, each in slopes.items()}
    blocks = {"spurious": [0, 4], "shared": [4, 6], "target": [6, 10]}
    use = {"use": "spurious", "blocks": blocks, "restored": "plain", "instances": 3, "samples": 60}
    return Situation(made_up_session(folder / "out", images=images, models=models), use)


# -- runs -----------------------------------------------------------------------------------------------------


def stage(name: str, dataset: str, start: str = "source", **more: Any) -> dict[str, Any]:
    """A stage as a recipe has it."""
    return {"name": name, "start": start, "dataset": dataset, "epochs": 2, **more}


def record(of: str, split: str, epoch: int, **more: Any) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    return {"stage": of, "split": split, "epoch": epoch, "step": 5 * (epoch + 1), "terms": {}, **more}


@situation
def spectrum(folder: Path) -> Situation:
    """Weights and features of a run, beside stages with BSS that are swept."""
    bss = {"use": "bss", "weight": 0.25, "k": 1}
    stages = [
        stage("source", "source", "scratch"),
        stage("plain", "target"),
        stage("one", "target", regularizers=[bss]),
        stage("two", "target", regularizers=[bss | {"k": 2}]),
    ]
    history = [
        record(name, "val", epoch, top1=top1)
        for name, first in (("plain", 0.5), ("one", 0.625), ("two", 0.75))
        for epoch, top1 in enumerate((first, first - 0.125))
    ]
    session = seen(
        folder / "out",
        "source",
        "target",
        recipe={"stages": stages, "stage": "plain"},
        stages={"plain": MODELS["target"](), "one": MODELS["baseline"](), "two": MODELS["source"]()},
        history=history,
    )
    names = ["plain", "one", "two"]
    use = {"use": "spectrum", "stage": "plain", "batch_size": 8, "compare": names[1:], "sweep": names}
    return Situation(session, use)


FOUR = ["0", "1", "2", "3"]
DIGITS = [0, 1, 2, 3] * 6


def wrong_at(*places: int, by: int = 1) -> np.ndarray:
    """Answers to the digits, all right but those at these places."""
    return sure([(label + by * (i in places)) % 4 for i, label in enumerate(DIGITS)], 4)


@situation
def erosion(folder: Path) -> Situation:
    """A stage on squares forgot, its control did not, and it learns again more slowly than from scratch."""

    def squares(**options: Any) -> list[dict[str, Any]]:
        return [{"use": "correlated_patch", "side": 3, **options}]

    images = {
        "clean": MadeUpImages(FOUR, DIGITS),
        "squares": MadeUpImages(FOUR, DIGITS, corruptions=squares()),
        "conflict": MadeUpImages(FOUR, DIGITS, corruptions=squares(shift=1)),
    }

    def arm(clean: tuple[int, ...], matching: tuple[int, ...], conflict: tuple[int, ...]) -> MadeUpModel:
        answers = {"clean": wrong_at(*clean), "squares": wrong_at(*matching), "conflict": wrong_at(*conflict)}
        return MadeUpModel(FOUR, answers)

    models = {
        "source": MadeUpModel(FOUR, dict.fromkeys(images, wrong_at(3, 9))),
        "target": arm((0, 1, 2, 3, 5, 9, 14, 20), (4,), tuple(range(18))),
    }
    finished = {"control": arm((3, 9, 12), (3, 9), (3, 9, 13)), "half": arm((1, 2, 7, 9, 11), (5,), tuple(range(9)))}
    stages = [
        stage("pretrain", "clean", "scratch"),
        stage("erode", "squares", "pretrain", evaluate=["clean"]),
        stage("control", "clean", "pretrain"),
        stage("half", "squares", "pretrain"),
        stage("relearn", "clean", "erode"),
        stage("anew", "clean", "scratch"),
    ]
    curves = {"pretrain": (0.5, 0.875), "control": (0.75, 0.875), "relearn": (0.5, 0.625), "anew": (0.25, 0.75)}
    history = [record(name, "val", i, top1=top1) for name, found in curves.items() for i, top1 in enumerate(found)]
    history += [record("erode", "clean", i, top1=top1) for i, top1 in enumerate((0.75, 0.625))]
    session = made_up_session(
        folder / "out",
        images=images,
        models=models,
        stages=finished,
        recipe={"stages": stages, "stage": "erode"},
        history=history,
        source_data="clean",
        target_data="squares",
    )
    tests = {"clean": "clean", "matching": "squares", "conflict": "conflict"}
    arms = {"control": "control", "sweep": ["half"], "relearn": "relearn", "scratch": "anew", "warm": "nothing"}
    return Situation(session, {"use": "erosion", "stage": "erode", **tests, **arms})


@situation
def growth(folder: Path) -> Situation:
    """Two classes came to six: of one most is taken for a new class, of one most is lost; joint training has both."""
    grown = [*SIX, "owl", "yak"]
    new = [6, 7] * 5
    after = [6] * 7 + [0] * 3 + [1] * 5 + [0] * 5 + [2] * 8 + [3] * 4 + [7] * 2 + [4] * 2
    logits = sure(after, 8)
    logits[np.arange(36), LABELS] += 3 * (np.arange(36) < 9)  # below the new class, above the other old ones
    images = {"source": MadeUpImages(SIX, LABELS), "target": MadeUpImages(grown, {"train": new * 2, "val": new})}
    both = {"source": sure(LABELS[:30] + [0] * 6, 8), "target": {"train": sure(new * 2, 8), "val": sure(new, 8)}}
    target = {"source": logits, "target": {"train": sure(new * 2, 8), "val": sure([6, 7] * 4 + [0, 7], 8)}}
    session = made_up_session(
        folder / "out",
        images=images,
        models={"source": MadeUpModel(SIX, {"source": sure(BEFORE, 6)}), "target": MadeUpModel(grown, target)},
        stages={"joint": MadeUpModel(grown, both)},
        recipe={"stages": [stage("add", "target"), stage("joint", "target")], "stage": "add"},
    )
    return Situation(session, {"use": "growth", "stage": "add", "joint": "joint"})


@situation
def attraction(folder: Path) -> Situation:
    """The ball draws the fine-tuned model; one arm gives one answer, and one is missing."""
    animals, flowers = ["camel", "cow", "kangaroo"], ["poppy", "rose", "tulip"]
    labels = [0] * 4 + [1] * 4 + [2] * 4
    images = {name: MadeUpImages(animals, labels) for name in ("animals", "animals_ball")}
    images |= {name: MadeUpImages(flowers, labels) for name in ("flowers", "flowers_ball")}
    source = {
        "animals": sure([0] * 4 + [1] * 4 + [2, 0, 0, 0], 3),
        "animals_ball": sure([0] * 4 + [1] * 4 + [2, 2, 2, 0], 3),
        "flowers": sure([0] * 8 + [2] * 4, 3),
        "flowers_ball": sure([2] * 6 + [1, 0] + [2] * 4, 3),
    }
    target = {"flowers": sure(labels, 3), "flowers_ball": sure([0, 0, 2, 2, 1, 1, 1, 2] + [2] * 4, 3)}
    stuck = dict.fromkeys(("flowers", "flowers_ball"), sure([1] * 12, 3))
    session = made_up_session(
        folder / "out",
        images=images,
        models={"source": MadeUpModel(animals, source), "target": MadeUpModel(flowers, target)},
        stages={"stuck": MadeUpModel(flowers, stuck)},
        recipe={
            "stages": [
                stage("source", "animals_ball", "scratch"),
                stage("finetune", "flowers_ball"),
                stage("stuck", "flowers_ball", curriculum={"use": "task_interpolation", "source": "animals_ball"}),
            ],
            "stage": "finetune",
        },
        history=[
            *(record("finetune", "train", epoch, images=30) for epoch in range(2)),
            record(
                "stuck",
                "train",
                1,
                images=30,
                plugins={"task_interpolation": {"target_images": 25, "source_images": 35}},
            ),
        ],
        source_data="animals",
        target_data="flowers_ball",
    )
    use = {"use": "attraction", "stage": "finetune", "treated": "kangaroo", "source_clean": "animals",
           "source_marked": "animals_ball", "target_clean": "flowers", "target_marked": "flowers_ball",
           "arms": ["stuck", "nothing"]}  # fmt: skip
    return Situation(session, use)


@situation
def distance(folder: Path) -> Situation:
    """Two stages that were watched, one with looks at predictions, one that was not watched, one that is not there."""

    def way(of: str, epoch: int, **values: float) -> dict[str, Any]:
        return record(of, "train", epoch, plugins={"distance": values})

    watched = {"observers": [{"use": "distance"}]}
    stages = [
        stage("a", "target", "scratch", **watched),
        stage("b", "target", "a", **watched),
        stage("c", "target", "b"),
    ]
    looks = {"fisher_length": 0.5, "fisher_length_definition_2": 0.375}
    history = [
        way("a", 0, distance=2.0, displacement=1.5, straightness=0.75, **looks),
        way("a", 1, distance=5.0, displacement=2.0, straightness=0.4, **looks),
        way("b", 0, distance=1.0, displacement=0.0, straightness=0.0),
    ]
    session = made_up_session(
        folder / "out",
        images={"target": MadeUpImages(TWO, [0, 1])},
        models={"target": MadeUpModel(TWO, {})},
        recipe={"stages": stages, "stage": "b"},
        history=history,
    )
    return Situation(session, {"use": "distance", "stage": "b", "stages": ["a", "b", "c", "d"]})


@situation
def across(folder: Path) -> Situation:
    """Two seeds of three sizes, and two runs of another architecture with biases."""
    for seed in range(2):
        sizes(folder / "runs" / f"sizes{seed}", seed, seed / 64)
    recall, shares = [0.125, 0.375, 0.625, 0.875, 0.25, 0.5], [0.125, 0.875, 0.5, 0.25, 0.75, 0.625]
    runs.run(folder / "runs" / "vgg", runs.retention(recall), bias=runs.bias(shares), model="vgg16")
    runs.run(folder / "runs" / "vit", runs.retention(recall[::-1], ratio=0.75), bias=runs.bias(shares), model="vit")
    session = made_up_session(
        folder / "here",
        images={"target": MadeUpImages(TWO, [0, 1])},
        models={"target": MadeUpModel(TWO, {})},
    )
    return Situation(session, {"use": "across", "pictures": 1}, folder / "runs" / "analyses" / "across")


@situation
def temperature(folder: Path) -> Situation:
    """A model that is sure of all its answers, of which a quarter is wrong."""
    labels = [0, 1] * 20
    said = [1 - label if place % 4 == 3 else label for place, label in enumerate(labels)]
    session = made_up_session(
        folder / "out",
        images={"target": MadeUpImages(TWO, labels)},
        models={"target": MadeUpModel(TWO, {"target": sure(said, 2, 6.0)})},
    )
    return Situation(session, {"use": "temperature", "bins": 5})
