"""The benches of a run's analyses: images are opened and hashed once, and models are not mixed up."""

from __future__ import annotations

import pytest
import torch

from transferkit.analysis.run_analyses import RunModels
from transferkit.analysis.session import AnalysisSession
from transferkit.data import digest, parts
from transferkit.plugins.registry import Registry
from transferkit.recipe import Loaded
from transferkit.recipe.schema import Recipe
from transferkit.recipe.uses import AnalyzerUse
from transferkit.runs.folder import RunFolder
from transferkit.testing import tiny_model
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

from .audit_world import SOURCE, TARGET

PLAIN = AnalyzerUse(use="whatever", dataset="colours")
COMPARED = AnalyzerUse(use="other", dataset="colours", baseline="control")


@pytest.fixture
def run(world, tmp_path):
    """A run: `pre` on the source images, `target` from it, `control` from scratch."""
    for stage, model in {"pre": "source", "target": "target", "control": "baseline"}.items():
        (tmp_path / "run" / "stages" / stage).mkdir(parents=True)
        (tmp_path / "run" / "stages" / stage / "model").symlink_to(world / model)
    stage = {"epochs": 1, "dataset": "insects", "validation": 0}
    recipe = {
        "name": "r",
        "device": "cpu",
        "model": {"name": "test_resnet"},
        "datasets": {
            "colours": {"folder": str(world / "source-images"), "on_bad_image": "skip"},
            "insects": {"folder": str(world / "target-images")},
        },
        "stages": [
            {"name": "pre", **stage, "dataset": "colours", "start": "scratch"},
            {"name": "control", **stage, "start": "scratch"},
            {"name": "target", **stage, "start": "pre"},
        ],
    }
    loaded = Loaded(Recipe.model_validate(recipe), tmp_path / "recipe.yaml", {}, Registry())
    models = RunModels(loaded, RunFolder(tmp_path / "run"), 0, Display(quiet=True), Cache(tmp_path / "cache"))
    yield models
    models.close()


@pytest.fixture
def work(monkeypatch):
    """What was opened and how many files were hashed."""
    done = {"opened": [], "hashed": 0}
    opening, hashing = parts.open_split, digest._file

    def opened(name, datasets, split, *rest, **options):
        done["opened"].append((name, split))
        return opening(name, datasets, split, *rest, **options)

    def hashed(path):
        done["hashed"] += 1
        return hashing(path)

    monkeypatch.setattr(parts, "open_split", opened)
    monkeypatch.setattr(digest, "_file", hashed)
    return done


def look(bench, folder):
    """What most analyzers ask for."""
    session = AnalysisSession(bench, folder)
    swapped = session.predictions("target").logits(session.source_head())
    return swapped, session.predictions("target", "target").logits(), session.data_digest("source")


def live_model(change=0.0):
    model = tiny_model(TARGET, seed=1)
    with torch.no_grad():
        next(model.net.parameters()).add_(change)
    return model, tiny_model(SOURCE, seed=1).source_head()


def test_images_are_opened_and_hashed_once_for_every_bench(run, work, tmp_path):
    look(run.workbench(PLAIN, live_model()), tmp_path)
    known = {"opened": list(work["opened"]), "hashed": work["hashed"]}
    once = known["opened"].copy()
    once.remove(("colours", "train"))  # opened as `pre` trained on it, and with the classes of the source model
    assert len(set(once)) == len(once) and known["hashed"] == 9 + 6
    look(run.workbench(PLAIN, live_model()), tmp_path)
    look(run.workbench(PLAIN), tmp_path)
    look(run.workbench(COMPARED), tmp_path)
    assert work == known


def test_another_source_or_data_set_is_another_bench_of_images(run):
    first = run.workbench(PLAIN)
    assert run.workbench(AnalyzerUse(use="x", dataset="colours")) is first
    for change in ({"dataset": "insects"}, {"dataset": "colours", "source": "control"}):
        other = run.workbench(AnalyzerUse(use="x", **change))
        assert other._parts is not first._parts
    assert run.workbench(COMPARED)._parts is first._parts


def test_every_bench_has_its_own_models(run, tmp_path):
    plain, compared = run.workbench(PLAIN), run.workbench(COMPARED)
    assert "baseline" not in plain.models and set(compared.models) == {"source", "target", "baseline"}
    assert plain.models["target"] is compared.models["target"]
    samples = AnalysisSession(compared, tmp_path).samples("target", role="baseline")
    assert AnalysisSession(plain, tmp_path).samples("target") is not samples


def test_a_live_model_is_looked_at_as_it_is_now(run, tmp_path):
    """Neither the epoch before nor the finished model shows through, and it writes no pictures to TensorBoard."""
    benches_of = [run.workbench(PLAIN, live_model(change)) for change in (0.0, 0.5)]
    assert all(bench.models["target"].live and bench.board is None for bench in benches_of)
    early, late = (look(bench, tmp_path)[0] for bench in benches_of)
    finished = run.workbench(PLAIN)
    assert not finished.models["target"].live and finished.board is run.board
    # the finished model has the weights of the first
    torch.testing.assert_close(look(finished, tmp_path)[0], early)
    assert not torch.allclose(early, late)


def test_what_follows_from_the_models_is_not_handed_on(run, world):
    bench = run.workbench(PLAIN)
    assert bench.source_head.classes == SOURCE and bench.class_list.names == SOURCE
    other = bench.with_models(bench.models, None)
    assert not {"source_head", "class_list"} & vars(other).keys()


def test_the_class_list_decodes_no_image(run, monkeypatch):
    monkeypatch.setattr("transferkit.data.contents.check_images", None)
    assert run.workbench(PLAIN).class_list.names == SOURCE


def test_the_check_of_images_is_remembered(run, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "transferkit.data.contents.check_images",
        lambda paths, workers, cache=None: seen.append(cache) or [(32, 32)] * len(paths),
    )
    AnalysisSession(run.workbench(PLAIN), tmp_path).samples("source")
    assert seen and None not in seen
