"""The model, with its detector where it has one, as one traced graph whose batch is free between 1 and a largest size.

Input `images`; outputs `logits`, and of a guarded model `score` and `source_class`. These names never change.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from transferkit.errors import TransferkitError
from transferkit.loaded import LoadedModel

INPUT = "images"
OUTPUTS = ("logits", "score", "source_class")
EXAMPLE = 2  # a batch of one would be taken for a constant


class Graph(nn.Module):
    """(n, C, H, W) -> a plain tuple of tensors, which every runtime knows: the outputs in the order of OUTPUTS."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self.whole: nn.Module = loaded.model if loaded.module is None else loaded.module
        self.guarded = loaded.guarded

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return OUTPUTS if self.guarded else OUTPUTS[:1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Preprocessed images."""
        output = self.whole(images)
        if not self.guarded:
            return (output.logits,)
        return output.logits, output.score, output.source_class


class Untraceable(TransferkitError):
    """The model cannot be made into one graph for every batch size."""


def trace(graph: Graph, shape: tuple[int, int, int], max_batch: int) -> ExportedProgram:
    """The graph by `torch.export`, for images of the shape (C, H, W) in batches of 1 to `max_batch`.

    Raises Untraceable when it cannot be traced, or only for fewer batch sizes.
    """
    example = torch.zeros(EXAMPLE, *shape)
    batch = Dim("batch", min=1, max=max_batch)
    with torch.no_grad():
        program = torch.export.export(graph, (example,), dynamic_shapes={INPUT: {0: batch}}, strict=False)
    check_range(program, max_batch)
    _forget(program)
    return program


def batch_range(program: ExportedProgram) -> tuple[int, int]:
    """The smallest and the largest batch that the program takes; both the same where it was frozen."""
    (node,) = (node for node in program.graph.nodes if node.op == "placeholder" and node.name == INPUT)
    first = node.meta["val"].shape[0]
    if isinstance(first, int):
        return first, first
    limits = program.range_constraints[first.node.expr]
    return int(limits.lower), int(limits.upper)


def check_range(program: ExportedProgram, max_batch: int) -> None:
    """Raise Untraceable unless the program takes exactly the batches from 1 to `max_batch`."""
    found = batch_range(program)
    if found != (1, max_batch):
        raise Untraceable(
            f"the graph takes batches of {found[0]} to {found[1]} images instead of 1 to {max_batch}: this "
            "architecture fixes its batch size, so it cannot be exported"
        )


def _forget(program: ExportedProgram) -> None:
    """Drop what only concerns the machine it was made on: paths and lines of source files, example images."""
    program.example_inputs = None
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def shapes(graph: Graph, loaded: LoadedModel) -> list[dict[str, Any]]:
    """What each output is, for people and servers: name, dtype and shape; the first dimension is the batch."""
    of = {
        "logits": ("float32", ["batch", len(loaded.classes)]),
        "score": ("float32", ["batch"]),
        "source_class": ("int64", ["batch"]),
    }
    return [{"name": name, "dtype": of[name][0], "shape": of[name][1]} for name in graph.outputs]
