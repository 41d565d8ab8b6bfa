"""What the detector costs: a guarded model against the same model alone, and against one with a separate source model.

Eager mode, one thread, random weights. Run: python benchmarks/guarded.py [rounds] [--only NAME] [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from interleaved import measure, options, ratio, table, verdict
from step import model_of

import transferkit
from transferkit.deploy.guarded import Guarded
from transferkit.deploy.interference import (
    Calibration,
    Guarantee,
    Interference,
    LingeringClass,
    Score,
    write_interference,
)
from transferkit.model import SourceHead
from transferkit.model.folder import save_model

CLASSES, SOURCE_CLASSES, LINGERING, CLEAN = 37, 1000, 40, 500
DEAREST = 1.03
MODELS = {"resnet18": "ResNet-18", "vit_tiny_patch16_224": "ViT-Ti/16"}
CALLS = {1: 4, 8: 1}  # passes per round, by batch size


def folders(name, place):
    """Folders of a model alone and of one with a `refitted` detector of random numbers; and that detector."""
    model = model_of(name, CLASSES)
    names = [str(i) for i in range(SOURCE_CLASSES)]
    watched = range(0, SOURCE_CLASSES, SOURCE_CLASSES // LINGERING)
    detector = Interference(
        source_model={"name": "random", "sha256": None},
        lingering=[LingeringClass(index, names[index]) for index in watched],
        source_classes=names,
        score=Score("refitted", "sum"),
        detect_p=0.5,
        guarantee=Guarantee(0.05, None, CLEAN, "random"),
        calibration=Calibration.of(torch.rand(CLEAN).tolist()),
        preprocessing=model.preprocessing.to_json(),
    )
    head = SourceHead(torch.randn(SOURCE_CLASSES, model.num_features) / 30, torch.zeros(SOURCE_CLASSES), names)
    plain, guarded = (save_model(place / f"{name}-{what}", model, None) for what in ("plain", "guarded"))
    write_interference(guarded, detector, head)
    return plain, guarded, detector


def run(name, batch, rounds, folder):
    """{target: whether it holds} for one model and batch size."""
    plain_folder, guarded_folder, detector = folders(name, folder / str(batch))
    plain, guarded = transferkit.load(plain_folder), transferkit.load(guarded_folder)
    source = model_of(name, SOURCE_CLASSES)
    separate = Guarded(model_of(name, CLASSES), None, detector.indices, "sum", source)
    images = torch.randn(batch, 3, 224, 224)

    def repeated(call):
        @torch.inference_mode()
        def several():
            for _ in range(CALLS[batch]):
                call(images)

        return several

    variants = {
        "model alone": repeated(plain.model),
        "guarded, one graph": repeated(guarded.module),
        "model alone, transferkit.load": repeated(plain),
        "guarded, transferkit.load": repeated(guarded),
        "with a separate source model": repeated(separate),
    }
    print(f"{name}, batch {batch}, {CALLS[batch]} passes")
    times = measure(variants, rounds)
    table(times, "model alone")
    found = {
        "one graph": ratio(times, "guarded, one graph", "model alone"),
        "transferkit.load": ratio(times, "guarded, transferkit.load", "model alone, transferkit.load"),
    }
    start = f"{name}, batch {batch}: guarded / plain,"
    return {f"{start} {how}: {cost:.3f} <= {DEAREST}": cost <= DEAREST for how, cost in found.items()}


def main():
    given = options(__doc__, 30, MODELS).parse_args()
    targets: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only:
            for batch in CALLS:
                targets |= run(name, batch, given.rounds, Path(folder))
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
