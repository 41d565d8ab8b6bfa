"""`transferkit plan`: a recipe with everything resolved, where each value came from, and what will happen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from transferkit.cli.inputs import AllowPlugins
from transferkit.system.terminal import console, print_json, say
from transferkit.words.text import hanging, printable

if TYPE_CHECKING:
    from transferkit.recipe import Loaded
    from transferkit.recipe.counting import StepPlan
    from transferkit.recipe.schema import Recipe, Stage
    from transferkit.recipe.uses import PluginUse

MAX_NAMED_CLASSES = 6
HEADS = {
    "source": "the source head's rows of these classes",
    "ridge": "a ridge regression on the features of the start",
    "zero": "all zero",
}
Line = tuple[str, str, str]  # key with its indentation, value, origin


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="E.g. stages.target.epochs=3; +list=item appends, ~key removes.", metavar="[KEY=VALUE]..."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show the defaults as well.")] = False,
    allow_plugins: AllowPlugins = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Show what a recipe sets and where, the steps of every stage and the plugins in call order; start nothing."""
    from transferkit.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or (), allow_plugins=allow_plugins)
    if json:
        print_json(as_data(loaded))
    else:
        show(loaded, every=every)


def as_data(loaded: Loaded) -> dict[str, Any]:
    """The whole plan as plain data."""
    from transferkit.recipe.counting import step_plan

    stages = {}
    for stage in loaded.recipe.stages:
        numbers = dataclasses.asdict(step_plan(loaded.recipe, stage))
        numbers.pop("stage")
        stages[stage.name] = {**numbers, "plugins": loaded.plugins(stage).order()}
    data = {"recipe": loaded.data(), "origins": dict(loaded.origins), "stages": stages}
    files = {str(file.path): file.sha256 for file in loaded.files}
    return data | {"remarks": data_remarks(loaded), "plugin_files": files}


def data_remarks(loaded: Loaded) -> dict[str, list[str]]:
    """{data set: what was found in its files that should be known}: see `counting.remarks`."""
    from transferkit.recipe.counting import remarks

    found = {name: remarks(name, spec) for name, spec in loaded.recipe.datasets.items() if spec.from_ is None}
    return {name: lines for name, lines in found.items() if lines}


def show(loaded: Loaded, *, every: bool = False) -> None:
    """Print the plan for people: what the recipe gives, and with `every` the defaults too, dimmed."""
    lines = [line for line in recipe_lines(loaded) if every or line[2] != "default"]
    keys = max(len(key) for key, _, _ in lines)
    values = min(48, max(len(value) for _, value, _ in lines))
    for key, value, origin in lines:
        text = printable(f"{key:{keys}}  {value:{values}}  {origin}".rstrip())
        shown = hanging(text, keys + 2, console.width) if console.is_terminal else text
        console.print(Text(shown, style="dim" if origin == "default" else ""), soft_wrap=True)
    if not every:
        say("All else is as by default: --all shows it.")
    for file in loaded.files:
        say(f"plugin file  {file.path}, SHA-256 {file.sha256}")
    for stage in loaded.recipe.stages:
        say()
        for line in stage_lines(loaded, stage):
            say(line)
    if len(loaded.recipe.stages) > 1 or loaded.recipe.times > 1:
        say(f"\n{total_line(loaded.recipe)}")
    for line in (line for lines in data_remarks(loaded).values() for line in lines):
        say(line)
    if loaded.recipe.analyses:
        say("\nanalyses, in order: " + ", ".join(plugin.name for plugin in loaded.analyses()))


def total_line(recipe: Recipe) -> str:
    """The steps and images of all stages; how long they take `doctor` measures."""
    from transferkit.recipe.counting import step_plan

    plans = [step_plan(recipe, stage) for stage in recipe.stages if stage.trains]
    seeds = "" if recipe.times == 1 else f", of each of {recipe.times} {'seeds' if recipe.folds is None else 'folds'}"
    if any(plan.total_steps is None for plan in plans):
        return f"in all: known once the data are opened{seeds}"
    steps = sum(plan.total_steps or 0 for plan in plans)
    images = sum(plan.images or 0 for plan in plans)
    return f"in all: {steps:,} steps of training on {images:,} images{seeds}; `transferkit doctor` measures how long"


def recipe_lines(loaded: Loaded) -> Iterator[Line]:
    """The resolved recipe, one value per line. Sections that are all default take one line, empty keys share one."""
    yield from _section(loaded.data(), "", 0, loaded.origins)


def _section(data: Mapping[str, Any], prefix: str, depth: int, origins: Mapping[str, str]) -> Iterator[Line]:
    from transferkit.recipe.tree import item_label
    from transferkit.recipe.yaml import flow

    indent, unset = "  " * depth, []
    for key, value in data.items():
        path = f"{prefix}{key}"
        default = _all_default(path, origins)
        if default and _given(value) in (None, [], {}, ""):
            unset.append(key)
        elif isinstance(value, dict) and value and not default:
            yield f"{indent}{key}:", "", ""
            yield from _section(value, f"{path}.", depth + 1, origins)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield f"{indent}{key}:", "", ""
            for index, item in enumerate(value):
                label = item_label(value, index)
                yield f"{indent}  - {label}:", "", ""
                yield from _section(item, f"{path}.{label}.", depth + 3, origins)
        else:
            origin = "command line" if origins.get(path, "").startswith("command line") else origins.get(path, "")
            yield f"{indent}{key}", flow(_given(value)), "default" if default else origin
    if unset:
        yield f"{indent}(not set)", ", ".join(unset), "default"


