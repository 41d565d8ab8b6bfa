"""Streams that are paired, combined, joined and changed on their way, in runs: against PyTorch by hand."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import transferkit
from tests.training.by_hand import WHOLE, assert_weights, opened, pictures, start_folder
from tests.training.conftest import CLASSES, offer
from tests.training.test_loop import Idle, StopAt, records, same, weights, without_time
from transferkit.api import resume
from transferkit.errors import InputError, Interrupted
from transferkit.model import SourceHead
from transferkit.model.modes import evaluating

LR = 0.05


def source_head(width: int) -> SourceHead:
    """A head for two classes with weights of its own."""
    weight = torch.linspace(-0.5, 0.5, 2 * width).reshape(2, width).sin()
    return SourceHead(weight, torch.tensor([0.1, -0.2]), ["x", "y"])


def partner(indices: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return (indices * 5 + keys + 1) % 12


@dataclasses.dataclass
class Pairs:
    """Every target image brings a source image; both streams see the mean of the two, one tensor or copies."""

    head: str = "own"
    lam: float = 0.3
    copies: bool = False
    draws: bool = False
    passes: ClassVar[list[int]] = []

    def streams(self, session):
        samples = session.open_samples("other", "train")
        initial = source_head(session.model.num_features)
        return {"source": transferkit.Stream(samples, head=self.head, partner=partner, initial=initial)}

    def setup(self, session):
        Pairs.passes.clear()
        forward = session.model.net.forward_features

        def counted(images):
            if torch.is_grad_enabled():
                Pairs.passes.append(len(images))
            return forward(images)

        session.model.net.forward_features = counted

    def combine(self, images, labels, rng):
        lam = float(rng.random()) if self.draws else self.lam
        both = (1 - lam) * images["target"] + lam * images["source"]
        mixed = {"target": both, "source": both.clone() if self.copies else both}
        return transferkit.Combined(mixed, labels, {"target": 1 - lam, "source": lam})


@dataclasses.dataclass
class Halve:
    """Half of every feature on the way to the heads, and a penalty on the whole of them."""

    def transform_features(self, features):
        return features * 0.5

    def penalty(self, features):
        return features.square().mean()


@dataclasses.dataclass
class Drop:
    """Drop features at random, by torch's own generator."""

    def transform_features(self, features):
        return torch.nn.functional.dropout(features, 0.3)


