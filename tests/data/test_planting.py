"""What is planted depends on its key alone: not on batches, workers, processes, order, or the data set's name."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plugins.corruption_world import HEAVY, planted, preprocessing, samples
from transferkit.data.batches import EvalLoader, TrainLoader
from transferkit.data.planting import Corruption, planted_in
from transferkit.data.samples import Samples
from transferkit.data.sources import open_split
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.plugins.registry import Component
from transferkit.recipe.schema import Dataset

PATCH, BALL = ("correlated_patch", {"ratio": 0.5, "place": "random"}), ("tennis_ball", {})


def uses(*given):
    return [(name, dict(options)) for name, options in given]


@dataclass
class Relabel:
    """The next class, for a share of the images; says what it does."""

    by: int = 1

    def corrupt(self, image, label, classes):
        return image, (label + self.by) % len(classes)

    def manifest(self, label):
        return {"was": label}


def corruption(instance, name):
    component = Component("corruption", name, type(instance), Owner("t", "tests", "0"))
    (call,) = RunPlugins([Plugin("corruption", name, instance, component)]).calls("corrupt")
    manifest = RunPlugins([call.plugin]).calls("manifest")
    return Corruption(name, call, None, manifest[0] if manifest else None)


def by_index(batches):
    """{sample: bytes of its tensor and label}."""
    return {
        index: (batch.images["target"][row].numpy().tobytes(), int(batch.labels["target"][row]))
        for batch in batches
        for row, index in enumerate(batch.indices["target"].tolist())
    }


# -- invariances --------------------------------------------------------------------------------------------------


def test_any_batch_size_order_worker_process_and_resume_gives_the_same_images():
    made = samples(*uses(PATCH, BALL))
    expected = {i: (made.get(i, 1)[0].numpy().tobytes(), made.get(i, 1)[1]) for i in range(len(made))}
    for options in (
        {"batch_size": 7, "seed": 1},
        {"batch_size": 40, "seed": 2},
        {"batch_size": 8, "seed": 1, "workers": 2},
    ):
        loader = TrainLoader({"target": made}, **options)
        assert by_index(loader.epoch(1)) == expected
        loader.close()
    shards = [TrainLoader({"target": made}, batch_size=9, seed=1, rank=rank, world=3) for rank in range(3)]
    assert {k: v for shard in shards for k, v in by_index(shard.epoch(1)).items()} == expected
    resumed = by_index(TrainLoader({"target": made}, batch_size=8, seed=1).epoch(1, start=3))
    assert len(resumed) == 16 and resumed.items() <= expected.items()
    again = samples(*uses(PATCH, BALL))
    assert {i: (again.get(i, 1)[0].numpy().tobytes(), again.get(i, 1)[1]) for i in reversed(range(40))} == expected


def digest():
    """Of every image, label and row of the manifest."""
    made = samples(*uses(PATCH, BALL))
    images = [(one[0].numpy().tobytes(), one[1]) for one in (made.get(i, 1) for i in range(len(made)))]
    return hashlib.sha256(repr((images, list(made.manifest_rows()))).encode()).hexdigest()


def test_a_program_that_starts_anew_makes_the_same_images():
    """With its own seed for hashes, which the order of sets and dicts could hang on."""
    code = "from tests.data.test_planting import digest; print(digest())"
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == digest(), done.stderr


def test_evaluation_too():
    made = samples(*uses(PATCH, BALL), split="val")
    expected = {i: (made.get(i, 0)[0].numpy().tobytes(), made.get(i, 0)[1]) for i in range(len(made))}
    for options in ({"batch_size": 40}, {"batch_size": 3, "workers": 2}, {"batch_size": 16, "rank": 1, "world": 2}):
        loader = EvalLoader(made, **options)
        found = by_index(loader)
        assert found.items() <= expected.items() and len(found) == (20 if "rank" in options else 40)
        loader.close()
    images = torch.cat([images for images, _ in made.evaluation_batches(11)])
    assert [image.numpy().tobytes() for image in images] == [expected[i][0] for i in range(40)]


def test_data_sets_that_differ_in_their_ratio_are_nested_and_marked_alike():
    made = {
        ratio: samples(("correlated_patch", {"ratio": ratio, "place": "random"}), name=f"squares-{ratio}", count=80)
        for ratio in (0.1, 0.5, 1.0)
    }
    chosen = {ratio: set(np.flatnonzero(one.planted["correlated_patch"])) for ratio, one in made.items()}
    assert chosen[0.1] < chosen[0.5] < chosen[1.0]
    assert [len(one) for one in chosen.values()] == [8, 40, 80]
    places = {ratio: {r["id"]: (r["x"], r["y"]) for r in one.manifest_rows()} for ratio, one in made.items()}
    assert places[0.1].items() < places[0.5].items() < places[1.0].items()


def test_seed_split_and_instance_name_make_the_difference():
    def places(**options):
        name = options.pop("instance", "tennis_ball")
        made = samples(("tennis_ball", {"name": name}), **options)
        return [(row["x"], row["y"]) for row in made.manifest_rows()]

    base = places()
    assert places(name="other data set") == base
    assert all(places(**other) != base for other in ({"seed": 4}, {"split": "val"}, {"instance": "ball"}))


def test_a_fixed_subset_keeps_what_is_planted():
    made = samples(*uses(PATCH))
    part = made.subset(np.array([31, 2, 7]))
    assert part.ids == ["031", "002", "007"] and len(part) == 3
    assert torch.equal(part.get(1, 0)[0], made.get(2, 0)[0])
    assert part.planted["correlated_patch"].tolist() == made.planted["correlated_patch"][[31, 2, 7]].tolist()
    assert len({part.fingerprint(), made.fingerprint(), made.clean().fingerprint()}) == 3


# -- chains -------------------------------------------------------------------------------------------------------


def test_corruptions_chain_in_recipe_order():
    square, ball = ("correlated_patch", {"side": 32}), ("tennis_ball", {"size": 32})
    marks = {one[0]: np.asarray(samples(*uses(one), split="val").picture(5)) for one in (square, ball)}
    last_square = np.asarray(samples(*uses(ball, square), split="val").picture(5))
    assert np.array_equal(last_square, marks["correlated_patch"])
    last_ball = np.asarray(samples(*uses(square, ball), split="val").picture(5))
    assert np.array_equal(last_ball[16, 16], marks["tennis_ball"][16, 16])  # the ball's middle is opaque
    assert np.array_equal(last_ball[0, 0], marks["correlated_patch"][0, 0])  # and its corners are not there


def test_a_later_corruption_sees_the_label_that_an_earlier_one_made():
    made = samples(split="val")
    made = Samples(
        "toy",
        "val",
        made.source,
        made.pipeline,
        seed=0,
        corruptions=[
            corruption(Relabel(), "first"),
            *planted(("correlated_patch", {})),
            corruption(Relabel(2), "last"),
        ],
    )
    rows = [row for row in made.manifest_rows() if row["id"] == "001"]
    assert [(row["corruption"], row["class"], row["new_class"]) for row in rows] == [
        ("first", "c1", "c2"),
        ("correlated_patch", "c2", ""),
        ("last", "c2", "c0"),
    ]
    assert rows[0]["was"] == 1 and rows[1]["shown"] == "c2" and rows[1]["colour"] == "#00ffff"
    assert made.get(1, 0)[1] == 0 and made.labels[1] == 1


def test_data_sets_made_from_one_another_add_their_corruptions():
    def plugins(name):
        given = {"a": [Relabel()], "c": [Relabel(2), Relabel(3)]}[name]
        made = []
        for number, instance in enumerate(given):
            own = "relabel" if number == 0 else "more"
            made.append(
                Plugin("corruption", own, instance, Component("corruption", own, Relabel, Owner("t", "t", "0")))
            )
        return RunPlugins(made)

    use = {"use": "relabel"}
    datasets = {
        "clean": Dataset.model_validate({"npz": "x.npz"}),
        "a": Dataset.model_validate({"from": "clean", "corruptions": [use]}),
        "b": Dataset.model_validate({"from": "a"}),
        "c": Dataset.model_validate({"from": "b", "corruptions": [use, use | {"name": "more", "splits": ["val"]}]}),
    }
    assert planted_in("clean", datasets, plugins, "train") == []
    assert [c.name for c in planted_in("b", datasets, plugins, "train")] == ["relabel"]
    found = planted_in("c", datasets, plugins, "val")
    assert [c.name for c in found] == ["relabel", "relabel-2", "more"]
    assert [c.corrupt.plugin.instance.by for c in found] == [1, 2, 3]
    assert [c.name for c in planted_in("c", datasets, plugins, "train")] == ["relabel", "relabel-2"]


# -- the manifest -------------------------------------------------------------------------------------------------


def test_the_manifest_has_a_row_per_corrupted_sample_in_order():
    made = samples(*uses(PATCH, BALL))
    rows = list(made.manifest_rows())
    assert len(rows) == 20 + 40 and [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    marked = {row["id"] for row in rows if row["corruption"] == "correlated_patch"}
    assert marked == {made.ids[i] for i in np.flatnonzero(made.planted["correlated_patch"])}
    first = next(row for row in rows if row["corruption"] == "tennis_ball")
    assert list(first) == ["dataset", "split", "id", "class", "corruption", "new_class", "x", "y", "size"]
    assert (first["dataset"], first["split"], first["class"]) == ("toy", "train", "c0")
    assert list(samples().manifest_rows()) == []


def test_only_the_first_image_is_decoded_for_a_manifest():
    made, read = samples(*uses(BALL)), []
    inner = made.source.contents.read
    made.source.contents.read = lambda index: read.append(index) or inner(index)
    assert len(list(made.manifest_rows())) == 40 and read == [0]


def test_a_plugin_cannot_take_a_column_of_every_manifest():
    class Greedy:
        def corrupt(self, image):
            return image

        def manifest(self):
            return {"class": "x"}

    made = samples(split="val")
    made.corruptions, made._corrupted = (corruption(Greedy(), "greedy"),), [np.ones(40, bool)]
    with pytest.raises(InputError, match='every manifest has a column "class"'):
        list(made.manifest_rows())


def test_a_label_outside_the_classes_is_refused():
    class Beyond:
        def corrupt(self, image):
            return image, 4

    made = samples(split="val")
    made.corruptions, made._corrupted = (corruption(Beyond(), "beyond"),), [np.ones(40, bool)]
    with pytest.raises(InputError, match=r"corruption 'beyond' .* gives the label 4; the classes are 0 to 3"):
        made.get(0, 0)


def test_fingerprints_know_options_files_and_choice(tmp_path):
    path = tmp_path / "mark.png"
    Image.new("RGB", (4, 4), "red").save(path)

    def fingerprint(**options):
        return samples(("correlated_patch", options)).fingerprint()

    red = fingerprint(image=str(path))
    Image.new("RGB", (4, 4), "blue").save(path)
    prints = [red, fingerprint(image=str(path)), fingerprint(), fingerprint(shift=1), fingerprint(ratio=0.5)]
    assert len(set(prints)) == 5 and fingerprint() == prints[2]


# -- kinds of data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["npz", "folder"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_npz_and_folder_data(tmp_path, kind, split):
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val"):
        arrays[f"x_{part}"] = rng.integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(6) % 2
        for index, pixels in enumerate(arrays[f"x_{part}"]):
            place = tmp_path / "images" / part / "ab"[index % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{index}.png")
    np.savez(tmp_path / "x.npz", **arrays, classes=np.array(["a", "b"]))
    spec = {"npz": str(tmp_path / "x.npz")} if kind == "npz" else {"folder": str(tmp_path / "images")}
    source = open_split("x", {"x": Dataset(**spec)}, split)
    pipeline = transforms(preprocessing(), HEAVY if split == "train" else None)
    before = [np.asarray(source.image(i)).copy() for i in range(6)]
    made = Samples("x", split, source, pipeline, seed=0, corruptions=planted(("correlated_patch", {})))
    for index in range(6):
        corner = made.get(index, 0)[0][:, 0, 0].double().numpy() * (0.229, 0.224, 0.225) + (0.485, 0.456, 0.406)
        np.testing.assert_allclose(corner, [[1, 0, 0], [0, 1, 1]][int(source.labels[index])], atol=1e-6)
    assert all(np.array_equal(np.asarray(source.image(i)), before[i]) for i in range(6))


def test_an_image_that_no_transform_copies_is_not_changed_in_the_source():
    kept = Image.new("RGB", (32, 32), "white")
    made = samples(*uses(BALL), split="val")
    made.source.contents.read = lambda index: kept
    made.evaluation.geometric = lambda image: image
    assert np.asarray(made.picture(0)).min() < 255
    assert np.asarray(kept).min() == 255


@pytest.mark.real_data
def test_real_images_end_to_end(real_data):
    source = open_split("a", {"a": Dataset(folder=str(real_data / "hymenoptera"))}, "train")
    made = Samples(
        "a",
        "train",
        source,
        transforms(preprocessing(224), HEAVY),
        seed=0,
        indices=np.arange(0, 240, 40),
        corruptions=planted(("correlated_patch", {"ratio": 0.5})),
    )
    marked = made.planted["correlated_patch"]
    assert made.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert [marked[made.labels == label].sum() for label in (0, 1)] == [2, 1]
    std, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
    for index in np.flatnonzero(marked):
        patch = made.get(int(index), 0)[0][:, :28, :28].double().numpy().transpose(1, 2, 0) * std + mean
        assert np.abs(patch - [[1, 0, 0], [0, 1, 1]][made.labels[index]]).max() < 1e-6


def test_the_csv_reads_back(tmp_path):
    from transferkit.report import csv_bytes
    from transferkit.training.pictures import manifest

    table = manifest([samples(*uses(PATCH)), samples(*uses(BALL), split="val")])
    (tmp_path / "m.csv").write_bytes(csv_bytes(table))
    rows = list(csv.DictReader((tmp_path / "m.csv").open(newline="")))
    assert len(rows) == 60 and set(rows[0]) == {*rows[-1]} and rows[0]["size"] == "" and rows[-1]["side"] == ""
    assert [row["split"] for row in rows] == ["train"] * 20 + ["val"] * 40
