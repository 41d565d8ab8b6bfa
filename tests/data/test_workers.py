"""Worker processes: the same bits as image by image, every wait has an end, nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from timm.data import create_transform
from torchvision.transforms import ToTensor

from tests.data.test_samples import planted
from transferkit.data import workers
from transferkit.data.batches import EvalLoader, TrainLoader
from transferkit.data.feed import Feed, Request
from transferkit.data.randomness import seeded
from transferkit.data.tables import TableSamples, open_table, read
from transferkit.data.transforms import transforms
from transferkit.errors import InputError, TransferkitError
from transferkit.recipe.schema import Augmentation, Dataset, Synthetic

SEED = 5
AUGMENTATIONS = {
    "evaluation": None,
    "crop and flip": Augmentation(),
    "colour": Augmentation(color_jitter=0.4, auto_augment="rand-m9-mstd0.5"),
    "erasing": Augmentation(random_erasing=0.9, vflip=0.5),
}


@dataclass
class Paint:
    """A corner in a drawn colour."""

    def corrupt(self, image, label, rng):
        image.putpixel((0, 0), (int(rng.integers(256)), 0, 0))
        return image, (label + 1) % 3


# -- the same bits -----------------------------------------------------------------------------------------------


def by_timm(preprocessing, augmentation, channels):
    """timm's whole transform, cut before ToTensor: what we are held to, with no code of ours in it."""

    def steps(channels):
        common = {"interpolation": preprocessing.interpolation, "input_size": (3, *preprocessing.input_size)}
        common |= {"mean": preprocessing.mean[:1] * channels, "std": preprocessing.std[:1] * channels}
        if augmentation is None:
            return create_transform(**common, crop_pct=1.0).transforms
        return create_transform(
            **common,
            is_training=True,
            vflip=augmentation.vflip,
            color_jitter=augmentation.color_jitter or None,
            auto_augment=augmentation.auto_augment,
            re_prob=augmentation.random_erasing,
        ).transforms

    def run(through, given):
        for step in through:
            given = step(given)
        return given

    at = next(number for number, step in enumerate(steps(3)) if isinstance(step, ToTensor))
    shape = partial(run, steps(3)[:at])
    final = partial(run, steps(channels)[at:])
    return shape, final if channels == 3 else lambda picture: final(picture.convert("L"))


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("corrupted", [False, True])
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_are_what_timm_makes_of_each_image(
    make_samples, preprocessing, augmentation, channels, corrupted, count
):
    preprocessing.in_chans, preprocessing.mean, preprocessing.std = channels, (0.4,) * channels, (0.2,) * channels
    chosen = AUGMENTATIONS[augmentation]
    corruptions = planted(Paint()) if corrupted else ()
    samples = make_samples(13, corruptions=corruptions)
    samples.pipeline = transforms(preprocessing, chosen)
    shape, to_tensor = by_timm(preprocessing, chosen, channels)
    loader = TrainLoader({"target": samples}, batch_size=5, seed=1, workers=count)
    for epoch in (0, 3):
        for batch in loader.epoch(epoch):
            images, labels, indices = batch.images["target"], batch.labels["target"], batch.indices["target"]
            assert images.is_contiguous() and images.dtype == torch.float32
            for image, label, index in zip(images, labels.tolist(), indices.tolist(), strict=True):
                with seeded(SEED, "toy", "train", epoch, index):
                    picture = shape(samples.source.image(index))
                    for corruption in corruptions:
                        key = (SEED, corruption.name, "train", index)
                        picture = corruption(picture.copy(), 0, samples.classes, key)[0]
                    assert torch.equal(image, to_tensor(picture))
                assert label == (samples.labels[index] + corrupted) % 3
    loader.close()


@pytest.mark.parametrize("shape", [(1, 3, 7, 5), (40, 3, 64, 64), (3, 1, 600, 500), (2, 3, 1, 1)])
def test_normalising_a_batch_is_normalising_each_image(preprocessing, shape):
    from torchvision.transforms import Normalize
    from torchvision.transforms.functional import normalize, to_tensor

    preprocessing.in_chans = shape[1]
    made = create_transform((3, 8, 8), mean=preprocessing.mean, std=preprocessing.std)
    mean, std = next((one.mean, one.std) for one in made.transforms if isinstance(one, Normalize))
    pipeline = transforms(preprocessing, None)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    if shape[1] == 1:
        mean, std = pipeline.normalise._constants[1].flatten(), pipeline.normalise._constants[2].flatten()
        assert mean.item() == pytest.approx(0.4) and std.item() == pytest.approx((0.25 + 0.2 + 0.5) / 3)
    expected = [normalize(to_tensor(one.permute(1, 2, 0).numpy()), mean, std) for one in pixels]
    assert torch.equal(pipeline.finish(pixels), torch.stack(expected))


