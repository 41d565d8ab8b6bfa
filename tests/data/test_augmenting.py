"""Plugins' augmentations: a function of (seed, name, data set, split, epoch, draw, image), in training only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.test_samples import Paint, Relabel, planted
from transferkit.data.augmenting import augmentations
from transferkit.data.batches import TrainLoader
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.plugins.registry import Component


@dataclass
class Speck:
    """The last pixel in the colour of a random number, and of the label."""

    def augment(self, image, label, rng):
        image = image.copy()
        image.putpixel((11, 11), (int(rng.integers(256)), label, 0))
        return image


def augmenting(*instances, names=None):
    owner = Owner("tests", "tests", "0")
    names = names or [type(one).__name__.lower() for one in instances]
    return augmentations(
        RunPlugins(
            Plugin("augmentation", name, one, Component("augmentation", "x", type(one), owner))
            for name, one in zip(names, instances, strict=True)
        )
    )


def speck(samples, index, epoch) -> int:
    """The colour that was drawn, from the normalised tensor."""
    return round((float(samples.get(index, epoch)[0][0, 11, 11]) * 0.25 + 0.5) * 255)


@pytest.fixture
def plain(make_samples):
    return make_samples(augmentation=False, augment=augmenting(Speck()))


def test_it_depends_on_epoch_draw_and_image_and_on_nothing_else(plain, make_samples):
    again = make_samples(augmentation=False, augment=augmenting(Speck()))
    found = [speck(plain, index, epoch) for epoch in range(3) for index in range(20)]
    assert [speck(again, index, epoch) for epoch in range(3) for index in range(20)] == found
    assert len(set(found)) > 40
    for changed in ({"seed": 6}, {"name": "other"}, {"augment": augmenting(Speck(), names=["speck-2"])}):
        other = make_samples(**{"augmentation": False, "augment": augmenting(Speck())} | changed)
        assert [speck(other, index, 0) for index in range(20)] != found[:20]
    assert not plain.random


def test_evaluation_pictures_and_features_never_see_it(plain, make_samples):
    bare = make_samples(augmentation=False)
    for (ours, _), (theirs, _) in zip(plain.evaluation_batches(5), bare.evaluation_batches(5), strict=True):
        assert torch.equal(ours, theirs)
    assert plain.picture(3).tobytes() == bare.picture(3).tobytes()
    assert not torch.equal(plain.get(3, 0)[0], bare.get(3, 0)[0])


def test_timms_augmentation_and_erasing_stay_as_they_were(make_samples):
    """Bits of a recipe without it, but for the pixel that it sets."""
    bare, with_it = make_samples(), make_samples(augment=augmenting(Speck()))
    for index in range(12):
        one, other = bare.get(index, 1)[0], with_it.get(index, 1)[0]
        different = (one != other).any(dim=0)
        different[11, 11] = False
        assert not different.any()


def test_what_is_planted_comes_after_it_and_stays(make_samples):
    """The painted corner is that of the samples without augmentation, and the label is the data set's own."""

    @dataclass
    class White:
        def augment(self, image, label):
            return Image.new("RGB", image.size, (label, label, label))

    corrupt = {"corruptions": planted(Paint(), Relabel()), "augmentation": False}
    bare, with_it = make_samples(**corrupt), make_samples(**corrupt, augment=augmenting(White()))
    for index in (0, 2, 4):
        assert torch.equal(bare.get(index, 0)[0][:, 0, 0], with_it.get(index, 0)[0][:, 0, 0])
        assert bare.get(index, 0)[1] == with_it.get(index, 0)[1] == (index + 1) % 3
    blue = with_it.get(4, 0)[0][2, 5, 5] * 0.5 + 0.3
    assert round(float(blue) * 255) == 4 % 3


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing_and_a_later_start_neither(plain, workers):
    def batches(count, start=0):
        loader = TrainLoader({"target": plain}, batch_size=5, seed=1, workers=count)
        found = [batch.images["target"].clone() for epoch in range(2) for batch in loader.epoch(epoch, start)]
        loader.close()
        return found

    here = batches(0)
    assert all(torch.equal(one, other) for one, other in zip(here, batches(workers), strict=True))
    assert torch.equal(batches(workers, start=2)[0], here[2])


def test_an_image_that_is_drawn_twice_in_an_epoch_is_augmented_anew(plain):
    """What `balance: sampling` does: draws with replacement. The key has the draw besides the epoch."""
    weights = np.where(np.arange(len(plain)) < 2, 50.0, 0.01)
    loader = TrainLoader({"target": plain}, batch_size=len(plain), seed=1, weights=weights)
    (batch,) = loader.epoch(0)
    indices = batch.indices["target"].tolist()
    assert max(indices.count(one) for one in (0, 1)) > 5
    specks = [round((float(image[0, 11, 11]) * 0.25 + 0.5) * 255) for image in batch.images["target"]]
    for one in (0, 1):
        of_one = [found for index, found in zip(indices, specks, strict=True) if index == one]
        assert len(set(of_one)) > len(of_one) / 2  # 256 colours: a few may be drawn twice
        assert of_one[0] == speck(plain, one, 0)  # the first draw is that of a recipe without repeated ones
    (again,) = loader.epoch(0)
    assert torch.equal(again.images["target"], batch.images["target"])


@pytest.mark.parametrize(
    ("returned", "said"), [(lambda image: image.resize((5, 5)), "of the size"), (lambda image: None, "must return an")]
)
def test_what_is_no_image_of_that_size_is_refused_by_name(make_samples, returned, said):
    class Wrong:
        def augment(self, image):
            return returned(image)

    samples = make_samples(augment=augmenting(Wrong()))
    with pytest.raises(InputError, match=f"augmentation 'wrong'.*{said}"):
        samples.get(0, 0)


def test_a_grey_image_becomes_rgb_and_the_given_one_is_ones_own(make_samples):
    class InPlace:
        in_place = True

        def augment(self, image):
            image.putpixel((0, 0), (255, 255, 255))
            return image.convert("L")

    samples = make_samples(augmentation=False, augment=augmenting(InPlace()))
    before = samples.source.image(0).tobytes()
    assert samples.get(0, 0)[0].shape == (3, 12, 12)
    assert samples.source.image(0).tobytes() == before


def test_groups(make_samples):
    labels = np.arange(23) % 3
    assert make_samples().groups.tolist() == labels.tolist()
    marked = make_samples(corruptions=planted(Paint()))
    assert marked.groups.dtype == np.int64
    assert marked.groups.tolist() == (2 * labels + (np.arange(23) % 2 == 0)).tolist()
    # one that changes every image tells none apart, unless it is alone
    assert make_samples(corruptions=planted(Paint(), Relabel())).groups.tolist() == marked.groups.tolist()
    assert make_samples(corruptions=planted(Relabel())).groups.tolist() == (2 * labels + 1).tolist()
    part = np.array([4, 1, 9])
    assert marked.subset(part).groups.tolist() == marked.groups[part].tolist()
    assert marked.clean().groups.tolist() == labels.tolist()
