"""`gradients`, `project`, `parameters` and `loss` in whole runs: where they stand, what they get, what is refused."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.training.by_hand import WHOLE, start_folder
from tests.training.conftest import CLASSES, offer
from tests.training.test_loop import records, same, weights
from tests.training.two_processes import in_two_processes
from transferkit.errors import InputError, NonFiniteError
from transferkit.recipe import load_recipe
from transferkit.testing import tiny_model
from transferkit.training.changes import put_in_place

SEEN: list = []
PLAIN = {"optimizer": {"name": "momentum", "lr": 0.01, "momentum": 0.0}}


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    SEEN.clear()


# -- gradients --------------------------------------------------------------------------------------------------------


class Halve:
    def gradients(self, gradients):
        return {name: gradient / 2 for name, gradient in gradients.items()}


class Look:
    """What an observer may see before clipping."""

    def gradients(self, gradients, parameters, model, step, epoch, progress):
        assert gradients.keys() == parameters.keys()
        assert all(torch.equal(parameters[name], weight) for name, weight in model.net.named_parameters())
        SEEN.append((step, epoch, progress, float(torch.stack([g.norm() for g in gradients.values()]).norm())))


def test_half_the_gradient_at_twice_the_rate_is_the_same_training(run, registry) -> None:
    offer(registry, "regularizer", "halve", Halve)
    plain = run(**PLAIN)
    twice = run(optimizer=PLAIN["optimizer"] | {"lr": 0.02}, regularizers=[{"use": "halve"}])
    assert same(weights(plain.run_dir), weights(twice.run_dir))


def test_they_come_after_anchors_and_before_clipping(run, registry) -> None:
    """Clipped gradients of the norm 1e-3 would be seen so; and the norm of what the anchor adds is known."""
    offer(registry, "observer", "look", Look)
    stage = {"observers": [{"use": "look"}], "clip": {"norm": 1e-3}, "epochs": 1, **PLAIN}
    run(**stage)
    plain = SEEN[:]
    assert [seen[:3] for seen in plain] == [(step, 0, step / 4) for step in range(4)]
    assert all(norm > 0.1 for *_, norm in plain)
    SEEN.clear()
    run(**stage, regularizers=[{"use": "l2", "weight": 1000.0}])
    assert SEEN[0][-1] > 1000 * plain[0][-1] > 0


def test_the_next_plugin_sees_what_the_one_before_has_left(run, registry) -> None:
    offer(registry, "regularizer", "halve", Halve)
    offer(registry, "regularizer", "look", Look)
    run(regularizers=[{"use": "look"}, {"use": "halve"}, {"use": "look", "name": "after"}], epochs=1)
    before, after = SEEN[0][-1], SEEN[1][-1]
    assert after == pytest.approx(before / 2, rel=1e-6)


class Ruin:
    def gradients(self, gradients, step):
        return {"fc.weight": gradients["fc.weight"] * float("nan")} if step == 1 else {}


def test_a_gradient_that_is_no_number_is_blamed_on_its_plugin(run, registry) -> None:
    offer(registry, "regularizer", "ruin", Ruin)
    with pytest.raises(
        NonFiniteError, match=r"fc\.weight, which regularizer 'ruin' \(transferkit-ruin 1\.0\) put there"
    ):
        run(regularizers=[{"use": "ruin"}])


# -- project ----------------------------------------------------------------------------------------------------------


class Watch:
    """Checks the optimizer's arithmetic: plain SGD."""

    def project(self, parameters, previous, gradients, model, step, lr):
        SEEN.append((step, lr))
        assert parameters.keys() == previous.keys() == model.named_weights().keys()
        if step == 0:
            assert not gradients and all(torch.equal(parameters[name], previous[name]) for name in parameters)
        for name, gradient in gradients.items():
            torch.testing.assert_close(parameters[name], previous[name] - lr * gradient)


class Hold:
    """Keeps the stem as it was."""

    def project(self, parameters, previous):
        return {"conv1.0.weight": previous["conv1.0.weight"]}


def test_it_is_called_before_training_and_after_every_step(run, registry) -> None:
    offer(registry, "regularizer", "watch", Watch)
    run(regularizers=[{"use": "watch"}], schedule={"name": "step", "every": 1, "gamma": 0.1}, **PLAIN)
    assert [(0, 0.01), *((step, pytest.approx(0.01 if step <= 4 else 0.001)) for step in range(1, 9))] == SEEN


