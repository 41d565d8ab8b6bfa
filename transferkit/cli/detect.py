"""`transferkit detect`: predictions with a flag where an image wakes a memory of the source model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.detections import Detection, DetectionWriter, Fallback, detections
from transferkit.cli.outputs import choose_format
from transferkit.cli.predict import Unreadable, nothing, on_device, write, written_to
from transferkit.cli.predictions import Form, image_files
from transferkit.deploy.interference import FILE, read_interference
from transferkit.deploy.place import model_folder
from transferkit.deploy.summary import Tally, add_log, is_log
from transferkit.errors import FINDINGS, InputError
from transferkit.system.memory import enough_memory, fewer_at_once
from transferkit.system.terminal import note, print_json, print_table, progress, say
from transferkit.words.formats import number

if TYPE_CHECKING:
    from transferkit.deploy.interference import Interference
    from transferkit.deploy.loaded import LoadedModel
    from transferkit.deploy.summary import Summary

SHOWN = 20


def detect(
    model: Annotated[
        str, typer.Argument(help="A guarded model folder, a run folder, or hf-hub:org/name.", show_default=False)
    ],
    paths: Annotated[
        list[Path], typer.Argument(help="Images, and folders of them; with --summary also logs.", show_default=False)
    ],
    fallback: Annotated[str | None, typer.Option(help="The model that answers flagged images.")] = None,
    abstain: Annotated[bool, typer.Option("--abstain", help="Leave flagged images without an answer.")] = False,
    fail_on_flag: Annotated[bool, typer.Option("--fail-on-flag", help="Exit code 3 if anything is flagged.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Only the flag rate and the source classes.")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes per image.")] = 1,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file; its ending chooses the format.")] = None,
) -> None:
    """Predict, and flag images that activate a lingering source class. Unreadable ones are named and skipped."""
    form = choose_format(json, csv, out)
    _check(paths, summary=summary, answering=fallback is not None or abstain or csv or out is not None)
    if fallback is not None and abstain:
        raise InputError("--fallback and --abstain contradict each other; choose one")
    folder = model_folder(model, stage)
    with enough_memory(fewer_at_once("--batch-size", batch_size)):
        if summary:
            tally, interference = _count(folder, paths, batch_size)
            _show(tally, interference, json)
        else:
            tally = _write(folder, paths, form, out, top=top, batch_size=batch_size, fallback=fallback, abstain=abstain)
    if fail_on_flag and tally.flagged:
        raise typer.Exit(FINDINGS)


def _check(paths: Sequence[Path], *, summary: bool, answering: bool) -> None:
    if summary and answering:
        raise InputError("--summary counts and answers nothing; leave out --fallback, --abstain, --csv and --out")
    logs = [path for path in paths if is_log(path) and not path.is_dir()]
    if logs and not summary:
        raise InputError(f"{logs[0]} is a log, not an image; add --summary")


def _opened(folder: Path) -> LoadedModel:
    loaded = on_device(folder)
    if not loaded.guarded:
        raise _unguarded(folder)
    return loaded


def _unguarded(folder: Path) -> InputError:
    return InputError(
        f"{folder} has no detector ({FILE}); the interference analyzer makes one: name it under `analyses` in the "
        f"recipe, or run `transferkit audit {folder} --analyses interference --set interference.install=true`; "
        "where no recipe names images of the source's classes, with --source-data DIR"
    )


def _write(
    folder: Path,
    paths: list[Path],
    form: Form,
    out: Path | None,
    *,
    top: int,
    batch_size: int,
    fallback: str | None,
    abstain: bool,
) -> Tally:
    loaded, bad, tally = _opened(folder), Unreadable(), Tally()
    other = None if fallback is None else _stand_in(fallback, loaded)
    top = min(top, len(loaded.classes))
    found = detections(
        loaded, image_files(paths), top=top, batch_size=batch_size, bad=bad, fallback=other, abstain=abstain
    )
    classes = loaded.classes, loaded.source_classes
    write(_tallied(found, tally), lambda file: DetectionWriter(form, file, top, *classes), out, paths, bad)
    note(f"{tally.images} images, {tally.flagged} flagged, {len(bad.paths)} unreadable{written_to(out)}")
    return tally


def _tallied(found: Iterable[list[Detection]], tally: Tally) -> Iterator[list[Detection]]:
    for batch in found:
        for one in batch:
            tally.add(one.flag, one.source_index if one.source_index >= 0 else None)
        yield batch


def _stand_in(fallback: str, loaded: LoadedModel) -> Fallback:
    from transferkit.deploy.loaded import load

    folder = model_folder(fallback)
    return Fallback(load(folder).to(loaded.device), loaded.classes, str(folder))


def _count(folder: Path, paths: list[Path], batch_size: int) -> tuple[Tally, Interference]:
    """Images are counted with the model; for logs what its detector is will do."""
    logs = [path for path in paths if is_log(path) and not path.is_dir()]
    images = [path for path in paths if path not in logs]
    loaded = _opened(folder) if images else None
    interference = loaded.interference if loaded is not None else read_interference(folder)
    if interference is None:
        raise _unguarded(folder)
    tally, bad = Tally(), Unreadable()
    for path in logs:
        add_log(tally, path, interference)
    if loaded is not None:
        with progress(None, "images") as advance:
            found = detections(loaded, image_files(images), top=1, batch_size=batch_size, bad=bad)
            for batch in _tallied(found, tally):
                advance(len(batch))
    if not tally.images:
        if logs:
            raise InputError(
                f"there is nothing to count in {', '.join(map(str, paths))}: no line has a score or a flag"
            )
        raise nothing(paths, bad.paths)
    if bad.paths:
        note(f"{len(bad.paths)} unreadable")
    return tally, interference


def _show(tally: Tally, interference: Interference, json: bool) -> None:
    from transferkit.deploy.summary import summarise

    found = summarise(tally, interference)
    if json:
        print_json(as_json(found))
        return
    for sentence in found.sentences:
        say(sentence)
    if found.classes:
        say()
        rows = [
            [one.name, str(one.flagged), str(one.images), _cell(one.calibration), _p(one.p_value)]
            for one in found.classes[:SHOWN]
        ]
        columns = ["source class", "flagged", "strongest", "of clean images", "p"]
        print_table(columns, rows, right=columns[1:])
        if len(found.classes) > SHOWN:
            say(f"… and {len(found.classes) - SHOWN} more; --json has all")


def as_json(found: Summary) -> dict[str, Any]:
    """The summary for machines; what is not known is null."""
    names = ("alpha", "p_value", "p_value_calibrated", "risen")
    of_class = ("name", "flagged", "images", "calibration", "p_value", "rose")
    return {
        "images": found.images,
        "flagged": found.flagged,
        "rate": found.rate.value,
        "interval": [found.rate.low, found.rate.high],
        **{name: getattr(found, name) for name in names},
        "source_classes": [{name: getattr(one, name) for name in of_class} for one in found.classes],
        "sentences": list(found.sentences),
    }


def _cell(count: int | None) -> str:
    return "–" if count is None else str(count)


def _p(value: float) -> str:
    return "–" if value != value else number(value, 2)
