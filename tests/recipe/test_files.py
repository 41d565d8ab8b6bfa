"""What is found in the files a recipe names before anything starts."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import tarfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from .small_recipes import PLAIN, draw
from .tensors_of_timm import shapes

ONE = "\n1 problem; nothing was started."
FOLDER = "recipe.yaml:3:27  datasets.pets.folder: "


@pytest.fixture
def refused(errors):
    """The text that the plain recipe is refused with."""

    def refused(*overrides):
        return errors(*overrides, text=PLAIN)

    return refused


def safetensors(path, *, promised=16, held=16, header=None):
    entry = {"a": {"dtype": "F32", "shape": [promised // 4], "data_offsets": [0, promised]}}
    head = header if header is not None else json.dumps(entry).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(held))


def test_missing_folder(refused, place):
    assert refused("datasets.pets.folder=pet") == (
        "command line: datasets.pets.folder=pet  datasets.pets.folder: there is no folder pet\n"
        f'    did you mean "pets"?{ONE}'
    )
    assert "\n    there is no folder data either\n" in refused("datasets.pets.folder=data/pets")


def test_a_link_to_nothing(refused, place):
    (place / "round").symlink_to("about")
    (place / "about").symlink_to("round")
    for key, what in (("folder", "folder"), ("npz", "file")):
        said = refused("datasets.pets.folder=null", f"datasets.pets.{key}=round")
        assert f"there is no {what} round\n    it is a link to about, where nothing is" in said


def test_empty_class(refused, place):
    draw(place / "pets" / "train", bird=0)
    hint = "remove the empty folder, or put images in it"
    assert refused() == f'{FOLDER}the class "bird" has no training images\n    {hint}{ONE}'


def test_validation_class_that_train_does_not_have(refused, place):
    draw(place / "pets" / "val", dogs=1)
    message = 'the split val has the class "dogs", which train does not have'
    assert refused() == f'{FOLDER}{message}\n    did you mean "dog"?   available: cat, dog{ONE}'


def test_many_classes_make_one_message(refused, place):
    draw(place / "pets" / "val", **{f"c{index}": 1 for index in range(9)})
    assert 'the split val has the classes "c0", "c1", "c2" and 6 more, which train does not have' in refused()


def test_too_few_images_for_the_fraction(refused, place):
    """6 cats: 0.08 x 6 + 1/2 is below 1, 0.0834 x 6 + 1/2 is not."""
    assert refused("stages.target.fraction=0.08") == (
        "command line: stages.target.fraction=0.08  stages.target.fraction: 0.08 leaves the class "
        f'"cat" without a single training image\n    "cat" has 6; at least 0.0833 is needed{ONE}'
    )


def test_the_fraction_is_taken_after_a_validation_split_is_carved(load, refused, place):
    load("stages.target.fraction=0.09", text=PLAIN)
    shutil.rmtree(place / "pets" / "val")
    assert '"cat" has 5; at least 0.1 is needed' in refused("stages.target.fraction=0.09")


def test_one_image_cannot_be_held_out(load, refused, place):
    shutil.rmtree(place / "pets" / "val")
    draw(place / "pets" / "train", bird=1)
    assert refused() == (
        'recipe.yaml:5:5  stages.target.validation: the class "bird" has one image, so none can be held out\n'
        f"    set validation: 0, or give the data set a val folder{ONE}"
    )
    load("stages.target.validation=0", text=PLAIN)


def test_early_stopping_needs_a_validation_split(refused, place):
    shutil.rmtree(place / "pets" / "val")
    text = refused("stages.target.validation=0", "stages.target.early_stopping={patience: 2}")
    assert "stages.target.early_stopping: needs a validation split" in text


def test_no_images(refused, place):
    shutil.rmtree(place / "pets")
    (place / "pets").mkdir()
    assert refused().startswith(f"{FOLDER}pets has no class folders with images in it")
    draw(place / "pets" / "train", cat=0)
    draw(place / "pets" / "val", cat=1)
    assert refused().startswith(f"{FOLDER}the split train has no images at all")


def test_only_a_test_split(refused, place):
    (place / "pets" / "train").rename(place / "pets" / "test")
    assert 'the data set "pets" has no train split' in refused()


def test_empty_image_files(load, refused, place):
    (place / "pets" / "train" / "cat" / "0.jpg").write_bytes(b"")
    (place / "pets" / "train" / "dog" / "9.jpg").symlink_to(place / "gone.jpg")
    text = refused()
    assert f'{FOLDER}the image file "pets/train/cat/0.jpg" is empty (0 bytes)\n' in text
    assert f'{FOLDER}the image file "pets/train/dog/9.jpg" is not readable\n' in text
    load("datasets.pets.on_bad_image=skip", text=PLAIN)


def test_a_flat_folder_is_all_train(load, place):
    shutil.rmtree(place / "pets")
    draw(place / "pets", cat=4, dog=5)
    assert load(text=PLAIN).recipe.name == "plain"


def test_the_parent_of_the_data_set_is_refused(refused, place):
    (place / "zip").mkdir()
    (place / "pets").rename(place / "zip" / "pets")
    assert "holds train/, val/\n    did you mean zip/pets?" in refused("datasets.pets.folder=zip")


def test_a_single_class_is_refused_with_the_folder_that_was_meant(refused, place):
    draw(place / "one" / "animals", cat=3, dog=3)
    text = refused("datasets.pets.folder=one")
    assert 'all training images are of one class, "animals"' in text and "did you mean one/animals?" in text


def test_a_class_list_in_which_folders_are_called_as_other_classes(load, refused, place):
    """ "dog" is the folder of "wolf" and the name of another row: only what has a class list can be compared."""
    (place / "classes.csv").write_text("index,folder,name\n0,cat,dog\n1,dog,wolf\n")
    load("datasets.pets.labels=classes.csv", text=PLAIN)
    draw(place / "zoo" / "val", dog=1, wolf=1)
    text = refused("datasets.pets.labels=classes.csv", "datasets.zoo={folder: zoo}", "stages.target.evaluate=[zoo]")
    assert '"zoo" has no class list: "dog" is the folder of the class "wolf"' in text


def test_a_tar_and_a_folder_of_them(load, refused, place):
    (place / "tars").mkdir()
    for split in ("train", "val"):
        with tarfile.open(place / "tars" / f"{split}.tar", "w") as tar:
            tar.add(place / "pets" / split, "")
    given = ("~datasets.pets.folder", "datasets.pets.tar=tars")
    assert load(*given, text=PLAIN).recipe.datasets["pets"].tar == str(place / "tars")
    assert "there is no file tar" in refused("~datasets.pets.folder", "datasets.pets.tar=tar")


def test_class_list(load, refused, place):
    listed = "index,folder,name\n0,cat,Tabby cat\n1,dog,Dog\n2,fox,Fox\n"
    (place / "classes.csv").write_text(listed)
    load("datasets.pets.labels=classes.csv", text=PLAIN)
    (place / "classes.csv").write_text(listed.replace("dog,Dog", "owl,Owl"))
    text = refused("datasets.pets.labels=classes.csv")
    assert 'the split train has the class "dog", which the class list does not have' in text
    (place / "classes.csv").write_text(listed.replace("2,fox", "3,fox"))
    assert "classes.csv: the indices must be 0, 1, 2" in refused("datasets.pets.labels=classes.csv")
    assert "there is no file class.csv" in refused("datasets.pets.labels=class.csv")


def test_classes_of_another_data_set_to_evaluate_on(refused, place):
    draw(place / "zoo" / "val", cat=1, lion=1)
    text = refused("datasets.zoo={folder: zoo}", "stages.target.evaluate=[zoo]")
    assert 'stages.target.evaluate.0: "zoo" has the class "lion", which this stage does not learn' in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(100), "a zip archive, as torch.save writes them"),
        (pickle.dumps({"a": [1.0] * 100}), "a Python pickle. It is never opened, because pickles can run code"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"abc", "empty or truncated: 3 bytes"),
        (struct.pack("<Q", 10**6) + b"{", "the length of its header is impossible"),
        (struct.pack("<Q", 4) + b"{{{{", "its header is not JSON"),
    ],
)
def test_what_is_no_weights_file(content, message, refused, place):
    (place / "w.bin").write_bytes(content)
    text = refused("model.weights=w.bin")
    assert text.startswith("command line: model.weights=w.bin  model.weights: w.bin: ")
    assert message in text and text.endswith(ONE)


def test_truncated_weights(load, refused, place):
    safetensors(place / "w.safetensors", promised=16, held=8)
    text = refused("model.weights=w.safetensors")
    assert "truncated: the header promises 16 bytes of tensors and the file holds 8" in text
    safetensors(place / "w.safetensors")
    load("model.weights=w.safetensors", text=PLAIN)


def test_weights_of_another_architecture(load, refused, place):
    folder = place / "other"
    folder.mkdir()
    safetensors(folder / "model.safetensors")
    (folder / "config.json").write_text('{"architecture": "resnet34"}')
    assert (
        "model.weights: these are weights of resnet34, as the config.json beside them says, not of resnet18\n"
        "    write model.name: resnet34, or copy the file out of its folder if resnet18 has the same tensors"
    ) in refused("model.weights=other/model.safetensors")
    for beside in ('{"architecture": "resnet18"}', "{", "[]", '{"architecture": 3}'):  # it fits, or it says nothing
        (folder / "config.json").write_text(beside)
        load("model.weights=other/model.safetensors", text=PLAIN)


def test_a_lone_file_with_the_tensors_of_another_model(load, refused, place):
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes("test_vit").items()}
    save_file(tensors, place / "w.safetensors")
    assert refused("model={name: test_resnet, weights: w.safetensors}") == (
        "command line: model={name: test_resnet, weights: w.safetensors}  model.weights: the tensors are those of "
        "test_vit, by their names and sizes, not those of test_resnet\n"
        f"    write model.name: test_vit, or give weights of test_resnet{ONE}"
    )
    fine = [
        "name: test_vit.r160_in1k",
        "name: test_resnet, options: {output_stride: 8}",
        "name: hf-hub:timm/test_resnet",
    ]
    for model in fine:  # options may change layers, and of the Hub's models the list knows nothing
        load(f"model={{{model}, weights: w.safetensors}}", text=PLAIN)
    save_file(tensors | {"extra": np.zeros(1)}, place / "w.safetensors")  # nobody's: only `run` can tell
    load("model={name: test_resnet, weights: w.safetensors}", text=PLAIN)


def test_missing_weights(refused, place):
    safetensors(place / "w.safetensors")
    assert 'there is no file w.safetensor\n    did you mean "w.safetensors"?' in refused("model.weights=w.safetensor")
    assert "pets: a folder; give the .safetensors file itself" in refused("model.weights=pets")


def test_model_folders(load, refused, place):
    assert "there is no folder saved" in refused("model.name=local-dir:saved")
    (place / "saved").mkdir()
    assert "the folder saved has no config.json" in refused("model.name=local-dir:saved")
    assert "the folder saved has no config.json and no model.safetensors" in refused("stages.target.start=saved")
    assert "the folder runs/x/model does not exist" in refused("stages.target.start=runs/x/model")
    (place / "saved" / "config.json").write_text("{}")
    (place / "saved" / "model.safetensors").write_bytes(b"PK\x03\x04 and so on")
    assert "a zip archive" in refused("stages.target.start=saved")
    safetensors(place / "saved" / "model.safetensors")
    recipe = load("stages.target.start=saved", "model.name=local-dir:./saved", text=PLAIN).recipe
    assert recipe.stages[0].start == str(place / "saved")
    assert recipe.model.name == f"local-dir:{place / 'saved'}"


def test_npz(load, refused, place):
    import numpy as np

    np.savez(place / "a.npz", x_train=np.zeros((6, 4, 4, 3), np.uint8), y_train=[0, 0, 0, 1, 1, 1], classes=["a", "b"])
    load("datasets.pets={folder: null, npz: a.npz}", text=PLAIN)
    (place / "b.npz").write_bytes(b"no zip")
    assert "b.npz is no .npz file" in refused("datasets.pets={folder: null, npz: b.npz}")
    assert "there is no file c.npz" in refused("datasets.pets={folder: null, npz: c.npz}")
    np.savez(place / "d.npz", x_train=np.zeros((1, 4, 4), np.uint8), y_train=np.array([{"a": 1}], dtype=object))
    assert "d.npz is no .npz file or holds pickled objects" in refused("datasets.pets={folder: null, npz: d.npz}")
