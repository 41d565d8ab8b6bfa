"""A model folder as one file for other runtimes, which exists only if it answers as the model does."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from transferkit.deploy import parity, portable
from transferkit.deploy.export_folder import (
    FILE,
    FOLDER,
    Batch,
    ExportedFile,
    ExportRecord,
    Parity,
    Tensor,
    check_file,
    check_model,
    check_temperature,
    model_files,
    publish,
    read_record,
    workplace,
)
from transferkit.deploy.loaded import LoadedModel, load
from transferkit.deploy.pixels import INPUT as PIXELS
from transferkit.deploy.pixels import check as check_preprocessing
from transferkit.deploy.portable import EXAMPLE, INPUT, Graph, PixelGraph, trace
from transferkit.deploy.variants import FORMATS, INPUTS, Variant
from transferkit.errors import InputError, TransferkitError
from transferkit.system.atomic import sha256

Step = Callable[[str], None]
MAX_BATCH = 64
PIXEL_INPUT = Tensor(name=PIXELS, dtype="uint8", shape=["batch", "height", "width", 3])
LINES = 40  # of what an exporter said, where it failed


@dataclass(frozen=True)
class Export:
    """What was written: the folder, which files, the record they are in, and what else happened, in sentences."""

    folder: Path
    variants: list[Variant]
    record: ExportRecord
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The first of the files."""
        return self.folder / self.entry.file

    @property
    def entry(self) -> ExportedFile:
        """The first file's part of the record."""
        return self.record.exports[self.variants[0].key]


def export_model(
    model_dir: Path | str,
    form: str = "onnx",
    *,
    inputs: Sequence[str] | None = None,
    out: Path | str | None = None,
    max_batch: int = MAX_BATCH,
    opset: int | None = None,
    calibrated: bool = False,
    step: Step = lambda text: None,
) -> Export:
    """Write `model.onnx` or `model.pt2`, and `export.json`, into `exports/` of the model folder or into `out`.

    One graph gives logits, score and source class (logits alone without a detector) for batches of 1 to `max_batch`;
    of `inputs`, `floats` takes preprocessed images, `uint8` (`model_uint8.…`) RGB pixels of any size. Default: both,
    where a graph can do the model's preprocessing. With `calibrated` the logits are divided by the temperature in the
    model's folder (`model_calibrated.…`), else they are the model's own. The files are compared with the eager model
    first; nothing is left behind unless they agree. `step` is told what is going on. Raises InputError for wrong input,
    TransferkitError when the model cannot be exported, ParityError.
    """
    folder = Path(model_dir)
    target = folder / FOLDER if out is None else Path(out)
    _check(form, target, max_batch, opset, inputs)
    step("opening the model")
    loaded = load(folder, calibrated=calibrated)
    notes: list[str] = []
    chosen = [*dict.fromkeys(inputs)] if inputs else _possible(loaded, notes)
    variants = [Variant(form, given, calibrated) for given in chosen]
    if "uint8" in chosen:
        check_preprocessing(loaded.model.preprocessing)
    graph = Graph(loaded, loaded.temperature).eval()
    record = _record(folder, loaded, graph)
    with workplace(target) as work:
        entries = {
            one.key: _write(loaded, graph, record, one, work, max_batch=max_batch, opset=opset, step=step)
            for one in variants
        }
        full, removed = publish(work, target, record, entries)
    notes += [f"{path} was of another state of the model and was removed" for path in removed]
    return Export(target, variants, full, notes)


def _possible(loaded: LoadedModel, notes: list[str]) -> list[str]:
    """Both inputs, or floats alone and a note why."""
    try:
        check_preprocessing(loaded.model.preprocessing)
    except InputError as error:
        notes.append(f"no graph takes pixels: {error}")
        return [INPUTS[0]]
    return [*INPUTS]


