"""What the detector costs in ONNX Runtime: the exported guarded model against the plain one, and against two models.

Run: python benchmarks/guarded_onnx.py [rounds] [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import timm
import torch
from interleaved import measure, ratio, table

from transferkit.data.randomness import seeded
from transferkit.deploy.export import export_model
from transferkit.deploy.interference import Calibration, Guarantee, Interference, LingeringClass, Score
from transferkit.deploy.interference_file import write_interference
from transferkit.deploy.parity import keyed_images
from transferkit.deploy.portable import open_onnx
from transferkit.model import Preprocessing, SourceHead, TransferModel
from transferkit.model_folder import save_model

TARGET, SOURCE, LINGERING = 37, 1000, 40
SIZE = 224
LIMIT = 1.03
MODELS = ("resnet18", "vit_tiny_patch16_224")


def model_of(name, classes):
    with seeded(0, name):
        net = timm.create_model(name, num_classes=classes)
    preprocessing = Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.25,) * 3, 0.9, "center", "bicubic")
    return TransferModel(net, classes=list(map(str, range(classes))), preprocessing=preprocessing, architecture=name)


def detector(model, head):
    chosen = range(0, SOURCE, SOURCE // LINGERING)
    return Interference(
        source_model={"name": model.architecture, "sha256": None},
        lingering=tuple(LingeringClass(index, str(index)) for index in chosen),
        source_classes=head.classes,
        score=Score("refitted", "sum"),
        detect_p=0.05,
        guarantee=Guarantee(None, None, 0, "none: made up"),
        calibration=Calibration.of([]),
        preprocessing=model.preprocessing.to_json(),
    )


def files(name, folder):
    """ONNX files of the plain model, of the guarded one, and of a source model."""
    model = model_of(name, TARGET)
    plain = save_model(folder / "plain", model, None, {})
    guarded = save_model(folder / "guarded", model, None, {})
    with seeded(0, "head"):
        weight = torch.randn(SOURCE, model.num_features) / model.num_features**0.5
    head = SourceHead(weight, torch.zeros(SOURCE), list(map(str, range(SOURCE))))
    write_interference(guarded, detector(model, head), head)
    source = save_model(folder / "source", model_of(name, SOURCE), None, {})
    return [export_model(one, "onnx", max_batch=8).path for one in (plain, guarded, source)]


def compare(name, rounds, batch):
    with tempfile.TemporaryDirectory() as folder:
        plain, guarded, source = map(open_onnx, files(name, Path(folder)))
    images = keyed_images(Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.25,) * 3, 0.9, "center", "bicubic"), batch)
    print(f"{name}, {SIZE} px, batch {batch}, ONNX Runtime with one thread that does not spin")
    times = measure(
        {
            "plain": lambda: plain(images),
            "guarded": lambda: guarded(images),
            "plain and a source model": lambda: (plain(images), source(images)),
        },
        rounds,
    )
    table(times, "plain")
    return ratio(times, "guarded", "plain")


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = [value for value in sys.argv[1:] if value != "--check"]
    found = {name: compare(name, int(given[0]) if given else 60, 1) for name in MODELS}
    for name, value in found.items():
        print(f"{name}: guarded / plain {value:.3f} (at most {LIMIT}): {'holds' if value <= LIMIT else 'missed'}")
    sys.exit("--check" in sys.argv and max(found.values()) > LIMIT)
