"""What the detector costs in ONNX Runtime: the exported guarded model against the plain one, and against two models.

Run: python benchmarks/guarded_onnx.py [rounds] [--only NAME] [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from guarded import DEAREST, MODELS, SOURCE_CLASSES, folders
from interleaved import measure, options, ratio, table, verdict
from step import model_of

from transferkit.deploy.export import export_model
from transferkit.deploy.parity import keyed_images
from transferkit.deploy.portable import open_onnx
from transferkit.model.folder import save_model


def run(name, rounds):
    """{target: whether it holds} for one model."""
    source_model = model_of(name, SOURCE_CLASSES)
    with tempfile.TemporaryDirectory() as place:
        folder, with_detector, _ = folders(name, Path(place))
        doubled = save_model(Path(place) / "source", source_model, None)
        exported = [
            export_model(one, "onnx", inputs=["floats"], max_batch=8).path for one in (folder, with_detector, doubled)
        ]
        plain, guarded, source = map(open_onnx, exported)
    images = keyed_images(source_model.preprocessing, 1)
    print(f"{name}, 224 px, batch 1, ONNX Runtime with one thread that does not spin")
    variants = {
        "plain": lambda: plain(images),
        "guarded": lambda: guarded(images),
        "plain and a source model": lambda: (plain(images), source(images)),
    }
    times = measure(variants, rounds)
    table(times, "plain")
    found = ratio(times, "guarded", "plain")
    return {f"{name}: guarded / plain {found:.3f} <= {DEAREST}": found <= DEAREST}


if __name__ == "__main__":
    given = options(__doc__, 60, MODELS).parse_args()
    sys.exit(
        verdict({key: holds for name in given.only for key, holds in run(name, given.rounds).items()}, given.check)
    )
