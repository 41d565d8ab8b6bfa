"""A model folder, opened by the engine that is asked for, or by the one that fits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from transferkit.errors import InputError
from transferkit.serving.engine import CALIBRATED, ONNX, Opened
from transferkit.serving.settings import Settings

GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA, of AMD, and of Linux within Windows."""


def open_model(folder: Path, settings: Settings, note: Callable[[str], None]) -> Opened:
    """The model, ready. `auto`: torch on a GPU, else an exported graph if it is this model's, else torch.

    Raises InputError where what is asked for cannot be had. Torch is loaded only where it computes, or where there
    may be a GPU.
    """
    there = any((folder / path).is_file() for path in ([ONNX, CALIBRATED] if settings.calibrated else [ONNX]))
    if settings.engine == "onnx" or (settings.engine == "auto" and there and _on_cpu(settings)):
        from transferkit.serving.graph import open_graph

        try:
            return open_graph(folder, calibrated=settings.calibrated)
        except InputError as error:
            if settings.engine == "onnx":
                raise
            note(f"{error}. Until then the model runs in torch")
    from transferkit.serving.eager import open_eager

    return open_eager(folder, settings.device)


def _on_cpu(settings: Settings) -> bool:
    if settings.device != "auto":
        return settings.device == "cpu"
    if not may_have_gpu():
        return True
    from transferkit.serving.eager import available

    return available("auto") == "cpu"


def may_have_gpu() -> bool:
    """False only where it is certain that torch would find none of the kind that `auto` takes."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1") or sys.platform == "darwin":
        return False
    return not sys.platform.startswith("linux") or any(map(os.path.exists, GPUS))
