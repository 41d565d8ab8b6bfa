"""`classes` of a data set: the same images and order as the whole has, under labels of their own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from transferkit.data.images import BadImage
from transferkit.data.naming import kept_classes
from transferkit.data.sources import labelled_classes, open_split
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset


def opened(split="train", order=None, **spec):
    return open_split("d", {"d": Dataset(**spec)}, split, order)


@pytest.fixture
def npz(tmp_path):
    """Ten images of five classes, each of a colour of its own; the test split lacks two classes."""
    rng = np.random.default_rng(1)
    path = tmp_path / "d.npz"
    np.savez(
        path,
        x_train=rng.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8),
        y_train=[0, 1, 2, 3, 4, 4, 3, 2, 1, 0],
        x_test=rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8),
        y_test=[3, 0, 1],
        classes=np.array(["a", "b", "c", "d", "e"]),
    )
    return str(path)


def pixels(source, index):
    return np.asarray(source.image(index))


def same_images(part, whole):
    """Every image of the part is that of the whole with the same id; returns the names that the whole gives them."""
    index = {id: place for place, id in enumerate(whole.ids)}
    for place, id in enumerate(part.ids):
        assert np.array_equal(pixels(part, place), pixels(whole, index[id]))
    return [whole.classes[whole.labels[index[id]]] for id in part.ids]


def test_folder(class_folder):
    whole, part = opened(folder=str(class_folder)), opened(folder=str(class_folder), classes=["cat", "ant"])
    assert part.classes == ["cat", "ant"]
    assert part.ids == [id for id in whole.ids if not id.startswith("bee")]
    assert same_images(part, whole) == ["ant"] * 4 + ["cat"] * 4
    assert part.labels.tolist() == [1] * 4 + [0] * 4


def test_npz_and_its_other_split(npz):
    train, test = (opened(split, npz=npz, classes=["d", "b", "c"]) for split in ("train", "test"))
    assert train.classes == test.classes == ["d", "b", "c"]
    assert same_images(train, opened(npz=npz)) == ["b", "c", "d", "d", "c", "b"]
    assert train.labels.tolist() == [1, 2, 0, 0, 2, 1]
    assert same_images(test, opened("test", npz=npz)) == ["d", "b"] and test.labels.tolist() == [0, 1]


def test_val_has_the_classes_that_train_draws(npz):
    for count in (1, 3, 5):
        train, test = (opened(split, npz=npz, classes=count) for split in ("train", "test"))
        assert train.classes == test.classes and len(train.classes) == count
        assert train.classes == sorted(train.classes)  # in the order of the list
        assert len(train) == 2 * count


def test_drawn_classes_are_the_same_every_time_and_any_may_be_drawn(npz):
    assert opened(npz=npz, classes=2).classes == opened(npz=npz, classes=2).classes
    names = [str(i) for i in range(40)]
    drawn = [set(kept_classes(count, names, [], "here")) for count in range(1, 41)]
    assert drawn[-1] == set(names) and len(set.union(*drawn[:8])) > 20
    assert all(len(found) == count for count, found in enumerate(drawn, start=1))


def test_world_digits(tmp_path):
    world = {"kind": "digits", "train": 3, "val": 2, "size": 16}
    for split, count in (("train", 3), ("val", 2)):
        part = opened(split, world=world, classes=["8", "2"])
        assert part.classes == ["8", "2"] and np.bincount(part.labels).tolist() == [count, count]
        assert set(same_images(part, opened(split, world=world))) == {"2", "8"}


def test_a_split_without_one_of_the_classes(class_folder):
    shutil.rmtree(class_folder / "val" / "ant")
    val = opened("val", folder=str(class_folder), classes=["ant", "cat"])
    assert val.classes == ["ant", "cat"] and val.labels.tolist() == [1, 1]
    assert opened("test", folder=str(class_folder), classes=["ant"]) is None


def test_a_left_out_class_may_be_empty_or_broken(class_folder):
    for path in (class_folder / "train/bee").iterdir():
        path.write_bytes(b"x")
    assert len(opened(folder=str(class_folder), classes=["ant", "cat"], on_bad_image="skip")) == 8
    (class_folder / "train/cat/1.png").write_bytes(b"")
    part = opened(folder=str(class_folder), classes=["cat", "ant"], on_bad_image="skip")
    assert len(part) == 7 and [bad.class_name for bad in part.bad_images] == ["cat"]
    with pytest.raises(BadImage, match=r"cat/1\.png \(class 'cat'\)"):
        opened(folder=str(class_folder), classes=["cat", "ant"]).image(5)


LABELS = "index,wnid,name\n0,cat,the cat\n1,dog,the dog\n2,bee,the bee\n3,ant,the ant\n"


@pytest.mark.parametrize("names", [["the ant", "the cat"], ["ant", "cat"], ["the ant", "cat"]])
def test_names_of_the_labels_file_or_of_the_folders(class_folder, tmp_path, names):
    (tmp_path / "labels.csv").write_text(LABELS)
    spec = {"folder": str(class_folder), "labels": str(tmp_path / "labels.csv")}
    part = opened(classes=names, **spec)
    assert part.classes == ["the ant", "the cat"] and part.labels.tolist() == [0] * 4 + [1] * 4
    assert labelled_classes("d", {"d": Dataset(classes=names, **spec)}) == ["the cat", "the dog", "the bee", "the ant"]
    assert set(opened(classes=2, **spec).classes) < {"the ant", "the bee", "the cat"}


def test_it_is_inherited_and_can_be_said_anew(class_folder):
    datasets = {
        "all": Dataset(folder=str(class_folder)),
        "two": Dataset(**{"from": "all", "classes": ["cat", "ant"]}),
        "still": Dataset(**{"from": "two"}),
        "one": Dataset(**{"from": "still", "classes": ["bee"]}),
    }
    found = {name: open_split(name, datasets, "val").classes for name in datasets}
    assert found == {"all": ["ant", "bee", "cat"], "two": ["cat", "ant"], "still": ["cat", "ant"], "one": ["bee"]}


def test_a_given_class_list_still_orders_the_labels(class_folder):
    part = opened("val", ["cat", "zebra", "ant"], folder=str(class_folder), classes=["ant", "cat"])
    assert part.classes == ["cat", "zebra", "ant"] and part.labels.tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["ant", "bea"], r'classes: there is no class "bea"\n +did you mean "bee"'),
        (["ant", "bee", "ant"], "classes: a class is named twice"),
        (4, "classes: 4 are wanted, but there are only 3"),
    ],
)
def test_what_is_refused(class_folder, classes, message):
    for split in ("train", "val"):
        with pytest.raises(InputError, match=rf"folder \({split}\)  {message}"):
            opened(split, folder=str(class_folder), classes=classes)


def test_one_class_by_two_names_is_named_twice(class_folder, tmp_path):
    (tmp_path / "labels.csv").write_text(LABELS)
    with pytest.raises(InputError, match="named twice"):
        opened(folder=str(class_folder), labels=str(tmp_path / "labels.csv"), classes=["ant", "the ant"])


def test_fingerprints_tell_choices_apart(class_folder):
    choices = [None, ["ant"], ["bee"], ["ant", "bee"], ["bee", "ant"], 2]
    prints = [opened(folder=str(class_folder), classes=choice).fingerprint() for choice in choices[:-1]]
    assert len(set(prints)) == len(prints)
    again = opened(folder=str(class_folder), classes=["ant", "bee"]).fingerprint()
    assert again == prints[3]


def test_a_part_of_samples_is_what_it_is_in_the_whole(make_samples):
    """`subset` keeps augmentation keys and labels of every sample."""
    whole = make_samples(20)
    part = whole.subset(np.array([3, 7, 12]))
    assert len(part) == 3 and part.ids == [whole.ids[i] for i in (3, 7, 12)]
    for place, index in enumerate((3, 7, 12)):
        mine, theirs = part.get(place, 2), whole.get(index, 2)
        assert np.array_equal(mine[0], theirs[0]) and mine[1] == theirs[1]
    assert part.fingerprint() != whole.fingerprint()
    assert part.evaluation is whole.evaluation
