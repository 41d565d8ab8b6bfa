"""A model folder as one file for other runtimes, which exists only if it answers as the model does."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
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
    model_files,
    publish,
    read_record,
    workplace,
)
from transferkit.deploy.loaded import LoadedModel, load
from transferkit.deploy.portable import EXAMPLE, INPUT, Graph, trace
from transferkit.errors import InputError, TransferkitError
from transferkit.system.atomic import sha256

Step = Callable[[str], None]
MAX_BATCH = 64
LINES = 40  # of what an exporter said, where it failed


@dataclass(frozen=True)
class Export:
    """What was written: the file, the record it is in, and what else happened, in sentences."""

    path: Path
    form: str
    record: ExportRecord
    notes: list[str] = field(default_factory=list)

    @property
    def entry(self) -> ExportedFile:
        """This file's part of the record."""
        return self.record.exports[self.form]  # type: ignore[index]


def export_model(
    model_dir: Path | str,
    form: str = "onnx",
    *,
    out: Path | str | None = None,
    max_batch: int = MAX_BATCH,
    opset: int | None = None,
    step: Step = lambda text: None,
) -> Export:
    """Write `exports/model.onnx` or `model.pt2` and `export.json` into the model folder, or all of it into `out`.

    One graph gives logits, score and source class (logits alone without a detector) for batches of 1 to `max_batch`.
    The file is compared with the eager model first; nothing is left behind unless it agrees. `step` is told what is
    going on. Raises InputError for wrong input, TransferkitError when the model cannot be exported, ParityError.
    """
    folder = Path(model_dir)
    target = folder / FOLDER if out is None else Path(out)
    _check(form, target, max_batch, opset)
    step("opening the model")
    loaded = load(folder)
    graph = Graph(loaded).eval()
    record = _record(folder, loaded, graph)
    with workplace(target) as work:
        entry = _write(loaded, graph, record, form, work, max_batch=max_batch, opset=opset, step=step)
        full, removed = publish(work, target, form, record, entry)
    notes = [f"{path} was of another state of the model and was removed" for path in removed]
    return Export(target / entry.file, form, full, notes)


def verify_export(
    folder: Path | str, form: str | None = None, *, model_dir: Path | str | None = None, step: Step = lambda text: None
) -> ExportRecord:
    """Check every exported file of a folder, or that of one format, and return the folder's record.

    Its hash must be the recorded one, and its answers to the keyed images must be the recorded answers. With the
    model folder also: the model is unchanged, and agrees on all recorded batch sizes. Raises InputError for a
    missing, changed or outdated file, ParityError for other answers.
    """
    folder = Path(folder)
    record = read_record(folder)
    wanted = [form] if form is not None else list(record.exports if record is not None else ())
    if record is None or not wanted or any(name not in record.exports for name in wanted):
        raise InputError(f"{folder}: there is no exported {form or 'file'} here; make one with transferkit export")
    loaded = None
    if model_dir is not None:
        check_model(record, Path(model_dir))
        loaded = load(model_dir)
    for name in wanted:
        entry = record.exports[name]  # type: ignore[index]
        portable.check_packages(name)
        path = check_file(folder, entry)
        step(f"checking {entry.file}")
        run = open_checked(name, path, record, entry)
        if loaded is not None:
            sizes = [one["batch"] for one in entry.parity.batches]
            parity.compare_all(Graph(loaded).eval(), run, loaded.model.preprocessing, sizes, step)
    return record


def open_checked(form: str, path: Path, record: ExportRecord, entry: ExportedFile) -> portable.Runner:
    """Open an exported file and see that it gives the recorded answers. Raises ParityError where it does not."""
    from transferkit.model.preprocessing import Preprocessing

    try:
        run = portable.open_file(form, path, record.output_names, entry.batch.max)
        images = parity.keyed_images(Preprocessing.from_json(record.preprocessing), entry.reference["images"])
        if parity.digest(images) != entry.reference["images_sha256"]:
            raise TransferkitError(f"{path}: the images it was checked on cannot be drawn again on this machine")
        images = images[: entry.batch.max]
        expected = parity.expected_of(entry.reference, len(images))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.parent / FILE}: cannot be used: {error!r}; export the model again") from error
    parity.compare(expected, run(images), str(path))
    return run


def _check(form: str, target: Path, max_batch: int, opset: int | None) -> None:
    if form not in portable.FORMATS:
        raise InputError(f'the format is one of {", ".join(portable.FORMATS)}, not "{form}"')
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


def _write(
    loaded: LoadedModel,
    graph: Graph,
    record: ExportRecord,
    form: str,
    work: Path,
    *,
    max_batch: int,
    opset: int | None,
    step: Step,
) -> ExportedFile:
    """The file in the working folder, compared with the model."""
    path = work / portable.FILES[form]
    preprocessing = loaded.model.preprocessing
    name = f"{loaded.model.architecture} cannot be exported to {form}"
    with captured() as log:
        try:
            step("tracing the graph")
            program = trace(graph, (preprocessing.in_chans, *preprocessing.input_size), max_batch)
            step(f"writing {path.name}")
            facts = record.facts()
            if form == "onnx":
                extra = portable.write_onnx(program, path, facts, outputs=graph.outputs, opset=opset)
            else:
                extra = portable.write_pt2(program, path, facts)
            step("loading it again")
            run = portable.open_file(form, path, graph.outputs, max_batch)
            found = parity.compare_all(graph, run, preprocessing, parity.batches(max_batch), step)
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
        sha256=sha256(path),
        bytes=path.stat().st_size,
        batch=Batch(min=1, max=max_batch, enforced=form == "pt2"),
        versions=portable.versions(form),
        parity=Parity(
            rows=sum(one.batch for one in found),
            logits=max(one.logits for one in found),
            score=max(scores, default=None),
            batches=[asdict(one) for one in found],
        ),
        reference=parity.reference(graph, preprocessing),
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
