"""`check_plugin` passes good plugins and names what is wrong with bad ones."""

import random
import warnings
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import Field
from transferkit_bss.penalty import BSS
from transferkit_delta.penalty import Delta
from transferkit_l2.penalty import L2
from transferkit_l2_sp.penalty import L2SP

import transferkit
from transferkit.model import evaluating
from transferkit.testing import check_plugin, tiny_images

pytestmark = pytest.mark.filterwarnings("ignore:importing .* imports torch")


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (BSS, {}),
        (BSS, {"k": 2, "tap": "layer2", "scale": "relative"}),
        (L2, {}),
        (L2SP, {"params": "weights", "head": False}),
        (Delta, {}),
        (Delta, {"attention": True, "attention_images": 4}),
    ],
)
def test_the_built_in_regularizers_pass(cls, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # among them: importing the module imports torch
        check_plugin(cls, **options)


@dataclass
class Spread:
    floor: Annotated[float, Field(ge=0)] = 0.0

    def penalty(self, features):
        return -features.var(dim=0, unbiased=False).clamp(min=self.floor).mean()


@dataclass
class Everything:
    """All that a plugin may do, done right."""

    seen: list = field(init=False, default_factory=list)

    def setup(self, session):
        self.scale = torch.tensor(session.rng("scale").random())

    def penalty(self, features, logits, labels, step):
        return {"a": features.square().mean(), "b": torch.nn.functional.cross_entropy(logits, labels) * step}

    def anchors(self, model, head):
        return [transferkit.Anchor(list(head.parameters()))]

    def corrupt(self, image, label, rng):
        changed = image.copy()
        changed.putpixel((int(rng.integers(32)), 0), (255, 0, 0))
        return changed, label

    def select(self, labels, rng):
        return rng.permutation(len(labels))[:5]

    def transform_batch(self, images, labels, rng):
        return images + float(rng.random()), labels

    def mix(self, progress):
        return {"source": 1 - progress}

    def step_end(self, losses):
        return {"task": losses["task"]}

    def epoch_end(self, epoch):
        return None

    def analyze(self, session):
        (session.out / "a.svg").write_text("<svg/>")
        logits = session.model()(session.samples().get(0, 0)[0][None]).logits
        return transferkit.Report({"largest": float(logits.max())}, figures=["a.svg"])

    def state_dict(self):
        return {"scale": self.scale, "list": [1, {"x": 2.0}]} if hasattr(self, "scale") else {}

    def load_state_dict(self, state):
        self.scale = state["scale"]


@pytest.mark.parametrize("cls", [Spread, Everything])
def test_good_plugins_pass(cls):
    check_plugin(cls)


def penalty(function):
    """A plugin class with that penalty."""
    return dataclass(type("Bad", (), {"penalty": function, "__annotations__": {}}))


def in_place(self, features):
    with torch.no_grad():
        features.mul_(2)
    return features.mean()


def moves_weights(self, features, model):
    with torch.no_grad():
        model.head.weight.add_(1)
    return features.mean()


def backward(self, features):
    features.mean().backward(retain_graph=True)
    return features.mean()


class Counter:
    def __init__(self):
        self.count = 0

    def penalty(self, features):
        self.count += 1
        return features.mean() * self.count


def small_only(self, features):
    if len(features) == 1:
        raise KeyError("variance")
    return features.var(dim=0).mean()


def draws(self, features):
    return (features * torch.rand(1)).mean()


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (penalty(lambda self, features: features), "a scalar is needed"),
        (penalty(lambda self, features: 1.0), "returns a float"),
        (penalty(lambda self, features: {}), "returns no term"),
        (penalty(lambda self, features: features.mean().detach()), "has no gradient"),
        (penalty(lambda self, features: features.mean() * 0), "every gradient is zero"),
        (penalty(lambda self, features: (features.mean() * 0).sqrt()), "the gradient of .* is not finite"),
        (penalty(lambda self, features: features.mean() / 0), "must be finite"),
        (penalty(lambda self, features: {"a": features.mean() / 0}), "for the term a"),
        (penalty(lambda self, features: features.nonsense), "raises AttributeError"),
        (penalty(in_place), "changes features in place"),
        (penalty(moves_weights), "changes .*weight of the model"),
        (penalty(backward), "gradients"),
        (penalty(draws), "global random generator of torch"),
        (penalty(small_only), "raises KeyError for a batch of one image"),
        (penalty(lambda self, featres: 0), 'no argument "featres".*did you mean "features"'),
        (penalty(lambda self, features=1: 0), "has a default"),
        (Counter, "another value for the same input"),
    ],
)
def test_a_bad_penalty_is_named(cls, words):
    with pytest.raises(AssertionError, match=words):
        check_plugin(cls)


