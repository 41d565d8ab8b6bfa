"""`transferkit audit`: what does a fine-tuned model still remember of its source, and where does it hurt?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.outputs import refuse_file
from transferkit.errors import FINDINGS, InputError
from transferkit.system.standard_streams import answers_only
from transferkit.system.terminal import print_json, print_table, say
from transferkit.words.formats import number

if TYPE_CHECKING:
    from transferkit.api import AuditResult

BROKEN = 1  # exit code
MODEL = (
    "A run or model folder, a timm name, hf-hub:owner/name, NAME@FILE.safetensors, FILE.safetensors, or a YAML file "
    "with a recipe's model section."
)
FromRun = " Default: what the target's run says."


def audit(
    target: Annotated[str, typer.Argument(help=f"The fine-tuned model. {MODEL}", show_default=False)],
    source: Annotated[str | None, typer.Option(help="The model it was fine-tuned from, in the same forms.")] = None,
    target_data: Annotated[str | None, typer.Option(help=f"The images it was fine-tuned on.{FromRun}")] = None,
    source_data: Annotated[
        str | None, typer.Option(help=f"Images of the source's classes, any part of them.{FromRun}")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="A model trained from scratch for the same task.")] = None,
    source_labels: Annotated[
        Path | None, typer.Option(help="A CSV (index, name, folder) of the source model's classes.")
    ] = None,
    analyses: Annotated[str | None, typer.Option(help="Only these, e.g. lingering,bias.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ANALYSIS.OPTION=VALUE", help=f"An option of an analysis (repeatable).{FromRun}"),
    ] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option(help='Exit code 3 if this holds, e.g. "lingering > 20" (repeatable).')
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help=f"Of everything that is drawn.{FromRun}")] = None,
    device: Annotated[str | None, typer.Option(help=f"auto, cpu, cuda or mps.{FromRun}")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help=f"CPU threads.{FromRun}")] = None,
    out: Annotated[Path, typer.Option(help="Where audits are kept.")] = Path("runs"),
    skip_bad_images: Annotated[
        bool, typer.Option("--skip-bad-images", help="Leave unreadable images out instead of stopping.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while it works.")] = False,
) -> None:
    """Audit a fine-tuned model: what it remembers of its source, and where that does harm.

    Exit code 3 when a --fail-on condition holds or cannot be checked; the report is complete before.
    """
    refuse_file(out, "audits")
    chosen = None if analyses is None else [name.strip() for name in analyses.split(",") if name.strip()]
    settings = read_settings(options or [])

    from transferkit.api import audit as run_audit

    with answers_only():
        result = run_audit(
            target,
            source=source,
            target_data=target_data,
            source_data=source_data,
            baseline=baseline,
            source_labels=source_labels,
            analyses=chosen,
            options=settings,
            fail_on=fail_on or (),
            seed=seed,
            device=device,
            threads=threads,
            out=out,
            on_bad_image="skip" if skip_bad_images else "error",
            quiet=quiet,
        )
    present_audit(result, json)


def present_audit(result: AuditResult, json: bool) -> None:
    """Print it, for machines or people, and exit with 1 for what broke, 3 for what was found."""
    if json:
        print_json(as_json(result))
    else:
        show(result)
    if result.errors or result.failed:
        raise typer.Exit(BROKEN if result.errors else FINDINGS)


def read_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """`lingering.k=3` -> {"lingering": {"k": 3}}; values are YAML. Raises InputError for anything else."""
    if not texts:
        return {}
    from transferkit.recipe import yaml
    from transferkit.recipe.tree import Mark

    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        address, equals, value = text.partition("=")
        distribution, colon, name = address.strip().rpartition(":")  # a distribution's name may have dots
        analysis, dot, option = name.partition(".")
        analysis = distribution + colon + analysis
        if not (equals and dot and analysis and option):
            raise InputError(f'--set "{text}": write ANALYSIS.OPTION=VALUE, e.g. lingering.k=3')
        settings.setdefault(analysis, {})[option] = yaml.parse(value, Mark(f"--set {text}")).plain()
    return settings


def as_json(result: AuditResult) -> dict[str, Any]:
    """The answer for machines; what could not be measured is null."""
    return {
        "run_dir": str(result.run_dir),
        "status": result.content["status"],
        "analyses": result.analyses,
        "verdicts": result.verdicts,
        "findings": result.content["findings"],
        "failed": result.failed,
        "warnings": result.warnings,
        "errors": result.errors,
    }


def show(result: AuditResult) -> None:
    """The answer for people: sentences first, then every number, then what to be careful about."""
    for name in result.analyses:
        say(f"\n{name}: {result.verdicts.get(name, 'nothing could be measured; the report says why')}")
    rows = [
        [name, metric, "–" if math.isnan(value) else number(value)]
        for name, metrics in result.analyses.items()
        for metric, value in metrics.items()
    ]
    if rows:
        say()
        print_table(["analysis", "metric", "value"], rows, right=["value"])
    _listed("Be careful", result.warnings)
    _listed("Broken", result.errors)
    _listed("Conditions of --fail-on", [str(finding) for finding in result.findings])
    say(f"\nreport   {result.run_dir / 'report.html'}")


def _listed(title: str, texts: list[str]) -> None:
    if texts:
        say(f"\n{title}:")
        for text in texts:
            say(f"  {text}")
