"""Images per second of our loader against timm's, on the same files with the same transform and batch size.

    python benchmarks/loader.py [rounds] [--folder IMAGES] [--workers 0 2] [--batch 32] [--size 224] [--check]

Ours is `TrainLoader`; timm's is `create_loader` over its own `ImageDataset`, as its training script makes it (uint8
batches, normalised after loading) and, for comparison, with `use_prefetcher=False`. Both read every image once per
round and do nothing with it; ours drops nothing, timm's the last part of a batch while training. One thread per
process; the loaders take turns in an order drawn anew in every round; ratios are medians of the ratios within a round.
CPU is that of the process and its workers together, per image: on a machine that others use it says more than the
clock. Without --folder (class folders, in train/) the images are drawn. `--check` exits with 1 when ours gives less
than timm's images per second without workers, or less than 1.1 times as many with workers.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import torch
from corruption import drawn_folder, opened
from timm.data import ImageDataset, create_loader

from transferkit.data.batches import EvalLoader, TrainLoader
from transferkit.data.samples import Samples
from transferkit.data.transforms import transforms
from transferkit.recipe.schema import Augmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OURS, THEIRS = "ours", "timm"
Pass = Callable[[int], int]


def ours(folder: Path, size: int, batch: int, workers: int, training: bool) -> Pass:
    preprocessing = SimpleNamespace(
        input_size=(size, size),
        mean=MEAN,
        std=STD,
        crop_pct=0.875,
        crop_mode="center",
        interpolation="bilinear",
        in_chans=3,
    )
    plain = transforms(preprocessing, None)
    pipeline = transforms(preprocessing, Augmentation()) if training else plain
    samples = Samples("images", "train", opened(folder=str(folder)), pipeline, seed=0, evaluation=plain)
    if training:
        loader = TrainLoader({"target": samples}, batch_size=batch, seed=0, workers=workers)
        return lambda epoch: sum(len(one.images["target"]) for one in loader.epoch(epoch))
    evaluation = EvalLoader(samples, batch_size=batch, workers=workers, persistent=True)
    return lambda epoch: sum(len(one.images["target"]) for one in evaluation)


def timms(folder: Path, size: int, batch: int, workers: int, training: bool, **options: Any) -> Pass:
    loader: Iterable[Any] = create_loader(
        ImageDataset(str(folder / "train")),
        (3, size, size),
        batch,
        is_training=training,
        color_jitter=None,
        mean=MEAN,
        std=STD,
        crop_pct=0.875,
        num_workers=workers,
        device=torch.device("cpu"),
        **options,
    )
    return lambda epoch: sum(len(images) for images, _ in loader)


def spent() -> float:
    """Seconds of CPU of this process and its children."""
    me = psutil.Process()
    return sum(one.cpu_times().user + one.cpu_times().system for one in [me, *me.children()])


def compare(passes: dict[str, Pass], rounds: int, warmup: int = 1) -> tuple[dict[str, list[float]], ...]:
    """Images per second, and microseconds of CPU per image, of each loader in each round."""
    speeds: dict[str, list[float]] = {name: [] for name in passes}
    costs: dict[str, list[float]] = {name: [] for name in passes}
    order, shuffle = list(passes), random.Random(0).shuffle
    for turn in range(warmup + rounds):
        shuffle(order)
        for name in order:
            began, before = time.perf_counter(), spent()
            count = passes[name](turn)
            took, used = time.perf_counter() - began, spent() - before
            if turn >= warmup:
                speeds[name].append(count / took)
                costs[name].append(1e6 * used / count)
    return speeds, costs


def ratios(values: dict[str, list[float]], above: str, below: str) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile of the ratios within a round."""
    each = [a / b for a, b in zip(values[above], values[below], strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    return low, middle, high


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=15)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    missed = []
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as temporary:
        folder = arguments.folder or drawn_folder(Path(temporary) / "images", 256)
        for workers in arguments.workers:
            for training in (True, False):
                common = (folder, arguments.size, arguments.batch, workers, training)
                passes = {
                    OURS: ours(*common),
                    THEIRS: timms(*common),
                    "timm, use_prefetcher=False": timms(*common, use_prefetcher=False),
                }
                speeds, costs = compare(passes, arguments.rounds)
                kind = "augmentation of training" if training else "transform of evaluation"
                print(f"{workers} workers, {kind}")
                for name in passes:
                    low, middle, high = ratios(speeds, OURS, name)
                    print(
                        f"  {name:<28} {statistics.median(speeds[name]):7.0f} images/s, ours x {middle:.3f}"
                        f" ({low:.3f}-{high:.3f})   {statistics.median(costs[name]):7.0f} µs of CPU,"
                        f" ours x {1 / ratios(costs, name, OURS)[1]:.3f}"
                    )
                if ratios(speeds, OURS, THEIRS)[1] < (1.1 if workers else 1.0):
                    missed.append(f"{workers} workers, {kind}")
    print(f"below the target: {'; '.join(missed) or 'none'}")
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
