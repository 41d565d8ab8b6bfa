"""`transferkit doctor`: is this machine ready, and would this recipe train? Answers before anything long starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli import doctor_machine as machine
from transferkit.cli.doctor_stages import LOW_TEMPORARY, forecast, try_stages
from transferkit.cli.inputs import AllowPlugins
from transferkit.plugins.registry import installed
from transferkit.system.terminal import err, loading, note, print_json, print_table, progress, say, working
from transferkit.words.formats import duration, listing, number

if TYPE_CHECKING:
    from transferkit.recipe import Loaded

LISTED = 20
IMBALANCED = 3.0
LOW_DISK = 2.0  # GiB


def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe to try out.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="E.g. stages.target.batch_size=8")
    ] = None,
    allow_plugins: AllowPlugins = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Look at the machine; with a recipe also validate it, read all its images and train three steps of its stages.

    Exit code 2 when the recipe could not train.
    """
    loaded = None
    if recipe is not None:  # first: a mistake in it is answered at once
        from transferkit.recipe import load_recipe

        loaded = load_recipe(recipe, overrides or (), allow_plugins=allow_plugins)
    with loading():
        import torch  # noqa: F401, whose devices are asked below
    facts: dict[str, Any] = {
        "versions": machine.versions(),
        "devices": machine.devices(),
        "plugins": machine.plugins(installed()),
        "disk": machine.disk(Path.cwd()),
        "temporary": machine.temporary(),
    }
    if not json:
        show_machine(facts)
    if loaded is not None:
        facts |= examine(loaded)
        if not json:
            show_recipe(facts)
    facts["problems"] = problems(facts)
    if json:
        print_json(facts)
    else:
        show_problems(facts["problems"])
    if any(problem["stops"] for problem in facts["problems"]):
        raise typer.Exit(2)


def examine(loaded: Loaded) -> dict[str, Any]:
    """The recipe's data, and a few real training steps of its stages."""
    from transferkit.cli.doctor_data import check_datasets, images_to_read, refused_strips

    with progress(images_to_read(loaded.recipe), "reading images") as advance:
        data = check_datasets(loaded.recipe, advance)
    with telling() as tell:
        tried = try_stages(loaded, tell)
    models = [step.pop("preprocessing") for step in tried["steps"].values() if "preprocessing" in step]
    for i, model in enumerate(models):
        if model not in models[:i]:
            refused_strips(data, model)
    return {"recipe": str(loaded.path), "data": data, **tried, "forecast": forecast(loaded.recipe, tried)}


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """A function that names the present step: on a terminal beside the time passed, elsewhere in a line."""
    with working("trying stages") as show:

        def tell(text: str) -> None:
            show(text)
            if not err.is_terminal:
                note(text)

        yield tell