def test_what_it_returns_is_what_the_weights_are(run, registry, tmp_path) -> None:
    offer(registry, "regularizer", "hold", Hold)
    folder = start_folder(tmp_path / "start", CLASSES)
    result = run(start=str(folder), regularizers=[{"use": "hold"}], ema={"decay": 0.5}, accumulate=2)
    before, after = load_file(folder / "model.safetensors"), weights(result.run_dir)
    assert torch.equal(before["conv1.0.weight"], after["conv1.0.weight"])
    assert not torch.equal(before["fc.weight"], after["fc.weight"])


def test_a_step_that_the_scaler_skips_is_none(run, registry, monkeypatch) -> None:
    offer(registry, "regularizer", "watch", Watch)
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", property(lambda self: True))
    run(regularizers=[{"use": "watch"}], epochs=1)
    assert SEEN == [(0, 0.01)]


class Shrink:
    """Half of the backbone, before training only."""

    def project(self, parameters, step):
        return {"conv1.0.weight": parameters["conv1.0.weight"] * 0} if step == 0 else {}


def test_a_ridge_head_fits_the_projected_backbone(run, registry, tmp_path) -> None:
    offer(registry, "regularizer", "shrink", Shrink)
    stage = {"start": str(start_folder(tmp_path / "start", CLASSES)), "head_init": "ridge", "steps": 1, "epochs": None}
    stage |= {"optimizer": {"name": "sgd", "lr": 1e-12}, "keep": "last", "batchnorm": "eval"}
    plain, shrunk = (weights(run(**stage, **extra).run_dir) for extra in ({}, {"regularizers": [{"use": "shrink"}]}))
    assert plain["fc.weight"].abs().max() > 1e-3
    assert shrunk["fc.weight"].abs().max() < 1e-4, "without a first layer all features are the same"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([1], "returned a list from project; return {name: tensor}"),
        ({"conv1.0.weigth": torch.zeros(1)}, 'returned "conv1.0.weigth" from project, .*did you mean "conv1.0.weight"'),
        ({"conv1.0.weight": torch.zeros(3)}, r"returned the shape \(3,\) for conv1.0.weight from project; a tensor of"),
        ({"conv1.0.weight": 1.0}, "returned a float for conv1.0.weight from project"),
    ],
)
def test_what_cannot_be_put_in_place_is_refused(value, sentence) -> None:
    call = SimpleNamespace(plugin=SimpleNamespace(kind="regularizer", __str__=None), hook="project")
    places = {name: weight.detach() for name, weight in tiny_model().named_weights().items()}
    with pytest.raises(InputError, match=sentence):
        put_in_place(call, value, places)


def test_an_observer_only_looks(run, registry) -> None:
    offer(registry, "observer", "hold", Hold)
    with pytest.raises(InputError, match="an observer only looks"):
        run(observers=[{"use": "hold"}])


def test_they_have_no_weight(registry, recipe_file) -> None:
    offer(registry, "regularizer", "hold", Hold)
    with pytest.raises(InputError, match="hold adds nothing to the loss, so it has no weight"):
        load_recipe(recipe_file(regularizers=[{"use": "hold", "weight": 1.0}]), registry=registry)


# -- parameters -------------------------------------------------------------------------------------------------------

OWNER = '''
import transferkit


class Owner:
    """A classifier of its own, which learns the labels from the features; sometimes no image needs it."""

    def parameters(self, model):
        import torch
        return torch.nn.Linear(model.num_features, len(model.classes))

    def penalty(self, features, labels, own, step):
        import torch
        if step % 3 == 2:
            return features.sum() * 0
        return torch.nn.functional.cross_entropy(own(features), labels)


@transferkit.hookimpl
def transferkit_register(register):
    register.regularizer("owner", Owner)
'''


@pytest.fixture
def owner(tmp_path, registry):
    """An installed distribution, which this process knows too; its folder."""
    folder = tmp_path / "plugins"
    about = folder / "owner_plugin-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "owner_plugin.py").write_text(OWNER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: owner-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[transferkit]\nowner = owner_plugin\n")
    names: dict = {}
    exec(OWNER, names)
    offer(registry, "regularizer", "owner", names["Owner"])
    return folder


def checkpoint(run_dir):
    """What the newest checkpoint has of the model."""
    return load_file(max((run_dir / "stages/target/checkpoints").glob("step-*")) / "model.safetensors")


