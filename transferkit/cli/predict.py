"""`transferkit predict`: which class is on each of these images?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from transferkit.cli.inputs import TtaOption
from transferkit.cli.outputs import choose_format
from transferkit.cli.predictions import One, Writer, answers, image_files, views_line
from transferkit.deploy.place import model_folder
from transferkit.errors import InputError
from transferkit.system.atomic import aside, remove_leftovers
from transferkit.system.memory import enough_memory, fewer_at_once
from transferkit.system.signals import stoppable
from transferkit.system.terminal import console, loading, note, progress

if TYPE_CHECKING:
    from transferkit.deploy.loaded import LoadedModel


def predict(
    model: Annotated[str, typer.Argument(help="A model folder, a run folder, or hf-hub:org/name.", show_default=False)],
    paths: Annotated[list[Path], typer.Argument(help="Images, and folders of them.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="How many classes per image.")] = 3,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Probabilities by the temperature in the model's folder.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 16,
    tta: TtaOption = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file; its ending chooses the format.")] = None,
) -> None:
    """Predict the classes of images. Unreadable ones are named and skipped."""
    form = choose_format(json, csv, out)
    loaded, bad = on_device(model_folder(model, stage), calibrated=calibrated), Unreadable()
    top = min(top, len(loaded.classes))
    found = answers(loaded, image_files(paths), top=top, batch_size=batch_size, bad=bad, tta=tta)
    if tta is not None:
        note(views_line(tta))
    with enough_memory(fewer_at_once("--batch-size", batch_size)):
        done = write(found, lambda file: Writer(form, file, top, loaded.classes), out, paths, bad)
    if bad.paths or out is not None:
        note(f"{done} images predicted, {len(bad.paths)} unreadable{written_to(out)}")


def on_device(folder: Path, *, calibrated: bool = False) -> LoadedModel:
    """The model of a folder, on a GPU if there is one."""
    with loading():
        import torch

        from transferkit.deploy.loaded import load

    return load(folder, calibrated=calibrated).to("cuda" if torch.cuda.is_available() else "cpu")


def write(
    batches: Iterable[list[One]],
    writer_of: Callable[[IO[str]], Writer[One]],
    out: Path | None,
    paths: Sequence[Path],
    bad: Unreadable,
) -> int:
    """Write what was found in each batch of these paths; returns of how many images. Raises InputError for none."""
    done = 0
    # rows that appear on the screen are progress enough
    shown = progress(None, "images") if out is not None or not console.is_terminal else nullcontext(lambda count: None)
    with destination(out) as file, shown as advance:
        writer = writer_of(file)
        for found in batches:
            writer.write(found)
            done += len(found)
            advance(len(found))
            if getattr(file, "lost", False):  # who reads the pipe has enough
                break
        writer.close()
        if not done:
            raise nothing(paths, bad.paths)
    return done


def written_to(out: Path | None) -> str:
    """The end of a sentence."""
    return f"; written to {out}" if out is not None else ""


class Unreadable:
    """Names files that cannot be read, and keeps their paths."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def __call__(self, path: Path, reason: str) -> None:
        """Say why this one cannot be read."""
        self.paths.append(path)
        note(f"cannot read {path}: {reason}")


def nothing(paths: Sequence[Path], bad: Sequence[Path]) -> InputError:
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
