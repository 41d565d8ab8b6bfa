"""`transferkit explain`: its answers are those of `predict`, its pictures are there, what it refuses is a sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from transferkit.cli.explain import picture_names, read_box
from transferkit.deploy.loaded import load
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.testing import tiny_model
from transferkit.testing.tiny import tiny_source_head

TARGET = ["ants", "bees"]
SMALL_SWIN = {"img_size": 32, "embed_dim": 24, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2}


@pytest.fixture(scope="module")
def with_source(tmp_path_factory):
    model = tiny_model(TARGET)
    return save_model(tmp_path_factory.mktemp("models") / "m", model, tiny_source_head(model.num_features), {})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, without photographs."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def told(result):
    return json.loads(result.stdout)["photos"]


def test_probabilities_are_those_of_predict_and_there_is_a_picture_for_each(cli, model_folder, images, place):
    found = told(cli("explain", model_folder, images / "val", "--class", "bees", "--class", "ants", "--json"))
    predicted = json.loads(cli("predict", model_folder, images / "val", "--json").stdout)
    assert [one["path"] for one in found] == [one["path"] for one in predicted] and len(found) == 6
    for one, other in zip(found, predicted, strict=True):
        (view,) = one["views"]
        given = {item["class"]: item["probability"] for item in other["predictions"]}
        assert {sight["class"]: pytest.approx(sight["probability"], abs=1e-5) for sight in view["classes"]} == given
        assert [sight["class"] for sight in view["classes"]] == ["bees", "ants"]
        best = other["predictions"][0]
        answer = {"class": best["class"], "probability": pytest.approx(best["probability"], abs=1e-5)}
        assert view["answers"] == {"target": answer}
        assert one["control"] is None and one["covered"] is None
        picture = Image.open(one["picture"])
        assert picture.width == 3 * 256 + 2 * 4 and Path(one["picture"]).resolve().parent == place / "explained"
    assert len({one["picture"] for one in found}) == 6


def test_the_source_classes_are_those_of_the_source_head_on_these_features(cli, with_source, images, place):
    photo = images / "val" / "ants" / "0.png"
    (found,) = told(cli("explain", with_source, photo, "--role", "both", "--class", "spiral", "--json"))
    loaded = load(with_source)
    head = loaded.source_head
    with torch.inference_mode():
        output = loaded.model(loaded.preprocess(Image.open(photo))[None])
        expected = (output.features @ head.weight.T + head.bias).softmax(dim=1)[0]
    own, source = found["views"][0]["classes"]
    assert own["role"] == "target" and own["class"] == TARGET[int(output.logits.argmax())]
    assert (source["role"], source["class"]) == ("source", "spiral")
    assert source["probability"] == pytest.approx(float(expected[head.classes.index("spiral")]), abs=1e-5)
    best = int(expected.argmax())
    assert found["views"][0]["answers"]["source"]["class"] == head.classes[best]


def test_the_box_and_as_large_ones_elsewhere(cli, model_folder, images, place):
    photo = images / "val" / "bees" / "1.png"
    asked = ("explain", model_folder, photo, "--class", "bees", "--occlude", "0.2,0.3,0.3,0.2")
    (found,) = told(cli(*asked, "--json"))
    assert [view["view"] for view in found["views"]] == ["photo", "greyed", "elsewhere"]
    (control,) = found["control"]["classes"]
    assert found["control"]["places"] == sum(found["control"]["answers"]["target"].values()) == 12
    assert control["low"] <= control["mean"] <= control["high"]
    assert control["low"] <= found["views"][2]["classes"][0]["probability"] <= control["high"]
    assert 0.03 < found["covered"] < 0.1
    lines = cli(*asked).stdout.splitlines()
    assert lines[0].split() == ["photograph", "greyed", "head", "class", "p", "answer"]
    assert lines[1].split("png")[1].split()[:3] == ["nothing", "target", "bees"]
    assert "as much elsewhere, 12x" in lines[3] and "explained" in lines[-1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_convnext", {}),
        ("test_vit", {"img_size": 32}),
        ("test_mambaout", {}),
        ("swin_tiny_patch4_window7_224", SMALL_SWIN),
    ],
)  # fmt: skip
def test_every_family_has_a_picture(cli, images, place, tmp_path, name, options):
    folder = save_model(tmp_path / "model", tiny_model(TARGET, name=name, **options), None, {})
    (found,) = told(cli("explain", folder, images / "val" / "ants" / "0.png", "--json"))
    assert found["views"][0]["classes"][0]["map"] in ("drawn", "empty") and Path(found["picture"]).is_file()


def test_an_architecture_and_its_weights_will_do(cli, with_source, images, place):
    text = f"test_resnet@{with_source / 'model.safetensors'}"
    (found,) = told(cli("explain", text, images / "val" / "ants" / "0.png", "--class", "1", "--json"))
    assert found["views"][0]["classes"][0]["class"] == "1"
    with pytest.raises(InputError, match="has no source head kept beside it"):
        cli("explain", text, images / "val" / "ants" / "0.png", "--role", "source")


def test_unreadable_ones_are_named_and_skipped(cli, model_folder, images, place):
    bad = images / "val" / "ants" / "bad.jpg"
    bad.write_text("no image")
    result = cli("explain", model_folder, images / "val", "--json")
    assert len(told(result)) == 6 and f"cannot read {bad}" in result.stderr
    assert "6 photographs explained, 1 left out" in result.stderr
    with pytest.raises(InputError, match="none of the 1 images"):
        cli("explain", model_folder, bad)


def test_what_is_misspelt_is_a_sentence_before_anything_is_written(cli, model_folder, with_source, images, place):
    photo = images / "val" / "ants" / "0.png"
    with pytest.raises(InputError, match=r'no class of the target head(.|\n)*did you mean "ants"'):
        cli("explain", model_folder, photo, "--class", "antz")
    with pytest.raises(InputError, match="--role source"):
        cli("explain", with_source, photo, "--class", "spiral")
    with pytest.raises(InputError, match=r'no layer "layer9"'):
        cli("explain", model_folder, photo, "--layer", "layer9")
    with pytest.raises(InputError, match="its output is no map; name another layer") as caught:
        cli("explain", model_folder, photo, "--layer", "global_pool")
    assert caught.value.__notes__ == ["    here: --layer NAME"]
    with pytest.raises(InputError, match="does not exist"):
        cli("explain", place / "gone", photo)
    with pytest.raises(InputError, match=r"0\.png: the model sees nothing of the box"):
        cli("explain", model_folder, photo, "--occlude", "0,0,0.001,0.001")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [("1,2,3", "four numbers"), ("a,b,c,d", "four numbers"), ("0,0,0,1", "share"), ("0.5,0,0.6,1", "edge"),
     ("nan,0,0.5,0.5", "share"), ("-0.1,0,1,1", "share")],
)  # fmt: skip
def test_what_is_no_box(text, why):
    with pytest.raises(InputError, match=f"--occlude .*{why}.*such as"):
        read_box(text)


def test_pictures_never_lie_where_photographs_do(cli, model_folder, images, place, monkeypatch):
    photo = images / "val" / "ants" / "0.png"
    for given, out in (
        (images / "val", images / "val" / "maps"),
        (photo, photo.parent / "maps"),
        (photo, images / "val" / "maps"),
        (photo, photo.parent),
    ):
        with pytest.raises(InputError, match="would be taken for data"):
            cli("explain", model_folder, given, "--out", out)
    monkeypatch.chdir(photo.parent)
    with pytest.raises(InputError, match="would be taken for data"):
        cli("explain", model_folder, "0.png")
    assert not list(images.rglob("*.explained.jpg"))
    with pytest.raises(InputError, match="is a file"):
        cli("explain", model_folder, photo, "--out", model_folder / "config.json")
    shutil.copy(photo, place / "mine.png")
    monkeypatch.chdir(place)
    cli("explain", model_folder, "mine.png")
    assert [path.name for path in (place / "explained").iterdir()] == ["mine.explained.jpg"]


def test_photographs_of_one_name_have_pictures_of_two():
    found = picture_names([Path("a/x.jpg"), Path("b/X.png"), Path("b/" + "é" * 200 + ".png")])
    assert list(found.values())[:2] == ["x.explained.jpg", "X-2.explained.jpg"]
    assert len(list(found.values())[2].encode()) < 200


def test_help_and_wrong_boxes_need_no_torch(images):
    code = (
        "import sys\nfrom transferkit.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    for arguments, expected in ((["--help"], "0 False"), (["m", "p.jpg", "--occlude", "1"], "2 False")):
        done = subprocess.run([sys.executable, "-c", code, "explain", *arguments], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == expected, done.stderr