def verify_export(
    folder: Path | str, form: str | None = None, *, model_dir: Path | str | None = None, step: Step = lambda text: None
) -> ExportRecord:
    """Check every exported file of a folder, or those of one format, and return the folder's record.

    Its hash must be the recorded one, and its answers to the keyed images must be the recorded answers. With the
    model folder also: the model is unchanged, and agrees on all recorded batch sizes. Raises InputError for a
    missing, changed or outdated file, ParityError for other answers.
    """
    folder = Path(folder)
    record = read_record(folder)
    wanted = [name for name in (record.exports if record is not None else ()) if form in (None, Variant.of(name).form)]
    if record is None or not wanted:
        raise InputError(f"{folder}: there is no exported {form or 'file'} here; make one with transferkit export")
    loaded = None
    if model_dir is not None:
        check_model(record, Path(model_dir))
        loaded = load(model_dir)
    for name in wanted:
        entry, variant = record.exports[name], Variant.of(name)
        portable.check_packages(variant.form)
        path = check_file(folder, entry)
        step(f"checking {entry.file}")
        run = open_checked(variant, path, record, entry)
        if loaded is not None and model_dir is not None:
            sizes = [one["batch"] for one in entry.parity.batches]
            check_temperature(entry, Path(model_dir))
            graph, preprocessing = Graph(loaded, entry.temperature).eval(), loaded.model.preprocessing
            parity.compare_all(graph, run, preprocessing, sizes, step, pixels=variant.pixels)
    return record


def open_checked(variant: Variant, path: Path, record: ExportRecord, entry: ExportedFile) -> portable.Runner:
    """Open an exported file and see that it gives the recorded answers. Raises ParityError where it does not."""
    from transferkit.model.preprocessing import Preprocessing

    try:
        run = portable.open_file(variant.form, path, record.output_names, entry.batch.max)
        preprocessing = Preprocessing.from_json(record.preprocessing)
        given, expected = parity.recorded(preprocessing, entry.reference, entry.batch.max, pixels=variant.pixels)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.parent / FILE}: cannot be used: {error!r}; export the model again") from error
    parity.compare(expected, run(given), str(path))
    return run


def _check(form: str, target: Path, max_batch: int, opset: int | None, inputs: Sequence[str] | None) -> None:
    if form not in FORMATS:
        raise InputError(f'the format is one of {", ".join(FORMATS)}, not "{form}"')
    for given in inputs or ():
        if given not in INPUTS:
            raise InputError(f'the input is one of {", ".join(INPUTS)}, not "{given}"')
    portable.check_packages(form)
    if max_batch < EXAMPLE:
        raise InputError(f"the largest batch is at least {EXAMPLE}, not {max_batch}")
    if opset is not None and form != "onnx":
        raise InputError("an opset is for the format onnx alone")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; --out is a folder")


def _record(folder: Path, loaded: LoadedModel, graph: Graph) -> ExportRecord:
    found, preprocessing = loaded.interference, loaded.model.preprocessing
    outputs = [
        Tensor(name="logits", dtype="float32", shape=["batch", len(loaded.classes)]),
        Tensor(name="score", dtype="float32", shape=["batch"]),
        Tensor(name="source_class", dtype="int64", shape=["batch"]),
    ]
    return ExportRecord(
        architecture=loaded.model.architecture,
        files=model_files(folder, found),
        guarded=loaded.guarded,
        inputs=[
            Tensor(name=INPUT, dtype="float32", shape=["batch", preprocessing.in_chans, *preprocessing.input_size])
        ],
        outputs=outputs[: len(graph.outputs)],
        preprocessing=preprocessing.to_json(),
        classes=loaded.classes,
        source_classes=loaded.source_classes,
        lingering=[] if found is None else [{"index": one.index, "name": one.name} for one in found.lingering],
        score=None if found is None else {"model": found.score.model, "reduction": found.score.reduction},
        detect_p=None if found is None else found.detect_p,
    )


