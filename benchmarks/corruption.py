"""What planting corruptions adds to the time of a loader, at 224 px on JPEG files and at 32 px from memory.

    python benchmarks/corruption.py [rounds] [--folder IMAGES] [--npz IMAGES] [--check]

One pass over the same images in the same order with the same augmentation, by our own loader without workers; every
image is corrupted. One thread, rounds interleaved, medians of CPU time and of the ratios within a round. Without
--folder (class folders, in train/) and --npz (x_train, y_train) the images are drawn. `--check` exits with 1 when a
pass with one corruption takes more than 1.05 times a pass without.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from interleaved import measure, ratio, table
from PIL import Image

from transferkit.data.batches import TrainLoader
from transferkit.data.planting import corruptions
from transferkit.data.samples import Samples
from transferkit.data.sources import Source, open_split
from transferkit.data.transforms import transforms
from transferkit.hooks import Plugin, RunPlugins
from transferkit.recipe.schema import Augmentation, Dataset
from transferkit.registry import installed

TARGET = 1.05
CLEAN = "clean"
PLANTED: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
    CLEAN: [],
    "correlated_patch": [("correlated_patch", {})],
    "correlated_patch, place: random": [("correlated_patch", {"place": "random"})],
    "tennis_ball": [("tennis_ball", {})],
    "tennis_ball, then correlated_patch": [("tennis_ball", {}), ("correlated_patch", {})],
}


def planted(uses: list[tuple[str, dict[str, Any]]], split: str) -> list[Any]:
    components = [(name, installed().get("corruption", name), options) for name, options in uses]
    plugins = [Plugin("corruption", name, one.create(options), one) for name, one, options in components]
    return corruptions(RunPlugins(plugins), split)


def passes(source: Source, size: int, count: int, training: bool) -> dict[str, Callable[[], object]]:
    """One epoch over the first `count` images, with each list of corruptions."""
    preprocessing = SimpleNamespace(
        input_size=(size, size),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        crop_pct=0.875 if size > 64 else 1.0,
        crop_mode="center",
        interpolation="bilinear",
        in_chans=3,
    )
    plain = transforms(preprocessing, None)
    pipeline = transforms(preprocessing, Augmentation()) if training else plain
    split = "train" if training else "val"
    loaders = {}
    for name, uses in PLANTED.items():
        samples = Samples(
            "images",
            split,
            source,
            pipeline,
            seed=0,
            indices=np.arange(min(count, len(source))),
            corruptions=planted(uses, split),
            evaluation=plain,
        )
        loaders[name] = TrainLoader({"target": samples}, batch_size=32, seed=0)
    return {
        name: lambda loader=loader: sum(batch.total for batch in loader.epoch(0)) for name, loader in loaders.items()
    }


def drawn_folder(folder: Path, count: int) -> Path:
    """JPEG files of 256 px with structure at every scale."""
    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / "train" / f"c{index % 4}"
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8))
        small.resize((320, 256), Image.Resampling.BICUBIC).save(place / f"{index}.jpg", quality=90)
    return folder


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=15)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--npz", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as temporary:
        files = opened(folder=str(arguments.folder or drawn_folder(Path(temporary) / "images", 32)))
        arrays = opened(npz=str(arguments.npz or drawn_npz(Path(temporary) / "images.npz", 512)))
        for source, size, count in ((files, 224, 32), (arrays, 32, 512)):
            for training in (True, False):
                kind = "augmentation of training" if training else "transform of evaluation"
                times = measure(passes(source, size, count, training), arguments.rounds)
                each = 1e3 * statistics.median(times[CLEAN]) / min(count, len(source))
                print(f"{size} px, {kind}: {each:.0f} µs per clean image")
                table(times, CLEAN)
                singles = [name for name, uses in PLANTED.items() if len(uses) == 1]
                missed += [f"{size} px, {kind}: {name}" for name in singles if ratio(times, name, CLEAN) > TARGET]
    print(f"more than {TARGET} times: {'; '.join(missed) or 'none'}")
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
