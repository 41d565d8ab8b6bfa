"""What `doctor` finds out about the machine: versions, devices and their precisions, plugins, disk."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transferkit.plugins.kinds import KINDS
from transferkit.plugins.registry import Registry

PACKAGES = (
    "transferkit",
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "safetensors",
    "numpy",
    "scipy",
    "pillow",
    "pydantic",
    "pluggy",
    "tensorboard",
    "datasets",
)
GIB = 2**30


def versions() -> dict[str, str | None]:
    """{package: installed version, or None}."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def devices() -> list[dict[str, Any]]:
    """One entry per device torch can use: name, memory in GiB, and which precisions it can train in."""
    import torch

    found: list[dict[str, Any]] = [_cpu()]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        with torch.cuda.device(index):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        name = torch.cuda.get_device_name(index)
        found.append(_device(f"cuda:{index}", name, free / GIB, total / GIB, bf16=bf16, fp16=True))
    if torch.backends.mps.is_available():
        found.append(_device("mps", "Apple GPU", None, None, bf16=_trains("mps"), fp16=False))
    return found


def _cpu() -> dict[str, Any]:
    import psutil  # comes with accelerate
    import torch

    memory = psutil.virtual_memory()
    name = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return _device("cpu", name, memory.available / GIB, memory.total / GIB, bf16=_trains("cpu"), fp16=False)


def _device(
    device: str, name: str, free: float | None, total: float | None, *, bf16: bool, fp16: bool
) -> dict[str, Any]:
    precisions = ["no", *(["bf16"] if bf16 else []), *(["fp16"] if fp16 else [])]
    return {"device": device, "name": name, "free_gib": free, "total_gib": total, "precisions": precisions}


def _trains(device: str) -> bool:
    """Whether a small layer runs forward and backward under bf16 autocast there."""
    import torch

    try:
        weight = torch.ones(8, 8, device=device, requires_grad=True)
        with torch.autocast(device, torch.bfloat16):
            value = (torch.ones(8, 8, device=device) @ weight).float().sum()
        value.backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    return weight.grad is not None and bool(torch.isfinite(weight.grad).all())


def plugins(registry: Registry) -> dict[str, Any]:
    """Names by kind, and what failed to load."""
    return {
        "installed": {kind: found for kind in KINDS if (found := registry.names(kind))},
        "failed": [str(failure) for failure in registry.failures],
    }


def temporary() -> dict[str, Any] | None:
    """Free space where the trial step is written: TMPDIR. None where no temporary folder can be written."""
    try:
        return disk(Path(tempfile.gettempdir()))
    except OSError:
        return None


def disk(folder: Path) -> dict[str, Any]:
    """Free space where runs would be written."""
    usage = shutil.disk_usage(folder)
    return {"folder": str(folder.resolve()), "free_gib": usage.free / GIB, "total_gib": usage.total / GIB}
