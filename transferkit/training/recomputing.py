"""Gradient checkpointing: timm computes activations again in the backward pass, and all else stays as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError
from transferkit.training.buffers import Buffers

if TYPE_CHECKING:
    from transferkit.model.wrapper import TransferModel


def recompute(model: TransferModel, label: str) -> None:
    """Let the model's blocks keep their inputs alone for the backward pass.

    Raises InputError for a family in which timm cannot do so.
    """
    net: Any = model.net
    try:
        net.set_grad_checkpointing(True)
    except (AssertionError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"gradient_checkpointing: timm offers none for {label}; leave it out, and use a smaller batch_size with "
            "accumulate of the same product, or precision: bf16"
        ) from error
    model.tap_parts()


def recomputing(model: TransferModel, on: bool) -> AbstractContextManager[object]:
    """What a backward pass is made in: running statistics and taps are afterwards as the forward pass left them."""
    return _Recomputing(model) if on else nullcontext()


class _Recomputing(AbstractContextManager[object]):
    """Layers run again in it: batch norm would count a batch twice, and taps would keep what was to be given up."""

    def __init__(self, model: TransferModel) -> None:
        self._model, self._buffers = model, Buffers(model)

    def __enter__(self) -> None:
        self._buffers.keep()
        self._model.tapping(False)

    def __exit__(self, *_: object) -> None:
        self._buffers.give_back()
        self._model.tapping(True)
