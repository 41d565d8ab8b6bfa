"""One image as it is, maps of what woke, pages of other origins, and what all doors have in common."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from transferkit.errors import InputError
from transferkit.serving.settings import Settings

from .conftest import encoded, picture, running

DATA = encoded(picture(1))


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/x-whatever", "application/octet-stream"])
def test_an_image_as_it_is(shared, kind):
    """Its bytes say what it is, not the header."""
    found = shared.client.post("/predict", content=DATA, headers={"content-type": kind}).json()["predictions"]
    (one,) = shared.send(DATA).json()["predictions"]
    assert found == [{**one, "name": None}]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_sends_a_file(shared, tmp_path):
    (tmp_path / "photo.png").write_bytes(DATA)
    url = f"http://127.0.0.1:{shared.port}/predict"
    command = ["curl", "-sS", "--data-binary", "@photo.png", url]
    done = subprocess.run([*command, "-H", "Content-Type: image/jpeg"], cwd=tmp_path, capture_output=True, check=True)
    assert b'"predictions":[{"name":null' in done.stdout
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert b"image/jpeg" in done.stdout and b"content_type" in done.stdout  # what to do about curl's own type


def test_a_compressed_body_is_refused_at_every_door(shared):
    for door in ("/predict", "/explain", "/v2/models/model/infer"):
        answer = shared.client.post(door, content=DATA, headers={"content-encoding": "gzip"})
        assert answer.status_code == 415 and answer.json()["reason"] == "content_type"


def explained(held, image):
    answer = held.client.post("/explain", content=encoded(image), headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    found = answer.json()["maps"]
    for one in found:
        assert (one["picture"] is None) == (one["note"] is not None)
    return found


def test_the_answer_and_what_the_detector_names_are_explained(shared):
    for seed in range(6):
        (said,) = shared.send(encoded(picture(seed))).json()["predictions"]
        own, memory = explained(shared, picture(seed))
        assert (own["role"], own["class"]) == ("target", said["class"])
        assert own["probability"] == pytest.approx(said["probability"], abs=1e-6)
        assert (memory["role"], memory["class"]) == ("source", said["source_class"])
        assert 0 < memory["probability"] <= said["score"] + 1e-6  # the score is the sum over the watched classes


def test_colour_lies_where_the_model_sees_the_class(tmp_path):
    """On a model with more places than one, against the maps of `transferkit explain`."""
    from transferkit.analysis.asked_classes import asked_classes
    from transferkit.analysis.explanations import Explainer, Head
    from transferkit.deploy.loaded import load
    from transferkit.model import Preprocessing
    from transferkit.model.folder import save_model
    from transferkit.testing import tiny_model

    made = tiny_model(seed=1)
    made.preprocessing = Preprocessing((96, 96), (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bilinear")
    folder = save_model(tmp_path / "large", made, None, {})
    model = load(folder).model
    head = Head("target", model.source_head(), asked_classes(model.classes), [])
    explainer = Explainer(model, [head], torch.device("cpu"), method="gradcam", layer=None)
    drawn = 0
    with running(folder) as held:
        for seed in range(4):
            image = picture(seed, (96, 96))
            (own,) = explained(held, image)  # without a detector there is no more
            (expected,) = explainer(image).views[0].sights
            assert own["class"] == expected.name and (own["picture"] is None) == (expected.trouble is not None)
            if own["picture"] is None:
                continue
            with Image.open(io.BytesIO(base64.b64decode(own["picture"]))) as shown:
                assert shown.size == (96, 96)
                colours = np.ptp(np.asarray(shown).astype(int), axis=2)
            places = colours.reshape(3, 32, 3, 32).mean(axis=(1, 3))
            assert expected.map.shape == (3, 3)
            # colours grow with the map, which is smoothed between its places
            assert np.corrcoef(places.ravel(), expected.map.ravel())[0, 1] > 0.7
            drawn += 1
    assert drawn >= 3


def test_explaining_does_not_change_what_is_answered(folder):
    with running(folder) as held:
        before = held.send(DATA).json()
        held.client.post("/explain", files={"a": DATA})
        assert held.send(DATA).json() == before
        assert held.client.get("/health/ready").status_code == 200


def test_one_image_at_a_time_is_explained(shared):
    answer = shared.client.post("/explain", files=[("a", DATA), ("b", DATA)])
    assert answer.status_code == 422 and answer.json()["reason"] == "too_many_images"
    for data, reason in ((b"x", "format"), (DATA[:60], "unreadable")):
        assert shared.client.post("/explain", files={"a": data}).json()["reason"] == reason


def test_what_cannot_be_explained_says_why(exported):
    with running(exported, engine="onnx") as held:
        (card,) = held.client.get("/models").json()["models"]
        assert not card["explains"] and "--engine torch" in card["unexplained"]
        answer = held.client.post("/explain", files={"a": DATA})
        assert answer.status_code == 404 and answer.json() == {
            "reason": "no_explanation",
            "detail": card["unexplained"],
        }


def test_maps_that_take_too_long_are_given_up(folder):
    import time

    with running(folder, answer_timeout=0.3) as held:
        object.__setattr__(held.service.first.opened, "explain", lambda photo: time.sleep(2))
        answer = held.client.post("/explain", files={"a": DATA})
        assert answer.status_code == 504 and answer.json()["reason"] == "slow_answer"
        assert held.send(DATA).status_code == 200


def test_other_origins_may_ask_only_where_they_are_named(shared, folder):
    ours = {"Origin": "https://ours.example"}
    asking = {**ours, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    assert "access-control-allow-origin" not in shared.client.get("/models", headers=ours).headers
    key = "a key of at least sixteen"
    with running(folder, key=key, cors=("https://ours.example",)) as held:
        before = held.client.options("/predict", headers=asking)
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == "https://ours.example"
        for more, status in (({"X-API-Key": key}, 200), ({}, 401)):  # a refusal can be read too
            answer = held.client.post("/predict", files={"a": DATA}, headers=ours | more)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://ours.example"
        other = held.client.post(
            "/predict", files={"a": DATA}, headers={"Origin": "https://x.example", "X-API-Key": key}
        )
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origin", ["ours.example", "https://ours.example/", "https://a b", "null"])
def test_an_origin_is_written_as_one(origin):
    with pytest.raises(InputError, match="--cors"):
        Settings(cors=(origin,))


def test_metrics_follow_the_conventions(shared):
    """Those of Prometheus: a unit at the end, `_total` for what only grows, every metric with its help."""
    from prometheus_client.parser import text_string_to_metric_families

    shared.send(DATA)
    for family in text_string_to_metric_families(shared.client.get("/metrics").text):
        if not family.name.startswith("transferkit_") or family.name.endswith("_created"):
            continue
        assert family.documentation.endswith(".")
        names = {sample.name for sample in family.samples} - {f"{family.name}_created"}
        if family.type == "counter":
            assert names <= {f"{family.name}_total"}
        if "duration" in family.name:
            assert family.name.endswith("_seconds")
    (built,) = [
        line for line in shared.client.get("/metrics").text.splitlines() if line.startswith("transferkit_build")
    ]
    from transferkit import __version__

    assert f'version="{__version__}"' in built and built.endswith(" 1.0")


def test_a_batch_is_never_larger_than_a_graph_is_made_for(folder):
    class Small:
        def __init__(self, engine):
            self.engine, self.name, self.device, self.largest = engine, engine.name, engine.device, 2
            self.sizes = []

        def __call__(self, images):
            self.sizes.append(len(images))
            return self.engine(images)

    with running(folder, max_batch=16, max_wait_ms=20, workers=1, wrap=Small) as held:
        assert held.send(*[DATA] * 7).status_code == 200
        assert max(held.service.first.backend.engine.sizes) == 2
