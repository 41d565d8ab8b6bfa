"""The configuration with which NVIDIA's Triton Inference Server takes the exported ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FILE = "config.pbtxt"
TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}

HEAD = """\
# A model of a Triton model repository, whose folder gives it its name:
#   mkdir -p repository/NAME/1
#   cp {file} repository/NAME/1/model.onnx
#   cp config.pbtxt repository/NAME/
#   tritonserver --model-repository repository
"""


def config(file: str, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]], max_batch: int) -> str:
    """The text of config.pbtxt. Shapes are those of the record, the first dimension being the batch."""
    parts = [
        HEAD.format(file=file) + 'backend: "onnxruntime"',
        f"max_batch_size: {max_batch}",
        *(f"input [\n{_tensor(one)}\n]" for one in inputs),
        *(f"output [\n{_tensor(one)}\n]" for one in outputs),
        "dynamic_batching { }",
    ]
    return "\n".join(parts) + "\n"


def _tensor(one: Mapping[str, Any]) -> str:
    lines = [f'name: "{one["name"]}"', f"data_type: {TYPES[one['dtype']]}"]
    rest = one["shape"][1:]
    lines.append(f"dims: [ {', '.join(map(str, rest or [1]))} ]")
    if not rest:
        lines.append("reshape { shape: [ ] }")  # Triton knows no tensor without a dimension beside the batch
    body = "\n".join(f"    {line}" for line in lines)
    return f"  {{\n{body}\n  }}"
