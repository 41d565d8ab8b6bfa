"""The Open Inference Protocol's requests and answers as bytes: JSON, and its binary extension. Nothing of the web.

A request has one input, `images`. Its datatype says what it is: FP32 what the model sees (n, C, H, W); UINT8 pixels
(n, height, width, 3); BYTES encoded images (n).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from transferkit.deploy.onnx_file import INPUT
from transferkit.report import finite
from transferkit.serving.engine import Outputs, joined
from transferkit.serving.intake import Intake, Picture, called
from transferkit.serving.refusals import Refused
from transferkit.serving.schema import Prediction
from transferkit.words.text import encodable

HEADER = "Inference-Header-Content-Length"
EXTENSION = "binary_tensor_data"
TYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "UINT8": "|u1", "BOOL": "|b1"}
Size = Annotated[int, Field(ge=0, lt=2**31)]


class InputTensor(BaseModel):
    """`data`, or `parameters.binary_data_size` bytes behind the JSON."""

    name: str
    shape: Annotated[list[Size], Field(max_length=4)]
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class WantedTensor(BaseModel):
    """An output that is asked for; `parameters.binary_data` sends it behind the JSON."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """A request; without `outputs` all of them are sent, in binary if `parameters.binary_data_output` says so."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: list[WantedTensor] | None = None


class Asked(NamedTuple):
    """The images of a request and how its answer shall look: {output: in binary}, None for all of them."""

    id: str | None
    pictures: list[Picture]
    outputs: dict[str, bool] | None
    binary: bool


def read_request(intake: Intake, body: bytes, header_length: str | None) -> Asked:
    """What a body asks. Raises Refused."""
    if header_length is None:
        head, rest = body, b""
    elif header_length.isdecimal() and int(header_length[:20]) <= len(body):
        head, rest = body[: int(header_length)], body[int(header_length) :]
    else:
        raise Refused("malformed", f"{HEADER} is no number of bytes within the body")
    try:
        request = InferRequest.model_validate_json(head)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise Refused("malformed", f"{place}: {first['msg']}") from None
    (given,) = request.inputs
    if given.name != INPUT:
        raise Refused("malformed", f'the input is called "{INPUT}"')
    wanted = (
        None if not request.outputs else {one.name: _flag(one.parameters, "binary_data") for one in request.outputs}
    )
    if any("classification" in one.parameters for one in request.outputs or ()):
        raise Refused("parameter", 'the parameter "classification" is not known here; ask for "class" instead')
    pictures = _pictures(intake, given, rest)
    return Asked(request.id, pictures, wanted, _flag(request.parameters, "binary_data_output"))


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise Refused("parameter", f'the parameter "{name}" is true or false')
    return value


def _pictures(intake: Intake, given: InputTensor, rest: bytes) -> list[Picture]:
    size = given.parameters.get("binary_data_size")
    if size is None and given.data is None:
        raise Refused("malformed", f'the input "{INPUT}" has neither data nor a binary_data_size')
    if size is not None and (size != len(rest) or isinstance(size, bool)):
        raise Refused("malformed", f"binary_data_size is {size!r}, and {len(rest)} bytes follow the JSON")
    if size is None and rest:
        raise Refused("malformed", f"{len(rest)} bytes follow the JSON, and no input says that they are its own")
    intake.counted(given.shape[0] if given.shape else 0)
    if given.datatype == "BYTES":
        return _encoded(intake, given, rest)
    if given.datatype == "FP32":
        return _preprocessed(intake, given, rest)
    if given.datatype == "UINT8":
        return _photographs(intake, given, rest)
    raise Refused("malformed", f'the datatype of "{INPUT}" is FP32, UINT8 or BYTES')


def _encoded(intake: Intake, given: InputTensor, rest: bytes) -> list[Picture]:
    if len(given.shape) not in (1, 2) or math.prod(given.shape[1:]) != 1:
        raise Refused("malformed", f'"{INPUT}" of BYTES has the shape [n] or [n, 1]')
    sent = list(_elements(rest)) if given.data is None else [_from_text(one) for one in _flat(given.data)]
    if len(sent) != given.shape[0]:
        raise Refused("malformed", f"the shape says {given.shape[0]} images, and there are {len(sent)}")
    return [Picture(None, intake.pixels(data, called(None, place))) for place, data in enumerate(sent)]