def owned(run_dir):
    return {name: value for name, value in checkpoint(run_dir).items() if name.startswith("own.")}


def test_a_module_of_a_plugin_trains_and_is_not_in_the_saved_model(run, owner) -> None:
    uses = {"regularizers": [{"use": "owner", "weight": 1.0}], "ema": {"decay": 0.9}, "clip": {"norm": 1.0}}
    short, long = (run(**uses, epochs=epochs) for epochs in (1, 4))
    assert list(owned(long.run_dir)) == ["own.owner.bias", "own.owner.weight"]
    assert not torch.equal(owned(short.run_dir)["own.owner.weight"], owned(long.run_dir)["own.owner.weight"])
    assert not [name for name in weights(long.run_dir) if name.startswith("own")]
    first, last = (records(long.run_dir)[at]["terms"]["owner"]["raw"] for at in (0, -1))
    assert last < first


@dataclasses.dataclass
class Groups:
    def parameters(self, model):
        return torch.nn.Linear(2, 1)

    def penalty(self, features, own):
        return own.weight.sum()

    def step_end(self, session):
        mine = set(map(id, session.model.own_of("groups").parameters()))
        (group,) = [one for one in session._session.optimizer.param_groups if mine <= set(map(id, one["params"]))]
        SEEN.append((group["lr"], group["weight_decay"], session.model.own_of("groups").weight.tolist()))


def test_it_has_the_heads_rate_and_starts_alike(run, registry) -> None:
    """Its draws are keyed: a plugin before it that draws as well changes nothing."""
    offer(registry, "regularizer", "groups", Groups)
    optimizer = {"name": "momentum", "lr": 0.01, "momentum": 0.0, "head_lr_multiplier": 10}
    use = {"use": "groups", "weight": 1.0}
    run(regularizers=[use], optimizer=optimizer, steps=1, epochs=None)
    run(regularizers=[use | {"name": "x.y"}, use], optimizer=optimizer, steps=1, epochs=None)
    alone, beside = SEEN[0], SEEN[-1]
    assert alone[0] == pytest.approx(0.1) and alone[1] == 0 and alone == beside


@pytest.mark.parametrize("extra", [{}, {"accumulate": 2}], ids=["plain", "accumulation"])
def test_two_processes_train_it_as_one_does(recipe_file, run, owner, tmp_path, extra) -> None:
    stage = {"regularizers": [{"use": "owner", "weight": 1.0}], "batchnorm": "eval", "augmentation": {"none": True}}
    stage |= {"batch_size": 10, "clip": {"norm": 0.5}, "keep": "last", **extra}
    one = run(**stage)
    two = in_two_processes(recipe_file(**stage), tmp_path / "two", plugins=owner)
    ours, theirs = checkpoint(one.run_dir), checkpoint(tmp_path.__class__(two["run_dir"]))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-5)


class Borrow:
    def parameters(self, model):
        return model.head

    def penalty(self, own):
        return own.weight.sum()


class Nothing:
    def parameters(self):
        return None

    def penalty(self, features, own):
        return features.sum()


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [(Borrow, "has parameters of the model in it"), (Nothing, "returned None from parameters")],
)
def test_what_is_no_module_of_its_own_is_refused(run, registry, cls, sentence) -> None:
    offer(registry, "regularizer", "own", cls)
    with pytest.raises(InputError, match=sentence):
        run(regularizers=[{"use": "own", "weight": 1.0}])


def test_own_needs_parameters(registry, recipe_file) -> None:
    class Forgot:
        def penalty(self, features, own):
            return own(features).sum()

    offer(registry, "regularizer", "forgot", Forgot)
    with pytest.raises(InputError, match="which is what the hook `parameters` returns"):
        load_recipe(recipe_file(regularizers=[{"use": "forgot", "weight": 1.0}]), registry=registry)


# -- loss -------------------------------------------------------------------------------------------------------------