def test_a_deviation_of_zero_is_refused(preprocessing):
    preprocessing.std = (0.2, 0.0, 0.2)
    with pytest.raises(InputError, match="std has a zero"):
        transforms(preprocessing, None)


@pytest.mark.parametrize("count", [0, 2])
def test_what_is_left_to_the_device_is_the_same(make_samples, monkeypatch, count):
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    streams = {"target": make_samples(9, augmentation=False), "other": make_samples(6, name="other")}
    options = {"batch_size": 4, "seed": 0, "mix": lambda *_: {"other": 0.5}}
    plain = TrainLoader(streams, **options)
    pinned = TrainLoader(streams, **options, pin_memory=True, workers=count)
    for one, other in zip(plain.epoch(0), pinned.epoch(0), strict=True):
        assert other.images["target"].dtype == torch.uint8
        images, labels = other.on(torch.device("cpu"))
        assert all(torch.equal(images[name], one.images[name]) for name in one.images)
        assert all(torch.equal(labels[name], one.labels[name]) for name in one.labels)
    pinned.close()


def table() -> TableSamples:
    spec = Dataset(synthetic=Synthetic(task="source", train=20, val=4, features=5))
    contents = read(spec, "train")
    assert contents is not None
    return TableSamples("t", "train", open_table(contents))


def request(*sizes: int) -> list[Request]:
    return [Request({"target": (np.arange(size), np.zeros(size, dtype=np.int64))}, size) for size in sizes]


def test_memory_grows_with_the_batches(make_samples):
    samples = make_samples(23)
    sizes = (1, 3, 23, 2, 20, 1, 23, 5)
    feed = Feed({"target": samples}, workers=2)
    kept = list(feed.read(request(*sizes)))  # batches stay what they are when their memory is used again
    for batch, size in zip(kept, sizes, strict=True):
        expected, labels = samples.batch(np.arange(size), np.zeros(size, dtype=np.int64))
        assert torch.equal(batch.images["target"], expected) and torch.equal(batch.labels["target"], labels)
    feed.close()


def test_workers_that_are_not_forked(make_samples, monkeypatch):
    monkeypatch.setattr(workers, "multiprocessing", multiprocessing.get_context("spawn"))
    streams = {"target": make_samples(20), "table": table()}
    picks = dict.fromkeys(streams, (np.arange(20), np.ones(20, dtype=np.int64)))
    feed = Feed(streams, workers=1)
    (batch,) = feed.read([Request(picks, 40)])
    for name, samples in streams.items():
        images, labels = samples.batch(*picks[name])
        assert torch.equal(batch.images[name], images) and torch.equal(batch.labels[name], labels)
    feed.close()


# -- waiting -----------------------------------------------------------------------------------------------------


def stuck(samples, at: int = 2):
    """Reading one of the images takes for ever."""
    read = samples.source.contents.read
    samples.source.contents.read = lambda index: time.sleep(1000) if index == at else read(index)
    return samples


def left_over(loader):
    return [worker.process for worker in loader.feed._workers]


def test_a_wait_can_be_left(make_samples):
    class Leave(Exception):
        pass

    def leave():
        if time.monotonic() - began > 0.3:
            raise Leave

    loader = EvalLoader(stuck(make_samples(6, augmentation=False)), batch_size=1, workers=2)
    loader.feed.waiting = leave
    began, batches = time.monotonic(), iter(loader)
    assert next(batches).indices["target"].tolist() == [0]
    processes = left_over(loader)
    with pytest.raises(Leave):
        list(batches)
    assert time.monotonic() - began < 10
    assert not any(process.is_alive() for process in processes)


def test_without_workers_it_can_be_left_between_two_images(make_samples):
    loader = EvalLoader(make_samples(6, augmentation=False), batch_size=6)
    asked = []
    loader.feed.waiting = lambda: asked.append(1)
    list(loader)
    assert len(asked) == 6


