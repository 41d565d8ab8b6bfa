"""`transferkit.run`: a recipe from Python or from the command line, with one seed or several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError, Interrupted
from transferkit.folder import RunFolder
from transferkit.over_seeds import summarise
from transferkit.recipe import Loaded, load_recipe
from transferkit.training.signals import stoppable

if TYPE_CHECKING:
    from transferkit.analysis.audit import AuditResult


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


def resume(run_dir: str | Path, *, quiet: bool = False) -> RunResult | AuditResult:
    """Go on with a run that was stopped: finished stages and analyses are kept, and a stage that was not finished
    starts from its newest checkpoint. Of an audit, finished analyses are kept."""
    from transferkit.analysis.audit_record import is_audit

    if is_audit(Path(run_dir)):
        from transferkit.analysis.audit import resume_audit

        return resume_audit(run_dir, quiet=quiet)
    folder = RunFolder.open(Path(run_dir))
    loaded = load_recipe(folder.path / "recipe.yaml")
    return execute(loaded, folder=folder, stages=folder.result.get("wanted", ()), quiet=quiet)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@stoppable("starting")
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
    from transferkit.training.peers import PATIENCE, LostProcess, watched
    from transferkit.training.progress import Display

    wanted = wanted_stages(loaded.recipe, stages)
    processes = PartialState(cpu=loaded.recipe.device == "cpu", timeout=PATIENCE)
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
    advice = f"go on with: transferkit resume {folder.path}"
    try:
        with (
            stoppable("going from one part to the next") as stop,
            watched(processes.num_processes, processes.process_index, stop, advice, display.warn),
        ):
            content = _seeds(loaded, folder, wanted, display, stop, main=main)
    except InputError:
        if new and main:
            remove_empty(folder, out)
        raise
    except (Interrupted, LostProcess) as error:
        error.add_note(advice)
        raise
    return RunResult.of(content)


def _seeds(
    loaded: Loaded, folder: RunFolder, wanted: list[str], display: Any, stop: Any, *, main: bool
) -> dict[str, Any]:
    from transferkit.runner import Runner, make_report, told

    recipe = loaded.recipe
    if recipe.repeat == 1:
        runner = Runner(loaded, folder, seed=recipe.seed, display=display, stop=stop, main=main)
        runner.result["wanted"] = wanted
        return runner.run(wanted)
    repeats: list[dict[str, Any]] = []
    content = summarise(folder.path, repeats) | {"wanted": wanted}

    def write(status: str) -> None:
        content["status"] = status
        if main:
            folder.write_result(content)

    def close() -> None:
        if main:
            make_report(folder, display)

    with told(folder, content, write, close, stop):
        for seed in range(recipe.seed, recipe.seed + recipe.repeat):
            display.line(f"seed {seed} ({len(repeats) + 1} of {recipe.repeat})")
            single = replace(loaded, recipe=recipe.model_copy(update={"seed": seed, "repeat": 1}))
            one = _seed_folder(folder, single, main=main)
            repeats.append(Runner(single, one, seed=seed, display=display, stop=stop, main=main).run(wanted))
            content |= summarise(folder.path, repeats)
            write("running")
    return content


def _seed_folder(folder: RunFolder, single: Loaded, *, main: bool) -> RunFolder:
    """The folder of one seed, with its own resolved recipe: it can be compared and resumed by itself."""
    one = RunFolder(folder.path / "repeats" / f"seed-{single.recipe.seed}")
    if main and not (one.path / "recipe.yaml").is_file():
        one.path.mkdir(parents=True, exist_ok=True)
        (one.path / "recipe.yaml").write_text(single.dump(), encoding="utf-8")
        one.write_environment(seed=single.recipe.seed)
    return one