def _elements(data: bytes) -> Iterator[bytes]:
    """Each has its length before it: four bytes, the lowest first."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        place += 4
        if place + size > len(data):
            raise Refused("malformed", "an element of BYTES goes past the end of the body")
        yield data[place : place + size]
        place += size


def _flat(data: Sequence[Any]) -> Iterator[Any]:
    for one in data:
        if isinstance(one, list):
            yield from one
        else:
            yield one


def _from_text(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refused("malformed", "encoded images in JSON are base64 texts") from None


def _numbers(given: InputTensor, rest: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
    kind = np.dtype(TYPES[given.datatype])
    wrong = Refused("malformed", f'the data of "{INPUT}" are not {math.prod(shape)} numbers of {given.datatype}')
    if given.data is None:
        if len(rest) != math.prod(shape) * kind.itemsize:
            raise wrong
        return np.frombuffer(rest, kind).reshape(shape)
    try:
        values = np.asarray(given.data)
        if values.dtype.kind not in "iuf" or values.size != math.prod(shape):
            raise wrong
        if kind.kind == "u" and (values.dtype.kind == "f" or values.min() < 0 or values.max() > 255):
            raise wrong
        return values.astype(kind).reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise wrong from None


def _preprocessed(intake: Intake, given: InputTensor, rest: bytes) -> list[Picture]:
    expected = intake.preprocess.preprocessing
    shape = (expected.in_chans, *expected.input_size)
    if tuple(given.shape[1:]) != shape:
        raise Refused("malformed", f'"{INPUT}" of FP32 has the shape [n, {", ".join(map(str, shape))}]')
    with np.errstate(over="ignore"):
        pixels = _numbers(given, rest, (given.shape[0], *shape))
    if not np.isfinite(pixels).all():
        raise Refused("malformed", f'a number of "{INPUT}" is not finite')
    return [Picture(None, one) for one in pixels.astype(np.float32, copy=False)]


def _photographs(intake: Intake, given: InputTensor, rest: bytes) -> list[Picture]:
    if len(given.shape) != 4 or given.shape[3] != 3:
        raise Refused("malformed", f'"{INPUT}" of UINT8 has the shape [n, height, width, 3]')
    intake.fits((given.shape[2], given.shape[1]), called(None, 0))
    pixels = _numbers(given, rest, tuple(given.shape))
    return [Picture(None, intake.from_array(one, called(None, place))) for place, one in enumerate(pixels)]


# --- answers --------------------------------------------------------------------------------------------------


def described(classes: int, guarded: bool) -> list[dict[str, Any]]:
    """Every output with its datatype and shape, −1 being the number of images."""
    found = [("logits", "FP32", [-1, classes]), ("class", "BYTES", [-1])]
    if guarded:
        found += [("score", "FP32", [-1]), ("source_class", "INT64", [-1]), ("source_name", "BYTES", [-1])]
        found += [("p_value", "FP64", [-1]), ("flag", "BOOL", [-1])]
    return [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in found]


def check_outputs(asked: Asked, guarded: bool) -> None:
    """Raise Refused for an output that the model has not."""
    there = [one["name"] for one in described(1, guarded)]
    if unknown := next((name for name in asked.outputs or () if name not in there), None):
        raise Refused("parameter", f'there is no output "{encodable(unknown[:100])}"; there are {", ".join(there)}')


def written(
    asked: Asked,
    model: str,
    version: str,
    outputs: Sequence[Outputs],
    said: Sequence[Prediction],
    *,
    temperature: float = 1.0,
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow.

    Logits are divided by the temperature, so that their softmax gives the probabilities of every other door.
    """
    found = joined(outputs)
    if temperature != 1.0:
        found = found._replace(logits=found.logits / np.float32(temperature))
    values = _values(found, said)
    kinds = {one["name"]: one["datatype"] for one in described(1, True)}
    wanted = dict.fromkeys(values, asked.binary) if asked.outputs is None else asked.outputs
    entries, parts = [], []
    for name, binary in wanted.items():
        value, kind = values[name], kinds[name]
        entry: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(np.shape(value))}
        if binary:
            parts.append(_bytes(value, kind))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = finite(np.asarray(value).ravel().tolist())
        entries.append(entry)
    content = {"model_name": model, "model_version": version, "outputs": entries}
    head = json.dumps(content if asked.id is None else content | {"id": asked.id}, allow_nan=False).encode()
    return head + b"".join(parts), len(head) if parts else None


def _values(found: Outputs, said: Sequence[Prediction]) -> dict[str, Any]:
    values: dict[str, Any] = {"logits": found.logits, "class": [one.class_ for one in said]}
    if found.score is not None and found.source_class is not None:
        p_values = [np.nan if one.p_value is None else one.p_value for one in said]
        values |= {"score": found.score, "source_class": found.source_class}
        values |= {"source_name": [one.source_class or "" for one in said], "p_value": p_values}
        values |= {"flag": [bool(one.flag) for one in said]}
    return values


def _bytes(value: Any, kind: str) -> bytes:
    if kind == "BYTES":
        texts = [text.encode() for text in value]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.ascontiguousarray(value, TYPES[kind]).tobytes()
