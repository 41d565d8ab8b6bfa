"""The session: one pass serves all, models by role stay as they are, and what is missing is said in a sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from transferkit.analysis import workbench as benches
from transferkit.analysis.session import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.data import world
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset
from transferkit.testing import tiny_analysis, tiny_model
from transferkit.training.cache import Cache
from transferkit.training.progress import Display


@pytest.fixture
def session(tmp_path) -> AnalysisSession:
    return tiny_analysis(tmp_path)


@pytest.fixture
def passes(monkeypatch) -> list[str]:
    """What was passed through a network, one entry per pass."""
    seen: list[str] = []
    real = benches.features_of

    def counted(model, samples, progress, description, **options):
        seen.append(description)
        return real(model, samples, progress, description, **options)

    monkeypatch.setattr(benches, "features_of", counted)
    return seen


def bench(tmp_path, **changes) -> Workbench:
    target = tiny_model(world.TARGET_CLASSES, seed=1)
    source = tiny_model(world.SOURCE_CLASSES, seed=0)
    arguments = {
        "models": {"source": Given("s", lambda: (source, None)), "target": Given("t", lambda: (target, None))},
        "datasets": {k: Dataset(world={"kind": k, "train": 2, "val": 2, "size": 32}) for k in ("source", "target")},
        "source_data": "source",
        "target_data": "target",
        "seed": 0,
        "display": Display(quiet=True),
        "device": torch.device("cpu"),
        "cache": Cache(tmp_path / "cache"),
    }
    return Workbench(**arguments | changes)


def test_features_are_those_of_the_model(session):
    found = session.predictions("target", "source")
    samples = session.samples("source")
    images = torch.stack([samples.get(i, 0)[0] for i in range(len(samples))])
    with torch.no_grad():
        expected = session.model("target")(images)
    torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits(), expected.logits, rtol=1e-4, atol=1e-5)
    assert found.classes == list(world.SOURCE_CLASSES)
    assert found.ids == samples.ids
    np.testing.assert_array_equal(found.labels.numpy(), samples.labels)


def test_one_pass_serves_every_question(tmp_path, passes):
    session = AnalysisSession(bench(tmp_path), tmp_path)
    for _ in range(2):
        session.predictions("target").logits(session.source_head())
        session.predictions("target").predicted()
        session.predictions("source")
    assert len(passes) == 2
    again = AnalysisSession(bench(tmp_path), tmp_path)
    assert torch.equal(again.predictions("target").features, session.predictions("target").features)
    assert len(passes) == 2  # the other process's cache


def test_a_model_audited_against_itself_is_bitwise_itself(tmp_path):
    """The same backbone with another head is the same pass."""
    source = tiny_model(world.SOURCE_CLASSES, seed=0)
    target = tiny_model(world.SOURCE_CLASSES, seed=0)
    target.swap_head(world.TARGET_CLASSES)
    models = {"source": Given("s", lambda: (source, None)), "target": Given("t", lambda: (target, None))}
    session = AnalysisSession(bench(tmp_path, models=models), tmp_path)
    swapped = session.predictions("target").logits(session.source_head())
    assert torch.equal(swapped, session.predictions("source").logits())


def test_what_the_features_depend_on_changes_the_key(tmp_path, passes):
    workbench = bench(tmp_path)
    session = AnalysisSession(workbench, tmp_path)
    session.predictions("target")
    changed = tiny_model(world.TARGET_CLASSES, seed=1)
    with torch.no_grad():
        next(changed.net.parameters()).mul_(1.01)
    models = workbench.models | {"target": Given("t", lambda: (changed, None))}
    AnalysisSession(bench(tmp_path, models=models), tmp_path).predictions("target")
    more = {"source": Dataset(world={"kind": "source", "train": 2, "val": 3, "size": 32})}
    AnalysisSession(bench(tmp_path, datasets=workbench.datasets | more), tmp_path).predictions("target")
    assert len(passes) == 3


def test_files_are_known_by_their_bytes_not_by_name_size_or_time(tmp_path):
    from PIL import Image

    from transferkit.data.digest import samples_digest

    def digest(pixel, name="a.png"):
        folder = tmp_path / f"{pixel}-{name}"
        (folder / "disc").mkdir(parents=True)
        Image.new("RGB", (40, 40), (pixel, 0, 0)).save(folder / "disc" / name)
        spec = {"source": Dataset(folder=str(folder))}
        session = AnalysisSession(bench(tmp_path, datasets=bench(tmp_path).datasets | spec), tmp_path)
        return samples_digest(session.samples("source"))

    assert digest(10) == digest(10, "b.png")
    assert digest(10, "c.png") != digest(11, "c.png")


def test_a_live_model_leaves_nothing_on_disk(tmp_path):
    workbench = bench(tmp_path)
    workbench.models["target"].live = True
    session = AnalysisSession(workbench, tmp_path)
    session.predictions("target")
    session.cached({"x": 1}, lambda: {"y": torch.ones(1)})
    assert not (tmp_path / "cache").exists()
    session.predictions("source")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_models_are_frozen_and_in_eval_mode(session):
    for role in ("source", "target", "baseline"):
        model = session.model(role)
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_missing_parts_are_sentences(tmp_path):
    one = Given("t", lambda: (tiny_model(world.TARGET_CLASSES), None))
    session = AnalysisSession(bench(tmp_path, models={"target": one}, source_data=None), tmp_path)
    assert not session.has("baseline")
    with pytest.raises(InputError, match="no baseline model"):
        session.model("baseline")
    with pytest.raises(InputError, match="has none kept beside it; give the source model"):
        session.source_head()
    with pytest.raises(InputError, match="no source images"):
        session.samples("source")
    with pytest.raises(InputError, match='no data set called "nonsense"'):
        session.samples("nonsense")
    with pytest.raises(InputError, match="no test split"):
        session.samples("target", "test")


def test_a_model_knows_the_folder_it_was_opened_from(tmp_path):
    model = tiny_model(world.TARGET_CLASSES)
    known = {"target": Given("t", lambda: (model, None), folder=tmp_path), "source": Given("s", lambda: (model, None))}
    session = AnalysisSession(bench(tmp_path, models=known), tmp_path)
    assert session.model_folder() == tmp_path
    assert session.model_folder("source") is None
    with pytest.raises(InputError, match="no baseline model"):
        session.model_folder("baseline")


def test_the_head_kept_beside_the_target_serves_without_a_source_model(tmp_path):
    source = tiny_model(world.SOURCE_CLASSES, seed=0)
    head = source.source_head()
    target = Given("t", lambda: (tiny_model(world.TARGET_CLASSES), head))
    session = AnalysisSession(bench(tmp_path, models={"target": target}), tmp_path)
    assert torch.equal(session.source_head().weight, head.weight)
    assert session.predictions("target").classes == list(world.SOURCE_CLASSES)


def test_a_source_without_classifier_gets_a_ridge_probe(tmp_path):
    from transferkit.model.head_init import ridge_head

    backbone = tiny_model(world.SOURCE_CLASSES, seed=0)
    backbone.net.reset_classifier(0)
    workbench = bench(tmp_path)
    workbench.models["source"] = Given("simclr", lambda: (backbone, None))
    session = AnalysisSession(workbench, tmp_path)
    assert session.source_head_is_probe
    fitted = session.predictions("source", "source", "train")
    weight, bias = ridge_head(fitted.features, fitted.labels, len(world.SOURCE_CLASSES))
    assert torch.equal(session.source_head().weight, weight)
    assert torch.equal(session.source_head().bias, bias)


def test_planted_corruptions_are_known(tmp_path):
    from transferkit.plugins.distributions import Owner
    from transferkit.plugins.hooks import Plugin, RunPlugins
    from transferkit.plugins.registry import Component

    class Mark:
        def select(self, labels):
            return np.flatnonzero(labels == 1)

        def corrupt(self, image):
            image.paste((255, 0, 0), (0, 0, 4, 4))
            return image

    component = Component("corruption", "mark", Mark, Owner("mark", "mark", "0"))
    spec = Dataset.model_validate(
        {"world": {"kind": "target", "train": 2, "val": 2, "size": 32}, "corruptions": [{"use": "mark"}]}
    )
    workbench = bench(
        tmp_path,
        datasets=bench(tmp_path).datasets | {"target": spec},
        corruptions=lambda name: RunPlugins([Plugin("corruption", "mark", Mark(), component)]),
    )
    samples = AnalysisSession(workbench, tmp_path).samples("target", "val")
    np.testing.assert_array_equal(samples.planted["mark"], samples.labels == 1)
    marked = [np.asarray(samples.picture(i))[0, 0].tolist() == [255, 0, 0] for i in range(len(samples))]
    assert marked == samples.planted["mark"].tolist()


def test_what_composites_depend_on_changes_their_digest(tmp_path):
    def digest(change=lambda items: items, **changes):
        session = AnalysisSession(bench(tmp_path, **changes), tmp_path)
        items = session.composites([0, 1], pool=[0, 1, 2], total=2).items
        return session.composites_digest(change(items))

    plain = digest()
    assert digest() == plain
    datasets = bench(tmp_path).datasets
    others = [
        digest(lambda items: items[:-1]),
        digest(lambda items: items[::-1]),
        digest(lambda items: [replace(items[0], top=items[0].top + 1), *items[1:]]),
        *(
            digest(datasets=datasets | {k: Dataset(world={"kind": k, "train": 2, "val": 2, "size": 30})})
            for k in ("source", "target")
        ),
    ]
    assert len({plain, *others}) == 6


def test_batches_resize_for_a_model_of_another_size(session):
    pixels = np.full((32, 32, 3), 128, dtype=np.uint8)
    assert session.batches("target")([pixels, pixels]).shape == (2, 3, 32, 32)
    large = np.full((64, 64, 3), 128, dtype=np.uint8)
    torch.testing.assert_close(session.batches("target")([large])[0], session.batches("target")([pixels])[0])


@pytest.mark.parametrize("count", [0, 1, 16, 37])
def test_answers_are_those_of_single_pictures_made_batch_by_batch(session, count):
    made = []

    def make(index):
        made.append(index)
        return np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)

    found = session.answers("target", map(make, range(count)))
    assert made == []
    outputs = list(found)
    assert made == list(range(count)) and [len(output.logits) for output in outputs[:-1]] == [16] * (count // 17)
    model = session.model("target")
    for name in ("logits", "features"):
        rows = [row for output in outputs for row in getattr(output, name)]
        assert len(rows) == count and not any(row.requires_grad for row in rows)
        for index, row in enumerate(rows):
            with torch.no_grad():
                alone = getattr(model(session.batches("target")([make(index)])), name)[0]
            torch.testing.assert_close(row, alone)
