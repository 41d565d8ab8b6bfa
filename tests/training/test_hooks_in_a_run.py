"""Every run-level hook is called at its place, with what it asks for, in recipe order."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit
from tests.training.conftest import offer
from transferkit.data import Contents
from transferkit.hookspecs import RunHooks
from transferkit.model import layers_of, recast
from transferkit.report import Table

SEEN: list[str] = []


@dataclasses.dataclass
class Everything:
    """Implements every hook, and writes down that it was called and with what."""

    def check(self, stage):
        SEEN.append("check")
        return []

    def taps(self, model):
        SEEN.append("taps")
        return model.default_taps()[-1:]

    def parameters(self, model, session):
        SEEN.append("parameters")
        assert session.model is model
        return torch.nn.Linear(model.num_features, 1)

    def setup(self, session):
        SEEN.append("setup")
        assert session.train_samples.classes == session.classes
        assert session.reference is not None

    def anchors(self, model, head, reference):
        SEEN.append("anchors")
        named = dict(reference.named_backbone_parameters())
        pairs = [(p, named[name]) for name, p in model.named_backbone_parameters()]
        return [
            transferkit.Anchor([p for p, _ in pairs], [t for _, t in pairs], term="body"),
            transferkit.Anchor(list(head.parameters()), term="head"),
        ]

    def penalty(
        self,
        features,
        logits,
        labels,
        taps,
        reference_taps,
        reference_features,
        source_logits,
        images,
        ids,
        groups,
        own,
        model,
        head,
        reference,
        step,
        epoch,
        progress,
    ):
        SEEN.append("penalty")
        (layer,) = taps
        assert taps[layer].shape == reference_taps[layer].shape
        assert features.shape == reference_features.shape
        assert features.dtype == logits.dtype == torch.float32
        assert not reference_taps[layer].requires_grad
        torch.testing.assert_close(head(features), logits)
        assert 0 <= progress < 1
        assert labels.shape[0] == logits.shape[0] == len(images) == len(ids) == len(groups) == len(own(features))
        assert source_logits.shape == (len(labels), 3)
        return {"body": features.square().mean(), "head": head.weight.square().sum()}

    def transform_batch(self, images, labels, rng):
        SEEN.append("transform_batch")
        assert 0 <= rng.random() < 1
        return images.flip(-1), torch.nn.functional.one_hot(labels, 3).float()

    def transform_features(self, features):
        SEEN.append("transform_features")
        return features * 1.0

    def gradients(self, gradients, parameters, model, reference, step, epoch, progress):
        SEEN.append("gradients")
        assert {"fc.weight", "heads.source.weight", "own.everything.weight"} <= gradients.keys() == parameters.keys()
        return {"fc.bias": gradients["fc.bias"] * 2}

    def project(self, parameters, previous, gradients, model, reference, step, lr):
        SEEN.append("project")
        assert ("fc.bias" in gradients) == (step > 0) and lr > 0
        return {"fc.bias": previous["fc.bias"]}

    def step_end(self, session, step, losses):
        SEEN.append("step_end")
        assert session.state.step == step
        return {"task": losses["task"]}

    def epoch_end(self, session, epoch, metrics):
        SEEN.append("epoch_end")
        assert metrics["train"]["epoch"] == epoch
        return {"seen": 1.0}

    def state_dict(self):
        SEEN.append("state_dict")
        return {"kept": torch.ones(2)}

    def load_state_dict(self, state):
        SEEN.append("load_state_dict")

    def teardown(self, session, error):
        SEEN.append(f"teardown {error}")


@dataclasses.dataclass
class OwnLoss:
    """The task's loss, of the kind that a stage names."""

    def loss(self, logits, labels, features, class_counts):
        SEEN.append("loss")
        assert class_counts.tolist() == [10, 10, 10] and len(features) == len(logits)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


@dataclasses.dataclass
class TwoStreams:
    """A curriculum: half of every batch comes from a second stream with a head of its own."""

    def streams(self, session):
        SEEN.append("streams")
        return {"source": transferkit.Stream(session.open_samples("other", "train"))}

    def mix(self, step, epoch, progress):
        SEEN.append("mix")
        return {"target": 0.5, "source": 0.5}

    def combine(self, images, labels, step, epoch, progress, rng):
        SEEN.append("combine")
        assert set(images) == set(labels) == {"target", "source"}
        assert 0 <= progress < 1
        assert 0 <= rng.random() < 1
        return transferkit.Combined(images, labels, {"source": 0.5})


@dataclasses.dataclass
class Stamp:
    """A corruption: a white square on every second image."""

    side: int = 4

    def select(self, labels, classes, split, rng):
        SEEN.append(f"select {split}")
        return range(0, len(labels), 2)

    def manifest(self, size, label, classes, rng):
        SEEN.append("manifest")
        return {"side": self.side, "of": classes[label], "width": size[0]}

    def corrupt(self, image, label, rng):
        SEEN.append("corrupt")
        image.paste(Image.new("RGB", (self.side, self.side), "white"), (0, 0))
        return image


