"""`transferkit replay`: one step of a run once more, to look at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.inputs import AllowPlugins
from transferkit.errors import InputError
from transferkit.system.terminal import print_json, print_table, say
from transferkit.words.formats import number, some
from transferkit.words.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = 16  # images


def replay(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    step: Annotated[
        int | None,
        typer.Option(min=0, help="Counted from 0. Default: the step at which the run failed.", show_default=False),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Which stage, if there are several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write replay.json and pictures of the images here.")] = None,
    allow_plugins: AllowPlugins = False,
    json: Annotated[bool, typer.Option("--json", help="Print the step as JSON on standard output.")] = False,
) -> None:
    """Compute one step of a run again, bit for bit, and show what was in it. The run's folder is only read."""
    from transferkit.runs.folder import RunFolder

    RunFolder.open(run_dir)  # before torch is imported
    if out is not None and out.resolve().is_relative_to(run_dir.resolve()):
        raise InputError(f"--out {out} is in the folder of the run, which is only read; choose another")

    from transferkit.runs.replay import replay as compute
    from transferkit.system.signals import watching
    from transferkit.training.progress import Display

    with watching() as stop:
        found = compute(
            run_dir, stage=stage, step=step, display=Display(quiet=json), stop=stop, allow_plugins=allow_plugins
        )
    if out is not None:
        found.write(out)
    if json:
        print_json(found.record)
    else:
        show(found.record)


def show(record: Mapping[str, Any]) -> None:
    """The answer for people."""
    head = f", of the head {record['lr_head']:.3g}" if record["lr_head"] != record["lr"] else ""
    say(f"stage {record['stage']}, step {record['step']} in epoch {record['epoch'] + 1}, from {record['from']}")
    say(f"learning rate {record['lr']:.3g}{head}")
    say(f"loss {number(record['loss'])}")
    say(record["not_finite"] or "every number is finite")
    say()
    rows = [
        [part["name"], *(number(part[key]) for key in ("raw", "weighted", "norm")), some(part["not_finite"])]
        for part in record["parts"]
    ]
    print_table(["part", "raw", "weighted", "gradient", "not finite"], rows, right=["raw", "weighted", "gradient"])
    say()
    names = [part["name"] for part in record["parts"]]
    layers = [[layer, *(number(norms[key]) for key in ("norm", *names))] for layer, norms in record["layers"].items()]
    print_table(["layer", "gradient", *names], layers, right=["gradient", *names])
    say()
    images = [[one["stream"], printable(one["id"]), printable(str(one["label"]))] for one in record["images"]]
    print_table(["stream", "image", "label"], images[:SHOWN])
    if len(images) > SHOWN:
        say(f"and {len(images) - SHOWN} more: --json has all")
