"""`transferkit convert`: the weights in a file of torch.save as safetensors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.outputs import require_ending
from transferkit.system.signals import stoppable
from transferkit.system.terminal import note, print_json, say, working
from transferkit.words.formats import count

if TYPE_CHECKING:
    from transferkit.model.conversion import Converted

SHOWN = 10


def convert(
    file: Annotated[Path, typer.Argument(help="A .pth, .pt, .bin, .ckpt or .pth.tar file.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="The safetensors file to write. Default: FILE.safetensors.", show_default=False)
    ] = None,
    key: Annotated[
        str, typer.Option(help="Which state dict, e.g. state_dict_ema. Default: the largest.", show_default=False)
    ] = "",
    arch: Annotated[
        str | None, typer.Option(help="Check it against this timm model, and write its names.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Write the weights in a file of torch.save (.pth, .pt, .bin, .ckpt) as safetensors. No code in it runs.

    Another process opens it, with weights_only=True; classes in it are replaced by empty ones.
    """
    out = to or file.with_name(f"{file.name}.safetensors")
    require_ending(out, ".safetensors")
    with stoppable("converting; nothing was written"), working("opening the file in another process"):
        from transferkit.model.conversion import convert as converted

        found = converted(file, out, key=key, architecture=arch)
    if json:
        print_json(asdict(found))
    else:
        show(found)


def show(found: Converted) -> None:
    """The answer for people: where the tensors were, what was done to their names, what was left out."""
    for text in found.said:
        note(text)
    where = f"of {found.key} " if found.key else ""
    fits = f", which fit {found.architecture}" if found.architecture else ""
    say(f"{found.out}   {count(found.tensors, 'tensor')} {where}in {found.file}{fits}")
    others = [f"{at or 'the whole'} ({size})" for at, size in found.state_dicts.items() if at != found.key]
    if others:
        say(f"as large   {', '.join(others)}: chosen by --key")
    if found.prefixes:
        say(f"names      without {' '.join(found.prefixes)} at their beginning")
    if found.left_out:
        say(f"left out   {_listed(found.left_out)}")
    beside = [
        f"{name} ({count(size, 'tensor')})" if size else name
        for name, size in found.entries.items()
        if name != found.key.partition(".")[0]
    ]
    if beside:
        say(f"beside it  {_listed(beside)}")
    if found.classes:
        say(f"emptied    classes that were not opened: {_listed(found.classes)}")


def _listed(names: list[str]) -> str:
    more = f", … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
