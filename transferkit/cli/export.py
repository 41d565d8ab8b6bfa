"""`transferkit export`: a model and its detector as one file for ONNX Runtime, Triton or plain torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.outputs import refuse_file
from transferkit.deploy.hub import PREFIX, is_fetched
from transferkit.deploy.place import model_folder
from transferkit.errors import InputError
from transferkit.system.signals import stoppable
from transferkit.system.terminal import note, print_json, say, working
from transferkit.words.formats import number

if TYPE_CHECKING:
    from transferkit.deploy.export_folder import ExportedFile, ExportRecord, Tensor


class Input(StrEnum):
    """What a graph is given."""

    floats = "floats"
    uint8 = "uint8"


class Format(StrEnum):
    """The file formats."""

    onnx = "onnx"
    pt2 = "pt2"


def export(
    model: Annotated[str, typer.Argument(help="A model folder, a run folder, or hf-hub:org/name.", show_default=False)],
    format: Annotated[
        Format | None, typer.Option(help="onnx or pt2 (torch.export). Default: onnx.", show_default=False)
    ] = None,
    input: Annotated[
        Input | None,
        typer.Option(
            help="floats (preprocessed) or uint8 (RGB pixels of any size). Default: both.", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write into this folder. Default: exports/ of the model.")] = None,
    max_batch: Annotated[int, typer.Option(min=2, help="The largest batch the file is for.")] = 64,
    opset: Annotated[int | None, typer.Option(min=1, help="ONNX operator set. Default: the exporter's own.")] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Divide the logits by the temperature in the model's folder.")
    ] = False,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check what was exported before; write nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the content of export.json.")] = False,
) -> None:
    """Export a model with its detector as one file that answers exactly as the model does.

    The file is compared with the model on batches of several sizes; if it differs nothing is written.
    """
    for name, value in {"opset": opset, "input": input, "calibrated": calibrated or None}.items():
        if check and value is not None:
            raise InputError(f"--check reads what is there, so --{name} has no meaning; leave it out")
    refuse_file(out, "exports")
    folder = model_folder(model, stage)
    if out is None and model.startswith(PREFIX) and is_fetched(folder):
        raise InputError(f"{model} lies in the Hub's cache, where nothing is written; say where to with --out FOLDER")
    form = None if format is None else format.value
    with working("starting") as step, stoppable("exporting; nothing was written and older exports are as they were"):
        from transferkit.deploy.export import export_model, verify_export
        from transferkit.deploy.export_folder import FOLDER
        from transferkit.deploy.variants import Variant

        if check:
            record = verify_export(out or folder / FOLDER, form, model_dir=folder, step=step)
            place, notes = out or folder / FOLDER, []
            shown = [name for name in record.exports if form in (None, Variant.of(name).form)]
        else:
            inputs = None if input is None else [input.value]
            done = export_model(
                folder,
                form or "onnx",
                inputs=inputs,
                out=out,
                max_batch=max_batch,
                opset=opset,
                calibrated=calibrated,
                step=step,
            )
            record, place, notes = done.record, done.folder, done.notes
            shown = [variant.key for variant in done.variants]
    for text in notes:
        note(text)
    if not record.guarded:
        note("the model has no interference detector, so logits are the only output")
    if json:
        print_json(record.content())
        return
    for name in shown:
        show(place, record, record.exports[name])


def show(place: Path, record: ExportRecord, entry: ExportedFile) -> None:
    """The answer for people."""
    opset = "" if entry.opset is None else f", opset {entry.opset}"
    say(f"{place / entry.file}   {entry.bytes / 1e6:.1f} MB{opset}, batches of {entry.batch.min} to {entry.batch.max}")
    say(f"input    {_listed(entry.inputs or record.inputs)}")
    divided = "" if entry.temperature is None else f"; logits are divided by {number(entry.temperature, 3)}"
    say(f"outputs  {_listed(record.outputs)}{divided}")
    count = sum(one[key] for one in entry.parity.batches for key in ("class_ties", "source_class_ties"))
    ties = f" ({count} near ties left out)" if count else ""  # rows whose classes cannot be compared
    sizes = ", ".join(dict.fromkeys(str(one["batch"]) for one in entry.parity.batches))
    score = "" if entry.parity.score is None else f", score by {number(entry.parity.score, 2)}"
    allowed = min(one["tolerance"] for one in entry.parity.batches)
    say(
        f"agrees   with the model on {entry.parity.rows} images in batches of {sizes}: the same classes{ties}, "
        f"logits differ by at most {number(entry.parity.logits, 2)} ({number(allowed, 2)} is allowed){score}"
    )
    if not entry.batch.enforced and entry.inputs is None:
        say(f"         the file itself takes larger batches too; {place / 'config.pbtxt'} limits them in Triton")


def _listed(tensors: list[Tensor]) -> str:
    return "; ".join(f"{one.name} {one.dtype} ({', '.join(map(str, one.shape))})" for one in tensors)
