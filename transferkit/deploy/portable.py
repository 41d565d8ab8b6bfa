"""The model, with its detector where it has one, as one traced graph, and the two file formats that it is kept in.

Its batch is free between 1 and a largest size. Input `images`, or `pixels` of any size where the graph preprocesses
them itself; outputs `logits`, and of a guarded model `score` and `source_class`. These names never change.
The formats are ONNX and torch.export's own (`pt2`), each written as one file without a second beside it, and run again;
the same graph gives the same ONNX bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from transferkit.deploy.loaded import LoadedModel
from transferkit.deploy.onnx_file import INPUT as INPUT
from transferkit.deploy.onnx_file import Arrays as Arrays
from transferkit.deploy.onnx_file import Runner as Runner
from transferkit.deploy.onnx_file import open_onnx as open_onnx
from transferkit.deploy.pixels import INPUT as PIXELS
from transferkit.deploy.pixels import PixelIntake
from transferkit.errors import InputError, TransferkitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transferkit.model.preprocessing import Preprocessing

OUTPUTS = ("logits", "score", "source_class")
EXAMPLE = 2  # a batch of one would be taken for a constant
PICTURE = (37, 53)  # height and width of the example: neither is a factor of anything
LONGEST_SIDE = 2**16  # of pixels: what a JPEG can have
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}
LARGEST_ONNX = 2**31 - 2**20  # one protobuf message, less room for the graph
OWN = "transferkit"  # the key of our own facts inside a file
OLDEST_OPSET = 18  # of torch's exporter


class Graph(nn.Module):
    """(n, C, H, W) -> a plain tuple of tensors, which every runtime knows: the outputs in the order of OUTPUTS."""

    def __init__(self, loaded: LoadedModel, temperature: float | None = None) -> None:
        super().__init__()
        self.whole: nn.Module = loaded.model if loaded.module is None else loaded.module
        self.guarded = loaded.guarded
        self.temperature = temperature

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return OUTPUTS if self.guarded else OUTPUTS[:1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Preprocessed images. With a temperature the logits are divided by it; what the detector says is as before."""
        output = self.whole(images)
        logits = output.logits if self.temperature is None else output.logits / self.temperature
        if not self.guarded:
            return (logits,)
        return logits, output.score, output.source_class


class PixelGraph(nn.Module):
    """(n, height, width, 3) uint8 -> the same outputs: the preprocessing is a part of the graph."""

    def __init__(self, graph: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.intake = PixelIntake(preprocessing)
        self.inner = graph

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """RGB pixels of pictures of one size."""
        found: tuple[Tensor, ...] = self.inner(self.intake(pixels))
        return found


class Untraceable(TransferkitError):
    """The model cannot be made into one graph for every batch size."""


def trace(graph: nn.Module, shape: tuple[int, int, int] | None, max_batch: int) -> ExportedProgram:
    """The graph by `torch.export`, for images of the shape (C, H, W) in batches of 1 to `max_batch`.

    Without a shape it is a graph that takes pixels, of any height and width. Raises Untraceable when it cannot be
    traced, or only for fewer sizes.
    """
    free = {0: Dim("batch", min=1, max=max_batch)}
    if shape is None:
        free |= {place: Dim(name, min=1, max=LONGEST_SIDE) for place, name in enumerate(("height", "width"), 1)}
        name, example = PIXELS, torch.zeros(EXAMPLE, *PICTURE, 3, dtype=torch.uint8)
    else:
        name, example = INPUT, torch.zeros(EXAMPLE, *shape)
    with torch.no_grad():
        program = torch.export.export(graph, (example,), dynamic_shapes={name: free}, strict=False)
    check_range(program, max_batch)
    for place in range(1, len(free)):
        if free_range(program, place) != (1, LONGEST_SIDE):
            raise Untraceable(f"the graph takes pictures of {free_range(program, place)} pixels a side alone")
    program.example_inputs = None  # what only concerns this machine: example images, paths and lines of source files
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def batch_range(program: ExportedProgram) -> tuple[int, int]:
    """The smallest and the largest batch that the program takes; both the same where it was frozen."""
    return free_range(program, 0)


def free_range(program: ExportedProgram, place: int) -> tuple[int, int]:
    """The smallest and the largest size of a dimension of its input; both the same where it was frozen."""
    (node,) = (node for node in program.graph.nodes if node.op == "placeholder" and node.name in (INPUT, PIXELS))
    size = node.meta["val"].shape[place]
    if isinstance(size, int):
        return size, size
    limits = program.range_constraints[size.node.expr]
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

    Free dimensions are called `batch`, `height` and `width`. Raises InputError for a model of more than 2 GB and for an
    unknown opset.
    """
    import onnx

    check_size(program)
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not OLDEST_OPSET <= opset <= newest:
        raise InputError(f"opset {opset} cannot be written; choose one from {OLDEST_OPSET} to {newest}")
    (given,) = program.graph_signature.user_inputs
    converted = torch.onnx.export(
        program,
        (),
        None,
        dynamo=True,
        input_names=[given],
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
    check_onnx(model, str(given), outputs)
    found = {one.domain: one.version for one in model.opset_import}
    return {"opset": int(found[""]), "ir_version": int(model.ir_version)}


def check_size(program: ExportedProgram) -> None:
    """Raise InputError when the weights do not fit into one ONNX file."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > LARGEST_ONNX:
        raise InputError(
            f"the weights are {size / 1e9:.1f} GB and one ONNX file holds at most 2 GB; use --format pt2 for this model"
        )


def check_onnx(model: Any, given: str, outputs: Sequence[str]) -> None:
    """Raise TransferkitError unless the names are ours, the batch is free and every other dimension is fixed.

    Of pixels, height and width are free too.
    """
    found = [[value.name for value in side] for side in (model.graph.input, model.graph.output)]
    if found != [[given], list(outputs)]:
        raise TransferkitError(f"the ONNX graph has inputs and outputs {found} instead of {[[given], list(outputs)]}")
    for value in (*model.graph.input, *model.graph.output):
        first, *rest = value.type.tensor_type.shape.dim
        free = [one.dim_param for one in rest if not one.HasField("dim_value")]
        if first.dim_param != "batch" or free != (["height", "width"] if value.name == PIXELS else []):
            raise TransferkitError(f'the ONNX graph fixes the batch of "{value.name}", so it cannot be used')


def _tidy(model: Any) -> None:
    """Name the free dimensions, and drop what only concerns the machine it was made on: paths and source lines."""
    graph = model.graph
    free = [one.dim_param for one in graph.input[0].type.tensor_type.shape.dim if one.HasField("dim_param")]
    names = dict(zip(free, ("batch", "height", "width"), strict=False))
    for value in (*graph.input, *graph.output):
        for one in value.type.tensor_type.shape.dim:
            if one.HasField("dim_param"):
                one.dim_param = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), one.dim_param)
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

    def run(images: NDArray[Any]) -> Arrays:
        with torch.no_grad():
            found = module(torch.from_numpy(images))
        return {name: value.numpy() for name, value in zip(outputs, found, strict=True)}

    return run


def open_file(form: str, path: Path, outputs: Sequence[str], max_batch: int) -> Runner:
    """Run an exported file of either format, with torch's number of threads."""
    if form == "onnx":
        return open_onnx(path, threads=torch.get_num_threads())
    return open_pt2(path, outputs, max_batch)
