"""Made-up sessions: the answers that were given are those that the core's session gives back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferkit.data import world
from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit.testing import MadeUpImages, MadeUpModel, colour_model, made_up_session, tiny_model

ANIMALS, INSECTS = ["cock", "hen", "owl"], ["ants", "bees"]
SOURCE = np.array([[1, 0.5, 0], [0, 2, 0], [0, 0, 3], [-4, 0, 0.25]])
SWAP, VOTES, SHOWN = -2 * SOURCE, np.array([[1, 0], [0, 1], [2, 3], [0, 0]]), np.array([[5, 0, 0], [0, 5, 1]])


def session(folder, **changes):
    images = {"source": MadeUpImages(ANIMALS, [0, 1, 2, 0]), "target": MadeUpImages(INSECTS, [1, 0])}
    models = {
        "source": MadeUpModel(ANIMALS, {"source": SOURCE, "target": SHOWN}, norm=(2.0, 4.0)),
        "target": MadeUpModel(INSECTS, {"source": VOTES}, {"source": SWAP}),
    }
    return made_up_session(folder, **({"images": images, "models": models} | changes))


def test_every_answer_comes_back_exactly(tmp_path):
    found = session(tmp_path / "out")
    assert found.predictions("source").logits().tolist() == SOURCE.tolist()
    assert found.predictions("source", "target").logits().tolist() == SHOWN.tolist()
    assert found.predictions("target").logits().tolist() == VOTES.tolist()
    assert found.predictions("target").logits(found.source_head()).tolist() == SWAP.tolist()
    assert found.predictions("target", "target").logits().tolist() == [[0, 0], [0, 0]]  # nothing was said of them
    assert found.predictions("target").labels.tolist() == [0, 1, 2, 0] and found.source_head().classes == ANIMALS
    assert not found.has("baseline") and found.recipe is None and not found.source_head_is_probe


def test_more_images_than_a_byte_counts_and_splits(tmp_path):
    labels = {"train": np.arange(300) % 3, "val": [2, 1]}
    answers = {"train": np.arange(900).reshape(300, 3), "val": [[7, 8, 9], [1, 2, 3]]}
    models = {"target": MadeUpModel(ANIMALS, {"target": answers})}
    found = session(tmp_path / "out", images={"target": MadeUpImages(ANIMALS, labels)}, models=models)
    assert found.predictions("target", "target", "train").logits().tolist() == answers["train"].tolist()
    assert found.predictions("target", "target", "val").logits().tolist() == answers["val"]
    assert not found.has_data("source")


def test_without_a_source_model_the_head_is_beside_the_target(tmp_path):
    models = {"target": MadeUpModel(INSECTS, {"source": VOTES}, {"source": SWAP})}
    found = session(tmp_path / "out", models=models, source_classes=ANIMALS)
    assert isinstance(found.source_head(), SourceHead) and not found.has("source")
    assert found.predictions("target").logits(found.source_head()).tolist() == SWAP.tolist()
    with pytest.raises(InputError, match="no source model"):
        found.model("source")


def test_a_model_without_a_classifier_gets_a_probe(tmp_path):
    images = {"source": MadeUpImages(ANIMALS, {"train": [0, 1, 2] * 4, "val": [0, 1, 2]})}
    features = {"train": 3 * np.eye(3)[[0, 1, 2] * 4], "val": 3 * np.eye(3)}
    models = {"source": MadeUpModel([], {"source": features}), "target": MadeUpModel(INSECTS, {})}
    found = session(tmp_path / "out", images=images, models=models)
    assert found.source_head_is_probe
    assert found.predictions("source").predicted(found.source_head()).tolist() == [0, 1, 2]


def test_a_run(tmp_path):
    stages = [
        {"name": name, "start": start, "dataset": "target", "epochs": 1}
        for name, start in (("first", "scratch"), ("second", "first"), ("third", "first"))
    ]
    history = [{"stage": "second", "step": step, "split": "val", "top1": 0.5} for step in (4, 2)]
    found = session(
        tmp_path / "out",
        recipe={"stages": stages, "stage": "second"},
        stages={"third": MadeUpModel(INSECTS, {"target": [[3, 4], [5, 6]]})},
        history=history,
    )
    assert found.stage_name == "second" and set(found.recipe.datasets) == {"source", "target"}
    assert [record["step"] for record in found.history()] == [2, 4] and found.history("third") == []
    assert found.predictions(found.stage_model("third"), "target").logits().tolist() == [[3, 4], [5, 6]]
    with pytest.raises(InputError, match='the stage "first" has no finished model yet'):
        found.stage_model("first")


def test_answers_that_fit_no_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"source \(val\) has 4 images, and 2 answers"):
        session(tmp_path / "a", models={"target": MadeUpModel(INSECTS, {"source": [[0, 1], [1, 0]]})})
    with pytest.raises(ValueError, match=r"answers about sauce \(val\), but no such images"):
        session(tmp_path / "b", models={"target": MadeUpModel(INSECTS, {"sauce": [[0, 1]]})})


def test_corruptions_are_planted_and_leave_the_answers(tmp_path):
    patch = [{"use": "correlated_patch", "side": 3}]
    images = {"target": MadeUpImages(INSECTS, [0, 1], corruptions=patch)}
    models = {"target": MadeUpModel(INSECTS, {"target": [[1, 2], [4, 3]]})}
    found = session(tmp_path / "out", images=images, models=models)
    assert all(mask.all() for mask in found.samples("target").planted.values()) and found.samples("target").planted
    assert found.predictions("target", "target").logits().tolist() == [[1, 2], [4, 3]]


def test_colours_by_hand(tmp_path):
    """Half a picture red, half of it blue and green: cells are of one colour each."""
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    picture[:, :16] = (128, 0, 0)
    picture[:, 16:] = (0, 64, 192)
    model = colour_model(["warm", "cold"], [[1, 0, 0.5], [0, 2, 0]], channels=[[1, 0, -1], [0, 1, 1], [0.5, 0, 0]])
    images = {"target": MadeUpImages(["warm", "cold"], [0], picture)}
    found = made_up_session(tmp_path / "out", images=images, models={"target": model})
    got = found.predictions("target", "target")
    # channels of the two halves: (2, 0, 1) and (-3 -> 0, 1 + 3, 0)
    assert got.features.tolist() == [[1, 2, 0.5]] and got.logits().tolist() == [[1.25, 4]]
    maps = model.net.forward_features(torch.from_numpy(picture).permute(0, 3, 1, 2) / 255)
    assert maps[0, 1].tolist() == [[0.0] * 4] * 2 + [[4.0] * 4] * 2


def test_any_model_can_have_a_role_on_any_data(tmp_path):
    model = tiny_model(world.TARGET_CLASSES)
    images = {"target": {"world": {"kind": "target", "train": 2, "val": 1, "size": 32}}}
    found = made_up_session(tmp_path / "out", images=images, models={"target": model})
    assert found.model("target") is model
    assert len(found.predictions("target", "target", "val")) == len(world.TARGET_CLASSES)
