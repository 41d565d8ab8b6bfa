"""What the detector costs: a guarded model against the same model alone, and against one with a separate source model.

Eager mode, one thread, random weights. Exits with 1 when a target is missed. Run: python benchmarks/guarded.py [rounds]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import timm
import torch
from interleaved import measure, ratio, table

import transferkit
from transferkit.deploy.guarded import Guarded
from transferkit.deploy.interference import Calibration, Guarantee, Interference, LingeringClass, Score
from transferkit.deploy.interference_file import write_interference
from transferkit.model import Preprocessing, SourceHead, TransferModel
from transferkit.model_folder import save_model

CLASSES, SOURCE_CLASSES, LINGERING, CLEAN = 37, 1000, 40, 500
DEAREST = 1.03
MODELS = ("resnet18", "vit_tiny_patch16_224")
CALLS = {1: 4, 8: 1}  # passes per round, by batch size


def model_of(name, classes):
    torch.manual_seed(0)
    preprocessing = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bicubic")
    names = [str(i) for i in range(classes)]
    net = timm.create_model(name, num_classes=classes)
    return TransferModel(net, classes=names, preprocessing=preprocessing, architecture=name).eval()


def detector_of(model):
    """A `refitted` detector with random numbers, and its head."""
    names = [str(i) for i in range(SOURCE_CLASSES)]
    head = SourceHead(torch.randn(SOURCE_CLASSES, model.num_features) / 30, torch.zeros(SOURCE_CLASSES), names)
    detector = Interference(
        source_model={"name": "random", "sha256": None},
        lingering=[
            LingeringClass(index, names[index]) for index in range(0, SOURCE_CLASSES, SOURCE_CLASSES // LINGERING)
        ],
        source_classes=names,
        score=Score("refitted", "sum"),
        detect_p=0.5,
        guarantee=Guarantee(0.05, None, CLEAN, "random"),
        calibration=Calibration.of(torch.rand(CLEAN).tolist()),
        preprocessing=model.preprocessing.to_json(),
    )
    return detector, head


def run(name, batch, rounds, folder):
    """Whether the target holds for one model and batch size."""
    model = model_of(name, CLASSES)
    detector, head = detector_of(model)
    plain_folder = save_model(folder / f"{name}-plain", model, None)
    guarded_folder = save_model(folder / f"{name}-guarded", model, None)
    write_interference(guarded_folder, detector, head)
    plain, guarded = transferkit.load(plain_folder), transferkit.load(guarded_folder)
    separate = Guarded(model, None, detector.indices, "sum", model_of(name, SOURCE_CLASSES))
    images = torch.randn(batch, 3, 224, 224)

    def repeated(call):
        def several():
            with torch.inference_mode():
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
    whole = ratio(times, "guarded, transferkit.load", "model alone, transferkit.load")
    print(f"  guarded / plain through transferkit.load: {whole:.3f}")
    return max(ratio(times, "guarded, one graph", "model alone"), whole) <= DEAREST


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=30)
    parser.add_argument("--only", choices=MODELS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        held = {
            f"{name}, batch {batch}": run(name, batch, given.rounds, Path(folder))
            for name in ([given.only] if given.only else MODELS)
            for batch in CALLS
        }
    missed = [name for name, good in held.items() if not good]
    print(
        f"target, at most {DEAREST} times the model alone: " + (f"missed by {'; '.join(missed)}" if missed else "holds")
    )
    return int(bool(missed))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