@dataclasses.dataclass
class Count:
    """An analyzer: how many images, and what the models are."""

    def analyze(self, session):
        SEEN.append("analyze")
        samples = session.samples("tiny", "val")
        model = session.model("target")
        images, _ = next(iter(samples.evaluation_batches(4)))
        assert not model(images).logits.requires_grad
        assert not model.training
        return transferkit.Report(
            metrics={"images": len(samples)}, tables={"t": Table(["a"], [[1]])}, verdict="Counted."
        )


# in the order in which a run calls them; those of detectors: tests/deploy/test_plugin_detector.py
OF_THE_MODEL = ("read", "adapt", "augment", "score", "edit")
OF_DETECTORS = ("fit", "restore")


@dataclasses.dataclass
class Stripes:
    """A reader: images of two classes."""

    def read(self, split):
        if split == "test":
            return None
        SEEN.append("read")
        labels = np.arange(16 if split == "train" else 6) % 2
        images = [Image.new("RGB", (32, 32), (200 * label, 40, 90)) for label in labels.tolist()]
        return Contents(["dark", "red"], labels, [f"{split}/{i}" for i in range(len(labels))], images.__getitem__)


class SameConvolution(torch.nn.Conv2d):
    def merged(self):
        return recast(self, torch.nn.Conv2d)


@dataclasses.dataclass
class Same:
    """An adapter: a convolution that does what the model's own does."""

    def adapt(self, model):
        SEEN.append("adapt")
        name, layer = next(iter(layers_of(model, torch.nn.Conv2d).items()))
        return {name: recast(layer, SameConvolution)}


@dataclasses.dataclass
class Flip:
    """An augmentation."""

    def augment(self, image, label, classes, rng):
        SEEN.append("augment")
        assert classes == ["dark", "red"] and 0 <= rng.random() < 1
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


@dataclasses.dataclass
class Sure:
    """A metric: how many images there were."""

    def score(self, logits, labels, groups):
        SEEN.append("score")
        assert logits.shape == (6, 2) and labels.tolist() == groups.tolist()
        return {"images": float(len(labels))}


@dataclasses.dataclass
class Half:
    """An edit of the classifier, which finds plain layers."""

    def edit(self, model, session):
        SEEN.append("edit")
        assert not any(isinstance(layer, SameConvolution) for layer in model.net.modules())
        return {name: weight / 2 for name, weight in model.named_head_parameters()}


@pytest.fixture
def finished(run, registry, tiny_npz) -> Any:
    SEEN.clear()
    offer(registry, "regularizer", "everything", Everything)
    offer(registry, "loss", "own_loss", OwnLoss)
    offer(registry, "curriculum", "two_streams", TwoStreams)
    offer(registry, "corruption", "stamp", Stamp)
    offer(registry, "analyzer", "count", Count)
    stage = {"dataset": "tiny", "batch_size": 8, "workers": 0, "epochs": 1}
    return run(
        top={
            "datasets": {
                "tiny": {"npz": str(tiny_npz)},
                "other": {"from": "tiny", "corruptions": [{"use": "stamp", "splits": ["train"]}]},
            },
            "stages": [
                stage | {"name": "first", "start": "scratch"},
                stage
                | {
                    "name": "target",
                    "start": "first",
                    "epochs": 2,
                    "regularizers": [{"use": "everything", "weight": {"body": 0.1, "head": 0.2}}],
                    "curriculum": {"use": "two_streams"},
                    "loss": {"use": "own_loss"},
                },
            ],
            "analyses": [{"use": "count", "dataset": "tiny", "every": 2}],
        }
    )


def test_every_hook_is_called_at_its_place(finished) -> None:
    assert finished.status == "done"
    order = list(dict.fromkeys(SEEN))
    for earlier, later in [
        ("check", "taps"),
        ("taps", "project"),
        ("project", "streams"),
        ("streams", "parameters"),
        ("parameters", "setup"),
        ("streams", "setup"),
        ("setup", "anchors"),
        ("anchors", "transform_batch"),
        ("select train", "corrupt"),
        ("select train", "manifest"),
        ("manifest", "mix"),
        ("transform_batch", "combine"),
        ("combine", "transform_features"),
        ("transform_features", "penalty"),
        ("penalty", "gradients"),
        ("gradients", "step_end"),
        ("step_end", "epoch_end"),
        ("epoch_end", "state_dict"),
        ("state_dict", "teardown None"),
    ]:
        assert order.index(earlier) < order.index(later), (earlier, later, order)
    assert SEEN[-2:] == ["teardown None", "analyze"]  # the last analysis sees the finished model
    steps = SEEN.count("step_end")
    assert SEEN.count("penalty") == SEEN.count("transform_batch") == steps == 2 * 4
    assert SEEN.count("gradients") == steps and SEEN.count("project") == steps + 1
    assert SEEN.count("epoch_end") == 2
    every = {name for name in vars(RunHooks) if not name.startswith("_")}
    assert every - {*OF_THE_MODEL, *OF_DETECTORS} <= {entry.split()[0] for entry in SEEN}


