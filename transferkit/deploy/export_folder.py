"""Files move into an exports folder when they are complete; until then they lie in a hidden folder beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from transferkit.atomic import aside, fsync, remove_leftovers, write_text
from transferkit.deploy import triton
from transferkit.deploy.export_record import FILE, ExportedFile, ExportRecord, check_file, read_record
from transferkit.errors import InputError


class Workplace:
    """A hidden folder beside the target, on the same disk; it is gone afterwards."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Path:
        place = self.target.absolute().parent
        while not place.is_dir():
            place = place.parent
        remove_leftovers(place, self.target.name)
        try:
            self.work = Path(tempfile.mkdtemp(prefix=f"{aside(self.target).name}-", dir=place))
        except OSError as error:
            raise InputError(
                f"{place} cannot be written ({error.strerror}); choose another folder with --out"
            ) from error
        return self.work

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.work, ignore_errors=True)


def publish(
    work: Path, target: Path, form: str, record: ExportRecord, entry: ExportedFile
) -> tuple[ExportRecord, list[Path]]:
    """Move the file from `work` into place, the record last. Returns the whole record and what was removed.

    Removed are files of other formats that are of another state of the model. Raises InputError.
    """
    kept, stale = _others(target, form, record)
    full = record.model_copy(update={"exports": {**kept, form: entry}})
    path = work / entry.file
    try:
        path.chmod(0o644)
        fsync(path)
        target.mkdir(parents=True, exist_ok=True)
        for old in stale:
            old.unlink(missing_ok=True)
        os.replace(path, target / entry.file)
        if form == "onnx":
            inputs, outputs = ([one.model_dump() for one in side] for side in (record.inputs, record.outputs))
            write_text(target / triton.FILE, triton.config(entry.file, inputs, outputs, entry.batch.max))
        write_text(target / FILE, full.text())
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}") from error
    return full, stale


def _others(target: Path, form: str, record: ExportRecord) -> tuple[dict[str, ExportedFile], list[Path]]:
    """Entries of other formats in the folder that are of the same model, and the files of those that are not."""
    try:
        old = read_record(target)
    except InputError:
        old = None
    kept: dict[str, ExportedFile] = {}
    stale: list[Path] = []
    for name, entry in (old.exports if old is not None else {}).items():
        try:
            path = check_file(target, entry)
        except InputError:
            continue
        if old is not None and old.files != record.files:
            stale += [path] if name != form else []
        elif name != form:
            kept[name] = entry
    return kept, stale
