"""What planting corruptions adds to the time of a loader, at 224 px on JPEG files and at 32 px from memory.

    python benchmarks/corruption.py [rounds] [--folder IMAGES] [--npz IMAGES] [--check]

One pass over the same images in the same order with the same augmentation, by our own loader without workers; every
image is corrupted. One thread, rounds interleaved, medians of CPU time and of the ratios within a round. Without
--folder (class folders, in train/) and --npz (x_train, y_train) the images are drawn. `--check` exits with 1 when a
pass with one corruption takes more than 1.05 times a pass without.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import measure, options, ratio, table, verdict
from PIL import Image

from transferkit.data.batches import TrainLoader
from transferkit.data.contents import Source
from transferkit.data.planting import corruptions
from transferkit.data.samples import Samples
from transferkit.data.sources import open_split
from transferkit.data.transforms import transforms
from transferkit.model import Preprocessing
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.plugins.registry import installed
from transferkit.recipe.schema import Augmentation, Dataset

TARGET = 1.05
CLEAN = "clean"
PLANTED: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
    CLEAN: [],
    "correlated_patch": [("correlated_patch", {})],
    "correlated_patch, place: random": [("correlated_patch", {"place": "random"})],
    "tennis_ball": [("tennis_ball", {})],
    "tennis_ball, then correlated_patch": [("tennis_ball", {}), ("correlated_patch", {})],
}


def images_of(loader: TrainLoader) -> int:
    """One pass, and how many images it had."""
    return sum(batch.total for batch in loader.epoch(0))


def planted(uses: list[tuple[str, dict[str, Any]]], split: str) -> list[Any]:
    components = [(name, installed().get("corruption", name), options) for name, options in uses]
    plugins = [Plugin("corruption", name, one.create(options), one) for name, one, options in components]
    return corruptions(RunPlugins(plugins), split)


def passes(source: Source, size: int, count: int, training: bool) -> dict[str, Callable[[], object]]:
    """One epoch over the first `count` images, with each list of corruptions."""
    crop = 0.875 if size > 64 else 1.0
    preprocessing = Preprocessing((size, size), (0.5,) * 3, (0.25,) * 3, crop, "center", "bilinear")
    plain = transforms(preprocessing, None)
    pipeline = transforms(preprocessing, Augmentation()) if training else plain
    split = "train" if training else "val"
    loaders = {}
    for name, uses in PLANTED.items():
        samples = Samples(
            "images", split, source, pipeline, seed=0, evaluation=plain, indices=np.arange(min(count, len(source))),
            corruptions=planted(uses, split),
        )  # fmt: skip
        loaders[name] = TrainLoader({"target": samples}, batch_size=32, seed=0)
    return {name: partial(images_of, loader) for name, loader in loaders.items()}


def drawn_folder(folder: Path, count: int, classes: Sequence[str] = ("a", "b", "c", "d")) -> None:
    """Class folders of JPEG files of 256 px with structure at every scale."""
    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / classes[index % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8))
        small.resize((320, 256), Image.Resampling.BICUBIC).save(place / f"{index}.jpg", quality=90)


def drawn_npz(path: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    np.savez(path, x_train=pixels, y_train=np.arange(count) % 10)
    return path


def opened(**spec: str) -> Source:
    source = open_split("images", {"images": Dataset(**spec)}, "train")
    assert source is not None
    return source


def main() -> int:
    parser = options(__doc__ or "", 15)
    targets: dict[str, bool] = {}
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--npz", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as name:
        place = Path(name)
        if given.folder is None:
            drawn_folder(place / "train", 32)
        files = opened(folder=str(given.folder or place))
        arrays = opened(npz=str(given.npz or drawn_npz(place / "images.npz", 512)))
        for source, size, count in ((files, 224, 32), (arrays, 32, 512)):
            for training in (True, False):
                kind = f"{size} px, {'augmentation of training' if training else 'transform of evaluation'}"
                times = measure(passes(source, size, count, training), given.rounds)
                each = 1e3 * statistics.median(times[CLEAN]) / min(count, len(source))
                print(f"{kind}: {each:.0f} µs per clean image")
                table(times, CLEAN)
                found = {name: ratio(times, name, CLEAN) for name, uses in PLANTED.items() if len(uses) == 1}
                targets |= {f"{kind}: {name} {one:.3f} <= {TARGET}": one <= TARGET for name, one in found.items()}
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
