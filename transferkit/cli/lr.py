"""`transferkit lr`: which learning rate to begin with, by trying."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.inputs import AllowPlugins
from transferkit.cli.outputs import require_ending
from transferkit.errors import InputError
from transferkit.system.signals import stoppable
from transferkit.system.terminal import note, print_json, print_table, say, working
from transferkit.words.formats import number
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.recipe import Loaded
    from transferkit.runs.lr_range import RangeTest

FIT = "the rate at which the smoothed loss falls fastest, at most a tenth of where it is smallest"


def lr(
    model: Annotated[
        str,
        typer.Argument(help="A recipe, a run folder, or with --data a model.", metavar="RECIPE", show_default=False),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="E.g. stages.target.batch_size=8")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Class folders to fine-tune a model on, for which no recipe is there yet.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Which stage of the recipe, if there are several.")] = None,
    low: Annotated[float, typer.Option(help="The first rate.")] = 1e-6,
    high: Annotated[float, typer.Option(help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option(min=10, help="Steps from the first to the last.")] = 100,
    check: Annotated[int, typer.Option(min=0, help="Steps of each of three short runs; 0: none.")] = 40,
    out: Annotated[Path | None, typer.Option(help="Draw the curve into this .svg file.", show_default=False)] = None,
    allow_plugins: AllowPlugins = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Try growing learning rates on a copy of the model, and check what the loss suggests by three short runs.

    Nothing that is given is changed.
    """
    if not 0 < low < high:
        raise InputError(f"--low {low:g} and --high {high:g}: rates from a small one above 0 to a larger one")
    if out is not None:
        require_ending(out, ".svg")
    loaded = given_recipe(model, data, overrides or [], allow_plugins)
    chosen = chosen_stage(loaded, stage)
    with stoppable("trying rates; nothing was written") as stop, working("loading torch") as step:
        from transferkit.runs.lr_range import range_test

        found = range_test(loaded, chosen, low=low, high=high, steps=steps, check=check, stop=stop, tell=step)
    if out is not None:
        from transferkit.cli.lr_picture import draw_rates

        draw_rates(out, found)
    if json:
        print_json(found.to_json())
        return
    show(found)
    if out is not None:
        note(f"the curve is in {out}")


def given_recipe(text: str, data: Path | None, overrides: list[str], allow_plugins: bool) -> Loaded:
    """The recipe that was given, of the run that was given, or a plain one for a model and a folder of images."""
    from transferkit.recipe import load_recipe

    path = Path(text).expanduser()
    if data is None:
        inside = path / "recipe.yaml"
        if path.is_dir() and not inside.is_file():
            raise InputError(f"{text} is no run: it has no recipe.yaml; give a model's images with --data FOLDER")
        if not path.is_dir() and path.suffix not in (".yaml", ".yml"):
            raise InputError(f"{text} is no recipe; give the images to fine-tune a model on with --data FOLDER")
        return load_recipe(inside if path.is_dir() else path, overrides, allow_plugins=allow_plugins)
    name = f"local-dir:{path.resolve()}" if path.is_dir() else text
    recipe: dict[str, Any] = {
        "name": "rates",
        "model": {"name": name},
        "datasets": {"data": {"folder": str(data.resolve())}},
        "stages": [{"name": "target", "dataset": "data", "epochs": 1}],
    }
    return load_recipe(recipe, overrides, allow_plugins=allow_plugins)


def chosen_stage(loaded: Loaded, name: str | None) -> str:
    """The stage that is meant. Raises InputError where that cannot be told."""
    names = [stage.name for stage in loaded.recipe.stages]
    if name is None and len(names) > 1:
        raise InputError(f"the recipe has the stages {', '.join(names)}: say which one you mean with --stage")
    if name is not None and name not in names:
        raise InputError(f'the recipe has no stage called "{name}"; {did_you_mean(name, names)}')
    return name or names[0]


def show(found: RangeTest) -> None:
    """The answer for people: the three short runs, the suggestion as it is typed, the head's limit."""
    if found.from_curve is None:
        say(f"No rate made the loss fall within {len(found.losses)} steps: give more --steps, or look at the data")
    else:
        curve = found.from_curve
        say(f"From the curve: {curve.rate:.2g}, {FIT}")
        say(f"  it falls fastest at {curve.steepest:.2g} and is smallest at {curve.smallest:.2g}")
        if found.checked:
            say()
            rows = [
                [f"{one.lr:.2g}", "diverged" if one.loss is None else number(one.loss), mark]
                for one in found.checked
                for mark in ["smallest" if one.lr == found.suggested else ""]
            ]
            print_table(["rate", "loss at the end of a short run", ""], rows, right=["rate"])
        if found.suggested is not None:
            say()
            say(f"stages.{found.stage}.optimizer.lr={found.suggested:.2g}")
        edge = found.checked and found.suggested in (found.checked[0].lr, found.checked[-1].lr)
        if edge:
            side = "smaller" if found.suggested == found.checked[0].lr else "larger"
            note(f"the {side} of the three did best: still {side} ones were not tried")
    if found.limit is not None:
        say(
            f"The head is stable with {found.optimizer} below {found.limit:.2g} on the features that the stage starts "
            "with: a bound, above which it may diverge"
        )
