"""Accelerate, set up for one stage: device, precision, processes."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from transferkit.errors import InputError
from transferkit.recipe import schema


def make_accelerator(recipe: schema.Recipe, stage: schema.Stage, warn: Callable[[str], None]) -> Accelerator:
    """An Accelerator for this stage, without trackers.

    A precision that the device cannot do is refused (fp16 on a CPU) or lowered aloud (bf16 on an old GPU).
    """
    device = available_device(recipe.device)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    precision: str = stage.precision
    if precision == "fp16" and device != "cuda":
        raise InputError(
            f"precision: fp16 needs a CUDA device and this is {device}; use precision=bf16 or precision=no"
        )
    if precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        warn("this GPU cannot do bf16; training in float32 instead")
        precision = "no"
    if device == "cuda" and recipe.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    # stages of one process may differ in precision, which Accelerate keeps in a process-wide singleton
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=precision,
        cpu=device == "cpu",
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )


def available_device(wanted: str) -> str:
    """cpu, cuda or mps for what a recipe or an option says, `auto` included. Raises InputError for one not there."""
    has_mps = torch.backends.mps.is_available()
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device: cuda was asked for, but torch sees no CUDA device; use device=auto or device=cpu")
    if wanted == "mps" and not has_mps:
        raise InputError("device: mps was asked for, but this machine has none; use device=auto or device=cpu")
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