def _given(value: Any) -> Any:
    """A section without its empty keys."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


def _all_default(path: str, origins: Mapping[str, str]) -> bool:
    below = [origin for key, origin in origins.items() if key == path or key.startswith(f"{path}.")]
    return all(origin == "default" for origin in below)


def stage_lines(loaded: Loaded, stage: Stage) -> Iterator[str]:
    """The steps of a stage, and which plugin is called when."""
    from transferkit.recipe.counting import step_plan

    numbers = step_plan(loaded.recipe, stage)
    carried = f" with its {' and '.join(stage.carry_on)}" if stage.carry_on else ""
    yield f"stage {stage.name}: {stage.dataset}, starts from {stage.start}{carried}"
    if stage.head_init != "default":
        yield f"  head         {HEADS[stage.head_init]}"
    if trained := _trained(loaded, stage):
        yield f"  trains       {trained}; `transferkit doctor` counts parameters"
    yield f"  images       {_images(numbers)}"
    if numbers.aside is not None:
        yield f"  aside        val {_counted(numbers.aside)}: folds validate on parts of train"
    if not stage.trains:
        also = f", also on {', '.join(stage.evaluate)}" if stage.evaluate else ""
        yield f"  no training  evaluated before and after each edit{also}"
        yield from _calls(loaded, stage)
        return
    if stage.curriculum is not None:
        yield f"  curriculum   {_curriculum(loaded, stage, stage.curriculum)}"
    summed = "" if stage.accumulate == 1 else f" x {stage.accumulate} = {numbers.effective_batch}"
    fitting = "; fewer at once where memory is short, for steps of as many" if stage.auto_batch else ""
    yield f"  batch        {stage.batch_size} images{summed} per step{fitting}"
    yield f"  steps        {_steps(stage, numbers)}"
    often, also = _every(stage.evaluate_every, numbers.evaluations), ", ".join(stage.evaluate)
    yield f"  evaluation   {often}{_early(stage)}{f'; also on {also}' if also else ''}"
    kept = f"the newest {stage.checkpoints.keep} and the best are kept"
    yield f"  checkpoints  {_every(stage.checkpoints.every, numbers.checkpoints)}; {kept}"
    if stage.keep == "last":
        yield "  model        the weights of the last epoch"
    yield from _calls(loaded, stage)


def _calls(loaded: Loaded, stage: Stage) -> Iterator[str]:
    """Which plugin is called when."""
    for hook, names in loaded.plugins(stage).order().items():
        if hook != "check":
            yield f"  {hook:12} {' -> '.join(names)}"


def _trained(loaded: Loaded, stage: Stage) -> str:
    """What trains, where an adapter or a preset says so."""
    if stage.freeze == "bitfit":
        return "the head and the backbone's biases"
    declared = {use.instance_name: loaded.registry.get("adapter", use.use).declared for use in stage.adapters}
    if any(one.freezes for one in declared.values()):
        return f"the head and what {' and '.join(declared)} added"
    return f"the whole model, with the layers of {' and '.join(declared)}" if declared else ""


def _images(numbers: StepPlan) -> str:
    if numbers.train is None:
        return "known once the data set is opened"
    parts = [f"train {_counted(numbers.train)}"]
    if numbers.validation is not None:
        parts.append(f"val {_counted(numbers.validation)}" + (_carved(numbers) if numbers.carved else ""))
    else:
        parts.append("no validation split")
    if numbers.test is not None:
        parts.append(f"test {_counted(numbers.test)}")
    return "; ".join(parts)


def _carved(numbers: StepPlan) -> str:
    return ", carved from train" if numbers.fold is None else f", fold {numbers.fold} of train"


def _counted(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if len(counts) <= MAX_NAMED_CLASSES:
        return f"{total} ({', '.join(f'{label} {number}' for label, number in counts.items())})"
    least, most = min(counts.values()), max(counts.values())
    return f"{total} ({len(counts)} classes, {least if least == most else f'{least} to {most}'} each)"


def _steps(stage: Stage, numbers: StepPlan) -> str:
    if numbers.steps_per_epoch is None or numbers.total_steps is None or numbers.epochs is None:
        return f"{stage.steps} in all" if stage.steps is not None else f"{stage.epochs} epochs"
    return f"{numbers.steps_per_epoch} per epoch x {numbers.epochs:.4g} epochs = {numbers.total_steps}"


def _every(epochs: int, times: int | None) -> str:
    often = "after every epoch" if epochs == 1 else f"after every {epochs} epochs"
    return often if times is None else f"{often} ({times} {'time' if times == 1 else 'times'})"


def _early(stage: Stage) -> str:
    """The optimizer steps that `evaluate_at` names."""
    if not stage.evaluate_at:
        return ""
    steps = f"step{'s' if len(stage.evaluate_at) > 1 else ''} {', '.join(map(str, stage.evaluate_at))}"
    images = stage.evaluate_images
    some = f" on {images} image{'s' if images > 1 else ''} of each data set" if images is not None else ""
    return f"; also at {steps}{some}"


def _curriculum(loaded: Loaded, stage: Stage, use: PluginUse) -> str:
    """Its name, with the options that the recipe gives."""
    from transferkit.recipe.yaml import flow

    prefix = f"stages.{stage.name}.curriculum"
    given = {key: value for key, value in use.options.items() if not _all_default(f"{prefix}.{key}", loaded.origins)}
    options = ", ".join(f"{key}: {flow(value)}" for key, value in given.items())
    return f"{use.instance_name} ({options})" if options else use.instance_name