def test_a_batch_of_one_may_be_refused_with_a_reason():
    def refuses(self, features):
        if len(features) == 1:
            raise ValueError("needs at least two images")
        return features.var(dim=0).mean()

    check_plugin(penalty(refuses))


def test_options_are_checked():
    with pytest.raises(AssertionError, match=r"Spread: option floor: .*greater than or equal to 0"):
        check_plugin(Spread, floor=-1)
    with pytest.raises(AssertionError, match="option flor"):
        check_plugin(Spread, flor=1)

    class NoDataclass:
        def __init__(self, k):
            self.k = k

        def penalty(self, features):
            return features.mean()

    with pytest.raises(AssertionError, match="must be a dataclass"):
        check_plugin(NoDataclass, k=1)


def test_a_class_without_hooks_is_named():
    with pytest.raises(AssertionError, match="implements no hook"):
        check_plugin(dataclass(type("Empty", (), {})))


def test_unknown_layers_are_named():
    class Taps:
        def taps(self, model):
            return ["layer9"]

        def penalty(self, taps):
            return taps["layer9"].mean()

    with pytest.raises(AssertionError, match="layer9"):
        check_plugin(Taps)
    Taps.taps = lambda self, model: "layer1"
    with pytest.raises(AssertionError, match="list of layer names"):
        check_plugin(Taps)


def hook(name, function):
    return type("Bad", (), {name: function})


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (hook("anchors", lambda self, model: [1]), "list of transferkit.Anchor"),
        (hook("anchors", lambda self, model: []), "anchors no parameter"),
        (
            hook("anchors", lambda self, model: [transferkit.Anchor([torch.nn.Parameter(torch.ones(2))])]),
            "no parameter of",
        ),
        (
            hook("anchors", lambda self, model: [transferkit.Anchor(p := list(model.parameters()), p)]),
            "share memory",
        ),
        (
            hook("anchors", lambda self, head: [transferkit.Anchor([head.bias], None, [-torch.ones(3)])]),
            "importance is negative",
        ),
        (hook("corrupt", lambda self, image: image.putpixel((0, 0), (1, 2, 3)) or image), "changes the image"),
        (hook("corrupt", lambda self, image: image.convert("L")), "into L"),
        (hook("corrupt", lambda self, image: None), "must return a PIL image"),
        (hook("corrupt", lambda self, image, label: (image, 99)), "label 99"),
        (
            hook("corrupt", lambda self, image: Image.new("RGB", image.size, (random.randrange(256), 0, 0))),
            "global random generator of random",
        ),
        (hook("select", lambda self, labels: [0, 0]), "distinct indices"),
        (hook("select", lambda self, labels: [999]), "distinct indices"),
        (hook("select", lambda self, labels: [int(np.random.rand() * 9)]), "global random generator of numpy"),
        (hook("transform_batch", lambda self, images, labels: images), r"return \(images, labels\)"),
        (hook("transform_batch", lambda self, images, labels: (images[:, :1], labels)), "shape must stay"),
        (hook("transform_batch", lambda self, images, labels: (images.add_(1), labels)), "changes images in place"),
        (hook("mix", lambda self, step: {"source": 1.5}), "between 0 and 1"),
        (hook("mix", lambda self, step: 0.5), "share of the batch"),
        (hook("step_end", lambda self, step: {"a": "text"}), "number"),
        (hook("analyze", lambda self, session: {}), r"must return a transferkit\.Report"),
        (hook("analyze", lambda self, session: transferkit.Report(figures=["no.svg"])), "did not write"),
        (
            type(
                "Bad",
                (),
                {"metrics": ("a", "b"), "analyze": lambda self, session: transferkit.Report({"b": 1, "c": 2})},
            ),
            r"analyze returns what the class does not declare as metrics: c",
        ),
        (
            type("Bad", (), {"metrics": ("a", "b"), "analyze": lambda self, session: transferkit.Report({"b": 1})}),
            r"analyze does not return what the class declares as metrics: a; what cannot be measured is a gap",
        ),
    ],
)
def test_other_bad_hooks_are_named(cls, words):
    with pytest.raises(AssertionError, match=words):
        check_plugin(cls)


