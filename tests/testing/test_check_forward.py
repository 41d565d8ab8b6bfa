"""`check_plugin` on what stands between the loader and the loss, and on the record of a corruption."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch

import transferkit
from transferkit.testing import check_plugin

pytestmark = pytest.mark.filterwarnings("ignore:importing .* imports torch")


@dataclass
class Blend:
    """A curriculum that blends pairs; its stream has a name of its own, which `streams` says."""

    def streams(self, session):
        samples = session.open_samples("else", "train")
        return {"elsewhere": transferkit.Stream(samples, partner=lambda indices, keys: indices)}

    def combine(self, images, labels, step, epoch, progress, rng):
        lam = float(rng.random())
        both = lam * images["target"] + (1 - lam) * images["elsewhere"]
        return transferkit.Combined({"target": both, "elsewhere": both}, labels, {"target": lam, "elsewhere": 1 - lam})


@dataclass
class Alone:
    """A curriculum whose streams need data of a real run: the check takes the usual name."""

    def streams(self, session):
        return {"source": session.no_such_thing}

    def combine(self, images, labels):
        soft = torch.nn.functional.one_hot(labels["target"], 3).float()
        return transferkit.Combined({"target": images["source"]}, {"target": soft})


@dataclass
class Noise:
    """A regularizer that changes features with torch's own generator, as dropout does."""

    share: float = 0.1

    def transform_features(self, features):
        return torch.nn.functional.dropout(features, self.share)


@dataclass
class Largest:
    """Keeps the largest singular component, in float32 and for more than one image."""

    def transform_features(self, features):
        if len(features) < 2:
            raise ValueError("needs at least two images")
        u, s, v = torch.linalg.svd(features.float(), full_matrices=False)
        return (u[:, :1] * s[:1] @ v[:1]).to(features.dtype)


@dataclass
class Mark:
    """A corruption with a record, by label and class name."""

    side: int = 3

    def corrupt(self, image, label, classes, rng):
        changed = image.copy()
        shade = 40 * (sorted(classes).index(classes[label]) + 1)
        left = int(rng.integers(0, image.width - self.side))
        changed.paste((shade, shade, shade), (left, 0, left + self.side, self.side))
        return changed

    def manifest(self, size, label, classes, rng):
        return {"left": int(rng.integers(0, size[0] - self.side)), "shade": 40 * (label + 1), "of": classes[label]}


@pytest.mark.parametrize("cls", [Blend, Alone, Noise, Largest, Mark])
def test_good_plugins_pass(cls):
    check_plugin(cls)


def hook(name, function):
    return type("Bad", (), {name: function})


def combined(function):
    return hook("combine", function)


def changed(function):
    return hook("transform_features", function)


def both(images, labels, **weights):
    return transferkit.Combined(images, labels, weights)


COUNT = itertools.count()


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (combined(lambda self, images, labels: (images, labels)), r"must return a transferkit\.Combined, not a tuple"),
        (combined(lambda self, images: both(images, {})), "every stream needs both"),
        (combined(lambda self: both({}, {})), "there must be one"),
        (
            combined(lambda self, images, labels: both({k: v[:, :1] for k, v in images.items()}, labels)),
            "the images' shape must stay",
        ),
        (combined(lambda self, images, labels: both({k: v[:3] for k, v in images.items()}, labels)), r"labels \(8,\)"),
        (combined(lambda self, images, labels: both({k: v / 0 for k, v in images.items()}, labels)), "not finite"),
        (combined(lambda self, images, labels: both(images, labels, sauce=1.0)), "a weight to sauce"),
        (combined(lambda self, images, labels: both(images, labels, source=-1.0)), "at least 0"),
        (combined(lambda self, images, labels: both(images, labels, source=float("nan"))), "finite number"),
        (
            combined(lambda self, images, labels: both(images, labels, source=torch.tensor(1.0))),
            "a stream's weight is a finite number",
        ),
        (
            combined(lambda self, images, labels: images["target"].mul_(2) is None or both(images, labels)),
            r'changes images\["target"\] in place',
        ),
        (
            combined(
                lambda self, images, labels: both({"target": torch.rand(8, 3, 32, 32)}, {"target": labels["target"]})
            ),
            "global random generator of torch",
        ),
        (
            combined(lambda self, images, labels: both(images, labels, source=1 / (1 + next(COUNT)))),
            "another result for the same batch and key",
        ),
        (combined(lambda self, images, labels: images["nowhere"]), "raises KeyError: 'nowhere'"),
        (changed(lambda self, features: features[:, :2]), "the shape must stay"),
        (changed(lambda self, features: None), "into None; the shape must stay"),
        (changed(lambda self, features: features / 0), "not finite"),
        (changed(lambda self, features: features.detach()), "cuts the gradient off"),
        (changed(lambda self, features: features * 0), "the gradient of the features is zero"),
        (changed(lambda self, features: (features * 0).sqrt()), "the gradient of the features is not finite"),
        (changed(lambda self, features: features * next(COUNT)), "a function of them"),
        (changed(lambda self, features: torch.linalg.svd(features)[0]), "the shape must stay"),
        (changed(lambda self, features: features - features.std(dim=0)), "one image returns features .* not finite"),
        (
            changed(lambda self, features: (features * 2).numpy() if features.dtype == torch.bfloat16 else features),
            "in bfloat16 raises",
        ),
        (changed(lambda self, features: features.nothing), "raises AttributeError"),
        (hook("manifest", lambda self: {"corruption": 1}), "column corruption, which every manifest has"),
        (hook("manifest", lambda self: {"where": (1, 2)}), "where is no text and no number"),
        (hook("manifest", lambda self: [1]), r"must return \{column: value\}"),
        (hook("manifest", lambda self: {"n": next(COUNT)}), "another result for the same image and key"),
        (hook("manifest", lambda self, label, classes: {"of": classes[label + 9]}), "raises IndexError"),
        (hook("corrupt", lambda self, image, classes: (image, len(classes))), "label 3; the classes are 0 to 2"),
    ],
)
def test_what_is_wrong_is_named(cls, words):
    with pytest.raises(AssertionError, match=words):
        check_plugin(cls)


def test_features_must_not_be_changed_in_place():
    def in_place(self, features):
        with torch.no_grad():
            features.mul_(2)
        return features

    with pytest.raises(AssertionError, match="changes features in place"):
        check_plugin(changed(in_place))


def test_a_refusal_without_a_reason():
    def refuses(self, features):
        if len(features) == 1:
            raise ValueError
        return features * 2

    with pytest.raises(AssertionError, match="refuses a batch of one image without saying why"):
        check_plugin(changed(refuses))
