"""detect: flags as the loaded model gives them, answers by another model, counts, and sentences for what cannot be."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image

import transferkit
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.testing import tiny_guarded, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture
def varied(images):
    """Images with scores all over 0 to 1."""
    for i, path in enumerate(sorted(images.rglob("*.png"))):
        Image.effect_noise((40, 36), 20 * i).convert("RGB").save(path)
    return images


@pytest.fixture
def scores(tmp_path, varied):
    """{path: score} by the loaded model, one image at a time."""
    loaded = transferkit.load(tiny_guarded(tmp_path / "probe"))
    found = {}
    for path in sorted(varied.rglob("*.png")):
        found[str(path)] = float(loaded(loaded.preprocess(Image.open(path))[None]).score)
    return found


@pytest.fixture
def guarded(tmp_path, scores):
    """A model that flags half of them."""
    ordered = sorted(scores.values())
    middle = len(ordered) // 2
    return tiny_guarded(tmp_path / "guarded", detect_p=(ordered[middle - 1] + ordered[middle]) / 2)


def rows(cli, *arguments):
    return json.loads(cli("detect", *arguments, "--json").stdout)


def test_agrees_with_one_image_at_a_time(cli, guarded, varied, scores):
    found = rows(cli, guarded, varied, "--batch-size", 5)
    loaded = transferkit.load(guarded)
    assert [one["path"] for one in found] == list(scores)
    for one in found:
        assert one["score"] == pytest.approx(scores[one["path"]], abs=1e-5)
        assert one["flag"] == (scores[one["path"]] > loaded.interference.detect_p)
        single = loaded(loaded.preprocess(Image.open(one["path"]))[None])
        assert one["source_class"] == loaded.source_classes[int(single.source_class)]
        assert one["p_value"] == pytest.approx(float(single.p_value), abs=0.051)
        (best,) = one["predictions"]
        assert best["class"] == loaded.classes[int(single.logits.argmax())]
        assert one["answered_by"] == "model"
    assert sum(one["flag"] for one in found) == len(found) // 2


def test_table_and_csv(cli, guarded, varied):
    result = cli("detect", guarded, varied)
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["class", "p", "flag", "score", "p-value", "source", "class", "image"]
    assert len(lines) == 14 and sum("flag" in line for line in lines) == 7
    assert "14 images, 7 flagged, 0 unreadable" in result.stderr
    found = list(csv.DictReader(cli("detect", guarded, varied, "--csv", "--top", 2).stdout.splitlines()))
    assert sum(int(row["flag"]) for row in found) == 7
    assert {row["source_class"] for row in found} <= {"espresso", "daisy"}
    assert float(found[0]["probability_1"]) + float(found[0]["probability_2"]) == pytest.approx(1, abs=1e-5)


def test_abstains(cli, guarded, varied):
    for one in rows(cli, guarded, varied, "--abstain"):
        assert (one["predictions"] == []) == one["flag"] == (one["answered_by"] is None)
    lines = cli("detect", guarded, varied, "--abstain").stdout.splitlines()
    assert sum("abstain" in line and line.startswith("–") for line in lines) == 7
    found = list(csv.DictReader(cli("detect", guarded, varied, "--abstain", "--csv").stdout.splitlines()))
    assert {(row["class_1"] == "", row["flag"]) for row in found} == {(True, "1"), (False, "0")}


@pytest.mark.parametrize("size", [32, 48])
def test_the_fallback_answers_what_is_flagged(cli, guarded, varied, tmp_path, size):
    """Its classes stand in another order and its images may have another size."""
    from dataclasses import replace

    other = tiny_model(["bees", "ants"], seed=4)
    other.preprocessing = replace(other.preprocessing, input_size=(size, size))
    folder = save_model(tmp_path / "other", other, None, {})
    loaded, stand_in = transferkit.load(guarded), transferkit.load(folder)
    for one in rows(cli, guarded, varied, "--fallback", folder, "--top", 2):
        model = stand_in if one["flag"] else loaded
        assert one["answered_by"] == ("fallback" if one["flag"] else "model")
        expected = model(model.preprocess(Image.open(one["path"]))[None]).probabilities[0]
        given = {item["class"]: item["probability"] for item in one["predictions"]}
        assert [given[name] for name in model.classes] == pytest.approx(expected.tolist(), abs=1e-5)
    assert "fallback" in cli("detect", guarded, varied, "--fallback", folder).stdout


def test_a_fallback_for_other_classes_is_refused(cli, guarded, varied, tmp_path):
    folder = save_model(tmp_path / "other", tiny_model(["ants", "wasps", "flies"]), None, {})
    with pytest.raises(InputError, match="it lacks bees; it also has flies, wasps; classes must agree by name"):
        cli("detect", guarded, varied, "--fallback", folder)


def test_exit_code_3_if_asked_and_flagged(cli, guarded, varied, tmp_path):
    assert cli("detect", guarded, varied).exit_code == 0
    assert cli("detect", guarded, varied, "--fail-on-flag").exit_code == 3
    assert cli("detect", guarded, varied, "--fail-on-flag", "--summary").exit_code == 3
    never = tiny_guarded(tmp_path / "never", detect_p=1.0)
    assert cli("detect", never, varied, "--fail-on-flag").exit_code == 0


def test_a_model_without_a_detector(cli, model_folder, images, tmp_path):
    for arguments in ([images], [images, "--summary"]):
        with pytest.raises(InputError, match=r"has no detector .* the interference analyzer makes one") as error:
            cli("detect", model_folder, *arguments)
        assert "\n" not in str(error.value)
    (tmp_path / "log.jsonl").write_text('{"flag": true}\n')
    with pytest.raises(InputError, match="the interference analyzer makes one"):
        cli("detect", model_folder, tmp_path / "log.jsonl", "--summary")


def test_a_changed_model_is_refused(cli, guarded, images):
    path = guarded / "config.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match="not the file that the detector was made for"):
        cli("detect", guarded, images)


def test_unreadable_images_and_bombs_are_named_and_counted(cli, guarded, varied, monkeypatch):
    (varied / "bad.jpg").write_text("no image")
    Image.new("RGB", (300, 300)).save(varied / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80_000)
    result = cli("detect", guarded, varied, "--json")
    assert len(json.loads(result.stdout)) == 14
    assert f"cannot read {varied / 'bad.jpg'}" in result.stderr and "limit against decompression bombs" in result.stderr
    assert "14 images, 7 flagged, 2 unreadable" in result.stderr
    assert "2 unreadable" in cli("detect", guarded, varied, "--summary").stderr


def test_nothing_readable(cli, guarded, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    for more in ([], ["--summary"]):
        with pytest.raises(InputError, match="none of the 1 images could be read"):
            cli("detect", guarded, tmp_path / "bad.jpg", *more)


def test_writes_a_file(cli, guarded, varied, tmp_path):
    result = cli("detect", guarded, varied, "--out", tmp_path / "out.csv")
    assert result.stdout == "" and "written to" in result.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 15


def test_summary_of_images(cli, guarded, varied):
    text = cli("detect", guarded, varied, "--summary").stdout
    assert text.startswith("7 of 14 images were flagged: 50.0 % (95 % interval 26.8 % to 73.2 %).")
    assert "more than the promised 5 % of false alarms" in text and "strongest" in text
    found = json.loads(cli("detect", guarded, varied, "--summary", "--json").stdout)
    assert (found["images"], found["flagged"], found["alpha"]) == (14, 7, 0.05)
    assert sum(one["flagged"] for one in found["source_classes"]) == 7
    assert found["p_value"] == pytest.approx(1.93e-6, rel=0.05) and found["risen"] == []


def test_summary_of_a_log_needs_no_images(cli, guarded, tmp_path):
    log = tmp_path / "requests.jsonl"
    p = transferkit.load(guarded).interference.detect_p
    entries = [{"score": s, "flag": s > p, "source_class": "espresso"} for s in [p / 2] * 30 + [(1 + p) / 2] * 2]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    found = json.loads(cli("detect", guarded, log, "--summary", "--json").stdout)
    assert (found["images"], found["flagged"]) == (32, 2)
    assert found["source_classes"][0] == {
        "name": "espresso", "flagged": 2, "images": 32, "calibration": None, "p_value": None, "rose": False,
    }  # fmt: skip
    again = tmp_path / "again.json"
    again.write_text(json.dumps(entries[0]))
    assert json.loads(cli("detect", guarded, log, again, "--summary", "--json").stdout)["images"] == 33
    (tmp_path / "empty.log").write_text("\nstarted\n")
    with pytest.raises(InputError, match="no line has a score or a flag"):
        cli("detect", guarded, tmp_path / "empty.log", "--summary")


def test_what_detect_wrote_can_be_summarised(cli, guarded, varied, tmp_path):
    cli("detect", guarded, varied, "--out", tmp_path / "out.json")
    one, two = (
        json.loads(cli("detect", guarded, what, "--summary", "--json").stdout)
        for what in (varied, tmp_path / "out.json")
    )
    assert one == two


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fallback", "x", "--abstain"], "contradict"),
        (["--json", "--csv"], "contradict"),
        (["--summary", "--abstain"], "counts and answers nothing"),
        (["--summary", "--out", "x.json"], "counts and answers nothing"),
        (["log.jsonl"], "is a log, not an image; add --summary"),
    ],
)
def test_contradictions(cli, guarded, images, more, message):
    with pytest.raises(InputError, match=message):
        cli("detect", guarded, images, *more)