def test_what_could_not_be_measured_is_said_and_no_fault():
    cls = type(
        "Short", (), {"metrics": ("a",), "analyze": lambda self, session: transferkit.Report(gaps=["Too few images."])}
    )
    with pytest.warns(UserWarning, match=r"measures nothing of a on the tiny session \(Too few images\.\)"):
        check_plugin(cls)


def test_a_class_that_an_option_names_is_there_in_every_hook():
    @dataclass
    class Owls:
        bird: str

        def select(self, labels, classes):
            return np.flatnonzero(labels == classes.index(self.bird))

        def corrupt(self, image, label, classes):
            return image.copy() if classes.index(self.bird) == label else image

    check_plugin(Owls, bird="owl")
    with pytest.raises(AssertionError, match="'hen' is not in list"):
        check_plugin(Owls, bird="hen")


@pytest.mark.parametrize("earlier", [{}, {"penalty": lambda self, features: features.square().mean()}])
def test_statistics_that_a_look_moves_are_named_with_the_remedy(earlier):
    def epoch_end(self, session):
        with torch.no_grad():
            session.model(tiny_images(2))

    with pytest.raises(
        AssertionError, match=r"epoch_end changes net.*running_mean.*with transferkit\.model\.evaluating"
    ):
        check_plugin(type("Looks", (), {**earlier, "epoch_end": epoch_end}))

    def careful(self, session):
        with torch.no_grad(), evaluating(session.model):
            session.model(tiny_images(2))

    check_plugin(type("Careful", (), {**earlier, "epoch_end": careful}))


@pytest.mark.parametrize(("method", "name"), [("analyze", "dataset"), ("corrupt", "splits"), ("penalty", "on")])
def test_options_of_the_core_are_refused(method, name):
    cls = dataclass(type("Bad", (), {"__annotations__": {name: str}, name: "", method: lambda self: None}))
    with pytest.raises(AssertionError, match=f"Bad has an option called {name}, which every .* has"):
        check_plugin(cls)


def test_steps_are_counted_from_one():
    seen = []
    check_plugin(hook("step_end", lambda self, step: seen.append(step)))
    assert seen == [1, 100]


def test_a_plugin_for_other_networks_says_which():
    def taps(self, model):
        return ["blocks.0"]

    cls = type("Blocks", (), {"taps": taps, "penalty": lambda self, taps: taps["blocks.0"].square().mean()})
    with pytest.raises(AssertionError, match=r'fit test_resnet, or another network: .*architecture="test_vit"'):
        check_plugin(cls)
    check_plugin(cls, architecture="test_vit")


def test_corruption_must_not_depend_on_what_came_before():
    class Drifts:
        def __init__(self):
            self.count = 0

        def corrupt(self, image):
            self.count += 1
            return Image.new("RGB", image.size, (self.count, 0, 0))

    with pytest.raises(AssertionError, match="same image, label and key"):
        check_plugin(Drifts)


def test_state_must_survive_storage():
    class HalfState(Spread):
        def state_dict(self):
            return {}

    with pytest.raises(AssertionError, match="but not the other"):
        check_plugin(HalfState)

    class Strange(HalfState):
        def load_state_dict(self, state):
            pass

        def state_dict(self):
            return {"x": {1, 2}}

    with pytest.raises(AssertionError, match="cannot be stored"):
        check_plugin(Strange)

    class Forgets(Strange):
        def state_dict(self):
            return {"x": id(self)}

    with pytest.raises(AssertionError, match="is not what was loaded"):
        check_plugin(Forgets)


def test_a_module_that_imports_torch_gets_a_warning(tmp_path, monkeypatch):
    (tmp_path / "heavy_plugin.py").write_text(
        "import torch\n\nclass Heavy:\n    def penalty(self, features):\n        return features.mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from heavy_plugin import Heavy

    with pytest.warns(UserWarning, match="imports torch"):
        check_plugin(Heavy)
