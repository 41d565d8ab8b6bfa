"""`transferkit edit`: change a finished model's weights by a plugin, and see what that did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.summary import present
from transferkit.errors import InputError
from transferkit.system.standard_streams import answers_only
from transferkit.system.terminal import note

if TYPE_CHECKING:
    from transferkit.recipe.tree import Node


def edit(
    model: Annotated[str, typer.Argument(help="A model folder, a run folder, or hf-hub:org/name.", show_default=False)],
    use: Annotated[str, typer.Option(help="Which edit, e.g. leace.")],
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="An option of the edit (repeatable).")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last that has a model.")] = None,
    target_data: Annotated[
        str | None, typer.Option(help="The images it was fine-tuned on; default: its run's.")
    ] = None,
    source_data: Annotated[str | None, typer.Option(help="Images of the source's classes; default: its run's.")] = None,
    source_labels: Annotated[
        Path | None, typer.Option(help="A CSV (index, name, folder) of the source's classes.")
    ] = None,
    audit: Annotated[bool, typer.Option("--audit", help="Also audit the model before and after.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything that is drawn; default: its run's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps; default: its run's.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: its run's.")] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while running.")] = False,
) -> None:
    """Edit a finished model without training; it is evaluated before and after. Writes a run folder like `run`."""
    from transferkit.analysis.audit_request import standard
    from transferkit.deploy.place import local
    from transferkit.plugins.registry import installed
    from transferkit.runs.edit_recipe import EditRequest, edit_recipe

    registry = installed()
    asked = EditRequest(
        local(model), use, read_options(options or []), stage, target_data, source_data,
        None if source_labels is None else str(source_labels), seed, device, threads,
    )  # fmt: skip
    loaded = edit_recipe(asked, registry, standard(registry, note) if audit else ())

    from transferkit.api import execute

    with answers_only():
        result = execute(loaded, out=out, quiet=quiet)
    present(result, as_json=json, quiet=quiet)


def read_options(texts: list[str]) -> dict[str, Node]:
    """`classes=[espresso]` -> {"classes": its value as YAML reads it}. Raises InputError for anything else."""
    from transferkit.recipe import yaml
    from transferkit.recipe.tree import Mark

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise InputError(f'--set "{text}": write OPTION=VALUE, e.g. classes=[espresso]')
        found[name.strip()] = yaml.parse(value, Mark(f"--set {text}", folder=Path.cwd()))
    return found
