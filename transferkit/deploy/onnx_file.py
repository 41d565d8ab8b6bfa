"""An exported ONNX file in ONNX Runtime. No torch: a server of such a file does not load it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]
Runner = Callable[["NDArray[Any]"], Arrays]

INPUT = "images"


def open_onnx(path: Path | str, *, threads: int = 1) -> Runner:
    """Run an ONNX file on the CPU: images (n, C, H, W) float32, or pixels -> {output: array}."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    (given,) = session.get_inputs()

    def run(images: NDArray[Any]) -> Arrays:
        return dict(zip(names, session.run(names, {given.name: images}), strict=True))

    return run