class Usual:
    """Cross-entropy, as the stage has it anyway."""

    def loss(self, logits, labels, features, ids, groups, class_counts, step, epoch, progress):
        assert logits.dtype == features.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        assert len(ids) == len(groups) == len(logits)
        SEEN.append((class_counts.tolist(), labels.ndim))
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize(
    ("extra", "ndim"), [({}, 1), ({"mixup": {"mixup": 1.0}}, 2), ({"precision": "bf16", "accumulate": 2}, 1)]
)
def test_a_plugins_loss_takes_the_place_of_the_tasks(run, registry, extra, ndim) -> None:
    offer(registry, "loss", "usual", Usual)
    plain, ours = run(**extra), run(loss={"use": "usual"}, **extra)
    assert same(weights(plain.run_dir), weights(ours.run_dir))
    assert set(map(str, SEEN)) == {str(([10, 10, 10], ndim))}
    assert [line["loss"] for line in records(plain.run_dir)] == [line["loss"] for line in records(ours.run_dir)]


class Mean:
    def loss(self, logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels)


def test_a_loss_that_is_averaged_already_is_refused(run, registry) -> None:
    offer(registry, "loss", "mean", Mean)
    with pytest.raises(
        InputError, match=r"returned a torch.float32 tensor of shape \(\) from loss; one number for each"
    ):
        run(loss={"use": "mean"})


@pytest.mark.parametrize("balance", ["loss", "logit_adjustment"])
def test_balance_changes_the_usual_loss_only(registry, recipe_file, balance) -> None:
    offer(registry, "loss", "usual", Usual)
    with pytest.raises(InputError, match=f"{balance} changes the usual loss, and usual takes its place"):
        load_recipe(recipe_file(loss={"use": "usual"}, balance=balance), registry=registry)
    load_recipe(recipe_file(loss={"use": "usual"}, balance="sampling"), registry=registry)


# -- what penalties may ask for ---------------------------------------------------------------------------------------


class Asks:
    def penalty(self, features, images, ids, groups, labels, source_logits, reference, reference_features, epoch):
        torch.testing.assert_close(source_logits, reference.head(reference_features))
        assert not source_logits.requires_grad and images.shape == (len(labels), 3, 32, 32)
        if epoch == 0:
            SEEN.extend(zip(ids, groups.tolist(), labels.tolist(), images.mean(dim=(1, 2, 3)).tolist(), strict=True))
        return features.sum() * 0


class Whiten:
    in_place = False

    def select(self, labels):
        return [index for index in range(len(labels)) if index % 4 == 0]

    def corrupt(self, image):
        return image.point(lambda value: 255)


@pytest.mark.parametrize("workers", [0, 1])
def test_ids_groups_images_and_source_logits(run, registry, tmp_path, tiny_npz, workers) -> None:
    offer(registry, "regularizer", "asks", Asks)
    offer(registry, "corruption", "whiten", Whiten)
    planted = {"from": "plain", "corruptions": [{"use": "whiten", "splits": ["train"]}]}
    top = {"datasets": {"plain": {"npz": str(tiny_npz)}, "tiny": planted}}
    stage = {"start": str(start_folder(tmp_path / "start", CLASSES)), "workers": workers}
    run(top, **stage, regularizers=[{"use": "asks", "weight": 1.0}], augmentation={"none": True})
    assert len({one for one, *_ in SEEN}) == 30
    for one, group, label, brightness in SEEN:
        index = int("".join(filter(str.isdigit, one.rpartition("/")[2])))
        assert label == index % 3
        assert (brightness == 1.0) == (index % 4 == 0), "the id is that of the image"
        assert group == 2 * label + (index % 4 == 0)


class Takes:
    """A curriculum that leaves no image to the target."""

    def streams(self, session):
        import transferkit

        return {"other": transferkit.Stream(session.train_samples)}

    def mix(self):
        return {"other": 1.0}


def test_a_penalty_without_an_image_is_told_of(run, registry) -> None:
    offer(registry, "curriculum", "takes", Takes)
    use = {"use": "bss", "weight": 0.001}
    result = run(curriculum={"use": "takes"}, regularizers=[use, use | {"name": "seen", "on": "other"}])
    (said,) = [text for text in result.stages["target"]["warnings"] if "seen no image" in text]
    assert said.startswith("bss has seen no image in the first epoch: it looks at the stream target")


def test_what_epoch_end_says_last_is_in_the_result(run, registry) -> None:
    @dataclasses.dataclass
    class Says:
        def epoch_end(self, epoch):
            return {"epoch": epoch}

    offer(registry, "observer", "says", Says)
    result = run(observers=[{"use": "says"}], **{key: WHOLE[key] for key in ("workers",)})
    assert json.loads((result.run_dir / "result.json").read_text())["stages"]["target"]["plugins"] == {
        "says": {"epoch": 1.0}
    }
