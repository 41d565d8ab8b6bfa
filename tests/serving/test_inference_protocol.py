"""The Open Inference Protocol: its clients get what /predict says, and are refused what it refuses."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest

from .conftest import encoded, picture, running

INFER = "/v2/models/model/infer"
HEADER = "inference-header-content-length"


def elements(parts):
    """BYTES on the wire: a length of four bytes, the lowest first, before each."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def asked(datatype, shape, data=None, **more):
    one = {"name": "images", "datatype": datatype, "shape": shape, **more}
    return {"inputs": [one if data is None else one | {"data": data}]}


def in_binary(client, datatype, shape, data, place=INFER, **more):
    content = asked(datatype, shape, parameters={"binary_data_size": len(data)}) | more
    head = json.dumps(content).encode()
    return client.post(place, content=head + data, headers={HEADER: str(len(head))})


def arrays(answer):
    """{output: list of its values} of an answer in JSON or in binary."""
    head = int(answer.headers.get(HEADER, len(answer.content)))
    found, place = {}, head
    for one in json.loads(answer.content[:head])["outputs"]:
        size = (one.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[one["name"]] = one["data"]
            continue
        part, place = answer.content[place : place + size], place + size
        if one["datatype"] == "BYTES":
            texts = []
            while part:
                (length,) = struct.unpack("<I", part[:4])
                texts.append(part[4 : 4 + length].decode())
                part = part[4 + length :]
            found[one["name"]] = texts
        else:
            kind = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "BOOL": "?"}[one["datatype"]]
            found[one["name"]] = np.frombuffer(part, kind).reshape(one["shape"]).ravel().tolist()
        assert len(found[one["name"]]) == np.prod(one["shape"])
    assert place == len(answer.content)
    return found