def test_a_worker_that_hangs_is_given_up_with_the_image_that_it_hangs_on(make_samples, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    loader = EvalLoader(stuck(make_samples(6, augmentation=False)), batch_size=2, workers=2)
    with pytest.raises(TransferkitError, match=r'has been reading one image for .*: train/2 of "toy"') as caught:
        list(loader)
    assert caught.value.exit_code == 1


def test_slow_images_are_waited_for(make_samples, monkeypatch):
    """Each well within the patience, all of them together far beyond it."""
    monkeypatch.setattr(workers, "PATIENCE", 0.8)
    samples = make_samples(12, augmentation=False)
    read = samples.source.contents.read
    samples.source.contents.read = lambda index: time.sleep(0.15) or read(index)
    (batch,) = EvalLoader(samples, batch_size=12, workers=1)
    assert batch.total == 12


def test_a_stopped_worker_is_given_up(make_samples, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    samples = make_samples(4, augmentation=False)
    loader = TrainLoader({"target": samples}, batch_size=2, seed=0, workers=1)
    list(loader.epoch(0))
    os.kill(left_over(loader)[0].pid, signal.SIGSTOP)
    with pytest.raises(TransferkitError, match="has been reading one image"):
        list(loader.epoch(1))
    assert len(list(loader.epoch(1))) == 2  # by new ones
    loader.close()


@pytest.mark.parametrize("when", ["reading", "idle"])
def test_a_killed_worker_is_noticed_at_once(make_samples, when):
    samples = make_samples(6, augmentation=False)
    loader = TrainLoader({"target": stuck(samples) if when == "reading" else samples}, batch_size=2, seed=0, workers=2)
    batches = loader.epoch(0)
    if when == "idle":
        list(batches)
    else:
        loader.feed._start()
    for process in left_over(loader):
        threading.Timer(0.3 * (when == "reading"), process.kill).start()
    time.sleep(0.2 * (when == "idle"))
    began = time.monotonic()
    with pytest.raises(TransferkitError, match=r"a data worker process died \(by SIGKILL\)\. .*workers=0"):
        list(loader.epoch(1))
    assert time.monotonic() - began < 20


def test_a_pass_that_another_one_took_over_says_so(make_samples):
    loader = TrainLoader({"target": make_samples(12)}, batch_size=2, seed=0, workers=1)
    first = loader.epoch(0)
    next(first)
    second = [batch.indices["target"].tolist() for batch in loader.epoch(1)]
    assert second == [b.indices["target"].tolist() for b in TrainLoader(loader.streams, batch_size=2, seed=0).epoch(1)]
    with pytest.raises(RuntimeError, match="another pass"):
        next(first)
    loader.close()


# -- what workers raise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1])
def test_a_plugin_that_fails_is_named(make_samples, count):
    class Own(Exception):  # which no other process can make again
        pass

    class Local:
        def corrupt(self, image):
            raise Own("oops")

    class Broken:
        def corrupt(self, image):
            raise KeyError("oops")

    class Leaving:
        def corrupt(self, image):
            raise SystemExit(3)

    for plugin, kind in ((Broken(), KeyError), (Local(), RuntimeError if count else Own), (Leaving(), SystemExit)):
        samples = make_samples(4, corruptions=planted(plugin))
        loader = TrainLoader({"target": samples}, batch_size=2, seed=0, workers=count)
        with pytest.raises(kind) as caught:
            list(loader.epoch(0))
        notes = getattr(caught.value, "__notes__", [])
        if plugin.__class__ is not Leaving:
            assert "oops" in str(caught.value)
            assert f"in corrupt of the corruption '{type(plugin).__name__.lower()}'" in notes[0]
        if count:
            assert "in a data worker process:" in notes[-1] and "def corrupt" not in str(caught.value)


@pytest.mark.parametrize("call", ["ftruncate", "fork"])
def test_a_system_that_gives_no_more_is_explained(make_samples, monkeypatch, call):
    def refuse(*_):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(TransferkitError, match=r"Resource temporarily unavailable.*workers=0"):
        list(EvalLoader(make_samples(4, augmentation=False), batch_size=2, workers=1))


# -- nothing is left behind --------------------------------------------------------------------------------------

MAIN = """
import sys, time, numpy as np, pathlib, tempfile
from transferkit.data.feed import Feed, Request
from transferkit.testing.tiny import tiny_session
session = tiny_session(pathlib.Path(tempfile.mkdtemp()))
picks = {'target': (np.arange(2), np.zeros(2, dtype=np.int64))}
feeds = [Feed({'target': session.train_samples}, workers=2) for _ in range(2)]
open_passes = [feed.read([Request(picks, 2)] * 9) for feed in feeds]
for one in open_passes:
    next(one)
print(*[worker.process.pid for feed in feeds for worker in feed._workers], flush=True)
time.sleep(100)
"""


def test_workers_do_not_outlive_a_run_that_is_killed():
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()
    process = subprocess.Popen([sys.executable, "-c", MAIN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 4 and all(psutil.pid_exists(pid) for pid in pids)
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 4 * workers.ORPHAN_POLL
    while time.monotonic() < deadline and any(map(running, pids)):
        time.sleep(0.05)
    assert not any(map(running, pids))
    if before:
        assert not [name for name in set(os.listdir("/dev/shm")) - before if "transferkit" in name]


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_full_dev_shm_does_not_matter():
    """Its size is 64 MB in a container. Here it takes nothing at all."""
    code = (
        "mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs /dev/shm && exec "
        + sys.executable
        + " -c '{}'".format(
            MAIN.replace("'", '"').replace("time.sleep(100)", "[list(one) for one in open_passes]; print(1)")
        )
    )
    done = subprocess.run(["unshare", "-m", "bash", "-c", code], capture_output=True, text=True, timeout=120)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("only root can make /dev/shm small")
    assert done.returncode == 0 and done.stdout.endswith("\n1\n"), done.stderr
