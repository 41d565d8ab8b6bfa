"""A class list that grows: what is known comes first, whoever says it."""

from __future__ import annotations

import json
import shutil

import pytest

from transferkit.data.parts import StageImages
from transferkit.data.sources import known_classes, open_split, refuse_one_class
from transferkit.errors import InputError
from transferkit.recipe.growing import Grown, grown, growth_line, model_classes
from transferkit.recipe.schema import Dataset, Stage


@pytest.fixture
def old(class_folder, tmp_path):
    """Images of cat and bee."""
    for split in ("train", "val"):
        for name in ("cat", "bee"):
            shutil.copytree(class_folder / split / name, tmp_path / "old" / split / name)
    return Dataset(folder=str(tmp_path / "old"))


@pytest.fixture
def new(class_folder):
    """Images of ant, bee and cat."""
    return str(class_folder)


def test_known_classes_come_first_in_their_order(old, new, tmp_path):
    shutil.rmtree(tmp_path / "old" / "train" / "bee")
    datasets = {"old": old, "new": Dataset(folder=new, known="old")}
    source = open_split("new", datasets, "train")
    assert source.classes == ["cat", "ant", "bee"]
    assert source.labels.tolist() == [1] * 4 + [2] * 4 + [0] * 4
    assert open_split("new", datasets, "val").classes == source.classes
    assert known_classes("new", datasets) == ["cat"]
    assert known_classes("old", datasets) == []


def test_chains_and_what_is_made_from_one(old, new):
    datasets = {
        "old": Dataset(folder=old.folder, classes=["cat"]),
        "more": Dataset(folder=new, known="old", classes=["bee"]),
        "most": Dataset(folder=new, known="more"),
        "marked": Dataset.model_validate({"from": "most"}),
    }
    assert open_split("more", datasets, "train").classes == ["cat", "bee"]
    for name in ("most", "marked"):
        assert open_split(name, datasets, "train").classes == ["cat", "bee", "ant"]


def test_a_labels_file_also_says_which_folder_is_a_known_class(new, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("index,wnid,name\n0,dog,the dog\n1,cat,the cat\n")
    datasets = {"new": Dataset(folder=new, known=str(labels))}
    source = open_split("new", datasets, "train")
    assert source.classes == ["the dog", "the cat", "ant", "bee"]
    assert source.labels.tolist() == [2] * 4 + [3] * 4 + [1] * 4
    val = open_split("new", datasets, "val", source.classes)
    assert val.labels.tolist() == [2, 2, 3, 3, 1, 1]
    listed = {"old": Dataset(folder=new, labels=str(labels), classes=["cat"]), "new": Dataset(folder=new, known="old")}
    assert open_split("new", listed, "train").classes == ["the cat", "ant", "bee"]


def test_own_labels_win_and_their_list_is_whole(new, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("index,folder,name\n0,ant,Ant\n1,bee,Bee\n2,cat,Cat\n3,dog,Dog\n")
    known = tmp_path / "known.csv"
    known.write_text("index,folder,name\n0,x,Cat\n1,y,Yak\n")
    source = open_split("new", {"new": Dataset(folder=new, known=str(known), labels=str(labels))}, "train")
    assert source.classes == ["Cat", "Yak", "Ant", "Bee", "Dog"]
    assert sorted(set(source.labels.tolist())) == [0, 2, 3]


def test_a_model_folder_says_its_classes(new, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for content in (
        {"transferkit": {"classes": ["owl", "cat"]}, "label_names": ["other"]},
        {"label_names": ["owl", "cat"]},
        {"pretrained_cfg": {"label_names": ["owl", "cat"]}},
    ):
        (folder / "config.json").write_text(json.dumps(content))
        source = open_split("new", {"new": Dataset(folder=new, known=str(folder))}, "train")
        assert source.classes == ["owl", "cat", "ant", "bee"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"architecture": "resnet18"}, "names no classes"),
        ({"label_names": ["0", "1"]}, "saved without class names"),
        ({"label_names": ["owl", "owl"]}, "two classes have the same name"),
        ({"label_names": [1, 2]}, "names no classes"),
    ],
)
def test_a_model_folder_without_names(tmp_path, content, said):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        model_classes(tmp_path)
    with pytest.raises(InputError, match="no model folder"):
        model_classes(tmp_path / "nowhere")


def test_circles_tables_and_nothing(new):
    with pytest.raises(InputError, match=r"datasets\.a\.known.*goes round in a circle: b -> a -> b"):
        open_split("b", {"a": Dataset(folder=new, known="b"), "b": Dataset(folder=new, known="a")}, "train")
    with pytest.raises(InputError, match="a -> a"):
        open_split("a", {"a": Dataset(folder=new, known="a")}, "train")
    with pytest.raises(InputError, match='no data set called "olds"') as caught:
        open_split("a", {"a": Dataset(folder=new, known="olds"), "old": Dataset(folder=new)}, "train")
    assert 'did you mean "old"' in str(caught.value)
    table = Dataset.model_validate({"synthetic": {"task": "source"}})
    with pytest.raises(InputError, match='"t" is a table'):
        open_split("a", {"a": Dataset(folder=new, known="t"), "t": table}, "train")


def test_one_new_class_without_old_images_can_be_trained_on(old, new):
    datasets = {"old": old, "new": Dataset(folder=new, known="old", classes=["ant"])}
    source = open_split("new", datasets, "train")
    assert source.classes == ["bee", "cat", "ant"] and set(source.labels.tolist()) == {2}
    refuse_one_class(source, "new", datasets)
    alone = {"new": Dataset(folder=new, classes=["ant"])}
    with pytest.raises(InputError, match="nothing to tell apart"):
        refuse_one_class(open_split("new", alone, "train"), "new", alone)


def test_an_empty_folder_is_refused_and_a_known_class_without_images_is_not(old, new, tmp_path):
    (tmp_path / "old" / "train" / "yak").mkdir()
    datasets = {"old": old, "new": Dataset(folder=new, known="old")}
    assert open_split("new", datasets, "train").classes == ["bee", "cat", "yak", "ant"]
    datasets["again"] = Dataset(folder=old.folder, known="new")
    with pytest.raises(InputError, match='the class "yak" has no readable images'):
        open_split("again", datasets, "train")


def test_a_stage_sees_the_same_list_on_every_split(old, new):
    datasets = {"old": old, "new": Dataset(folder=new, known="old")}
    images = StageImages(Stage(name="s", dataset="new", epochs=1), datasets, seed=0)
    assert images.part("new", "val").source.classes == ["bee", "cat", "ant"]
    assert images.part("old", "val", images.train.classes).source.labels.tolist() == [0, 0, 1, 1]


def test_what_is_said_of_it():
    assert growth_line("new", Grown(["a", "b", "c"], 1)) == "new: 1 classes are known, 2 new: b, c"
    assert growth_line("new", Grown(["a"], 1)).endswith("none is new")
    assert grown("d", {"d": Dataset(folder="x")}, lambda name: ["b", "a"]) == Grown(["b", "a"], 0)
