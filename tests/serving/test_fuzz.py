"""Mutated requests: an answer or a refusal, never a failure, and the same images as everywhere else."""

from __future__ import annotations

import base64
import io
import json
import random

import pytest

from transferkit.data.images import BadImage, open_image, readable_formats
from transferkit.data.walk import FORMATS

from .conftest import encoded, picture

SEEDS = {name: encoded(picture(1), name) for name in FORMATS if name in readable_formats()}
STATUSES = {200, 408, 413, 415, 422, 503}


def mutated(rng, data):
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8)):
        place = rng.randrange(min(len(changed), rng.choice([64, 10**6])))
        kind = rng.randrange(4)
        if kind == 0:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            changed[place : place + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
        elif kind == 2:
            changed[place:place] = rng.choice([b"\xff\xda\0\x08", b"\xff" * 5, b"\0" * 9, b"IDAT", changed[:30]])
        else:
            del changed[place + rng.randrange(1, 400) :]
    return bytes(changed) or b"\0"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", SEEDS)
def test_changed_images_get_an_answer_or_a_reason(shared, form):
    rng = random.Random(form)
    for _ in range(40):
        data = mutated(rng, SEEDS[form])
        answer = shared.send(data)
        assert answer.status_code in STATUSES, (answer.text, data)
        try:
            open_image(io.BytesIO(data))
            readable = True
        except BadImage:
            readable = False
        limited = answer.status_code in (413, 503) or "slow" in answer.json().get("reason", "")
        assert (answer.status_code == 200) == readable or limited, (answer.text, data)


def test_changed_bodies_get_an_answer_or_a_reason(shared):
    rng = random.Random(0)
    image = SEEDS["PNG"]
    form = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n' + image + b"\r\n--b--\r\n"
    text = json.dumps({"images": [base64.b64encode(image).decode()]}).encode()
    for _ in range(100):
        for body, kind in ((form, "multipart/form-data; boundary=b"), (text, "application/json")):
            answer = shared.client.post("/predict", content=mutated(rng, body), headers={"content-type": kind})
            assert answer.status_code in STATUSES, answer.text
            answer.json()


@pytest.mark.parametrize(
    "name",
    [
        "filename*=unicode_escape''%5Cud800",
        "filename*=utf-7''+2AA-",
        "filename*=idna''%ff",
        "filename*=no-such-codec''a%ff",
        'filename="\x1b[31m\xff"',
        'filename="=1+1"',
        "filename*0=a; filename*1=b",
    ],
)
def test_any_name_is_sent_back(shared, name):
    head = f'--b\r\nContent-Disposition: form-data; name="a"; {name}\r\n\r\n'.encode("latin-1")
    for image, statuses in ((SEEDS["PNG"], {200, 422}), (b"no image", {415, 422})):
        body = head + image + b"\r\n--b--\r\n"
        answer = shared.client.post(
            "/predict", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
        )
        assert answer.status_code in statuses, answer.text
        json.dumps(answer.json(), ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("kind", ["", b"multipart/form-data; boundary=\xe9", "a/b; c=\x7f", ";;;", "a" * 5000])
def test_any_content_type_is_a_reason(shared, kind):
    assert shared.client.post("/predict", content=b"x", headers={"content-type": kind}).status_code in {415, 422}
