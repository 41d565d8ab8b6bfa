"""One pass over many images gives what single images give, in order, and leaves the model as it was."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from transferkit.data.samples import Samples
from transferkit.data.sources import open_split
from transferkit.data.transforms import transforms
from transferkit.model import features_of, outputs
from transferkit.model.passes import reading_workers
from transferkit.recipe.schema import Augmentation, Dataset


@pytest.fixture
def samples(tmp_path, small):
    """Eleven pictures whose training would flip and colour them."""
    pixels = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "toy.npz", x_train=pixels, y_train=np.arange(11) % 3)
    source = open_split("toy", {"toy": Dataset(npz=str(tmp_path / "toy.npz"))}, "train")
    evaluation = transforms(small.preprocessing, None)
    heavy = transforms(small.preprocessing, Augmentation(color_jitter=0.4, vflip=0.5))
    return Samples("toy", "train", source, heavy, evaluation=evaluation, seed=0)


class Progress:
    """What was announced and how far it came."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def __call__(self, total, description):
        entry = [total, description, 0]
        self.seen.append(entry)
        yield SimpleNamespace(advance=lambda amount=1: entry.__setitem__(2, entry[2] + amount))


@pytest.mark.parametrize("batch_size", [None, 1, 4, 50])
def test_features_are_those_of_single_images(small, samples, batch_size):
    small.train()
    progress = Progress()
    features, labels = features_of(small, samples, progress, "looking", batch_size=batch_size)
    assert all(part.training for part in small.modules())
    assert labels.tolist() == [index % 3 for index in range(11)]
    assert progress.seen == [[11, "looking", 11]]
    assert features.dtype == torch.float32 and not features.requires_grad
    single = torch.cat([images for images, _ in samples.evaluation_batches(1)])
    with torch.no_grad():
        expected = torch.cat([small.eval()(image[None]).features for image in single])
    torch.testing.assert_close(features, expected)


def test_processes_that_read_change_nothing(small, samples):
    plain = Samples("toy", "train", samples.source, samples.evaluation, seed=0)
    alone, processes = (features_of(small, plain, Progress(), "", batch_size=4, workers=n) for n in (0, 2))
    assert all(torch.equal(one, other) for one, other in zip(alone, processes, strict=True))


def test_each_batch_comes_with_its_images_and_taps(small, samples):
    small.tap(["layer2"])
    pictures, seen = [], 0
    for images, labels, output in outputs(small, samples, Progress(), "", batch_size=4):
        assert len(images) == len(labels) == len(output.logits) == len(output.taps["layer2"])
        assert not small.training and not output.logits.requires_grad
        assert torch.equal(output.logits, small(images).logits)
        pictures.append(images)
        seen += len(images)
    assert small.training and seen == 11
    assert torch.equal(torch.cat(pictures), torch.cat([images for images, _ in samples.evaluation_batches(11)]))


def test_a_pass_that_is_left_gives_the_mode_back(small, samples):
    small.train()
    batches = outputs(small, samples, Progress(), "", batch_size=4)
    next(batches)
    batches.close()
    assert small.training


def test_no_images_give_no_rows(small, samples):
    features, labels = features_of(small, samples.subset(np.array([], dtype=np.int64)), Progress(), "")
    assert features.shape == (0, small.num_features) and labels.shape == (0,)


def test_few_images_are_read_here(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert reading_workers(999) == 0 and reading_workers(1000) == 8
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert reading_workers(100_000) == 4
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert reading_workers(100_000) == 0
