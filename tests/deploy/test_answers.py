"""Photographs in, named answers out: the same numbers as by hand, one sentence for what is no photograph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit
from transferkit.deploy.answers import Answer, Answers
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.testing import tiny_model
from transferkit.testing.detector import tiny_guarded


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    return transferkit.load(tiny_guarded(tmp_path_factory.mktemp("guarded") / "model", detect_p=0.0))


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "words.txt").write_text("no image")
    return tmp_path


def test_one_photograph_has_one_answer_in_names(guarded, photos):
    answer = guarded.predict(photos / "a.png")
    found = guarded(guarded.preprocess(Image.open(photos / "a.png"))[None])
    assert isinstance(answer, Answer) and answer.path == photos / "a.png"
    values = dict(zip(guarded.classes, found.probabilities[0].tolist(), strict=True))
    assert answer.probabilities == pytest.approx(values) and set(answer.probabilities) == set(values)
    assert list(answer.probabilities.values()) == sorted(values.values(), reverse=True)
    assert answer.label == max(values, key=values.get) and answer.probability == pytest.approx(max(values.values()))
    assert answer.flagged is True and answer.score == pytest.approx(found.score.item())
    assert answer.p_value == pytest.approx(found.p_value.item())
    assert answer.source_class == guarded.source_classes[found.source_class.item()]
    assert answer.label in repr(answer) and "do not trust it" in repr(answer) and answer.source_class in repr(answer)


def test_every_form_of_a_photograph_has_the_same_answer(guarded, photos):
    path = photos / "a.png"
    image = Image.open(path)
    forms = [path, str(path), image, np.asarray(image)]
    answers = guarded.predict(forms, batch_size=3)
    assert isinstance(answers, Answers) and len(answers) == 4
    for answer, form in zip(answers, forms, strict=True):
        assert answer.probabilities == pytest.approx(answers[0].probabilities)
        assert guarded.predict(form).probability == pytest.approx(answer.probability)
    assert [one.path for one in answers] == [path, path, None, None]
    grey = guarded.predict(np.asarray(image)[:, :, 0])
    assert sum(grey.probabilities.values()) == pytest.approx(1)


def test_a_folder_is_its_images_and_a_stack_is_several(guarded, photos):
    answers = guarded.predict(photos)
    assert [one.path.name for one in answers] == ["a.png", "b.png", "c.jpg"]
    assert len(guarded.predict(np.zeros((2, 40, 36, 3), np.uint8))) == 2
    assert guarded.predict([]) == [] and guarded.predict([]).records() == []
    rows = answers.records()
    assert rows[0]["image"] == str(photos / "a.png") and rows[0]["label"] == answers[0].label
    assert "3 flagged" in repr(answers) and answers[0].label in answers._repr_html_()


def test_a_model_without_a_detector_flags_nothing(tmp_path, photos):
    model = transferkit.load(save_model(tmp_path / "model", tiny_model(["ants", "bees"]), None, {}))
    answer = model.predict(photos / "a.png")
    assert (answer.flagged, answer.score, answer.p_value, answer.source_class) == (None,) * 4
    assert "ants, bees" in repr(model) and "watches" not in repr(model)


def test_what_cannot_be_read_is_named_or_left_out(guarded, photos):
    broken = photos / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"cannot read the image .*broken\.png.*on_bad_image=\"skip\""):
        guarded.predict([photos / "a.png", broken])
    with pytest.warns(UserWarning, match=r"broken\.png"):
        assert len(guarded.predict([photos / "a.png", broken], on_bad_image="skip")) == 1
    with pytest.raises(InputError, match=r"broken\.png"):
        guarded.predict(broken, on_bad_image="skip")
    with pytest.raises(InputError, match=r"nowhere\.png"):
        guarded.predict(photos / "nowhere.png")
    with pytest.raises(InputError, match='"error" or "skip"'):
        guarded.predict(photos, on_bad_image="ignore")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (torch.zeros(1, 3, 32, 32), r"torch.float32 with the shape \[1, 3, 32, 32\]"),
        ([np.zeros((4, 4, 3))], "float64"),
        (np.zeros((4, 4, 5), np.uint8), r"\[4, 4, 5\]"),
        (3, "int"),
        ([b"bytes"], "bytes"),
    ],
)
def test_what_is_no_photograph_gets_a_sentence(guarded, given, named):
    with pytest.raises(InputError, match=f"predict takes paths.*{named}"):
        guarded.predict(given)


def test_the_model_itself_says_where_photographs_go(guarded):
    with pytest.raises(InputError, match=r"not an Image; for photographs call \.predict"):
        guarded(Image.new("RGB", (40, 36)))


def test_a_model_is_described_in_a_line(guarded):
    assert "test_" in repr(guarded) and "flags a score above 0" in repr(guarded) and "cpu" in repr(guarded)
    assert repr(guarded(torch.zeros(2, 3, 32, 32))).startswith("<prediction: 2 images, ")
