"""config.pbtxt as Triton's documentation asks for it: no batch in dims, and no tensor without a dimension."""

from __future__ import annotations

from transferkit.deploy.export_folder import triton_config

EXPECTED = """\
backend: "onnxruntime"
max_batch_size: 16
input [
  {
    name: "images"
    data_type: TYPE_FP32
    dims: [ 3, 224, 192 ]
  }
]
output [
  {
    name: "logits"
    data_type: TYPE_FP32
    dims: [ 2 ]
  }
]
output [
  {
    name: "source_class"
    data_type: TYPE_INT64
    dims: [ 1 ]
    reshape { shape: [ ] }
  }
]
dynamic_batching { }
"""


def test_the_whole_text():
    inputs = [{"name": "images", "dtype": "float32", "shape": ["batch", 3, 224, 192]}]
    outputs = [
        {"name": "logits", "dtype": "float32", "shape": ["batch", 2]},
        {"name": "source_class", "dtype": "int64", "shape": ["batch"]},
    ]
    lines = triton_config("model.onnx", inputs, outputs, 16).splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")) == EXPECTED
    assert any("cp model.onnx repository/NAME/1/model.onnx" in line for line in lines)
