"""Edits of finished models: what is asked, what is put in place, what is written down; stages that only edit."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from transferkit.api import execute, resume
from transferkit.errors import InputError, NonFiniteError
from transferkit.model.folder import open_model, read_info
from transferkit.recipe import load_recipe
from transferkit.runs.replay import replay
from transferkit.testing import tiny_model
from transferkit.testing.tiny import tiny_source_head
from transferkit.training.edit_session import checked, placed, put_in_place

from .conftest import CLASSES, offer

SEEN: list[dict[str, Any]] = []


@dataclass
class Scale:
    """Multiply a tensor; keep what the session said."""

    by: float = 2.0
    tensor: str = "fc.weight"
    note: str = ""

    def edit(self, model, session):
        SEEN.append(
            {"session": session, "value": model.net.state_dict()[self.tensor].clone(), "score": session.score()}
        )
        if self.note:
            session.note(self.note, by=self.by)
        return {self.tensor: model.net.state_dict()[self.tensor] * self.by}


@dataclass
class Asks:
    """Hands back what it was given, for looks at a session."""

    def edit(self, model, reference, session):
        SEEN.append({"model": model, "reference": reference, "session": session, "look": LOOK[0](model, session)})
        return {}


LOOK = [lambda model, session: None]


@pytest.fixture(autouse=True)
def _plugins(registry):
    SEEN.clear()
    LOOK[0] = lambda model, session: None
    offer(registry, "edit", "scale", Scale)
    offer(registry, "edit", "asks", Asks)


def saved(result, stage):
    return load_file(result.run_dir / "stages" / stage / "model" / "model.safetensors")


def with_edits(edits, **more):
    return {"name": "edited", "start": "target", "dataset": "tiny", "edits": edits} | more


@pytest.fixture
def chain(run, recipe_file, registry, tmp_path):
    """Run a training stage, and further stages after it."""

    def go(*stages, **target):
        path = recipe_file(**target)
        content = yaml.safe_load(path.read_text())
        content["stages"] += stages
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return execute(load_recipe(path, registry=registry), out=tmp_path / "runs", quiet=True)

    return go


def test_edits_follow_one_another_and_each_is_evaluated_before_and_after(chain):
    edits = [{"use": "scale", "by": -1.0, "name": "turn"}, {"use": "scale", "by": -1.0, "name": "back", "note": "Hm."}]
    done = chain(with_edits(edits, evaluate=["tiny"]))
    first, second = done.stages["edited"]["edits"]
    assert (first["use"], first["name"], second["name"]) == ("scale", "turn", "back")
    assert first["after"] == second["before"] and set(first["after"]) == {"val", "tiny"}
    trained = done.stages["target"]["evaluations"]["val"]
    for key in ("top1", "loss", "images"):
        known = pytest.approx(trained[key], rel=1e-6)  # opened again, it may be laid out and summed in another order
        assert first["before"]["val"][key] == known and second["after"]["val"][key] == known
    assert first["before"]["val"]["loss"] != first["after"]["val"]["loss"]
    gap = first["after"]["val"]["top1"] - first["before"]["val"]["top1"]
    found = first["change"]["val"]
    assert found["top1"] == pytest.approx(gap) and found["low"] <= gap <= found["high"]
    assert (found["gained"] - found["lost"]) / 12 == pytest.approx(gap)
    assert second["notes"] == ["Hm."] and second["numbers"] == {"by": -1.0} and first["changed"] == ["fc.weight"]
    assert SEEN[0]["score"]["top1"] == trained["top1"]
    for name, value in saved(done, "target").items():
        assert torch.equal(value, saved(done, "edited")[name])


def test_in_a_training_stage_the_best_weights_are_edited(chain):
    plain, edited = chain(), chain(edits=[{"use": "scale", "by": 3.0}])
    before, after = saved(plain, "target"), saved(edited, "target")
    torch.testing.assert_close(after.pop("fc.weight"), 3 * before.pop("fc.weight"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    entry = edited.stages["target"]
    assert entry["best"] == plain.stages["target"]["best"]  # what training reached
    assert entry["evaluations"]["val"]["loss"] == entry["edits"][0]["after"]["val"]["loss"]


def test_a_stage_without_training_hands_on_head_classes_and_source_head(chain):
    done = chain(
        {"name": "second", "start": "target", "dataset": "tiny", "epochs": 1, "workers": 0},
        {"name": "edited", "start": "second", "dataset": "tiny", "edits": [{"use": "scale", "by": 0.5}]},
        {"name": "again", "start": "edited", "dataset": "tiny", "edits": []},
    )
    _, source = open_model(done.run_dir / "stages" / "second" / "model")
    model, handed = open_model(done.run_dir / "stages" / "again" / "model")
    assert model.classes == CLASSES and torch.equal(handed.weight, source.weight) and handed.classes == source.classes
    assert torch.equal(saved(done, "again")["fc.weight"], saved(done, "edited")["fc.weight"])
    entry = done.stages["edited"]
    assert entry["best"]["epoch"] is None and entry["best"]["top1"] == entry["evaluations"]["val"]["top1"]
    assert "edits" not in done.stages["again"] and entry["kept"] == "edited"
    assert read_info(done.run_dir / "stages" / "edited" / "model")["source"]["start"] == "second"


def test_the_reference_is_what_the_training_started_from(chain):
    done = chain(
        {"name": "second", "start": "target", "dataset": "tiny", "epochs": 1, "workers": 0, "edits": [{"use": "asks"}]},
        {"name": "edited", "start": "second", "dataset": "tiny", "edits": [{"use": "scale"}]},
        {"name": "again", "start": "edited", "dataset": "tiny", "edits": [{"use": "asks"}]},
    )
    source = saved(done, "target")
    asked = [one for one in SEEN if "reference" in one]
    assert len(asked) == 2
    for one in asked:
        own = one["reference"].net.state_dict()
        assert all(torch.equal(own[name], value) for name, value in source.items())
        assert not any(parameter.requires_grad for parameter in one["reference"].parameters())


def test_a_model_folder_of_another_run_knows_its_source(chain, tmp_path):
    first = chain({"name": "second", "start": "target", "dataset": "tiny", "epochs": 1, "workers": 0})
    place = str(first.run_dir / "stages" / "second" / "model")
    done = chain({"name": "edited", "start": place, "dataset": "tiny", "edits": [{"use": "asks"}]})
    own = SEEN[-1]["reference"].net.state_dict()
    assert all(torch.equal(own[name], value) for name, value in saved(first, "target").items())
    shutil.copytree(place, tmp_path / "alone")
    with pytest.raises(InputError, match="no run says what its model was trained from"):
        chain({"name": "edited", "start": str(tmp_path / "alone"), "dataset": "tiny", "edits": [{"use": "asks"}]})
    assert done.status == "done"


def test_classes_are_matched_by_name(chain, tmp_path, tiny_npz):
    data = dict(np.load(tiny_npz))
    order = [2, 0, 1]
    for split in ("train", "val"):
        data[f"y_{split}"] = np.argsort(order)[data[f"y_{split}"]]
    data["classes"] = np.array([CLASSES[i] for i in order])
    np.savez(tmp_path / "turned.npz", **data)
    data["classes"] = np.array(["a", "b", "c"])
    np.savez(tmp_path / "other.npz", **data)
    first = chain()
    start = str(first.run_dir / "stages" / "target" / "model")

    def go(file):
        stage = {"name": "edited", "start": start, "dataset": "turned", "edits": [{"use": "scale", "by": 1.0}]}
        datasets = {"tiny": {"npz": str(tiny_npz)}, "turned": {"npz": str(tmp_path / file)}}
        return chain(stage, top={"datasets": datasets})

    done = go("turned.npz")
    assert done.stages["edited"]["classes"] == [CLASSES[i] for i in order]
    assert torch.equal(saved(done, "edited")["fc.weight"], saved(first, "target")["fc.weight"][order])
    assert done.stages["edited"]["evaluations"]["val"]["top1"] == first.stages["target"]["evaluations"]["val"]["top1"]
    with pytest.raises(InputError, match="must have the classes of the model"):
        go("other.npz")


@dataclass
class Broken:
    """Returns what it is told to."""

    how: str

    def edit(self, model, session):
        weight = model.net.state_dict()["fc.weight"]
        if self.how == "itself":
            weight.mul_(2)
        return {
            "name": {"fc.wieght": weight},
            "shape": {"fc.weight": weight[:1]},
            "nan": {"fc.weight": weight * float("nan")},
            "list": [weight],
            "itself": {},
        }[self.how]


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("name", ValueError, 'no parameter or buffer "fc.wieght"; did you mean "fc.weight"'),
        ("shape", ValueError, r"fc.weight has the shape \(3, \d+\), its new value \(1, \d+\)"),
        ("nan", NonFiniteError, "not finite in fc.weight"),
        ("list", ValueError, "must return {parameter: its new value}"),
        ("itself", ValueError, "changed the model's weights itself"),
    ],
)
def test_what_cannot_be_put_in_place_is_refused_and_the_plugin_named(chain, registry, how, kind, text):
    offer(registry, "edit", "broken", Broken)
    with pytest.raises(kind, match=text) as caught:
        chain(with_edits([{"use": "broken", "how": how}]))
    assert "edit 'broken'" in "".join(caught.value.__notes__)


def test_a_session_hands_out_images_and_scores_and_nothing_that_trains(chain):
    looked = {}

    def look(model, session):
        zero = {"fc.weight": torch.zeros_like(model.head.weight), "fc.bias": torch.tensor([0.0, 5.0, 0.0])}
        before = {name: value.clone() for name, value in model.net.state_dict().items()}
        looked["constant"] = session.score(zero)
        looked["same"] = all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
        looked["features"], looked["labels"] = session.features("tiny", "train")
        batches = list(session.outputs("tiny", "train", zero))
        looked["logits"] = torch.cat([output.logits for _, _, output in batches])
        looked["ends"] = {name: values() for name, values in session.checkpoints().items()}
        looked["draws"] = session.rng("x").integers(100, size=3).tolist()
        looked["names"] = {name for name in dir(session) if not name.startswith("_")}
        looked["classes"], looked["device"] = session.classes, session.device
        with pytest.raises(InputError, match="has no test split"):
            session.samples("tiny", "test")

    LOOK[0] = look
    done = chain(
        {"name": "second", "start": "target", "dataset": "tiny", "epochs": 1, "workers": 0},
        {"name": "edited", "start": "second", "dataset": "tiny", "edits": [{"use": "asks"}]},
    )
    assert looked["constant"]["top1"] == pytest.approx(1 / 3) and looked["same"]
    model, _ = open_model(done.run_dir / "stages" / "second" / "model")
    samples = SEEN[-1]["session"].samples("tiny", "train")
    images = torch.cat([images for images, _ in samples.evaluation_batches(8)])
    with torch.no_grad():
        torch.testing.assert_close(looked["features"], model(images).features, rtol=1e-4, atol=1e-5)
    assert looked["labels"].tolist() == samples.labels.tolist() and len(samples) == 30
    assert torch.equal(looked["logits"], torch.tensor([[0.0, 5.0, 0.0]]).expand(30, 3))
    (end,) = looked["ends"].values()
    assert all(torch.equal(end[name], value) for name, value in saved(done, "second").items())
    assert looked["names"].isdisjoint({"optimizer", "loader", "accelerator", "objective", "schedule", "wrapped"})
    assert looked["classes"] == CLASSES and str(looked["device"]) == "cpu" and len(looked["draws"]) == 3


def test_source_head_values_are_kept_beside_the_model():
    model, head = tiny_model(), tiny_source_head(tiny_model().num_features)
    head.bias = None
    values = {"source_head.weight": head.weight * 2, "source_head.bias": torch.ones(len(head.weight))}
    new = put_in_place(model, head, checked(values, model, head))
    assert torch.equal(new.weight, head.weight * 2) and torch.equal(new.bias, torch.ones(len(head.weight)))
    with pytest.raises(ValueError, match="no parameter or buffer"):
        checked(values, model, None)


def test_values_that_were_put_in_for_a_while_are_taken_out_again_after_an_error():
    model = tiny_model()
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    with pytest.raises(RuntimeError), placed(model, {"fc.bias": torch.ones(3)}):
        assert model.head.bias.tolist() == [1, 1, 1]
        raise RuntimeError
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())


def test_an_interrupted_edit_is_done_again_on_resume(chain, registry, monkeypatch, tmp_path):
    offer(registry, "edit", "broken", Broken)
    with pytest.raises(ValueError, match="must return"):
        chain(with_edits([{"use": "broken", "how": "list"}]))
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    monkeypatch.setattr(Broken, "edit", lambda self, session: {})
    assert resume(folder, quiet=True).status == "done"
    result = json.loads((folder / "result.json").read_text())
    assert result["stages"]["edited"]["edits"][0]["changed"] == []


def test_there_is_nothing_to_train_on_or_to_replay_in_a_stage_that_only_edits(chain, monkeypatch, registry):
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    done = chain(with_edits([]))
    with pytest.raises(InputError, match='stage "edited" only edits a model'):
        resume(done.run_dir, epochs=5, quiet=True)
    with pytest.raises(InputError, match='"edited" only edits a model: it has no steps'):
        replay(done.run_dir, stage="edited", step=0, display=None, stop=None)


def test_an_adapted_model_is_edited_under_the_names_of_its_plain_layers(run, registry):
    """LoRA's layers are merged first: an edit sees, and changes, what is saved."""
    seen = []

    class Halves:
        def edit(self, model):
            seen.extend(model.net.state_dict())
            return {name: weight / 2 for name, weight in model.named_head_parameters()}

    offer(registry, "edit", "halves", Halves)
    done = run(adapters=[{"use": "lora", "rank": 2}], edits=[{"use": "halves"}])
    assert seen and not any("lora" in name for name in seen)
    assert done.stages["target"]["edits"][0]["changed"]
