"""`transferkit.run`, `resume`, `audit` and `compare`: what people call, from Python or from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError, Interrupted, NonFiniteError, Problem, StorageError, TransferkitError
from transferkit.plugins.registry import installed
from transferkit.recipe import Loaded, load_recipe
from transferkit.recipe.schema import Recipe
from transferkit.runs.beginning import new_run
from transferkit.runs.folder import RunFolder, remove_empty
from transferkit.runs.model_place import model_place
from transferkit.runs.results import AuditResult as AuditResult
from transferkit.runs.results import RunResult as RunResult
from transferkit.system.run_lock import owned
from transferkit.system.signals import stoppable, watching
from transferkit.system.terminal import loading
from transferkit.training.fingerprint import KINDS
from transferkit.words.doors import call, coming_from, option, said
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.analysis.audit_request import Arguments
    from transferkit.runs.comparison import Comparison


@coming_from("Python")
def run(
    recipe: str | Path | Mapping[str, Any],
    *,
    out: str | Path = "runs",
    stages: Sequence[str] = (),
    quiet: bool = False,
    allow_plugins: bool = False,
    **overrides: Any,
) -> RunResult:
    """Run a recipe: a file, or its content as a dict, whose paths are relative to the working directory.

    Overrides are dotted keys: `run("r.yaml", **{"stages.target.epochs": 3})`.

    `allow_plugins`: code in plugin files that the recipe names may run.
    Raises InputError for wrong input (nothing is written), NonFiniteError, Interrupted, or what a plugin raises.
    """
    given = [f"{key}={_text(value)}" for key, value in overrides.items()]
    loaded = load_recipe(recipe, given, allow_plugins=allow_plugins)
    return execute(loaded, out=Path(out), stages=stages, quiet=quiet)


@coming_from("Python")
def resume(
    run_dir: str | Path,
    *,
    accept: str | Sequence[str] = (),
    epochs: int | None = None,
    stage: str | None = None,
    quiet: bool = False,
    allow_plugins: bool = False,
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
    accept = [accept] if isinstance(accept, str) else accept
    return go_on(run_dir, given, accept=accept, epochs=epochs, stage=stage, quiet=quiet, allow_plugins=allow_plugins)


def go_on(
    run_dir: str | Path,
    given: Sequence[str],
    *,
    accept: Sequence[str],
    epochs: int | None,
    stage: str | None,
    quiet: bool,
    allow_plugins: bool = False,
) -> RunResult | AuditResult:
    """`resume` with overrides as the command line has them: `key=value`."""
    from transferkit.analysis.audit_request import is_audit, read_arguments

    if is_audit(Path(run_dir)):
        if given or accept or epochs is not None or stage is not None:
            raise InputError(f"{run_dir} is an audit: it goes on with what it was given, without options")
        place = Path(run_dir)
        return _audit(read_arguments(place), place.parent, RunFolder(place), quiet)
    folder, kinds = RunFolder.open(Path(run_dir)), check_kinds(accept)
    try:
        loaded = load_recipe(folder.path / "recipe.yaml", given, allow_plugins=allow_plugins)
    except InputError as error:
        moved = said("datasets.NAME.folder=WHERE", '**{"datasets.NAME.folder": "WHERE"}')
        error.add_note(f"    what has moved can be given: {call('resume', 'RUN', moved)}")
        raise
    extended = None
    if epochs is not None:
        extended = extendable(loaded.recipe, stage)
        longer = [*given, f"stages.{extended}.epochs={epochs}"]
        loaded = load_recipe(folder.path / "recipe.yaml", longer, allow_plugins=allow_plugins)
    wanted = folder.result.get("wanted", ())
    return execute(loaded, folder=folder, stages=wanted, quiet=quiet, accept=kinds, extended=extended)


def extendable(recipe: Recipe, name: str | None) -> str:
    """The stage to be trained on. Raises InputError for one that is counted in steps or that others start from."""
    stages = {stage.name: stage for stage in recipe.stages}
    name = name or recipe.stages[-1].name
    if name not in stages:
        raise InputError(Problem("", f'there is no stage called "{name}"', did_you_mean(name, stages)))
    if not stages[name].trains:
        raise InputError(f'stage "{name}" only edits a model: it has no epochs')
    if stages[name].epochs is None:
        accept = option("accept", "recipe")
        raise InputError(f'stage "{name}" is counted in steps: give stages.{name}.steps=N and {accept} instead')
    after = [stage.name for stage in recipe.stages if stage.start == name]
    if after:
        raise InputError(f'stage "{name}" cannot be trained on: {", ".join(after)} started from what it was')
    return name


def check_kinds(accept: Iterable[str]) -> frozenset[str]:
    """The kinds of differences that are meant. Raises InputError for others."""
    kinds = frozenset(name.strip() for given in accept for name in given.split(",") if name.strip())
    for name in kinds - set(KINDS):
        raise InputError(
            Problem(option("accept"), f'there is nothing called "{name}" to accept', did_you_mean(name, KINDS))
        )
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
    with loading(quiet):
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        from transferkit.analysis.run_analyses import RunAnalyses
        from transferkit.deploy.model_card import refresh
        from transferkit.reporting.html import make_report
        from transferkit.runs.repeats import Repeats
        from transferkit.runs.runner import Runner, wanted_stages
        from transferkit.training.boards import failing_quietly
        from transferkit.training.peers import PATIENCE, LostProcess, watched
        from transferkit.training.progress import Display

    wanted = wanted_stages(loaded.recipe, stages)
    processes = PartialState(cpu=loaded.recipe.device == "cpu", timeout=PATIENCE)
    main, new = processes.is_main_process, folder is None
    if folder is None:
        facts = {"processes": processes.num_processes, "device": str(processes.device)}
        paths = [str(new_run(loaded, out, wanted, facts).path) if main else None]
        broadcast_object_list(paths)
        folder = RunFolder(Path(str(paths[0])))
    display = Display(folder.path / "run.log", quiet=quiet, main=main)
    processes.wait_for_everyone()
    trust = [option("allow-plugins", True)] if loaded.files else []
    advice = f"go on with: {call('resume', folder.path, *trust)}"
    try:
        with (
            owned(folder.path) if main else nullcontext(),
            failing_quietly(),
            stoppable("going from one part to the next") as stop,
            watched(processes.num_processes, processes.process_index, stop, advice, display.warn),
        ):

            def card(folder: RunFolder, stage: str) -> None:
                try:
                    if main:
                        refresh(folder.model(stage), folder.path, stage)
                except TransferkitError as error:  # a run is no worse without it
                    display.warn(f"stage {stage}: the card of its model is not as it should be: {error}")

            def one(loaded: Loaded, folder: RunFolder) -> Runner:
                return Runner(
                    loaded, folder, display=display, stop=stop, main=main, accept=accept, extended=extended,
                    analyses=RunAnalyses, report=make_report, card=card,
                )  # fmt: skip

            if loaded.recipe.times > 1:
                whole = Repeats(loaded, folder, one, display=display, stop=stop, main=main, report=make_report)
                content = whole.run(wanted)
            else:
                content = one(loaded, folder).run(wanted)
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


@coming_from("Python")
def audit(
    target: str | Path,
    *,
    source: str | Path | None = None,
    target_data: str | Path | None = None,
    source_data: str | Path | None = None,
    baseline: str | Path | None = None,
    source_labels: str | Path | None = None,
    analyses: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    fail_on: str | Sequence[str] = (),
    seed: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    out: str | Path = "runs",
    on_bad_image: str = "error",
    quiet: bool = False,
) -> AuditResult:
    """What does the fine-tuned model still remember of its source, and where does it hurt?

    Models may be run or model folders, timm names, `hf-hub:owner/name`, `NAME@FILE.safetensors`,
    `FILE.safetensors`, or a YAML file with a recipe's model section. Where the target is (a stage of) a run, its
    recipe says what is not given, the seed and the options of its analyses among it. `options` are {analysis: {option:
    value}}; `fail_on` are conditions such as "lingering > 20". Raises InputError for wrong input (nothing is written)
    and Interrupted after a signal (finished analyses stay, and `resume` goes on).
    """
    from transferkit.analysis.audit_request import Arguments
    from transferkit.deploy.place import local

    source, baseline = (one and local(str(one)) for one in (source, baseline))
    given = {
        "source": source, "baseline": baseline, "target_data": target_data, "source_data": source_data,
        "source_labels": source_labels,
    }  # fmt: skip
    arguments = Arguments(
        local(str(target)),
        **{name: None if value is None else str(value) for name, value in given.items()},
        analyses=None if analyses is None else list(analyses),
        options={name: dict(values) for name, values in (options or {}).items()},
        fail_on=[fail_on] if isinstance(fail_on, str) else list(fail_on),
        seed=seed,
        device=device,
        threads=threads,
        on_bad_image=on_bad_image,
        directory=str(Path.cwd()),
    )
    return _audit(arguments, Path(out), None, quiet)


def _audit(arguments: Arguments, out: Path, known: RunFolder | None, quiet: bool) -> AuditResult:
    from transferkit.analysis.audit_settings import settle
    from transferkit.analysis.fail_on import parse

    conditions = [parse(text) for text in arguments.fail_on]
    left_out: list[str] = []
    settings = settle(arguments.here(), installed(), left_out.append)
    for condition in conditions:
        condition.check_names(
            {one.plugin.name: one.plugin.component.declared.metric_keys or None for one in settings.chosen}
        )

    with loading(quiet):
        from transferkit.analysis.auditing import Auditing
        from transferkit.reporting.html import make_report

    with _threads(settings.threads), watching() as stop:
        folder = known or RunFolder.create(out, "audit")
        try:
            auditing = Auditing(folder, arguments, settings, conditions, report=make_report, stop=stop, quiet=quiet)
            with owned(folder.path):
                auditing.run(left_out)
                _tell_card(auditing.arguments.here().target, folder.path, auditing.display.warn)
        except InputError:
            if known is None:
                remove_empty(folder, out)
            raise
    return AuditResult(
        run_dir=folder.path,
        analyses=auditing.result["metrics"],
        findings=auditing.findings,
        failed=any(finding.holds for finding in auditing.findings),
        warnings=auditing.result["warnings"],
        errors=auditing.errors,
        verdicts={name: report.verdict for name, report in auditing.reports.items() if report.verdict},
        content=auditing.result,
    )


def _tell_card(target: str, audit: Path, warn: Callable[[str], None]) -> None:
    """Put what an audit found into the card of its target, where that is a model folder of ours."""
    from transferkit.deploy.hub import is_fetched
    from transferkit.deploy.model_card import refresh
    from transferkit.model.folder_config import read_config

    try:
        place = model_place(target)
        ours = bool(read_config(place.folder).info)
    except InputError:  # a name of timm's, a file of weights
        return
    try:
        if ours and not is_fetched(place.folder):
            refresh(place.folder, place.run, place.stage, audit=audit)
    except TransferkitError as error:
        warn(f"{place.folder}: its card does not say what was found: {error}")


@coming_from("Python")
def compare(*runs: str | Path, stage: str | None = None, metric: str | None = None) -> Comparison:
    """Runs side by side, in one stage by one metric: run folders, or folders that hold runs.

    By default the last stage that all have, by top1, or by loss in regression; `analyses.NAME.METRIC` is what an
    analysis found. Raises InputError for folders that are no runs, and for metrics that none of them has.
    """
    from transferkit.runs.comparison import compare_runs

    return compare_runs([Path(run) for run in runs], stage=stage, metric=metric)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """So many CPU threads inside; afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        if count < 1:
            raise InputError(f"threads must be at least 1, not {count}")
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