@pytest.fixture(scope="module")
def images():
    return [picture(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def said(shared, images):
    return shared.send(*map(encoded, images)).json()["predictions"]


def same(found, said, loaded):
    assert found["class"] == [one["class"] for one in said]
    assert found["score"] == pytest.approx([one["score"] for one in said], abs=1e-6)
    assert found["p_value"] == pytest.approx([one["p_value"] for one in said])
    assert found["flag"] == [one["flag"] for one in said]
    assert found["source_name"] == [one["source_class"] for one in said]
    assert [loaded.source_classes[index] for index in found["source_class"]] == found["source_name"]
    logits = np.array(found["logits"]).reshape(len(said), -1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probabilities.max(axis=1).tolist() == pytest.approx([one["probability"] for one in said], abs=1e-6)


@pytest.mark.parametrize("answered", ["json", "binary"])
@pytest.mark.parametrize("form", ["FP32", "FP32 json", "FP32 nested", "BYTES", "BYTES json", "UINT8", "UINT8 json"])
def test_every_form_is_answered_as_predict_does(shared, loaded, images, said, form, answered):
    datatype, _, how = form.partition(" ")
    files = list(map(encoded, images))
    if datatype == "FP32":
        given = np.stack([loaded.preprocess(one).numpy() for one in images])
    elif datatype == "UINT8":
        given = np.stack([np.asarray(one) for one in images])
    else:
        given = np.empty(len(files))
    more = {"parameters": {"binary_data_output": True}} if answered == "binary" else {}
    shape = list(given.shape)
    if how:
        data = [base64.b64encode(one).decode() for one in files] if datatype == "BYTES" else given.ravel().tolist()
        data = given.tolist() if how == "nested" else data
        answer = shared.client.post(INFER, json=asked(datatype, shape, data) | more)
    else:
        data = elements(files) if datatype == "BYTES" else given.tobytes()
        answer = in_binary(shared.client, datatype, shape, data, **more)
    assert answer.status_code == 200, answer.text
    assert (HEADER in answer.headers) is (answered == "binary")
    same(arrays(answer), said, loaded)


def test_outputs_are_chosen_and_ids_come_back(shared, images):
    wanted = [{"name": "flag"}, {"name": "logits", "parameters": {"binary_data": True}}]
    answer = in_binary(
        shared.client, "BYTES", [1, 1], elements([encoded(images[0])]), f"{INFER}", outputs=wanted, id="mine"
    )
    head = json.loads(answer.content[: int(answer.headers[HEADER])])
    assert head["id"] == "mine" and head["model_name"] == "model" and head["model_version"] == "1"
    assert [one["name"] for one in head["outputs"]] == ["flag", "logits"]
    assert head["outputs"][1]["shape"] == [1, 4] and head["outputs"][1]["parameters"] == {"binary_data_size": 16}
    assert len(arrays(answer)["logits"]) == 4


def test_what_is_served_is_described(shared, loaded):
    client = shared.client
    server = client.get("/v2").json()
    assert server["name"] == "transferkit" and server["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for place in ("/v2/models/model", "/v2/models/model/versions/1"):
        found = client.get(place).json()
        assert found["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 32, 32]}]
        outputs = {one["name"]: (one["datatype"], one["shape"]) for one in found["outputs"]}
        assert outputs["logits"] == ("FP32", [-1, 4]) and outputs["source_class"] == ("INT64", [-1])
        assert client.get(f"{place}/ready").json() == {"name": "model", "ready": True}
    for place in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/model/versions/2/ready"):
        answer = client.get(place)
        assert answer.status_code == 404 and answer.json()["reason"] == "unknown_model" and answer.json()["error"]


PNG = base64.b64encode(encoded(picture(1))).decode()
WRONG = {
    "no json": (b"{", 422, "malformed"),
    "two inputs": (asked("BYTES", [1], [PNG])["inputs"] * 2, 422, "malformed"),
    "another input": ([{"name": "x", "datatype": "BYTES", "shape": [1], "data": [PNG]}], 422, "malformed"),
    "another type": (asked("FP16", [1], [1]), 422, "malformed"),
    "another size": (asked("FP32", [1, 3, 31, 32], [0] * 2976), 422, "malformed"),
    "too few numbers": (asked("FP32", [1, 3, 32, 32], [0] * 3071), 422, "malformed"),
    "ragged": (asked("FP32", [1, 3, 32, 32], [[0], [0, 1]]), 422, "malformed"),
    "texts": (asked("FP32", [1, 3, 32, 32], ["0"] * 3072), 422, "malformed"),
    "infinite": (asked("FP32", [1, 3, 32, 32], [1e300] * 3072), 422, "malformed"),
    "no bytes": (asked("UINT8", [1, 1, 1, 3], [0, 1, 256]), 422, "malformed"),
    "no data": (asked("BYTES", [1]), 422, "malformed"),
    "no base64": (asked("BYTES", [1], ["?"]), 422, "malformed"),
    "no images": (asked("BYTES", [0], []), 422, "no_image"),
    "no pixels": (asked("UINT8", [1, 0, 4, 3], []), 422, "unreadable"),
    "too many": (asked("BYTES", [33], [PNG] * 33), 422, "too_many_images"),
    "too many pixels": (asked("UINT8", [1, 40_000, 40_000, 3], []), 413, "too_many_pixels"),
    "a shape of five": (asked("UINT8", [1, 1, 1, 1, 3], [1, 2, 3]), 422, "malformed"),
    "a negative shape": (asked("BYTES", [-1], [PNG]), 422, "malformed"),
    "no image": (asked("BYTES", [1], [base64.b64encode(b"x").decode()]), 415, "format"),
    "another output": (asked("BYTES", [1], [PNG]) | {"outputs": [{"name": "\ud800"}]}, 422, "malformed"),
    "unknown output": (asked("BYTES", [1], [PNG]) | {"outputs": [{"name": "x"}]}, 422, "parameter"),
    "classification": (
        asked("BYTES", [1], [PNG]) | {"outputs": [{"name": "logits", "parameters": {"classification": 3}}]},
        422,
        "parameter",
    ),
    "no flag": (asked("BYTES", [1], [PNG]) | {"parameters": {"binary_data_output": "yes"}}, 422, "parameter"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(shared, name):
    body, status, reason = WRONG[name]
    before = shared.metric("transferkit_rejects_total", reason=reason) or 0
    content = body if isinstance(body, bytes) else json.dumps({"inputs": body} if isinstance(body, list) else body)
    answer = shared.client.post(INFER, content=content)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert answer.json()["error"]
    assert shared.metric("transferkit_rejects_total", reason=reason) == before + 1


@pytest.mark.parametrize("length", ["-1", "x", "9" * 30, "1000000"])
def test_a_wrong_length_of_the_head_is_refused(shared, length):
    answer = shared.client.post(INFER, content=b"{}", headers={HEADER: length})
    assert answer.status_code == 422 and answer.json()["reason"] == "malformed"


@pytest.mark.parametrize("data", [b"", b"\1", b"\5\0\0\0ab", elements([b"a", b"b"]), b"\xff\xff\xff\xff"])
def test_damaged_elements_are_refused(shared, data):
    answer = in_binary(shared.client, "BYTES", [1], data)
    assert answer.status_code in (415, 422), answer.text


@pytest.mark.parametrize("size", [1, True, "3", None])
def test_a_wrong_size_of_the_data_is_refused(shared, size):
    head = json.dumps(asked("BYTES", [1], parameters={"binary_data_size": size})).encode()
    answer = shared.client.post(INFER, content=head + b"abc", headers={HEADER: str(len(head))})
    assert answer.status_code == 422 and answer.json()["reason"] == "malformed"


def test_limits_of_predict_hold_here_too(folder):
    key = {"X-API-Key": "a key of at least sixteen"}
    with running(folder, key=key["X-API-Key"], max_bytes=20_000, max_images=2, max_pixels=2000) as held:
        body = asked("BYTES", [1], [PNG])
        assert held.client.post(INFER, json=body).status_code == 401
        assert held.client.get("/v2/models/model").json()["reason"] == "unauthorized"
        assert held.client.get("/v2/health/ready").status_code == 200
        assert held.client.post(INFER, json=body, headers=key).status_code == 200
        many = asked("BYTES", [3], [PNG] * 3)
        assert held.client.post(INFER, json=many, headers=key).json()["reason"] == "too_many_images"
        large = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 50, 50, 3], "data": [0] * 7500}]}
        large["inputs"][0]["data"] = [0]
        assert held.client.post(INFER, json=large, headers=key).json()["reason"] == "too_many_pixels"
        assert held.client.post(INFER, content=b" " * 20_001, headers=key).json()["reason"] == "too_many_bytes"
        packed = {**key, "Content-Encoding": "gzip"}
        assert held.client.post(INFER, content=b"x", headers=packed).json()["reason"] == "content_type"


def test_what_is_answered_is_counted_and_logged(folder, tmp_path):
    log = tmp_path / "log.jsonl"
    with running(folder, log=log) as held:
        found = arrays(held.client.post(INFER, json=asked("BYTES", [2], [PNG, PNG])))
        assert held.metric("transferkit_images_total", model="model") == 2
        assert held.metric("transferkit_interference_score_count", model="model") == 2
        route = "/v2/models/{model}/infer"
        assert held.metric("transferkit_requests_total", route=route, code="200") == 1
        held.client.get("/v2/models/model/versions/1/ready")
        assert held.metric("transferkit_requests_total", route="/v2/models/{model}/ready", code="200") == 1
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["score"] for line in lines] == pytest.approx(found["score"])


def test_the_client_of_triton_is_understood(shared, loaded, images, said):
    """Unmodified; runs where `tritonclient[http]` is installed."""
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(f"127.0.0.1:{shared.port}")
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("model")
    assert client.is_model_ready("model", "1") and not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "transferkit"
    (described,) = client.get_model_metadata("model")["inputs"]
    tensors = np.stack([loaded.preprocess(one).numpy() for one in images])
    files = np.array([encoded(one) for one in images], dtype=np.object_)
    names = ["logits", "class", "score", "source_class", "source_name", "p_value", "flag"]
    for values, kind in ((tensors, described["datatype"]), (files, "BYTES"), (np.stack(images), "UINT8")):
        for binary in (True, False) if kind != "BYTES" else (True,):
            given = http.InferInput(described["name"], list(values.shape), kind)
            given.set_data_from_numpy(values, binary_data=binary)
            for wanted in (None, [http.InferRequestedOutput(name, binary_data=binary) for name in names]):
                answer = client.infer("model", [given], outputs=wanted, request_id="7")
                assert answer.get_response()["id"] == "7"
                found = {name: answer.as_numpy(name).ravel().tolist() for name in names}
                for name in ("class", "source_name"):
                    found[name] = [one.decode() if isinstance(one, bytes) else one for one in found[name]]
                same(found, said, loaded)
    with pytest.raises(Exception, match="there is no model of that name"):
        client.infer("other", [given])
    client.close()