def problems(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """What was found, in sentences; `stops` says whether training could not even start."""
    found = [_problem(f"plugin {failure}") for failure in facts["plugins"]["failed"]]
    if facts["disk"]["free_gib"] < LOW_DISK:
        found.append(_problem(f"only {facts['disk']['free_gib']:.1f} GiB are free in {facts['disk']['folder']}"))
    temporary = facts["temporary"]
    if temporary is None:
        found.append(_problem("no temporary folder can be written; set TMPDIR to one"))
    elif temporary["free_gib"] < LOW_TEMPORARY:
        free = f"{temporary['free_gib'] * 1024:.0f} MiB are free in the temporary folder {temporary['folder']}"
        found.append(_problem(f"only {free}; the trial step is written there: free some space or set TMPDIR"))
    for name, data in facts.get("data", {}).items():
        found += _data_problems(name, data)
    for stage, step in facts.get("steps", {}).items():
        if "error" in step:
            found.append(_problem(f"stage {stage}: the first step failed: {step['error']}", stops=True))
    return found


def _data_problems(name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    if data["bad_images"]:
        stops = data["on_bad_image"] == "error"
        what = "replace or remove them, or set on_bad_image: skip" if stops else "they will be skipped"
        found.append(_problem(f"{name}: {len(data['bad_images'])} images cannot be read; {what}", stops=stops))
    found += [_problem(text) for text in data["warnings"]]
    if data["duplicates"]:
        count = len(data["duplicates"])
        found.append(_problem(f"{name}: {count} images of val or test are also in train, so results will flatter"))
    if data["within_train"]:
        found.append(_problem(f"{name}: {data['within_train']} training images are copies of others"))
    ratio = data["imbalance"].get("train") or 1
    if ratio >= IMBALANCED:
        text = f"{name}: the largest class has {number(ratio, 2)} times the images of the smallest; see `balance`"
        found.append(_problem(text))
    empty = [label for label, count in data["counts"].get("train", {}).items() if not count]
    if empty:
        found.append(_problem(f"{name}: no training images of {', '.join(empty[:LISTED])}", stops=True))
    return found


def _problem(text: str, *, stops: bool = False) -> dict[str, Any]:
    return {"text": text, "stops": stops}


def show_machine(facts: dict[str, Any]) -> None:
    """Print versions, devices, plugins and disk."""
    say("Versions")
    print_table(["package", "version"], [[name, found or "not installed"] for name, found in facts["versions"].items()])
    say("\nDevices")
    rows = [
        [one["device"], one["name"], _gib(one["free_gib"]), _gib(one["total_gib"]), ", ".join(one["precisions"])]
        for one in facts["devices"]
    ]
    print_table(["device", "name", "free", "memory", "precision"], rows, right=["free", "memory"])
    say("\nPlugins")
    for kind, names in facts["plugins"]["installed"].items():
        say(f"{kind}: {', '.join(names)}")
    say(f"\nDisk: {_gib(facts['disk']['free_gib'])} free in {facts['disk']['folder']}")


def show_recipe(facts: dict[str, Any]) -> None:
    """Print what the recipe's data and its first step are like."""
    for name, data in facts["data"].items():
        say(f"\nData set {name}: {data['checked']} images read")
        rows = [
            [split, str(sum(counts.values())), str(len(counts)), str(min(counts.values())), str(max(counts.values()))]
            for split, counts in data["counts"].items()
            if counts
        ]
        if rows:
            columns = ["split", "images", "classes", "smallest", "largest"]
            print_table(columns, rows, right=columns[1:])
        if data["left_out_line"]:
            say(f"  {data['left_out_line']}")
        for bad in data["bad_images"][:LISTED]:
            say(f"  {bad['split']}: {bad['path']}: {bad['reason']}")
        for pair in data["duplicates"][:LISTED]:
            say(f"  {pair['split']}: {pair['path']} is {pair['train']}")
        hidden = max(len(data["bad_images"]) - LISTED, 0) + max(len(data["duplicates"]) - LISTED, 0)
        if hidden:
            note(f"{hidden} more are in the output of --json")
    for stage, step in facts["steps"].items():
        _show_step(stage, step, [name for name, alike in facts["as"].items() if alike == stage])
    for stage, why in facts["not_tried"].items():
        say(f"\nStage {stage} was not tried: {why}")
    if facts["forecast"] is not None:
        whole = facts["forecast"]
        assumed = f", {listing(whole['assumed'])} as the slowest" if whole["assumed"] else ""
        say(
            f"\nTraining in all: about {duration(whole['seconds'])} for {whole['images']:,} images, at the pace of "
            f"these steps{assumed}; evaluations and analyses come on top"
        )


def _show_step(stage: str, step: dict[str, Any], alike: list[str]) -> None:
    say()
    if "error" in step:
        say(f"The first steps of stage {stage} failed")
        return
    say(f"A step of stage {stage}, mean of three" + (f"; {listing(alike)} would be the same" if alike else ""))
    values = {
        "seconds": number(step.get("seconds"), 3),
        "images per second": number(step.get("images_per_second"), 3),
        "peak memory": f"{step['peak_memory_mb']:.0f} MB" if step.get("peak_memory_mb") is not None else "–",
        "loss": number(step.get("loss")),
    }
    if batch := step.get("batch"):
        values["images at once"] = f"{batch['batch_size']}, {batch['accumulate']} times per step"
    if counts := step.get("parameters"):
        values["parameters that train"] = f"{counts['trained']:,} of {counts['all']:,}"
    print_table(["", "value"], [[key, value] for key, value in values.items()], right=["value"])


def show_problems(found: list[dict[str, Any]]) -> None:
    """Print the list of problems, those that stop training first."""
    say()
    if not found:
        say("No problem found")
        return
    say("Problems")
    for one in sorted(found, key=lambda problem: not problem["stops"]):
        say(f"{'stops training: ' if one['stops'] else ''}{one['text']}")


def _gib(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} GiB"