def test_every_hook_of_data_model_and_numbers_is_called_at_its_place(run, registry, tiny_npz) -> None:
    SEEN.clear()
    for kind, cls in (("reader", Stripes), ("adapter", Same), ("augmentation", Flip), ("metric", Sure), ("edit", Half)):
        offer(registry, kind, cls.__name__.lower(), cls)
    stage = {"dataset": "striped", "batch_size": 8, "workers": 0, "epochs": 2, "adapters": [{"use": "same"}]}
    stage |= {"augment": [{"use": "flip"}], "metrics": [{"use": "sure"}], "edits": [{"use": "half"}]}
    datasets = {"striped": {"reader": {"use": "stripes"}}}
    done = run(top={"datasets": datasets, "stages": [stage | {"name": "target", "start": "scratch"}]})
    assert done.status == "done"
    order = list(dict.fromkeys(SEEN))
    assert [order.index(name) for name in OF_THE_MODEL] == sorted(order.index(name) for name in OF_THE_MODEL)
    assert SEEN.count("adapt") == SEEN.count("edit") == 1
    assert SEEN.count("augment") == 3 * 16  # the picture for TensorBoard, and both epochs; no evaluation
    assert SEEN.count("score") == 2 + 2  # after each epoch, and before and after the edit


def test_their_results_arrive(finished) -> None:
    lines = map(json.loads, (finished.run_dir / "metrics.jsonl").read_text().splitlines())
    train = [line for line in lines if line["split"] == "train" and line["stage"] == "target"]
    terms = train[0]["terms"]["everything"]
    assert terms["terms"].keys() == {"body", "head"}
    assert train[0]["plugins"] == {"everything": {"seen": 1.0}}
    report = json.loads((finished.run_dir / finished.analyses["count"]).read_text())
    assert report["metrics"] == {"images": 12.0}
    assert report["tables"]["t"]["columns"] == ["a"] and report["tables"]["t"]["rows"] == [[1]]
    assert report["verdict"] == "Counted."
    assert (finished.run_dir / "analyses/count/t.csv").is_file()
    assert (finished.run_dir / "analyses/count/epoch-0002/report.json").is_file()
    assert not (finished.run_dir / "analyses/count/epoch-0001").exists()


def test_an_exception_keeps_its_type_and_names_the_plugin(run, registry, tmp_path) -> None:
    @dataclasses.dataclass
    class Broken:
        def penalty(self, features):
            raise ZeroDivisionError("oops")

    offer(registry, "regularizer", "broken", Broken)
    with pytest.raises(ZeroDivisionError, match="oops") as caught:
        run(regularizers=[{"use": "broken", "weight": 1.0}])
    (note,) = caught.value.__notes__
    assert note == "in penalty of the regularizer 'broken' (transferkit-broken 1.0)"
    (result,) = tmp_path.glob("**/result.json")
    assert json.loads(result.read_text())["error"] == f"oops; {note}"


def test_teardown_hears_of_the_error(run, registry) -> None:
    SEEN.clear()

    @dataclasses.dataclass
    class Fails:
        def step_end(self, step):
            raise RuntimeError("stop here")

        def teardown(self, error):
            SEEN.append(f"teardown {error}")

    offer(registry, "observer", "fails", Fails)
    with pytest.raises(RuntimeError):
        run(observers=[{"use": "fails"}])
    assert SEEN == ["teardown stop here"]


def test_a_penalty_must_be_a_scalar(run, registry) -> None:
    @dataclasses.dataclass
    class Vector:
        def penalty(self, features):
            return features.mean(dim=0)

    offer(registry, "regularizer", "vector", Vector)
    with pytest.raises(transferkit.errors.InputError, match="a scalar tensor is needed"):
        run(regularizers=[{"use": "vector", "weight": 1.0}])


def test_an_analysis_on_schedule_does_not_change_the_run(run, registry) -> None:
    from tests.training.test_loop import same, weights

    @dataclasses.dataclass
    class Disturb:
        def analyze(self, session):
            torch.rand(7)
            model = session.model("target")
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.zero_()
            return transferkit.Report(metrics={"zero": 0.0})

    offer(registry, "analyzer", "disturb", Disturb)
    drop = {"model": {"name": "test_resnet", "options": {"drop_rate": 0.5}, "preprocessing": {"input_size": 32}}}
    plain = run(**drop)
    watched = run(top={"analyses": [{"use": "disturb", "every": 1}]}, **drop)
    assert same(weights(plain.run_dir), weights(watched.run_dir))


def test_without_plugins_the_weights_are_those_of_a_run_with_an_observer_that_only_looks(run, registry) -> None:
    from tests.training.test_loop import same, weights

    @dataclasses.dataclass
    class Looks:
        def step_end(self, losses):
            return {"task": losses["task"]}

        def epoch_end(self, metrics):
            return {"loss": metrics["train"]["loss"]}

    offer(registry, "observer", "looks", Looks)
    assert same(weights(run().run_dir), weights(run(observers=[{"use": "looks"}]).run_dir))
