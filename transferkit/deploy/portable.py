"""The model, with its detector where it has one, as one traced graph, and the two file formats that it is kept in.

Its batch is free between 1 and a largest size. Input `images`; outputs `logits`, and of a guarded model `score` and
`source_class`. These names never change. The formats are ONNX and torch.export's own (`pt2`), each written as one file
without a second beside it, and run again; the same graph gives the same ONNX bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from transferkit.deploy.loaded import LoadedModel
from transferkit.deploy.onnx_file import INPUT as INPUT
from transferkit.deploy.onnx_file import Arrays as Arrays
from transferkit.deploy.onnx_file import Runner as Runner
from transferkit.deploy.onnx_file import open_onnx as open_onnx
from transferkit.errors import InputError, TransferkitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTPUTS = ("logits", "score", "source_class")
EXAMPLE = 2  # a batch of one would be taken for a constant
FORMATS = ("onnx", "pt2")
FILES = {"onnx": "model.onnx", "pt2": "model.pt2"}
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}
LARGEST_ONNX = 2**31 - 2**20  # one protobuf message, less room for the graph
OWN = "transferkit"  # the key of our own facts inside a file
OLDEST_OPSET = 18  # of torch's exporter


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
    program.example_inputs = None  # what only concerns this machine: example images, paths and lines of source files
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
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


def check_packages(form: str) -> None:
    """Raise InputError when a package that the format needs is missing."""
    missing = [name for name in NEEDS[form] if find_spec(name) is None]
    if missing:
        raise InputError(f'{form} needs an extra ({", ".join(missing)} missing): pip install "transferkit[export]"')


def versions(form: str) -> dict[str, str]:
    """The installed versions of what writes and runs the format."""
    found = {}
    for name in ("transferkit", "torch", "timm", "numpy", *NEEDS[form]):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # another build of onnxruntime has another name
            found[name] = "?"
    return found


def write_pt2(program: ExportedProgram, path: Path, facts: str) -> dict[str, Any]:
    """Save the program as one file with `facts` inside (extra file `transferkit.json`)."""
    torch.export.save(program, path, extra_files={f"{OWN}.json": facts})
    return {"opset": None}


def write_onnx(
    program: ExportedProgram, path: Path, facts: str, *, outputs: Sequence[str], opset: int | None
) -> dict[str, Any]:
    """Convert the program to one ONNX file with `facts` inside (metadata `transferkit`); returns opset and IR version.

    The batch dimension is called `batch`. Raises InputError for a model of more than 2 GB and for an unknown opset.
    """
    import onnx

    check_size(program)
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not OLDEST_OPSET <= opset <= newest:
        raise InputError(f"opset {opset} cannot be written; choose one from {OLDEST_OPSET} to {newest}")
    converted = torch.onnx.export(
        program,
        (),
        None,
        dynamo=True,
        input_names=[INPUT],
        output_names=list(outputs),
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    assert converted is not None
    model = converted.model_proto
    _tidy(model)
    onnx.helper.set_model_props(model, {OWN: facts})
    onnx.save(model, str(path))
    check_onnx(model, outputs)
    found = {one.domain: one.version for one in model.opset_import}
    return {"opset": int(found[""]), "ir_version": int(model.ir_version)}


def check_size(program: ExportedProgram) -> None:
    """Raise InputError when the weights do not fit into one ONNX file."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > LARGEST_ONNX:
        raise InputError(
            f"the weights are {size / 1e9:.1f} GB and one ONNX file holds at most 2 GB; use --format pt2 for this model"
        )


def check_onnx(model: Any, outputs: Sequence[str]) -> None:
    """Raise TransferkitError unless the names are ours, the batch is free and every other dimension is fixed."""
    found = [[value.name for value in side] for side in (model.graph.input, model.graph.output)]
    if found != [[INPUT], list(outputs)]:
        raise TransferkitError(f"the ONNX graph has inputs and outputs {found} instead of {[[INPUT], list(outputs)]}")
    for value in (*model.graph.input, *model.graph.output):
        first, *rest = value.type.tensor_type.shape.dim
        if first.dim_param != "batch" or any(not one.HasField("dim_value") for one in rest):
            raise TransferkitError(f'the ONNX graph fixes the batch of "{value.name}", so it cannot be used')


def _tidy(model: Any) -> None:
    """Call the batch `batch`, and drop what only concerns the machine it was made on: paths and source lines."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    pattern = re.compile(rf"\b{re.escape(symbol)}\b") if symbol else None
    for value in (*graph.input, *graph.output):
        for one in value.type.tensor_type.shape.dim:
            if pattern is not None and one.HasField("dim_param"):
                one.dim_param = pattern.sub("batch", one.dim_param)
    del graph.value_info[:]
    for part in (model, graph, *model.functions, *graph.input, *graph.output, *graph.initializer):
        _forget(part)
    for nodes in (graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            _forget(node)


def _forget(part: Any) -> None:
    del part.metadata_props[:]
    part.doc_string = ""


def open_pt2(path: Path | str, outputs: Sequence[str], max_batch: int) -> Runner:
    """Run a pt2 file on the CPU. Raises TransferkitError when it takes other batches than 1 to `max_batch`."""
    program = torch.export.load(str(path))
    if batch_range(program) != (1, max_batch):
        raise TransferkitError(f"{path}: takes batches of {batch_range(program)} images instead of 1 to {max_batch}")
    module = program.module()

    def run(images: NDArray[np.float32]) -> Arrays:
        with torch.no_grad():
            found = module(torch.from_numpy(images))
        return {name: value.numpy() for name, value in zip(outputs, found, strict=True)}

    return run


def open_file(form: str, path: Path, outputs: Sequence[str], max_batch: int) -> Runner:
    """Run an exported file of either format, with torch's number of threads."""
    if form == "onnx":
        return open_onnx(path, threads=torch.get_num_threads())
    return open_pt2(path, outputs, max_batch)