@dataclasses.dataclass
class Shares:
    """Two streams in one batch, the source's loss weighted by `combine` or by a loss of its own."""

    by: str = "combine"
    head: str = "own"

    def streams(self, session):
        samples = session.open_samples("other", "train")
        loss = (
            (lambda logits, labels: 0.25 * cross_entropy(logits, labels, reduction="none"))
            if self.by != "combine"
            else None
        )
        return {
            "source": transferkit.Stream(
                samples, head=self.head, loss=loss, initial=source_head(session.model.num_features)
            )
        }

    def mix(self, step):
        return {"source": 0.5}

    def combine(self, images, labels):
        return transferkit.Combined(images, labels, {"source": 0.25} if self.by == "combine" else {})


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Twelve images of noise with two classes."""
    pixels = np.random.default_rng(7).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("data") / "other.npz"
    np.savez(path, x_train=pixels, y_train=np.arange(12) // 3 % 2, classes=np.array(["x", "y"]))
    return path


@pytest.fixture
def streams(run, registry, tiny_npz, other, tmp_path):
    """streams(stage keys): a run from known weights, with a second data set at hand."""
    for name, cls in (("pairs", Pairs), ("shares", Shares)):
        offer(registry, "curriculum", name, cls)
    for name, cls in (("halve", Halve), ("drop", Drop)):
        offer(registry, "regularizer", name, cls)
    folder = start_folder(tmp_path / "start", CLASSES)

    def go(**stage: Any) -> Any:
        datasets = {"tiny": {"npz": str(tiny_npz)}, "other": {"npz": str(other)}}
        keys = {"start": str(folder), "keep": "last", "optimizer": {"name": "momentum", "lr": LR}, "epochs": 1}
        return run(top={"datasets": datasets}, **(WHOLE | keys | stage))

    return go


# -- one step by hand ----------------------------------------------------------------------------------------------


def stepped(start: Path, tiny: Path, other: Path, *, joint: bool, changed: bool, lam: float = 0.3) -> Any:
    """The model after one step of plain gradient descent on the whole data set."""
    model = opened(start)
    images, labels = pictures(tiny)
    partners, partner_labels = pictures(other)
    chosen = (torch.arange(30) * 5 + 1) % 12
    both = (1 - lam) * images + lam * partners[chosen]
    initial = source_head(model.num_features)
    model.eval()
    features = model(both).features
    given = features * 0.5 if changed else features
    own, theirs = model.head(given), given @ initial.weight.T + initial.bias
    targets = labels, partner_labels[chosen]
    if joint:
        own = theirs = torch.cat([own, theirs], dim=1)
        targets = labels, partner_labels[chosen] + 3
    losses = [cross_entropy(logits, wanted) for logits, wanted in zip((own, theirs), targets, strict=True)]
    total = (1 - lam) * losses[0] + lam * losses[1]
    if changed:
        total = total + 0.1 * features.square().mean()
    total.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= LR * parameter.grad
    return model


@pytest.mark.parametrize("changed", [False, True], ids=["plain", "changed features"])
@pytest.mark.parametrize("head", ["own", "joint"])
def test_one_step_is_what_autograd_makes_of_it_by_hand(streams, tmp_path, tiny_npz, other, head, changed) -> None:
    result = streams(
        curriculum={"use": "pairs", "head": head},
        regularizers=[{"use": "halve", "weight": 0.1}] if changed else [],
    )
    expected = stepped(tmp_path / "start", tiny_npz, other, joint=head == "joint", changed=changed)
    assert_weights(expected, weights(result.run_dir), rtol=1e-4, atol=1e-6)
    moved = expected.head.weight - opened(tmp_path / "start").head.weight
    assert float(moved.detach().abs().max()) > 1e-3
    assert Pairs.passes == [30]  # one pass for both streams


def test_copies_take_two_passes_and_come_to_the_same(streams) -> None:
    """Batch norm is in eval mode, so images do not see each other."""
    keys = {"batch_size": 8, "epochs": 2}
    shared = streams(curriculum={"use": "pairs"}, **keys)
    assert Pairs.passes == [8, 8, 8, 6] * 2
    copied = streams(curriculum={"use": "pairs", "copies": True}, **keys)
    assert Pairs.passes == [16, 16, 16, 12] * 2
    apart = streams(curriculum={"use": "pairs", "copies": True}, stream_batchnorm="separate", **keys)
    assert Pairs.passes == [8, 8, 8, 8, 8, 8, 6, 6] * 2
    for result in (copied, apart):
        for name, tensor in weights(shared.run_dir).items():
            torch.testing.assert_close(weights(result.run_dir)[name], tensor, rtol=1e-3, atol=1e-5)
    assert [line["images"] for line in records(shared.run_dir)] == [30, 30]  # partners do not count


@pytest.mark.parametrize("head", ["own", "joint"])
def test_a_weight_of_combine_scales_the_streams_loss(streams, head) -> None:
    keys = {"batch_size": 8, "epochs": 2}
    weighted = streams(curriculum={"use": "shares", "head": head}, **keys)
    scaled = streams(curriculum={"use": "shares", "head": head, "by": "loss"}, **keys)
    for name, tensor in weights(weighted.run_dir).items():
        torch.testing.assert_close(weights(scaled.run_dir)[name], tensor, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(records(weighted.run_dir), records(scaled.run_dir), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


# -- changed features --------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Blind:
    """Heads see nothing at all in training; everything else sees the features."""

    seen: ClassVar[list[str]] = []

    def transform_features(self, features):
        Blind.seen.append("transform")
        return features * 0

    def penalty(self, features, logits, reference_features, model, head, reference):
        Blind.seen.append("penalty")
        assert float(features.detach().abs().sum()) > 0
        assert torch.equal(logits, head.bias.expand_as(logits))
        assert reference.feature_transform is None
        assert float(reference_features.abs().sum()) > 0
        return logits.sum() * 0 + (features - reference_features).square().mean()

    def epoch_end(self, session):
        images, _ = next(session.train_samples.evaluation_batches(4))
        models = [session.model, session._session.best_model(), session.reference]
        before = list(Blind.seen)
        for model in models:
            with torch.no_grad(), evaluating(model):
                output = model(images)
            assert torch.equal(output.logits, model.head(output.features))
            assert float((output.logits - output.logits[0]).abs().max()) > 0
        assert Blind.seen == before
        assert session._session.ema is None or session._session.best_model().feature_transform is None
        Blind.seen.append("looked")
        return {}


@pytest.mark.parametrize("stage", [{}, {"ema": {"decay": 0.5}}], ids=["plain", "averaged"])
def test_features_are_changed_in_training_alone(streams, registry, stage) -> None:
    """Evaluation, the average and the reference see none of it; penalties see the original features."""
    Blind.seen.clear()
    offer(registry, "regularizer", "blind", Blind)
    keys = {"batch_size": 8, "epochs": 2, "evaluate_at": [3]}
    result = streams(regularizers=[{"use": "blind", "weight": 0.01}], **keys, **stage)
    assert Blind.seen == [*["transform", "penalty"] * 4, "looked"] * 2
    train, val = records(result.run_dir), records(result.run_dir, "val")
    assert [line["top1"] for line in train] == pytest.approx([1 / 3] * 2, abs=0.2)
    assert len(val) == 3 and all(np.isfinite(line["loss"]) for line in val)


def test_several_changes_are_made_in_recipe_order(streams, registry) -> None:
    seen = []

    @dataclasses.dataclass
    class Add:
        by: float = 0.0

        def transform_features(self, features):
            seen.append((self.by, float(features.detach().mean())))
            return features * 0 + self.by

    offer(registry, "regularizer", "add", Add)
    streams(regularizers=[{"use": "add", "by": 2.0, "name": "a"}, {"use": "add", "by": 3.0, "name": "b"}])
    assert [by for by, _ in seen] == [2.0, 3.0] and seen[1][1] == pytest.approx(2.0)


# -- resume ------------------------------------------------------------------------------------------------------

TOGETHER = {
    "paired, drawn": {"curriculum": {"use": "pairs", "draws": True}},
    "paired, joint": {"curriculum": {"use": "pairs", "head": "joint", "draws": True}},
    "mixed": {"curriculum": {"use": "shares"}},
    "mixed, joint, averaged": {"curriculum": {"use": "shares", "head": "joint"}, "ema": {"decay": 0.9}},
}


@pytest.mark.parametrize(("variant", "step"), [(variant, 2) for variant in TOGETHER] + [("paired, drawn", 5)])
def test_interrupted_is_the_same_as_uninterrupted(streams, registry, tmp_path, monkeypatch, variant, step) -> None:
    offer(registry, "observer", "idle", Idle)
    offer(registry, "observer", "stopper", StopAt)
    keys = TOGETHER[variant] | {
        "batch_size": 8,
        "epochs": 2,
        "batchnorm": "train",
        "augmentation": {"scale": [0.5, 1.0]},
        "regularizers": [{"use": "drop"}, {"use": "halve", "weight": 0.01}],
    }
    whole = streams(**keys, observers=[{"use": "idle", "step": step}])
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    with pytest.raises(Interrupted) as stopped:
        streams(**keys, observers=[{"use": "stopper", "name": "idle", "step": step}])
    assert os.environ["TRANSFERKIT_TEST_STOPPED"]
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resumed = resume(Path(stopped.value.__notes__[0].rpartition(" ")[2]), quiet=True)
    assert same(weights(whole.run_dir), weights(resumed.run_dir))
    assert without_time(records(whole.run_dir)) == without_time(records(resumed.run_dir))
    assert without_time(records(whole.run_dir, "val")) == without_time(records(resumed.run_dir, "val"))


# -- what does not go together -------------------------------------------------------------------------------------


@pytest.mark.parametrize("balance", ["loss", "logit_adjustment"])
def test_a_balance_of_the_loss_does_not_fit_joint_heads(streams, balance) -> None:
    with pytest.raises(InputError, match=f"balance: {balance} counts the target's classes only"):
        streams(curriculum={"use": "pairs", "head": "joint"}, balance=balance)


def test_balanced_sampling_mixup_and_joint_heads_go_together(streams) -> None:
    keys = {"balance": "sampling", "mixup": {"mixup": 0.5}, "loss": {"label_smoothing": 0.1}, "batch_size": 8}
    assert streams(curriculum={"use": "shares", "head": "joint"}, **keys).status == "done"


def test_combine_must_return_combined(streams, registry) -> None:
    @dataclasses.dataclass
    class Wrong:
        def combine(self, images: dict[str, Tensor], labels: dict[str, Tensor]) -> Any:
            return images, labels

    offer(registry, "observer", "wrong", Wrong)
    with pytest.raises(InputError, match=r"observer 'wrong' .* returned a tuple from combine; return a Combined"):
        streams(observers=[{"use": "wrong"}])


def test_a_head_that_a_stream_brings_is_drawn_from_the_seed(streams, registry) -> None:
    """Whatever was drawn before in the same process, and not the same numbers for every seed."""

    @dataclasses.dataclass
    class Fresh:
        def streams(self, session):
            return {"source": transferkit.Stream(session.open_samples("other", "train"), partner=partner)}

    offer(registry, "curriculum", "fresh", Fresh)
    first = streams(curriculum={"use": "fresh"})
    torch.rand(3)
    again = streams(curriculum={"use": "fresh"})
    assert same(weights(first.run_dir), weights(again.run_dir))


@pytest.mark.parametrize("lams, expected", [([1.0], {"target": 24, "source": 0}), ([0.0, 1.0], None)])
def test_a_stage_counts_the_images_of_every_stream(tmp_path, lams, expected) -> None:
    from transferkit.api import execute
    from transferkit.recipe import load_recipe

    curriculum = {"use": "task_interpolation", "source": "other", "lams": lams}
    stage = {"name": "target", "start": "scratch", "dataset": "tiny", "epochs": 2, "batch_size": 4}
    path = tmp_path / "recipe.yaml"
    content = {
        "name": "seen",
        "device": "cpu",
        "threads": 1,
        "model": {"name": "transferkit_cnn10", "options": {"width": 0.05}, "preprocessing": {"input_size": 16}},
        "datasets": {
            "tiny": {"world": {"kind": "target", "train": 6, "val": 1, "size": 16}},
            "other": {"world": {"kind": "source", "train": 2, "val": 1, "size": 16}},
        },
        "stages": [stage | {"workers": 0, "curriculum": curriculum}],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    result = execute(load_recipe(path), out=tmp_path / "runs", quiet=True)
    seen = result.stages["target"]["images_seen"]
    steps = result.stages["target"]["steps"]
    assert seen == (expected or {"target": steps // 2 * 4, "source": steps // 2 * 4})
