"""`transferkit.run`: a recipe from Python or from the command line, with one seed or several."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transferkit.errors import InputError, Interrupted
from transferkit.folder import RunFolder
from transferkit.recipe import Loaded, load_recipe


@dataclass
class RunResult:
    """How a run ended: what result.json says."""

    run_dir: Path
    status: str
    stages: dict[str, Any]
    analyses: dict[str, str]
    content: dict[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any]) -> RunResult:
        """From the content of a result.json."""
        return cls(Path(content["run_dir"]), content["status"], content["stages"], content["analyses"], content)


def run(
    recipe: str | Path, *, out: str | Path = "runs", stages: Sequence[str] = (), quiet: bool = False, **overrides: Any
) -> RunResult:
    """Run a recipe file. Overrides are dotted keys: `run("r.yaml", **{"stages.target.epochs": 3})`.

    Raises InputError for wrong input (nothing is written), NonFiniteError, Interrupted, or what a plugin raises.
    """
    loaded = load_recipe(recipe, [f"{key}={_text(value)}" for key, value in overrides.items()])
    return execute(loaded, out=Path(out), stages=stages, quiet=quiet)


def resume(run_dir: str | Path, *, quiet: bool = False) -> RunResult:
    """Go on with a run that was stopped: finished stages are kept, the others start from their newest checkpoint."""
    folder = RunFolder.open(Path(run_dir))
    loaded = load_recipe(folder.path / "recipe.yaml")
    return execute(loaded, folder=folder, stages=folder.result.get("wanted", ()), quiet=quiet)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def execute(
    loaded: Loaded,
    *,
    out: Path = Path("runs"),
    folder: RunFolder | None = None,
    stages: Sequence[str] = (),
    quiet: bool = False,
) -> RunResult:
    """Run a loaded recipe in a new folder, or go on in an existing one."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    from transferkit.runner import remove_empty, wanted_stages
    from transferkit.training.progress import Display
    from transferkit.training.signals import StopSignal

    wanted = wanted_stages(loaded.recipe, stages)
    processes = PartialState(cpu=loaded.recipe.device == "cpu")
    new = folder is None
    if new:
        paths: list[Any] = [None]
        if processes.is_main_process:
            paths = [str(RunFolder.create(out, loaded.recipe.name).path)]
        broadcast_object_list(paths)
        folder = RunFolder(Path(paths[0]))
    assert folder is not None
    main = processes.is_main_process
    display = Display(folder.path / "run.log", quiet=quiet, main=main)
    if main and new:
        (folder.path / "recipe.yaml").write_text(loaded.dump(), encoding="utf-8")
        folder.write_environment(
            seed=loaded.recipe.seed, processes=processes.num_processes, device=str(processes.device)
        )
    processes.wait_for_everyone()
    try:
        with StopSignal().watching() as stop:
            content = _seeds(loaded, folder, wanted, display, stop, main=main)
    except InputError:
        if new and main:
            remove_empty(folder, out)
        raise
    except Interrupted as error:
        error.add_note(f"go on with: transferkit resume {folder.path}")
        raise
    return RunResult.of(content)


def _seeds(
    loaded: Loaded, folder: RunFolder, wanted: list[str], display: Any, stop: Any, *, main: bool
) -> dict[str, Any]:
    from transferkit.runner import Runner, make_report

    recipe = loaded.recipe
    if recipe.repeat == 1:
        runner = Runner(loaded, folder, seed=recipe.seed, display=display, stop=stop, main=main)
        runner.result["wanted"] = wanted
        return runner.run(wanted)
    repeats: list[dict[str, Any]] = []
    content = summarise(folder, repeats) | {"wanted": wanted}

    def write(status: str) -> None:
        content["status"] = status
        if main:
            folder.write_result(content)

    write("running")
    try:
        for seed in range(recipe.seed, recipe.seed + recipe.repeat):
            display.line(f"seed {seed} ({len(repeats) + 1} of {recipe.repeat})")
            single = replace(loaded, recipe=recipe.model_copy(update={"seed": seed, "repeat": 1}))
            one = _seed_folder(folder, single, main=main)
            repeats.append(Runner(single, one, seed=seed, display=display, stop=stop, main=main).run(wanted))
            content |= summarise(folder, repeats)
            write("running")
    except BaseException as error:
        write("stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")
        raise
    write("done")
    if main:
        make_report(folder, display)
    return content


def _seed_folder(folder: RunFolder, single: Loaded, *, main: bool) -> RunFolder:
    """The folder of one seed, with its own resolved recipe: it can be compared and resumed by itself."""
    one = RunFolder(folder.path / "repeats" / f"seed-{single.recipe.seed}")
    if main and not (one.path / "recipe.yaml").is_file():
        one.path.mkdir(parents=True, exist_ok=True)
        (one.path / "recipe.yaml").write_text(single.dump(), encoding="utf-8")
        one.write_environment(seed=single.recipe.seed)
    return one


def summarise(folder: RunFolder, repeats: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, in the shape of a single run's result."""
    stages: dict[str, Any] = {}
    for name in repeats[0]["stages"] if repeats else ():
        entries = [repeat["stages"][name] for repeat in repeats if name in repeat["stages"]]
        stages[name] = {
            "best": _mean([entry["best"] for entry in entries]),
            "last": _mean([entry["last"] for entry in entries]),
            "model": f"{Path(repeats[0]['run_dir']).relative_to(folder.path).as_posix()}/{entries[0]['model']}",
            "classes": entries[0]["classes"],
            "images": entries[0]["images"],
            "seconds": sum(entry["seconds"] for entry in entries),
            "warnings": sorted({warning for entry in entries for warning in entry["warnings"]}),
        }
    kept = [{key: repeat[key] for key in ("run_dir", "seed", "stages")} for repeat in repeats]
    return {"status": "running", "run_dir": str(folder.path), "stages": stages, "analyses": {}, "repeats": kept}


def _mean(entries: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = {key: [float(entry[key]) for entry in entries] for key in ("epoch", "top1", "loss")}
    mean: dict[str, Any] = {key: statistics.fmean(values) for key, values in numbers.items()}
    spread = {key: statistics.stdev(v) if len(v) > 1 else math.nan for key, v in numbers.items() if key != "epoch"}
    return mean | {"sd": spread, "n": len(entries), "split": entries[0]["split"]}
