"""What is answered is what the model and its detector say, for every client its own."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import httpx
import jsonschema
import numpy as np
import pytest
from PIL import Image

from .conftest import encoded, picture, running


def expected(loaded, image):
    found = loaded(loaded.preprocess(image)[None])
    return {
        "class": loaded.classes[int(found.logits.argmax())],
        "probability": float(found.probabilities.max()),
        "score": float(found.score),
        "p_value": float(found.p_value),
        "flag": bool(found.flag),
        "source_class": loaded.source_classes[int(found.source_class)],
    }


def test_answers_as_the_eager_model(shared, loaded):
    images = [picture(seed) for seed in range(12)]
    answer = shared.send(*map(encoded, images)).json()
    assert answer["guarded"] and answer["detect_p"] == loaded.interference.detect_p
    assert len(answer["predictions"]) == 12
    for place, (found, image) in enumerate(zip(answer["predictions"], images, strict=True)):
        said = expected(loaded, image)
        assert found["name"] == f"{place}.png"
        assert {key: found[key] for key in said} == pytest.approx(said, abs=1e-6)
        ranked = found["top"]
        assert [one["probability"] for one in ranked] == sorted((o["probability"] for o in ranked), reverse=True)
        assert len(ranked) == 3 and (ranked[0]["class"], ranked[0]["probability"]) == (
            said["class"],
            found["probability"],
        )
    assert {found["flag"] for found in answer["predictions"]} == {True, False}


def test_multipart_and_json_say_the_same(shared):
    data = [encoded(picture(seed), "JPEG") for seed in (1, 2)]
    texts = [base64.b64encode(one).decode() for one in data]
    one, other = shared.send(*data).json(), shared.client.post("/predict", json={"images": texts}).json()
    assert [found.pop("name") for found in other["predictions"]] == [None, None]
    assert [found.pop("name") for found in one["predictions"]] == ["0.png", "1.png"]
    assert one == other


def test_top(shared):
    found = shared.send(encoded(picture(0)), params={"top": 4}).json()["predictions"][0]["top"]
    assert {one["class"] for one in found} == {"ants", "bees", "cats", "dogs"}
    assert sum(one["probability"] for one in found) == pytest.approx(1)
    assert len(shared.send(encoded(picture(0)), params={"top": 1}).json()["predictions"][0]["top"]) == 1
    assert len(shared.send(encoded(picture(0)), params={"top": 99}).json()["predictions"][0]["top"]) == 4
    refused = shared.send(encoded(picture(0)), params={"top": 0})
    assert refused.status_code == 422 and refused.json()["reason"] == "parameter"


@pytest.mark.parametrize("limits", [{}, {"max_batch": 16, "max_wait_ms": 5, "workers": 1}], ids=["single", "batches"])
def test_two_hundred_clients_get_each_their_own_answer(folder, loaded, limits):
    images = [picture(seed) for seed in range(200)]
    data = [encoded(image) for image in images]

    async def one(client, place):
        answer = await client.post("/predict", files={"images": (f"{place}.png", data[place])})
        assert answer.status_code == 200
        return answer.json()["predictions"][0]

    async def everybody(port):
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits) as client:
            return await asyncio.gather(*(one(client, place) for place in range(200)))

    with running(folder, **limits) as held:
        found = asyncio.run(everybody(held.port))
        assert held.metric("transferkit_images_total") == 200
        batches = held.metric("transferkit_batch_size_count")
        assert batches == 203 if not limits else batches < 150  # three images of the check
    scores = [expected(loaded, image)["score"] for image in images]
    assert len({round(score, 7) for score in scores}) > 150
    assert [one["name"] for one in found] == [f"{place}.png" for place in range(200)]
    np.testing.assert_allclose([one["score"] for one in found], scores, atol=1e-5)


def test_a_model_without_a_detector(tmp_path):
    from transferkit.model.folder import save_model
    from transferkit.testing import tiny_model

    with running(save_model(tmp_path / "plain", tiny_model(), None, {})) as held:
        answer = held.send(encoded(picture(0))).json()
        assert held.metric("transferkit_interference_score_count") == 0
    found = answer["predictions"][0]
    assert not answer["guarded"] and answer["detect_p"] is None and found["class"] in ("cat", "dog", "owl")
    assert [found[key] for key in ("score", "p_value", "flag", "source_class")] == [None] * 4


def test_answers_are_what_openapi_promises(shared):
    api = shared.client.get("/openapi.json").json()
    post = api["paths"]["/predict"]["post"]
    assert set(post["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"200", "401", "408", "413", "415", "422", "503"} <= set(post["responses"])

    def check(answer, status):
        schema = post["responses"][status]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, {**schema, "components": api["components"]})

    answer = shared.send(encoded(picture(0))).json()
    check(answer, "200")
    with pytest.raises(jsonschema.ValidationError):
        check({**answer, "predictions": [{**answer["predictions"][0], "score": "high"}]}, "200")
    check(shared.send(b"no image").json(), "415")
    body = post["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate({"images": ["aGk="]}, body)


def test_the_model_id_changes_with_the_detector(folder, shared):
    from transferkit.deploy.identity import model_id

    answer = shared.send(encoded(picture(0))).json()
    assert answer["model"] == model_id(folder) == shared.client.get("/health/live").json()["model"]
    path = folder / "interference.json"
    kept = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(kept), "detect_p": 0.5}))
        assert model_id(folder) != answer["model"]
    finally:
        path.write_text(kept)


def test_grey_models_take_colour(tmp_path):
    from transferkit.model import Preprocessing
    from transferkit.model.folder import save_model
    from transferkit.testing import tiny_model

    model = tiny_model(in_chans=1)
    model.preprocessing = Preprocessing((32, 32), (0.5,), (0.5,), 0.9, "center", "bilinear", 1)
    with running(save_model(tmp_path / "grey", model, None, {})) as held:
        assert held.send(encoded(Image.new("RGB", (50, 30), "red"))).status_code == 200


def test_no_answer_waits_for_a_packet_to_be_acknowledged(shared):
    """A socket that holds small packets back costs 40 ms per request."""
    times = []
    for _ in range(15):
        began = time.perf_counter()
        shared.client.get("/health/live")
        times.append(time.perf_counter() - began)
    assert min(times[5:]) < 0.03
