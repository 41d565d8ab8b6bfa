"""`transferkit predict`: which class is on each of these images?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Annotated, Literal

import typer

from transferkit.atomic import aside, remove_leftovers
from transferkit.cli.output import console, note, progress
from transferkit.cli.predictions import WRITERS, Writer, answers, image_files
from transferkit.errors import InputError
from transferkit.memory import enough_memory, fewer_at_once
from transferkit.model_place import find_model
from transferkit.training.signals import stoppable


def predict(
    model: Annotated[str, typer.Argument(help="A model folder or a run folder.", show_default=False)],
    paths: Annotated[list[Path], typer.Argument(help="Images, and folders of them.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="How many classes per image.")] = 3,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file; its ending chooses the format.")] = None,
) -> None:
    """Predict the classes of images. Unreadable ones are named and skipped."""
    form = WRITERS[choose_format(json, csv, out)]
    folder = find_model(model, stage)

    import torch

    from transferkit.loaded import load

    loaded = load(folder)
    loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    bad = Unreadable()
    top = min(top, len(loaded.classes))
    done = 0
    # rows that appear on the screen are progress enough
    shown = progress(None, "images") if out is not None or not console.is_terminal else nullcontext(lambda count: None)
    with enough_memory(fewer_at_once("--batch-size", batch_size)), destination(out) as file, shown as advance:
        writer: Writer = form(file, top, loaded.classes)
        for found in answers(loaded, image_files(paths), top=top, batch_size=batch_size, bad=bad):
            writer.write(found)
            done += len(found)
            advance(len(found))
        writer.close()
        if not done:
            raise nothing(paths, bad.paths)
    if bad.paths or out is not None:
        written = f"; written to {out}" if out is not None else ""
        note(f"{done} images predicted, {len(bad.paths)} unreadable{written}")


def choose_format(json: bool, csv: bool, out: Path | None) -> Literal["json", "csv", "table"]:
    """The format that was asked for, else that of the file's ending, else a table. Raises InputError for two."""
    if json and csv:
        raise InputError("--json and --csv contradict each other; choose one")
    ending = out.suffix.lower() if out is not None else ""
    if json or (ending == ".json" and not csv):
        return "json"
    return "csv" if csv or ending == ".csv" else "table"


class Unreadable:
    """Names files that cannot be read, and keeps their paths."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def __call__(self, path: Path, reason: str) -> None:
        """Say why this one cannot be read."""
        self.paths.append(path)
        note(f"cannot read {path}: {reason}")


def nothing(paths: list[Path], bad: list[Path]) -> InputError:
    """Why there is no prediction at all."""
    listed = ", ".join(str(path) for path in paths)
    return InputError(f"none of the {len(bad)} images could be read" if bad else f"there are no images in {listed}")


@contextmanager
def destination(out: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears when everything is written."""
    if out is None:
        yield sys.stdout
        return
    remove_leftovers(out.parent, out.name)
    partial = aside(out)
    try:
        file = partial.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from error
    with stoppable(f"predicting; {out} was not written") as stop, stop.last_words(lambda *_: partial.unlink()):
        try:
            with file:
                yield file
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
