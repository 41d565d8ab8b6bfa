"""`transferkit.run`: a recipe from Python or from the command line, with one seed or several."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError, Interrupted, NonFiniteError, Problem, StorageError
from transferkit.folder import RunFolder, environment_text, result_text
from transferkit.recipe import Loaded, load_recipe
from transferkit.recipe.schema import Recipe
from transferkit.run_lock import owned
from transferkit.suggest import did_you_mean
from transferkit.training.fingerprint import KINDS
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


def resume(
    run_dir: str | Path,
    *,
    accept: Sequence[str] = (),
    epochs: int | None = None,
    stage: str | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult | AuditResult:
    """Go on with a run that was stopped: finished stages and analyses are kept, and a stage that was not finished
    starts from its newest checkpoint. Of an audit, finished analyses are kept.

    `accept` names kinds of differences that are meant: recipe, data, versions, machine, records. With `epochs`, a
    finished stage (`stage`, or the last one) is trained on to so many epochs in all. Overrides are dotted keys, such as
    where the data lie now: `resume(run, **{"datasets.flowers.folder": "elsewhere"})`.

    Raises InputError where something is not as the run left it and not accepted, and while another process works on
    the run; otherwise as `run`.
    """
    given = [f"{key}={_text(value)}" for key, value in overrides.items()]
    return go_on(run_dir, given, accept=accept, epochs=epochs, stage=stage, quiet=quiet)


def go_on(
    run_dir: str | Path,
    given: Sequence[str],
    *,
    accept: Sequence[str],
    epochs: int | None,
    stage: str | None,
    quiet: bool,
) -> RunResult | AuditResult:
    """`resume` with overrides as the command line has them: `key=value`."""
    from transferkit.analysis.audit_record import is_audit

    if is_audit(Path(run_dir)):
        if given or accept or epochs is not None or stage is not None:
            raise InputError(f"{run_dir} is an audit: it goes on with what it was given, without options")
        from transferkit.analysis.audit import resume_audit

        return resume_audit(run_dir, quiet=quiet)
    folder, kinds = RunFolder.open(Path(run_dir)), check_kinds(accept)
    try:
        loaded = load_recipe(folder.path / "recipe.yaml", given)
    except InputError as error:
        error.add_note("    what has moved can be given: transferkit resume RUN datasets.NAME.folder=WHERE")
        raise
    extended = None
    if epochs is not None:
        extended = extendable(loaded.recipe, stage)
        loaded = load_recipe(folder.path / "recipe.yaml", [*given, f"stages.{extended}.epochs={epochs}"])
    wanted = folder.result.get("wanted", ())
    return execute(loaded, folder=folder, stages=wanted, quiet=quiet, accept=kinds, extended=extended)


def extendable(recipe: Recipe, name: str | None) -> str:
    """The stage to be trained on. Raises InputError for one that is counted in steps or that others start from."""
    stages = {stage.name: stage for stage in recipe.stages}
    name = name or recipe.stages[-1].name
    if name not in stages:
        raise InputError(Problem("", f'there is no stage called "{name}"', did_you_mean(name, stages)))
    if stages[name].epochs is None:
        raise InputError(f'stage "{name}" is counted in steps: give stages.{name}.steps=N and --accept recipe instead')
    after = [stage.name for stage in recipe.stages if stage.start == name]
    if after:
        raise InputError(f'stage "{name}" cannot be trained on: {", ".join(after)} started from what it was')
    return name


def check_kinds(accept: Iterable[str]) -> frozenset[str]:
    """The kinds of differences that are meant. Raises InputError for others."""
    kinds = frozenset(name.strip() for given in accept for name in given.split(",") if name.strip())
    for name in kinds - set(KINDS):
        raise InputError(Problem("--accept", f'there is nothing called "{name}" to accept', did_you_mean(name, KINDS)))
    return kinds


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
    accept: Collection[str] = (),
    extended: str | None = None,
) -> RunResult:
    """Run a loaded recipe in a new folder, or go on in an existing one."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    from transferkit.repeats import Repeats
    from transferkit.runner import Runner, remove_empty, wanted_stages
    from transferkit.training.peers import PATIENCE, LostProcess, watched
    from transferkit.training.progress import Display

    wanted = wanted_stages(loaded.recipe, stages)
    processes = PartialState(cpu=loaded.recipe.device == "cpu", timeout=PATIENCE)
    main, new = processes.is_main_process, folder is None
    if folder is None:
        facts = {"processes": processes.num_processes, "device": str(processes.device)}
        paths = [str(_new_folder(loaded, out, wanted, facts).path) if main else None]
        broadcast_object_list(paths)
        folder = RunFolder(Path(str(paths[0])))
    display = Display(folder.path / "run.log", quiet=quiet, main=main)
    processes.wait_for_everyone()
    advice = f"go on with: transferkit resume {folder.path}"
    try:
        with (
            owned(folder.path) if main else nullcontext(),
            stoppable("going from one part to the next") as stop,
            watched(processes.num_processes, processes.process_index, stop, advice, display.warn),
        ):
            one = partial(Runner, display=display, stop=stop, main=main, accept=accept, extended=extended)
            repeated = loaded.recipe.repeat > 1
            content = Repeats(loaded, folder, one).run(wanted) if repeated else one(loaded, folder).run(wanted)
    except InputError:
        if new and main:
            remove_empty(folder, out)
        raise
    except NonFiniteError:
        processes.wait_for_everyone()  # all raise it; a process that left first would have the others killed
        raise
    except (Interrupted, LostProcess, StorageError) as error:
        error.add_note(f"make room on the disk, then {advice}" if isinstance(error, StorageError) else advice)
        raise
    return RunResult.of(content)


def _new_folder(loaded: Loaded, out: Path, wanted: Sequence[str], facts: Mapping[str, Any]) -> RunFolder:
    """A run folder from which the run can be resumed from its first moment on."""
    files = {
        "recipe.yaml": loaded.dump(),
        "env.json": environment_text(seed=loaded.recipe.seed, **facts),
        "result.json": result_text({"status": "running", "stages": {}, "analyses": {}, "wanted": list(wanted)}),
    }
    return RunFolder.create(out, loaded.recipe.name, files)