def _own_facts(loaded: LoadedModel) -> dict[str, Any]:
    """What is inside one file and not in the record of all."""
    return {} if loaded.temperature is None else {"temperature": loaded.temperature}


def _write(
    loaded: LoadedModel,
    graph: Graph,
    record: ExportRecord,
    variant: Variant,
    work: Path,
    *,
    max_batch: int,
    opset: int | None,
    step: Step,
) -> ExportedFile:
    """The file in the working folder, compared with the model."""
    path = work / variant.file
    preprocessing = loaded.model.preprocessing
    pixels = variant.pixels
    name = f"{loaded.model.architecture} cannot be exported to {variant.form}"
    given = [PIXEL_INPUT] if pixels else record.inputs
    with captured() as log:
        try:
            step(f"tracing the graph of {path.name}")
            whole = PixelGraph(graph, preprocessing).eval() if pixels else graph
            shape = None if pixels else (preprocessing.in_chans, *preprocessing.input_size)
            program = trace(whole, shape, max_batch)
            step(f"writing {path.name}")
            facts = record.model_copy(update={"inputs": given, **_own_facts(loaded)}).facts()
            if variant.form == "onnx":
                extra = portable.write_onnx(program, path, facts, outputs=graph.outputs, opset=opset)
            else:
                extra = portable.write_pt2(program, path, facts)
            step("loading it again")
            run = portable.open_file(variant.form, path, graph.outputs, max_batch)
            sizes = parity.batches(max_batch, pixels=pixels)
            found = parity.compare_all(graph, run, preprocessing, sizes, step, pixels=pixels)
        except (InputError, parity.ParityError):
            raise
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            failed = TransferkitError(f"{name}: {reason}")
            if said := tail(log):
                failed.add_note(f"What the exporter said:\n{said}")
            raise failed from error
    scores = [one.score for one in found if one.score is not None]
    return ExportedFile(
        file=path.name,
        inputs=given if pixels else None,
        temperature=loaded.temperature,
        sha256=sha256(path),
        bytes=path.stat().st_size,
        batch=Batch(min=1, max=max_batch, enforced=variant.form == "pt2"),
        versions=portable.versions(variant.form),
        parity=Parity(
            rows=sum(one.batch for one in found),
            logits=max(one.logits for one in found),
            score=max(scores, default=None),
            batches=[asdict(one) for one in found],
        ),
        reference=parity.reference(graph, preprocessing, pixels=pixels),
        **extra,
    )


@contextmanager
def captured() -> Iterator[io.StringIO]:
    """What a library says while it works, kept for the case that it fails instead of being shown.

    Everything that is printed, logged to the terminal or warned of inside goes into a text instead. For one thread:
    what other threads print meanwhile is caught as well.
    """
    log = io.StringIO()

    def keep(message: Any, category: type[Warning], filename: str, lineno: int, *more: Any, **options: Any) -> None:
        log.write(f"{filename}:{lineno}: {category.__name__}: {message}\n")

    terminal = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    with warnings.catch_warnings(), redirect_stdout(log), redirect_stderr(log):
        warnings.simplefilter("default")
        warnings.showwarning = keep
        moved = [(handler, handler.stream) for handler in _handlers() if handler.stream in terminal]
        for handler, _ in moved:
            handler.setStream(log)
        try:
            yield log
        finally:
            for handler, stream in moved:
                handler.setStream(stream)
            for handler in _handlers():
                if handler.stream is log:  # made inside
                    handler.setStream(terminal[1])


def _handlers() -> list[logging.StreamHandler[IO[str]]]:
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    return [
        handler
        for handler in handlers.values()
        if isinstance(handler, logging.StreamHandler) and "stream" in vars(handler)  # others look it up each time
    ]


def tail(log: io.StringIO) -> str:
    """The last lines."""
    return "\n".join(log.getvalue().rstrip().splitlines()[-LINES:])
