"""int8: ONNX Runtime's static quantisation of a float graph, with ranges seen on pictures of the target task.

Heads stay in floats: they are a sliver of the work, and the detector's threshold lives on their last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from transferkit.deploy.onnx_file import INPUT
from transferkit.model.preprocessing import Preprocess, Preprocessing

KINDS = ("Conv", "MatMul", "Gemm")
"""What is worth it."""


def quantise(
    floats: Path,
    path: Path,
    preprocessing: Preprocessing,
    pictures: Callable[[], Iterator[Image.Image]],
    intake: Path | None,
    facts: dict[str, str],
) -> dict[str, Any]:
    """Write the graph `floats`, quantised, to `path`, behind the graph `intake` where pixels are given.

    Weights are int8 for each output channel, activations uint8, as pairs of QuantizeLinear and DequantizeLinear.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    preprocess = Preprocess(preprocessing)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting = pictures()

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self.waiting, None)
            return None if picture is None else {INPUT: preprocess(picture).numpy()[None]}

    prepared = path.with_name("prepared.onnx")
    quant_pre_process(str(floats), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(KINDS),
        nodes_to_exclude=_heads(onnx.load(str(prepared))),
    )
    model = onnx.load(str(path))
    if intake is not None:
        model = _behind(onnx.load(str(intake)), model)
        intake.unlink()
    used = {node.domain for node in model.graph.node} | {""}
    kept = [one for one in model.opset_import if one.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(path))
    prepared.unlink()
    return {"opset": int(next(one.version for one in kept if not one.domain)), "ir_version": int(model.ir_version)}


def _heads(model: Any) -> list[str]:
    """The names of the linear layers behind which no other one comes: the classifier, and the detector's."""
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    before: set[str] = set()
    """Outputs of nodes that come before another such layer."""
    heads = []
    for node in reversed(model.graph.node):
        after = [one for name in node.output for one in readers.get(name, ())]
        if any(one.op_type in KINDS or before.intersection(one.output) for one in after):
            before.update(node.output)
        elif node.op_type in KINDS:
            heads.append(node.name)
    return heads


def _behind(intake: Any, model: Any) -> Any:
    from onnx import compose

    # not the intake: its branches read names from outside, which would not be renamed
    model = compose.add_prefix(model, "model_", rename_inputs=False, rename_outputs=False)
    for one in (intake, model):
        del one.metadata_props[:]
        one.ir_version = max(intake.ir_version, model.ir_version)
    return compose.merge_models(intake, model, io_map=[(INPUT, INPUT)])
