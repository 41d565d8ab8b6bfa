"""Every kind of data set has one shape, and one class list holds for all splits."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.data.archives import open_archive
from transferkit.data.images import BadImage
from transferkit.data.sources import open_split
from transferkit.data.survey import survey
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset


def opened(split="train", classes=None, **spec):
    return open_split("d", {"d": Dataset(**spec)}, split, classes)


def test_folder(class_folder):
    source = opened(folder=str(class_folder))
    assert source.classes == ["ant", "bee", "cat"]
    assert source.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert source.ids[:5] == ["ant/0.png", "ant/1.png", "ant/2.png", "ant/3.png", "bee/0.png"]
    with Image.open(class_folder / "train/bee/0.png") as image:
        assert np.array_equal(np.asarray(source.image(4)), np.asarray(image))


def test_no_such_split_is_none(class_folder):
    assert opened("test", folder=str(class_folder)) is None


def test_val_follows_the_classes_of_train(class_folder):
    shutil.rmtree(class_folder / "val" / "ant")
    source = opened("val", folder=str(class_folder))
    assert source.classes == ["ant", "bee", "cat"]
    assert source.labels.tolist() == [1, 1, 2, 2]


def test_a_given_list_orders_the_labels(class_folder):
    source = opened("val", ["zebra", "cat", "bee", "ant"], folder=str(class_folder))
    assert source.labels.tolist() == [3, 3, 2, 2, 1, 1]


def test_a_class_that_train_does_not_know(class_folder):
    (class_folder / "val" / "bee").rename(class_folder / "val" / "bees")
    with pytest.raises(InputError, match=r'datasets\.d \(val\).*"bees" is not in the class list') as caught:
        opened("val", folder=str(class_folder))
    assert 'did you mean "bee"' in str(caught.value)


def test_every_unknown_class_is_named(class_folder):
    with pytest.raises(InputError) as caught:
        opened("train", ["ant"], folder=str(class_folder))
    assert len(caught.value.problems) == 2


def test_an_empty_class_of_train_is_refused_and_of_val_is_not(class_folder):
    (class_folder / "train" / "dog").mkdir()
    with pytest.raises(InputError, match='the class "dog" has no readable images'):
        opened(folder=str(class_folder))
    assert len(opened("val", folder=str(class_folder))) == 6
    (class_folder / "val" / "cow").mkdir()
    with pytest.raises(InputError, match="cow"):
        opened("val", folder=str(class_folder))


def test_labels_file_gives_index_and_name(class_folder, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("index,wnid,name\n0,cat,the cat\n1,dog,the dog\n2,bee,the bee\n3,ant,the ant\n")
    source = opened(folder=str(class_folder), labels=str(labels))
    assert source.classes == ["the cat", "the dog", "the bee", "the ant"]
    assert source.labels[[0, 4, 8]].tolist() == [3, 2, 0]
    shorter = opened("val", ["the ant", "the cat", "bee"], folder=str(class_folder), labels=str(labels))
    assert shorter.labels[[0, 2, 4]].tolist() == [0, 2, 1]


def test_bad_image_says_path_class_and_reason(class_folder):
    (class_folder / "train/bee/1.png").write_bytes(b"")
    source = opened(folder=str(class_folder))
    with pytest.raises(BadImage, match=r"bee/1\.png \(class 'bee'\): the file is empty\. Replace"):
        source.image(5)
    assert {i: bad.class_name for i, bad in source.find_bad(2).items()} == {5: "bee"}


def test_skip_drops_bad_images_before_training(class_folder):
    whole = opened(folder=str(class_folder))
    (class_folder / "train/bee/1.png").write_bytes(b"")
    source = opened(folder=str(class_folder), on_bad_image="skip")
    assert "bee/1.png" not in source.ids and len(source) == 11
    assert [(bad.class_name, bad.reason) for bad in source.bad_images] == [("bee", "the file is empty")]
    assert np.array_equal(np.asarray(source.image(5)), np.asarray(whole.image(6)))


def test_skip_that_empties_a_class_is_refused(class_folder):
    for path in (class_folder / "train/cat").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(InputError, match='"cat" has no readable images'):
        opened(folder=str(class_folder), on_bad_image="skip")


def test_fingerprint_knows_contents_not_times_or_places(class_folder, tmp_path):
    first = opened(folder=str(class_folder)).fingerprint()
    os.utime(class_folder / "train/ant/0.png", (1, 1))
    shutil.copytree(class_folder, tmp_path / "copy")
    assert opened(folder=str(tmp_path / "copy")).fingerprint() == first
    (tmp_path / "copy/train/ant/0.png").write_bytes(b"other")
    assert opened(folder=str(tmp_path / "copy")).fingerprint() != first
    (class_folder / "train/ant/0.png").rename(class_folder / "train/bee/zero.png")
    assert opened(folder=str(class_folder)).fingerprint() != first


def save_npz(tmp_path, **arrays):
    base = {
        "x_train": np.arange(4 * 6 * 5 * 3, dtype=np.uint8).reshape(4, 6, 5, 3),
        "y_train": np.array([0, 1, 1, 0]),
        "x_test": np.zeros((2, 6, 5), np.uint8),
        "y_test": np.array([[1], [0]], dtype=np.uint8),
        "classes": np.array(["a", "b"]),
    }
    chosen = {key: value for key, value in (base | arrays).items() if value is not None}
    np.savez(tmp_path / "d.npz", **chosen)
    return str(tmp_path / "d.npz")


def test_npz(tmp_path):
    path = save_npz(tmp_path)
    train, test = opened(npz=path), opened("test", npz=path)
    assert (train.classes, train.labels.tolist(), train.ids[0]) == (["a", "b"], [0, 1, 1, 0], "train/0")
    assert train.image(1).size == (5, 6)
    assert np.asarray(train.image(0))[0, 0].tolist() == [0, 1, 2]
    assert test.labels.tolist() == [1, 0] and test.image(0).mode == "RGB"
    assert opened("val", npz=path) is None
    assert len(opened("val", npz=path, splits={"val": "test"})) == 2
    with pytest.raises(InputError, match='no split called "tset"; did you mean "test"'):
        opened("val", npz=path, splits={"val": "tset"})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_train": np.array([0, 1, None, 0], dtype=object)}, "pickled objects"),
        ({"x_train": np.zeros((4, 6, 5, 3), np.float32)}, "float32 of shape"),
        ({"x_train": np.zeros((4, 3, 6, 5), np.uint8)}, "uint8 of shape"),
        ({"x_train": np.zeros((4, 0, 5, 3), np.uint8)}, r"uint8 of shape \(4, 0, 5, 3\)"),
        ({"y_train": np.array([0, 1, 1])}, "x_train has 4 images, y_train has 3 labels"),
        ({"y_train": np.array([0.0, 1, 1, 0])}, "whole numbers"),
        ({"y_train": np.array([0, 1, 2, 0])}, "a label 2, but classes has 2"),
        ({"y_train": np.eye(2, dtype=int)[[0, 1, 1, 0]]}, r"one label per image, .* it is \(4, 2\)"),
        ({"y_train": np.array(3)}, r"one label per image, .* it is \(\)"),
        ({"y_train": np.array([0, 1, 1, 10**12]), "classes": None}, "the label 1000000000000; labels are numbers"),
        ({"y_test": np.array([0, 2**64 - 1], np.uint64), "classes": None}, "the label 18446744073709551615"),
        ({"classes": np.array(["a", "a"])}, "twice"),
        ({"classes": np.array("ab")}, r"a list of names, its shape is \(\)"),
        ({"y_train": None}, "no y_train"),
        ({"x_train": None, "x_test": None}, "no x_train"),
    ],
)
def test_npz_that_is_refused(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        opened(npz=save_npz(tmp_path, **arrays))


def test_a_pickle_called_npz_is_not_loaded(tmp_path):
    path = tmp_path / "d.npz"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(InputError, match="pickled objects"):
        opened(npz=str(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip"])
def test_a_damaged_npz(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"d\.npz"):
        opened(npz=str(tmp_path / "d.npz"))
    with pytest.raises(InputError, match="does not exist"):
        opened(npz=str(tmp_path / "none.npz"))


def packed(folder, path, inside=""):
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=inside or ".")
    return path


def test_tar_with_splits_inside(class_folder, tmp_path):
    path = packed(class_folder, tmp_path / "d.tar")
    for split, count in (("train", 12), ("val", 6)):
        source, folder = opened(split, tar=str(path)), opened(split, folder=str(class_folder))
        assert source.classes == folder.classes and len(source) == count
        images = {id.split("/", 2)[2]: i for i, id in enumerate(source.ids)}
        for i, id in enumerate(folder.ids):
            assert np.array_equal(np.asarray(source.image(images[id])), np.asarray(folder.image(i)))
            assert source.labels[images[id]] == folder.labels[i]
    assert opened("test", tar=str(path)) is None


def test_folder_of_tars(class_folder, tmp_path):
    splits, classes, tarred = tmp_path / "splits", tmp_path / "classes", tmp_path / "both" / "train"
    for folder in (splits, classes, tarred):
        folder.mkdir(parents=True)
    packed(class_folder / "train", splits / "train.tar")
    packed(class_folder / "val", splits / "val.tar")
    for name in ("ant", "bee", "cat"):
        packed(class_folder / "train" / name, classes / f"{name}.tar", inside=name)
        shutil.copy(classes / f"{name}.tar", tarred)
    assert len(opened("val", tar=str(splits))) == 6
    for root in (splits, classes, tarred.parent):
        source = opened(tar=str(root))
        assert (source.classes, len(source)) == (["ant", "bee", "cat"], 12)
        assert len(set(source.ids)) == 12
    assert opened("val", tar=str(classes)) is None


def test_bad_image_in_a_tar(class_folder, tmp_path):
    (class_folder / "train/ant/0.png").write_bytes(b"x")
    path = packed(class_folder, tmp_path / "d.tar")
    source = opened(tar=str(path), on_bad_image="skip")
    assert len(source) == 11
    assert source.bad_images[0].path.endswith("d.tar/train/ant/0.png")


@pytest.mark.parametrize("content", [b"", b"no tar" * 200])
def test_a_damaged_tar(tmp_path, content):
    (tmp_path / "d.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"d\.tar cannot be read"):
        opened(tar=str(tmp_path / "d.tar"))
    with pytest.raises(InputError, match="does not exist"):
        opened(tar=str(tmp_path / "none.tar"))


def test_torchvision_data_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"CIFAR10 is not in .*download: true"):
        opened(torchvision="CIFAR10", root=str(tmp_path))
    assert opened("val", torchvision="CIFAR10", root=str(tmp_path)) is None
    with pytest.raises(InputError, match='no data set called "CIFAR11"; did you mean'):
        opened(torchvision="CIFAR11")
    with pytest.raises(InputError, match=r'no split called "train"; it has .*trainval'):
        opened(torchvision="OxfordIIITPet", root=str(tmp_path))
    with pytest.raises(InputError, match="by name alone"):
        opened(torchvision="PhotoTour", root=str(tmp_path))


def test_torchvision_download_that_fails(tmp_path, monkeypatch):
    import torchvision.datasets

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", fail)
    with pytest.raises(InputError, match=r"MNIST could not be downloaded.*no route.*check the connection"):
        opened(torchvision="MNIST", root=str(tmp_path), download=True)


def test_torchvision_data_that_are_there(class_folder, tmp_path, monkeypatch):
    root = tmp_path / "eurosat" / "2750"
    shutil.copytree(class_folder / "train", root)
    source = opened(torchvision="EuroSAT", root=str(tmp_path))
    assert (source.classes, source.labels.tolist()) == (["ant", "bee", "cat"], [0] * 4 + [1] * 4 + [2] * 4)
    assert source.image(3).mode == "RGB"
    (root / "bee/0.png").write_bytes(b"x")
    with pytest.raises(BadImage, match=r"EuroSAT/train\[4\] \(class 'bee'\): it is not an image of a format"):
        source.image(4)


def test_hugging_face_folder(class_folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = opened("val", hf=str(class_folder), root=str(tmp_path / "cache"))
    assert (source.classes, source.labels.tolist()) == (["ant", "bee", "cat"], [0, 0, 1, 1, 2, 2])
    expected = opened("val", folder=str(class_folder))
    assert np.array_equal(np.asarray(source.image(3)), np.asarray(expected.image(3)))
    assert opened("test", hf=str(class_folder), root=str(tmp_path / "cache")) is None
    with pytest.raises(InputError, match=r'no column "picture" for image_key; its columns are image, label'):
        opened(hf=str(class_folder), root=str(tmp_path / "cache"), image_key="picture")


def test_hugging_face_name_that_cannot_be_had(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")

    def fail(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nmore lines")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(InputError, match=r"nobody/nothing could not be loaded \(Couldn't reach the Hub\); check"):
        opened(hf="nobody/nothing", root=str(tmp_path))


def test_world():
    source = opened(world={"kind": "target", "train": 3, "val": 2, "size": 16})
    assert source.classes == ["sign", "wheel"] and source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.image(2).size == (16, 16)
    assert opened("test", world={"kind": "target"}) is None


def test_from_another_data_set(class_folder):
    datasets = {
        "clean": Dataset(folder=str(class_folder)),
        "planted": Dataset.model_validate({"from": "clean", "corruptions": [{"use": "anything"}]}),
        "swapped": Dataset.model_validate({"from": "planted", "splits": {"test": "val"}}),
    }
    assert (
        open_split("planted", datasets, "train").fingerprint() == open_split("clean", datasets, "train").fingerprint()
    )
    assert len(open_split("swapped", datasets, "test")) == 6
    datasets["clean"] = Dataset.model_validate({"from": "swapped"})
    with pytest.raises(InputError, match="planted -> clean -> swapped -> planted goes in a circle"):
        open_split("planted", datasets, "train")
    with pytest.raises(InputError, match='no data set called "plantd"'):
        open_split("plantd", datasets, "train")


@pytest.mark.real_data
def test_real_folders(real_data):
    splits = {split: opened(split, folder=str(real_data / "hymenoptera")) for split in ("train", "val")}
    assert {split: np.bincount(s.labels).tolist() for split, s in splits.items()} == {
        "train": [123, 121],
        "val": [70, 83],
    }
    source = opened(folder=str(real_data / "imagenet"), labels=str(real_data / "imagenet_classes.csv"))
    assert len(source.classes) == 1000 and len(np.unique(source.labels)) == 868
    assert len(opened(npz=str(real_data / "cifar100_tasks" / "flowers.npz"))) == 1000


def test_aliases_say_which_class_a_folder_is(tmp_path):
    """Also where a folder is called as another class is."""
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "d" / name / "0.png")
    spec = {"d": Dataset(folder=str(tmp_path / "d"))}
    source = open_split("d", spec, "train", ["b", "owl", "a"], aliases={"a": "owl", "b": "a"})
    assert dict(zip(source.ids, source.labels.tolist(), strict=True)) == {"a/0.png": 1, "b/0.png": 2}
    with pytest.raises(InputError, match='the class "b" is not in the class list'):
        open_split("d", spec, "train", ["owl", "a"], aliases={"a": "owl"})


# --- archives by the rules of folders -----------------------------------------------------------------------


def add(tar, name, content=b"x", **fields):
    info = tarfile.TarInfo(name)
    content = b"" if "type" in fields else content
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


def tar_of(path, *members):
    with tarfile.open(path, "w") as tar:
        for member in members:
            add(tar, **member) if isinstance(member, dict) else add(tar, member)
    return str(path)


def test_a_tar_with_odd_names(tmp_path):
    """Absolute names, names that lead out, names that come twice, links in all directions."""
    link, hard = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
    path = tar_of(
        tmp_path / "d.tar",
        "/train/a/1.jpg",
        {"name": "./train/b/1.jpg", "content": b"old"},
        {"name": "train/x/../b/1.jpg", "content": b"newer"},
        "../outside/c/1.jpg",
        {"name": "train/a/soft.jpg", "linkname": "1.jpg", **link},
        {"name": "train/a/hard.jpg", "linkname": "/train/a/1.jpg", **hard},
        {"name": "train/a/up", "linkname": "..", **link},
        {"name": "train/a/away.jpg", "linkname": "/etc/away.jpg", **link},
        {"name": "train/b/pipe.jpg", "type": tarfile.FIFOTYPE},
        "train/b/._1.jpg",
        "__MACOSX/train/c/1.jpg",
    )
    source = opened(tar=path)
    assert source.classes == ["a", "b"]
    names = [id.removeprefix("d.tar/").removeprefix("/") for id in source.ids]
    assert names == ["train/a/1.jpg", "train/a/away.jpg", "train/a/hard.jpg", "train/a/soft.jpg", "train/x/../b/1.jpg"]
    read = [source.contents.read.args[0][index] for index in (0, 2, 3, 4)]
    assert [member.read() for member in read] == [b"x", b"x", b"x", b"newer"]
    with pytest.raises(BadImage, match="a link to something that is not in the archive"):
        source.image(1)
    found = survey(open_archive(Path(path)), {})
    kinds = Counter()
    for one in found.left_out:
        kinds.update(one.kinds)
    assert kinds == {
        "of a name that comes again or leads out": 2,
        "link that leads back": 1,
        "no regular file": 1,
        "hidden": 2,
    }


def test_a_tar_of_tars_and_its_ids(class_folder, tmp_path):
    (tmp_path / "parts").mkdir()
    for name in ("ant", "bee"):
        packed(class_folder / "train" / name, tmp_path / "parts" / f"{name}.tar")
    source = opened(tar=str(packed(tmp_path / "parts", tmp_path / "all.tar")))
    expected = opened(folder=str(class_folder))
    assert source.classes == ["ant", "bee"] and source.ids[5] == "all.tar/bee.tar/1.png"
    for index in range(8):
        assert np.array_equal(np.asarray(source.image(index)), np.asarray(expected.image(index)))


@pytest.mark.parametrize(("mode", "name"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_a_packed_tar_is_refused(class_folder, tmp_path, mode, name):
    with tarfile.open(tmp_path / "d.tar", mode) as tar:
        tar.add(class_folder, arcname=".")
    with pytest.raises(InputError, match=f"is packed with {name}.*unpack it first"):
        opened(tar=str(tmp_path / "d.tar"))


def test_a_tar_cut_anywhere_is_refused(class_folder, tmp_path):
    whole = packed(class_folder, tmp_path / "whole.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    for cut in [*range(100, end, 1111), end // 512 * 512 + 512]:
        (tmp_path / f"{cut}.tar").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=rf"{cut}\.tar cannot be read as a \.tar"):
            opened(tar=str(tmp_path / f"{cut}.tar"))


def test_tars_are_refused_for_what_folders_are(tmp_path):
    deep = tar_of(tmp_path / "deep.tar", *(f"x/{name}/{split}/a/1.jpg" for name in "yz" for split in ("train", "val")))
    with pytest.raises(InputError, match="belong above the classes"):
        opened(tar=deep)
    with pytest.raises(InputError, match=r"is test/ \(1 images\)"):
        opened(tar=tar_of(tmp_path / "flat.tar", "ok/1.jpg", "nok/1.jpg", "test/1.jpg"))
    with pytest.raises(InputError, match="no class folders with images"):
        opened(tar=tar_of(tmp_path / "loose.tar", "1.jpg", "2.jpg"))
    link = {"name": "train/b/1.jpg", "linkname": "../a/1.jpg", "type": tarfile.SYMTYPE}
    with pytest.raises(InputError, match="one image under two labels"):
        opened(tar=tar_of(tmp_path / "link.tar", "train/a/1.jpg", link))


# --- what is no fault of the image --------------------------------------------------------------------------


def test_a_file_that_vanishes_is_not_to_be_replaced(class_folder):
    for skip in ("error", "skip"):
        source = opened(folder=str(class_folder), on_bad_image=skip)
        gone = class_folder / "train/bee/1.png"
        content = gone.read_bytes()
        gone.unlink()
        with pytest.raises(BadImage, match=r"has vanished since the data set was opened\. This is no fault") as caught:
            source.image(5)
        assert "Replace" not in str(caught.value) and "on_bad_image" not in str(caught.value)
        gone.write_bytes(content)
    gone.write_bytes(b"x")
    with pytest.raises(BadImage, match=r"It could be read when the data set was opened: the file has changed since"):
        source.image(5)


def test_too_many_open_files_leave_nothing_out(class_folder, monkeypatch, tmp_path):
    """Under `skip` such a file is neither dropped nor remembered as bad."""

    def fail(file, *rest, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    spec = {"d": Dataset(folder=str(class_folder), on_bad_image="skip")}
    with monkeypatch.context() as patched, pytest.raises(InputError, match=r"Too many open files\. That is no fault"):
        patched.setattr(Image, "open", fail)
        open_split("d", spec, "train", cache=tmp_path)
    assert len(open_split("d", spec, "train", cache=tmp_path)) == 12
