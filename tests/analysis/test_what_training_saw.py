"""What an analyzer is told of an image is what training saw: id, label, planted marks, pixels. Whatever the recipe."""

from __future__ import annotations

import csv
import io
import random
import tarfile
import types
from dataclasses import dataclass

import numpy as np
import pytest
import yaml
from PIL import Image

import transferkit
from transferkit.analysis.run_analyses import RunModels
from transferkit.analysis.session import AnalysisSession
from transferkit.api import execute
from transferkit.data.parts import StageImages, carve_validation, per_class_fraction
from transferkit.data.planting import Corruption
from transferkit.data.sources import open_split
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import discover
from transferkit.recipe import load_recipe
from transferkit.recipe.uses import AnalyzerUse
from transferkit.report import Report
from transferkit.runs.folder import RunFolder
from transferkit.system.signals import StopSignal
from transferkit.testing import tiny_model
from transferkit.training.cache import Cache
from transferkit.training.datasets import open_samples, open_sources, stage_data
from transferkit.training.progress import Display
from transferkit.training.stage_plan import StagePlan

NAMES = ["ant", "bee", "cow", "doe"]
SIDE = 16


@dataclass
class Noise:
    """Gives a share of the images another class."""

    ratio: float = 0.4

    def select(self, labels, rng):
        return rng.permutation(len(labels))[: round(self.ratio * len(labels))]

    def corrupt(self, image, label, classes, rng):
        return image, (label + 1 + int(rng.integers(len(classes) - 1))) % len(classes)


@dataclass
class Recorder:
    """Keeps what the stage was given."""

    def setup(self, session):
        SEEN["training"] = {"train": session.train_samples, "val": session.validation_samples}
        SEEN["opened"] = {split: session.open_samples("marked", split) for split in ("train", "val")}


@dataclass
class Witness:
    """Keeps what an analyzer is given."""

    metrics = ("images",)

    def analyze(self, session):
        SEEN.setdefault("analysis", []).append({split: session.samples("target", split) for split in ("train", "val")})
        assert session.overlay_split() == "val"
        return Report({"images": float(len(session.samples("target")))})


SEEN: dict = {}


@pytest.fixture
def registry():
    found = discover()
    module = types.ModuleType("transferkit_truth")

    def transferkit_register(register):
        register.corruption("label_noise", Noise)
        register.observer("recorder", Recorder)
        register.analyzer("witness", Witness)

    module.transferkit_register = transferkit.hookimpl(transferkit_register)
    found.load(module, Owner("truth", "transferkit-truth", "1.0"))
    return found


def pictures(rng, splits, counts):
    """{split: [(class, index, pixels)]}, of each class another number."""
    return {
        split: [
            (name, index, rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8))
            for place, name in enumerate(NAMES)
            for index in range(counts + place)
        ]
        for split in splits
    }


def as_png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_folder(path, data, broken):
    for split, items in data.items():
        for name, index, pixels in items:
            (path / split / name).mkdir(parents=True, exist_ok=True)
            (path / split / name / f"{index:02d}.png").write_bytes(as_png(pixels))
    if broken:
        (path / "train" / "bee" / "00b.png").write_bytes(b"no picture")
    return {"folder": str(path), **({"on_bad_image": "skip"} if broken else {})}


def write_npz(path, data, _):
    arrays = {"classes": np.array(NAMES)}
    for split, items in data.items():
        arrays[f"x_{split}"] = np.stack([pixels for _, _, pixels in items])
        arrays[f"y_{split}"] = np.array([NAMES.index(name) for name, _, _ in items])
    np.savez(path.with_suffix(".npz"), **arrays)
    return {"npz": str(path.with_suffix(".npz"))}


