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

from torch import nn

from transferkit.deploy import lossy, parity, portable
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
from transferkit.deploy.pixels import PixelIntake
from transferkit.deploy.pixels import check as check_preprocessing
from transferkit.deploy.portable import EXAMPLE, INPUT, Graph, PixelGraph, trace
from transferkit.deploy.variants import FORMATS, INPUTS, Variant
from transferkit.errors import InputError, TransferkitError
from transferkit.system.atomic import sha256
from transferkit.words.kinds import reason

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
    precision: str = "fp32",
    pictures: lossy.Pictures | None = None,
    allow_loss: float = lossy.ALLOWED,
    step: Step = lambda text: None,
) -> Export:
    """Write `model.onnx` or `model.pt2`, and `export.json`, into `exports/` of the model folder or into `out`.

    One graph gives logits, score and source class (logits alone without a detector) for batches of 1 to `max_batch`;
    of `inputs`, `floats` takes preprocessed images, `uint8` (`model_uint8.…`) RGB pixels of any size. Default: both,
    where a graph can do the model's preprocessing. With `calibrated` the logits are divided by the temperature in the
    model's folder (`model_calibrated.…`), else they are the model's own. The files are compared with the eager model
    first; nothing is left behind unless they agree. With another `precision` than fp32 (`model_int8.…`) they nearly
    do: what that costs on labelled `pictures` is measured, and more than `allow_loss` points of accuracy, or percent of
    other flags, is refused. `step` is told what is going on. Raises InputError for wrong input, TransferkitError when
    the model cannot be exported, ParityError.
    """
    folder = Path(model_dir)
    target = folder / FOLDER if out is None else Path(out)
    _check(form, target, max_batch, opset, inputs)
    lossy.check_precision(form, precision, pictures)
    step("opening the model")
    loaded = load(folder, calibrated=calibrated)
    notes: list[str] = []
    chosen = [*dict.fromkeys(inputs)] if inputs else _possible(loaded, notes)
    variants = [Variant(form, given, calibrated, precision) for given in chosen]
    if "uint8" in chosen:
        check_preprocessing(loaded.model.preprocessing)
    graph = Graph(loaded, loaded.temperature).eval()
    record = _record(folder, loaded, graph)
    with workplace(target) as work:
        entries = {
            one.key: _Writing(loaded, graph, record, one, work, max_batch, opset, pictures, allow_loss, step).write()
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
        if loaded is not None and model_dir is not None and variant.exact:
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
    if variant.exact:
        parity.compare(expected, run(given), str(path))
    else:
        lossy.check_again(expected, run(given), str(path))
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


@dataclass(frozen=True)
class _Writing:
    """One file in the working folder, compared with the model."""

    loaded: LoadedModel
    graph: Graph
    record: ExportRecord
    variant: Variant
    work: Path
    max_batch: int
    opset: int | None
    pictures: lossy.Pictures | None
    allow_loss: float
    step: Step

    def write(self) -> ExportedFile:
        """The file and its part of the record. Raises ParityError where it answers differently, TransferkitError."""
        path, form = self.work / self.variant.file, self.variant.form
        with captured() as log:
            try:
                self.step(f"tracing the graph of {path.name}")
                extra = self._quantised(path) if self.variant.precision == "int8" else self._traced(path)
                self.step(f"loading {path.name} again")
                run = portable.open_file(form, path, self.graph.outputs, self.max_batch)
                extra |= self._compared(run) if self.variant.exact else self._measured(run)
            except (InputError, parity.ParityError):
                raise
            except Exception as error:
                name = self.loaded.model.architecture
                failed = TransferkitError(f"{name} cannot be exported to {form}: {reason(error)}")
                if said := tail(log):
                    failed.add_note(f"What the exporter said:\n{said}")
                raise failed from error
        return ExportedFile(
            file=path.name,
            inputs=self._given if self.variant.pixels else None,
            temperature=self.loaded.temperature,
            precision=self.variant.precision,
            sha256=sha256(path),
            bytes=path.stat().st_size,
            batch=Batch(min=1, max=self.max_batch, enforced=form == "pt2"),
            versions=portable.versions(form),
            **extra,
        )

    @property
    def _given(self) -> list[Tensor]:
        return [PIXEL_INPUT] if self.variant.pixels else self.record.inputs

    @property
    def _facts(self) -> str:
        """What is written into the file itself."""
        own: dict[str, Any] = {"inputs": self._given}
        if self.loaded.temperature is not None:
            own["temperature"] = self.loaded.temperature
        if not self.variant.exact:
            own["precision"] = self.variant.precision
        return self.record.model_copy(update=own).facts()

    @property
    def _shape(self) -> tuple[int, int, int]:
        preprocessing = self.loaded.model.preprocessing
        return preprocessing.in_chans, *preprocessing.input_size

    def _traced(self, path: Path) -> dict[str, Any]:
        """torch's own graph, in single or half precision."""
        whole: nn.Module = self.graph
        if not self.variant.exact:
            whole = lossy.Rounded(self.loaded, self.variant.precision).eval()
        if self.variant.pixels:
            whole = PixelGraph(whole, self.loaded.model.preprocessing).eval()
        program = trace(whole, None if self.variant.pixels else self._shape, self.max_batch)
        self.step(f"writing {path.name}")
        if self.variant.form == "pt2":
            return portable.write_pt2(program, path, self._facts)
        return portable.write_onnx(program, path, self._facts, outputs=self.graph.outputs, opset=self.opset)

    def _quantised(self, path: Path) -> dict[str, Any]:
        from transferkit.deploy.quantised import quantise

        assert self.pictures is not None
        floats, preprocessing, intake = self.work / "floats.onnx", self.loaded.model.preprocessing, None
        program = trace(self.graph, self._shape, self.max_batch)
        portable.write_onnx(program, floats, "{}", outputs=self.graph.outputs, opset=self.opset)
        if self.variant.pixels:
            intake = self.work / "intake.onnx"
            program = trace(PixelIntake(preprocessing), None, self.max_batch)
            portable.write_onnx(program, intake, "{}", outputs=[portable.INPUT], opset=self.opset)
        self.step(f"quantising {path.name}")
        facts = {portable.OWN: self._facts}
        found = quantise(floats, path, preprocessing, self.pictures.calibration, intake, facts)
        floats.unlink()
        return found

    def _compared(self, run: portable.Runner) -> dict[str, Any]:
        preprocessing, pixels = self.loaded.model.preprocessing, self.variant.pixels
        sizes = parity.batches(self.max_batch, pixels=pixels)
        found = parity.compare_all(self.graph, run, preprocessing, sizes, self.step, pixels=pixels)
        return {
            "parity": _parity([asdict(one) for one in found]),
            "reference": parity.reference(self.graph, preprocessing, pixels=pixels),
        }

    def _measured(self, run: portable.Runner) -> dict[str, Any]:
        preprocessing, pixels = self.loaded.model.preprocessing, self.variant.pixels
        assert self.pictures is not None
        loss = lossy.measured(self.graph, run, self.variant, self.loaded, self.pictures, self.allow_loss, self.step)
        sizes = parity.batches(self.max_batch, pixels=pixels)
        return {
            "parity": _parity(lossy.differences(self.graph, run, preprocessing, sizes, pixels=pixels)),
            "reference": lossy.reference(run, preprocessing, self.max_batch, pixels=pixels),
            "loss": lossy.recorded(loss),
        }


def _parity(found: list[dict[str, Any]]) -> Parity:
    scores = [one["score"] for one in found if one["score"] is not None]
    return Parity(
        rows=sum(one["batch"] for one in found),
        logits=max(one["logits"] for one in found),
        score=max(scores, default=None),
        batches=found,
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
