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

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any

import psutil
import torch
from corruption import drawn_folder, opened
from interleaved import interleaved, options, quartiles, ratio, verdict
from timm.data import ImageDataset, create_loader

from transferkit.data.batches import EvalLoader, TrainLoader
from transferkit.data.samples import Samples
from transferkit.data.transforms import transforms
from transferkit.model import Preprocessing
from transferkit.recipe.schema import Augmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OURS, THEIRS = "ours", "timm"
Pass = Callable[[], int]


def ours(folder: Path, size: int, batch: int, workers: int, training: bool) -> Pass:
    preprocessing = Preprocessing((size, size), MEAN, STD, 0.875, "center", "bilinear")
    plain = transforms(preprocessing, None)
    pipeline = transforms(preprocessing, Augmentation()) if training else plain
    samples = Samples("images", "train", opened(folder=str(folder)), pipeline, seed=0, evaluation=plain)
    if training:
        loader, epochs = TrainLoader({"target": samples}, batch_size=batch, seed=0, workers=workers), count()
        return lambda: sum(len(one.images["target"]) for one in loader.epoch(next(epochs)))
    evaluation = EvalLoader(samples, batch_size=batch, workers=workers, persistent=True)
    return lambda: sum(len(one.images["target"]) for one in evaluation)


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
    return lambda: sum(len(images) for images, _ in loader)


def spent() -> float:
    """Seconds of CPU of this process and its children."""
    me = psutil.Process()
    return float(sum(one.cpu_times().user + one.cpu_times().system for one in [me, *me.children()]))


def timed(work: Pass) -> tuple[float, float]:
    """Images per second, and microseconds of CPU per image."""
    began, before = time.perf_counter(), spent()
    images = work()
    took, used = time.perf_counter() - began, spent() - before
    return images / took, 1e6 * used / images


def main() -> int:
    parser, targets = options(__doc__, 15), {}
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as temporary:
        if given.folder is None:
            drawn_folder(Path(temporary) / "train", 256)
        for workers, training in product(given.workers, (True, False)):
            common = (given.folder or Path(temporary), given.size, given.batch, workers, training)
            passes = {
                OURS: ours(*common),
                THEIRS: timms(*common),
                "timm, use_prefetcher=False": timms(*common, use_prefetcher=False),
            }
            found = interleaved({name: partial(timed, work) for name, work in passes.items()}, given.rounds)
            speeds, costs = ({name: [one[of] for one in each] for name, each in found.items()} for of in (0, 1))
            kind = f"{workers} workers, {'augmentation of training' if training else 'transform of evaluation'}"
            print(kind)
            for name in passes:
                low, middle, high = quartiles(speeds, OURS, name)
                print(
                    f"  {name:<28} {statistics.median(speeds[name]):7.0f} images/s, ours x {middle:.3f}"
                    f" ({low:.3f}-{high:.3f})   {statistics.median(costs[name]):7.0f} µs of CPU,"
                    f" ours x {ratio(costs, OURS, name):.3f}"
                )
            reached, least = ratio(speeds, OURS, THEIRS), 1.1 if workers else 1.0
            targets[f"{kind}: images per second, ours over timm's {reached:.3f} >= {least}"] = reached >= least
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
