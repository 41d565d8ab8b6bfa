"""A sample depends on its key alone; corruptions are planted between picture and tensor."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from transferkit.data.images import BadImage
from transferkit.data.planting import Corruption, corruptions
from transferkit.data.randomness import borrowed_rng
from transferkit.data.samples import Samples
from transferkit.data.sources import open_split
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.plugins.registry import Component
from transferkit.recipe.schema import Augmentation, Dataset


@dataclass
class Paint:
    """One corner in the colour of a random number; the selected half only."""

    every: int = 2

    def select(self, labels, split):
        return np.arange(0, len(labels), self.every) if split == "train" else []

    def corrupt(self, image, label, rng):
        image.putpixel((0, 0), (int(rng.integers(256)), 0, 0))
        return image


class Relabel:
    def corrupt(self, image, label):
        return image, (label + 1) % 3


def planted(*instances, split="train", splits=None):
    owner = Owner("tests", "tests", "0")
    plugins = [
        Plugin("corruption", type(i).__name__.lower(), i, Component("corruption", "x", type(i), owner))
        for i in instances
    ]
    return corruptions(RunPlugins(plugins), split, splits)


def global_state():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def test_get_depends_on_epoch_and_index_alone(make_samples):
    samples, again = make_samples(), make_samples()
    image, label, index = samples.get(7, 2)
    assert (label, index) == (1, 7)
    again.get(3, 1), torch.rand(3), np.random.rand()
    assert torch.equal(again.get(7, 2)[0], image)
    assert torch.equal(again[7, 2][0], image)
    assert not torch.equal(samples.get(7, 3)[0], image)
    assert not torch.equal(make_samples(seed=6).get(7, 2)[0], image)


def test_a_subset_keeps_every_image_its_augmentation(make_samples):
    whole, part = make_samples(), make_samples(indices=np.array([4, 9, 20]))
    assert torch.equal(part.get(1, 3)[0], whole.get(9, 3)[0])
    assert part.labels.tolist() == [1, 0, 2]
    assert part.ids == ["train/4", "train/9", "train/20"]
    assert len(part) == 3


def test_a_batch_is_its_samples(make_samples):
    samples = make_samples()
    images, labels = samples.batch(np.array([3, 0, 3]), np.array([1, 1, 2]))
    assert torch.equal(images, torch.stack([samples.get(i, e)[0] for i, e in ((3, 1), (0, 1), (3, 2))]))
    assert labels.tolist() == [0, 0, 0] and labels.dtype == torch.int64


def test_the_global_generators_are_left_alone(make_samples):
    samples = make_samples(corruptions=planted(Paint()))
    before = global_state()
    samples.get(0, 0), samples.batch(np.arange(3), np.zeros(3, int)), list(samples.evaluation_batches(10))
    assert global_state() == before


def test_evaluation_batches_are_deterministic_and_in_order(make_samples):
    samples = make_samples(10)
    batches = list(samples.evaluation_batches(4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    plain = make_samples(10, augmentation=False)
    expected = torch.stack([plain.get(i, 9)[0] for i in range(10)])
    assert torch.equal(torch.cat([images for images, _ in batches]), expected)
    assert torch.cat([labels for _, labels in batches]).tolist() == samples.labels.tolist()


def test_evaluation_batches_need_a_pipeline(make_samples):
    samples = make_samples(4)
    samples.evaluation = samples.pipeline
    with pytest.raises(ValueError, match="no evaluation pipeline"):
        next(samples.evaluation_batches(2))


def test_corruption_is_planted_on_the_selected_in_every_epoch_alike(make_samples):
    clean = make_samples(6, augmentation=False)
    samples = make_samples(6, augmentation=False, corruptions=planted(Paint(every=3)))
    changed = [i for i in range(6) if not torch.equal(samples.get(i, 0)[0], clean.get(i, 0)[0])]
    assert changed == [0, 3]
    assert torch.equal(samples.get(3, 0)[0], samples.get(3, 5)[0])
    # the corner's red by hand: its key, then mean 0.5 and std 0.25
    red = int(borrowed_rng(5, "paint", "train", 3).integers(256)) / 255
    assert samples.get(3, 0)[0][0, 0, 0].item() == pytest.approx((red - 0.5) / 0.25, abs=1e-6)


def test_corruption_may_change_the_label_and_never_the_source(make_samples):
    samples = make_samples(6, augmentation=False, corruptions=planted(Relabel(), Paint()))
    assert [samples.get(i, 0)[1] for i in range(3)] == [1, 2, 0]
    assert samples.labels[:3].tolist() == [0, 1, 2]
    before = np.asarray(samples.source.image(0)).copy()
    samples.get(0, 0)
    assert np.array_equal(np.asarray(samples.source.image(0)), before)


def test_corruptions_apply_to_their_splits():
    assert [c.name for c in planted(Paint(), Relabel(), splits={"paint": ["val"]})] == ["relabel"]
    assert [c.name for c in planted(Paint(), Relabel(), split="val", splits={"paint": ["val"]})] == ["paint", "relabel"]


def test_corruptions_that_misbehave_are_named(make_samples):
    class Shrink:
        def corrupt(self, image):
            return image.resize((2, 2))

    class Wild:
        def select(self, labels):
            return [len(labels)]

        def corrupt(self, image):
            return image

    class Broken:
        def corrupt(self, image):
            raise KeyError("oops")

    with pytest.raises(InputError, match=r"corruption 'shrink'.*of the size it was given"):
        make_samples(4, corruptions=planted(Shrink())).get(0, 0)
    with pytest.raises(InputError, match=r"corruption 'wild'.*outside 0\.\.3"):
        make_samples(4, corruptions=planted(Wild()))
    with pytest.raises(KeyError) as caught:
        make_samples(4, corruptions=planted(Broken())).get(0, 0)
    assert "in corrupt of the corruption 'broken'" in caught.value.__notes__[0]


def test_fingerprint_knows_choice_and_corruption(make_samples):
    def fingerprint(**options):
        return make_samples(6, **options).fingerprint()

    prints = [
        fingerprint(),
        fingerprint(indices=np.arange(5)),
        fingerprint(corruptions=planted(Paint())),
        fingerprint(corruptions=planted(Paint(every=3))),
        fingerprint(corruptions=planted(Paint()), seed=9),
        fingerprint(split="val"),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint() == prints[0]
    assert fingerprint(augmentation=False) == prints[0]


def test_corruption_without_select_changes_all():
    (corruption,) = planted(Relabel())
    assert isinstance(corruption, Corruption)
    assert corruption.chosen(np.arange(3), ["a"], "train", 0).all()
    image, label = corruption(Image.new("RGB", (2, 2)), 1, ["a", "b", "c"], (0, "x"))
    assert (image.size, label) == ((2, 2), 2)


def strips(folder, preprocessing, on_bad_image):
    preprocessing.input_size = (64, 64)
    for split in ("train", "val"):
        Image.new("L", (1, 1_500_000)).save(folder / split / "bee" / "strip.png")
    spec = {"d": Dataset.model_validate({"folder": str(folder), "on_bad_image": on_bad_image})}
    crops, plain = transforms(preprocessing, Augmentation()), transforms(preprocessing, None)
    train = Samples("d", "train", open_split("d", spec, "train"), crops, seed=0, evaluation=plain)
    return train, Samples("d", "val", open_split("d", spec, "val"), plain, seed=0)


def test_a_strip_is_refused_by_name_where_it_would_be_resized(class_folder, preprocessing):
    train, val = strips(class_folder, preprocessing, "error")
    index = next(i for i, name in enumerate(train.ids) if "strip" in name)
    assert train.get(index, 0)[0].shape == (3, 64, 64)  # a random crop of it is small
    for call in (lambda: train.picture(index), lambda: list(val.evaluation_batches(99))):
        with pytest.raises(BadImage, match=r"strip\.png \(class 'bee'\): resized for the model .* 64 x 96,000,000"):
            call()


def test_a_strip_is_left_out_everywhere_where_bad_images_are(class_folder, preprocessing):
    for samples, count in zip(strips(class_folder, preprocessing, "skip"), (12, 6), strict=True):
        assert len(samples) == len(samples.labels) == count and not any("strip" in name for name in samples.ids)
        [bad] = samples.left_out
        assert bad.path.endswith("bee/strip.png") and bad.class_name == "bee" and bad.kind == "too_many_pixels"
        assert next(samples.evaluation_batches(99))[0].shape == (count, 3, 64, 64)