def write_tar(path, data, _):
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for split, items in data.items():
            for name, index, pixels in items:
                content = as_png(pixels)
                member = tarfile.TarInfo(f"{split}/{name}/{index:02d}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return {"tar": str(path.with_suffix(".tar"))}


def draw(number, folder):
    """(data sets, stage keys, seed) of one draw."""
    chosen, rng = random.Random(number), np.random.default_rng(number)
    writer = [write_folder, write_npz, write_tar, None][number % 4]
    splits = ["train", *(["val"] if chosen.random() < 0.3 else []), *(["test"] if chosen.random() < 0.4 else [])]
    if writer is None:
        base = {"world": {"kind": "target", "train": 9, "val": 2, "size": SIDE}}
    else:
        base = writer(folder / f"d{number}", pictures(rng, splits, chosen.randint(7, 12)), chosen.random() < 0.5)
        if chosen.random() < 0.3:
            base["classes"] = chosen.sample(NAMES, 3)
        elif writer is write_folder and chosen.random() < 0.5:
            rows = "".join(f"{i},the {name},{name}\n" for i, name in enumerate(reversed(NAMES)))
            (folder / f"l{number}.csv").write_text("index,name,folder\n" + rows)
            base["labels"] = str(folder / f"l{number}.csv")
    uses = [
        {"use": "correlated_patch", "ratio": 0.3, "side": 4},
        {"use": "label_noise", "ratio": 0.4},
        {"use": "correlated_patch", "name": "second", "ratio": 0.6, "side": 3, "shift": 1, "splits": ["val", "test"]},
    ]
    own = chosen.sample(uses, chosen.randint(0, 3))
    datasets = {"base": base | {"corruptions": own[:1]}, "used": {"from": "base", "corruptions": own[1:]}}
    if not own:
        datasets = {"used": base}
    stage = {"fraction": chosen.choice([1.0, 0.5]), "validation": chosen.choice([0.0, 0.2, 0.4])}
    return datasets, stage | {"balance": chosen.choice(["none", "sampling"])}, chosen.randint(0, 5)


def by_hand(loaded, stage, split):
    """(ids, labels, {corruption: mask}) as the docs say: held out first, then the fraction, then the choice."""
    datasets, seed = loaded.recipe.datasets, loaded.recipe.seed
    train = open_split("used", datasets, "train")
    source = given = open_split("used", datasets, split, train.classes)
    indices = np.arange(len(given)) if given is not None else None
    if open_split("used", datasets, "val") is None and stage.validation and split != "test":
        rest, held_out = carve_validation(train.labels, stage.validation, seed)
        source, indices = train, rest if split == "train" else held_out
    if source is None:
        return None
    if split == "train" and stage.fraction < 1:
        indices = indices[per_class_fraction(train.labels[indices], stage.fraction, seed)]
    labels, masks = source.labels[indices], {}
    for name in (name for name in ("base", "used") if name in datasets):
        plugins = loaded.corruptions(name)
        selects = {call.plugin.name: call for call in plugins.calls("select")}
        for use in datasets[name].corruptions:
            if split in use.splits:
                one = use.instance_name
                masks[one] = Corruption(one, None, selects.get(one)).chosen(labels, train.classes, split, seed)
    return [source.ids[i] for i in indices], labels, masks


def assert_same(told, saw):
    """The same images, labels, marks and pixels."""
    assert told.ids == saw.ids and told.split == saw.split
    np.testing.assert_array_equal(told.labels, saw.labels)
    assert told.planted.keys() == saw.planted.keys()
    for name, mask in saw.planted.items():
        np.testing.assert_array_equal(told.planted[name], mask)
    for index in {0, len(saw) // 2, len(saw) - 1, *np.flatnonzero(saw.planted_labels != saw.labels)[:3].tolist()}:
        assert np.array_equal(np.asarray(told.picture(index)), np.asarray(saw.picture(index)))
    np.testing.assert_array_equal(told.planted_labels, saw.planted_labels)
    given = np.concatenate([labels.numpy() for _, labels in saw.evaluation_batches(64)])
    np.testing.assert_array_equal(told.planted_labels, given)
    np.testing.assert_array_equal(saw.clean().planted_labels, saw.labels)


def load(folder, registry, datasets, stage, seed, **top):
    path = folder / "r.yaml"
    common = {"name": "target", "start": "scratch", "dataset": "used", "epochs": 1, "batch_size": 8, "workers": 0}
    recipe = {"name": "r", "seed": seed, "device": "cpu", "datasets": datasets, "stages": [common | stage]} | top
    recipe = {"model": {"name": "test_resnet", "preprocessing": {"input_size": SIDE}}} | recipe
    path.write_text(yaml.safe_dump(recipe))
    return load_recipe(path, registry=registry)


def plan_of(loaded, folder):
    stage = loaded.recipe.stages[0]
    corruptions = {name: loaded.corruptions(name) for name in loaded.recipe.datasets}
    folder.mkdir(exist_ok=True)
    display, stop = Display(quiet=True), StopSignal()
    return StagePlan(
        loaded.recipe, stage, loaded.plugins(stage), corruptions, loaded.recipe.seed, folder, None, display, stop
    )


@pytest.mark.parametrize("number", range(32))
def test_an_analyzer_is_told_what_training_saw(number, tmp_path, registry, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    loaded = load(tmp_path, registry, *draw(number, tmp_path))
    plan = plan_of(loaded, tmp_path / "stage")
    sources = open_sources(plan)
    model = tiny_model(sources.classes, seed=0)
    data = stage_data(plan, sources, model.preprocessing)
    saw = {"train": data.train, "val": data.validation, "test": data.others.get("test")}
    saw = {split: samples for split, samples in saw.items() if samples is not None}
    # as after a stop: nothing is shared with the training
    runs = RunModels(loaded, RunFolder(tmp_path / "run"), loaded.recipe.seed, Display(quiet=True), Cache())
    use = AnalyzerUse(use="any", dataset="used")
    session = AnalysisSession(runs.workbench(use, (model, None)), tmp_path)
    for split in ("train", "val", "test"):
        expected = by_hand(loaded, plan.stage, split)
        assert (expected is None) == (split not in saw)
        if expected is None:
            with pytest.raises(InputError, match=f"has no {split} split"):
                session.samples("target", split)
            continue
        ids, labels, masks = expected
        assert saw[split].ids == ids and saw[split].labels.tolist() == labels.tolist()
        assert saw[split].planted.keys() == masks.keys()
        assert all(np.array_equal(saw[split].planted[name], mask) for name, mask in masks.items())
        again = open_samples(plan, sources.images, "used", split, preprocessing=model.preprocessing)
        for told in (session.samples("target", split), session.samples("source", split), again):
            assert_same(told, saw[split])
    assert session.overlay_split() == next(split for split in ("val", "test", "train") if split in saw)


MARKED = [{"use": "correlated_patch", "ratio": 0.3, "side": 4}, {"use": "label_noise"}]


def test_in_a_run_on_schedule_and_in_an_audit(tmp_path, registry, monkeypatch):
    """Two stages on data of their own; the seed is not the audit's; an unreadable image is left out later."""
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transferkit.api.installed", lambda: registry)
    monkeypatch.setattr("transferkit.analysis.audit_inputs.installed", lambda: registry)
    SEEN.clear()
    rng = np.random.default_rng(0)
    datasets = {
        "whole": write_folder(tmp_path / "before", pictures(rng, ["train"], 6), False),
        "before": {"from": "whole", "corruptions": [MARKED[0]]},
        "plain": write_folder(tmp_path / "d", pictures(rng, ["train", "test"], 6), False),
        "marked": {"from": "plain", "corruptions": MARKED},
    }
    common = {"epochs": 1, "batch_size": 8, "workers": 0, "validation": 0.3}
    stages = [
        common | {"name": "pre", "start": "scratch", "dataset": "before"},
        common | {"name": "target", "start": "pre", "dataset": "marked", "fraction": 0.6}
        | {"observers": [{"use": "recorder"}]},
    ]  # fmt: skip
    analyses = [{"use": "witness", "dataset": "before", "every": 1}]
    loaded = load(tmp_path, registry, datasets, {}, 3, stages=stages, analyses=analyses)
    run = execute(loaded, out=tmp_path / "runs", quiet=True).run_dir
    result = transferkit.audit(run, analyses=["witness"], out=tmp_path / "audits", quiet=True)
    saw = SEEN["training"]
    assert len(SEEN["analysis"]) == 3  # on schedule, at the end, in the audit
    for told in (*SEEN["analysis"], SEEN["opened"]):
        for split in ("train", "val"):
            assert_same(told[split], saw[split])
    assert result.analyses["witness"]["images"] == len(saw["train"])
    rows = list(csv.DictReader((run / "stages" / "target" / "corruptions.csv").open(newline="", encoding="utf-8")))
    for split, samples in SEEN["analysis"][-1].items():
        for name, mask in samples.planted.items():
            written = {row["id"] for row in rows if (row["split"], row["corruption"]) == (split, name)}
            assert written == {samples.ids[index] for index in np.flatnonzero(mask)} and written

    # the source images are those of the stage before, as it trained on them
    source_rows = list(csv.DictReader((run / "stages/pre/corruptions.csv").open(newline="", encoding="utf-8")))
    runs = RunModels(loaded, RunFolder(run), 3, Display(quiet=True), Cache())
    session = AnalysisSession(runs.workbench(loaded.recipe.analyses[0]), tmp_path)
    assert session.samples("source").split == "val"
    for samples in (session.samples("source", "train"), session.samples("before", "val"), session.samples("source")):
        mask = samples.planted["correlated_patch"]
        written = {row["id"] for row in source_rows if row["split"] == samples.split}
        assert written == {samples.ids[index] for index in np.flatnonzero(mask)}

    # an image that broke since is left out, and nothing else changes
    gone = saw["train"].ids[4]
    (tmp_path / "d" / "train" / gone.removeprefix("train/")).write_bytes(b"broken")
    warned = transferkit.audit(
        run, analyses=["witness"], out=tmp_path / "audits", quiet=True, on_bad_image="skip"
    ).run_dir
    told = SEEN["analysis"][-1]["train"]
    kept = np.array([name != gone for name in saw["train"].ids])
    assert told.ids == [name for name in saw["train"].ids if name != gone]
    for name, mask in saw["train"].planted.items():
        np.testing.assert_array_equal(told.planted[name], mask[kept])
    assert 'images of "marked" changed since stage "target" was trained' in (warned / "run.log").read_text()


def test_a_data_set_that_a_curriculum_opens_is_as_it_was_given(tmp_path, registry):
    """By name as the stage saw it; as source images as the stage that made the source model saw them."""
    datasets = {
        "a": write_npz(tmp_path / "a", pictures(np.random.default_rng(0), ["train"], 8), False)
        | {"corruptions": [MARKED[0]]},
        "b": write_npz(tmp_path / "b", pictures(np.random.default_rng(1), ["train"], 8), False),
    }
    common = {"epochs": 1, "batch_size": 8, "validation": 0.5}
    stages = [
        common | {"name": "pre", "start": "scratch", "dataset": "a"},
        common
        | {
            "name": "mixed",
            "start": "pre",
            "dataset": "b",
            "curriculum": {"use": "task_interpolation", "source": "a", "lams": [1.0]},
        },
    ]
    loaded = load(tmp_path, registry, datasets, {}, 0, stages=stages)
    pre, mixed = loaded.recipe.stages
    find = RunModels(loaded, RunFolder(tmp_path), 0, Display(quiet=True)).images(mixed, "pre", loaded.recipe.datasets)
    assert len(find("a", "a").part("a", "train").indices) == 38
    assert len(find("source", "a").part("a", "train").indices) == len(
        StageImages(pre, loaded.recipe.datasets, 0).part("a", "train").indices
    ) < 38  # fmt: skip
    assert find("target", "b").stage is mixed
