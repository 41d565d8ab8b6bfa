import json
import shutil

import pytest
import torch
from PIL import Image

from transferkit.deploy.loaded import load
from transferkit.errors import InputError


@pytest.fixture
def by_hand(model_folder, images):
    """(logits, labels) of the validation images, one at a time."""
    model = load(model_folder)
    files = sorted((images / "val").rglob("*.png"))
    pixels = [model.preprocess(Image.open(path)) for path in files]
    labels = torch.tensor([model.classes.index(path.parent.name) for path in files])
    return torch.cat([model(image[None]).logits for image in pixels]), labels


def test_agrees_with_one_image_at_a_time(cli, model_folder, images, by_hand):
    logits, labels = by_hand
    found = json.loads(cli("evaluate", model_folder, "--data", images, "--batch-size", 4, "--json").stdout)
    right = logits.argmax(dim=1).eq(labels)
    assert found["top1"] == pytest.approx(float(right.double().mean()))
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    for label, name in enumerate(("ants", "bees")):
        assert found["per_class"][name] == {"recall": float(right[labels == label].double().mean()), "images": 3}
    assert (found["images"], found["chance"], found["classes"]) == (6, 0.5, 2)
    assert sum(map(sum, found["confusion"])) == 6 and "top5" not in found


def test_prints_the_worst_class_first(cli, model_folder, images):
    text = cli("evaluate", model_folder, "--data", images).stdout
    lines = text.splitlines()
    assert lines[0].startswith("top-1  ") and "of 6 images" in lines[0]
    assert "for other images of these classes" in lines[1] and "for other classes, too" in lines[2]
    assert lines[3].strip() == "guessing gives 50.0 %, and this is not distinguishable from it"
    recalls = [float(line.split()[-2]) for line in lines[-2:]]
    assert recalls == sorted(recalls)


def test_splits(cli, model_folder, images):
    assert (
        json.loads(cli("evaluate", model_folder, "--data", images, "--split", "train", "--json").stdout)["images"] == 8
    )
    flat = cli("evaluate", model_folder, "--data", images / "val", "--json")
    assert json.loads(flat.stdout)["images"] == 6 and "has no splits" in flat.stderr
    with pytest.raises(InputError, match="has no test split; it has train, val"):
        cli("evaluate", model_folder, "--data", images, "--split", "test")
    with pytest.raises(InputError, match="is no split"):
        cli("evaluate", model_folder, "--data", images, "--split", "valid")


def test_a_class_without_images_is_left_out(cli, model_folder, images):
    shutil.rmtree(images / "val" / "bees")
    result = cli("evaluate", model_folder, "--data", images)
    assert "bees" not in result.stdout and "1 of the model's 2 classes have no image" in result.stderr


def test_refuses_classes_that_the_model_does_not_know(cli, model_folder, images):
    (images / "val" / "bees").rename(images / "val" / "bess")
    with pytest.raises(InputError, match=r'does not know: bess\n.*did you mean "bees"'):
        cli("evaluate", model_folder, "--data", images)


def test_folders_may_have_other_names_with_a_class_list(cli, model_folder, images, tmp_path):
    expected = json.loads(cli("evaluate", model_folder, "--data", images, "--json").stdout)
    for split in ("train", "val"):
        for number, name in enumerate(("ants", "bees")):
            (images / split / name).rename(images / split / f"n{number}")
    (tmp_path / "labels.csv").write_text("index,folder,name\n0,n0,ants\n1,n1,bees\n")
    arguments = ("evaluate", model_folder, "--data", images, "--labels", tmp_path / "labels.csv", "--json")
    assert json.loads(cli(*arguments).stdout)["confusion"] == expected["confusion"]


def test_missing_data_and_models_are_sentences(cli, model_folder, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        cli("evaluate", model_folder, "--data", tmp_path / "nothing")
    with pytest.raises(InputError, match="does not exist"):
        cli("evaluate", tmp_path / "nothing", "--data", tmp_path)
